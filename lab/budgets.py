# SPDX-License-Identifier: Apache-2.0
"""How long a case may cost: from the configuration, and two allowances of the lab's own. Pure.

    fault ── the page is bad ──── QEMU's end ───── another QEMU ───── its page is good
             └─ bad_seconds ────┘ └─ gone_seconds ┘ └─ the boot of the guest ─────────┘

`bad_seconds`: until something of ours ends the old VM (a grace time, an orderly stop); `gone_
seconds`: until there is another. Both follow from the timeline of the lease
(broker/lease/rules.py, sanlock/times.py) and the other keys of conf/ha-agent.conf. The boot is
this machine's: measured at the beginning of a run, and BOOTS_AS_LONG of it are allowed, since in
some cases hosts boot beside the guest.

A case that is to leave the VM alone has the budget `untouched`: what the agent itself takes for
one late answer of the page.
"""

from __future__ import annotations

from dataclasses import dataclass

from ha_agent.broker.lease.backend import lease_seconds, sanlock_times
from ha_agent.broker.lease.rules import GUARD_POLL_SECONDS
from ha_agent.config.schema import Config
from ha_agent.fsm.policy import Policy

# The lab's own allowances, chosen before anything was measured.
BOOTS_AS_LONG = 3.0
# From VM.create to a process that is QEMU: VDSM prepares the disk, Python starts the launcher.
CREATE_SECONDS = 2.0


@dataclass(frozen=True)
class Budget:
    """Seconds without a good page, and of these without any QEMU. `moves`: the VM is another one
    afterwards; `boots`: how often its guest may have booted meanwhile."""

    bad_seconds: float
    gone_seconds: float
    why: str
    moves: bool = True
    boots: int = 1

    def page_seconds(self, boot_seconds: float) -> float:
        """Return what the page may be without a good answer, by this machine's boot of a guest."""
        boots = self.boots * BOOTS_AS_LONG * boot_seconds
        return self.bad_seconds + (self.gone_seconds if self.moves else 0.0) + boots


@dataclass(frozen=True)
class Budgets:
    """The times of one configuration, as budgets. `dead_seconds`: from a dead host's last renewal
    until its lease may be taken; `fence_seconds`: until its guard has ended the VM, at the
    earliest; `renew_seconds`: between two renewals; `network_lost_seconds`: from a cable that is
    out to the network's penalty; `report_seconds`: until what a host says is known to others."""

    dead_seconds: float = 15.0
    fence_seconds: float = 11.0
    renew_seconds: float = 3.0
    step_seconds: float = 1.0
    page_seconds: float = 7.0
    grace_seconds: float = 120.0
    stop_seconds: float = 120.0
    backoff_seconds: tuple[float, ...] = (0.0, 1.0, 5.0, 15.0)
    window_seconds: float = 600.0
    refused_seconds: float = 10.0
    network_lost_seconds: float = 45.0
    report_seconds: float = 7.0

    @property
    def take_seconds(self) -> float:
        """From a free lease to a QEMU: the best host's turn, or the next one's, and the start."""
        return self.step_seconds + CREATE_SECONDS

    @property
    def silent_seconds(self) -> float:
        """How long a daemon has to be silent for its lease to be lost for certain."""
        return 1.5 * self.dead_seconds

    def untouched(self) -> Budget:
        """The VM runs on."""
        why = f"the VM runs on; one late answer of its page, {self.page_seconds:g}"
        return Budget(self.page_seconds, 0.0, why, moves=False, boots=0)

    def takeover(self) -> Budget:
        """The owner is gone at once, with the VM; others wait for its lease."""
        gone = self.dead_seconds + self.take_seconds
        return Budget(0.0, gone, f"lease {self.dead_seconds:g} + turn and start")

    def fenced(self) -> Budget:
        """The owner can't renew; its guard ends the VM, and others wait for the rest."""
        rest = self.dead_seconds - self.fence_seconds
        gone = rest + self.renew_seconds + self.take_seconds + self.refused_seconds
        why = f"lease {self.dead_seconds:g} - fence {self.fence_seconds:g}, a renewal, a refusal"
        return Budget(self.page_seconds, gone, why)

    def fenced_until(self, seconds: float) -> Budget:
        """Nobody can renew for so long; then somebody takes it, or it has to run out."""
        gone = seconds + self.dead_seconds + self.take_seconds + self.refused_seconds
        why = f"{seconds:g} without storage + lease {self.dead_seconds:g} + start"
        return Budget(self.page_seconds, gone, why)

    def restart(self, ended_before: int = 0) -> Budget:
        """QEMU ends; it is started again on the same host, later each time, and then elsewhere."""
        if ended_before >= len(self.backoff_seconds):
            gone = self.take_seconds + self.refused_seconds
            return Budget(0.0, gone, "left to another host: its turn + start")
        wait = self.backoff_seconds[ended_before]
        gone = wait + GUARD_POLL_SECONDS + CREATE_SECONDS
        return Budget(0.0, gone, f"pause {wait:g} + start")

    def reboot(self) -> Budget:
        """The guest boots again by itself."""
        why = "the guest's own reboot; the VM runs on"
        return Budget(self.page_seconds, 0.0, why, moves=False)

    def hung(self) -> Budget:
        """The page is bad for its grace, then an orderly stop, by force at its end."""
        bad = self.page_seconds + self.grace_seconds + self.stop_seconds
        gone = self.take_seconds + self.refused_seconds
        why = f"grace {self.grace_seconds:g} + orderly stop {self.stop_seconds:g} + start"
        return Budget(bad, gone, why)

    def handed_over(self) -> Budget:
        """An orderly stop here, a start there."""
        gone = self.take_seconds + self.refused_seconds
        return Budget(self.stop_seconds, gone, f"orderly stop {self.stop_seconds:g} + start")

    def suspended(self, seconds: float) -> Budget:
        """The owner stands still for so long, its VM lease held; when it wakes its guard ends the
        VM, and whoever tries again gets it, or the lease of one that was refused runs out."""
        gone = self.dead_seconds + self.take_seconds + self.refused_seconds
        why = f"{seconds:g} of sleep + a lease {self.dead_seconds:g} + a refusal + start"
        return Budget(seconds + self.page_seconds, gone, why)

    def cut_off(self) -> Budget:
        """The owner's cable is out: its own guest answers it over its own bridge, nobody else. It
        finds out by its network test, another host by the page, for the grace; then an orderly
        stop here, a start there."""
        found = self.network_lost_seconds + self.page_seconds + 2 * self.report_seconds
        bad = found + self.grace_seconds + self.stop_seconds
        gone = self.take_seconds + self.renew_seconds + self.refused_seconds
        why = (
            f"network test {self.network_lost_seconds:g} + page and reports "
            f"{found - self.network_lost_seconds:g} + grace {self.grace_seconds:g} + orderly stop "
            f"{self.stop_seconds:g} + start"
        )
        return Budget(bad, gone, why)

    def unplugged(self, seconds: float) -> Budget:
        """The owner's cable is out for so long, less than the grace: its own guest answers it over
        its own bridge, so it has no reason yet to move the VM."""
        why = f"{seconds:g} without the cable; the VM runs on"
        return Budget(seconds + self.page_seconds, 0.0, why, moves=False, boots=0)

    def held_down(self, seconds: float) -> Budget:
        """In global maintenance nobody starts a VM that ended; afterwards it is anybody's."""
        gone = seconds + self.dead_seconds + self.take_seconds + self.refused_seconds
        why = f"{seconds:g} of global maintenance + lease {self.dead_seconds:g} + start"
        return Budget(0.0, gone, why)

    def booted(self, boot_seconds: float) -> Budget:
        """All hosts are off, and on again: their boot, by this machine, then as takeover."""
        gone = boot_seconds + self.dead_seconds + self.take_seconds + self.refused_seconds
        why = f"the hosts' boot {boot_seconds:.0f} + lease {self.dead_seconds:g} + start"
        return Budget(0.0, gone, why)


def budgets_of(config: Config) -> Budgets:
    """Return the budgets of a host's configuration, which is the same on all."""
    lease, engine, status = config.lease, config.engine, config.status
    dead = lease_seconds(config)
    fence = dead - lease.fence_margin_seconds
    renew = lease.renew_interval_seconds
    if lease.backend == "sanlock":
        times = sanlock_times(config.sanlock)
        fence = times.fence_after_seconds
        renew = float(times.renew_interval_seconds)
    return Budgets(
        dead_seconds=dead,
        fence_seconds=fence,
        renew_seconds=renew,
        step_seconds=lease.takeover_step_seconds,
        page_seconds=engine.health_interval_seconds + engine.health_deadline_seconds,
        grace_seconds=engine.bad_health_grace_seconds,
        stop_seconds=engine.stop_timeout_seconds,
        backoff_seconds=config.restart.backoff_seconds,
        window_seconds=config.restart.window_seconds,
        network_lost_seconds=_network_lost_seconds(config),
        report_seconds=status.publish_interval_seconds + status.read_interval_seconds,
        refused_seconds=Policy().lease_elsewhere_pause_seconds,
    )


def _network_lost_seconds(config: Config) -> float:
    """So many tests have to fail until the share that is lost is too large in enough samples."""
    network, score = config.network, config.score
    first = int(score.network_enter * network.samples) + 1
    tests = first + score.samples_needed - 1
    return tests * network.interval_seconds + network.deadline_seconds
