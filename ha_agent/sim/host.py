# SPDX-License-Identifier: Apache-2.0
"""A simulated host: its power, its clocks, its processes, and systemd that starts them.

Files on the host (the fence's deadline, local maintenance) are attributes here: they outlive
the processes. What is in /run ends with the power.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional

from ha_agent.broker.lease.fence_deadline import FenceDeadline
from ha_agent.broker.lease.rules import GUARD_POLL_SECONDS
from ha_agent.broker.maintenance.order_file import KeptOrder
from ha_agent.broker.sanlock.judge import Distance
from ha_agent.broker.snapshot import LeaseEntry
from ha_agent.instant import Instant
from ha_agent.sim.agent import SimAgent
from ha_agent.sim.broker import SimBroker
from ha_agent.sim.clock import SimClock
from ha_agent.sim.guard import SimGuard
from ha_agent.sim.guest import EngineVm
from ha_agent.sim.lane import Path
from ha_agent.sim.loop import Process
from ha_agent.sim.old_peer import OldPeer
from ha_agent.sim.sanlock import SimSanlock
from ha_agent.sim.sanlock_port import SimHolder
from ha_agent.sim.vdsm import SimVdsm

if TYPE_CHECKING:
    from ha_agent.sim.world import World

RESTART_SECONDS = 1.0
_FILE_SEEN_SECONDS = 0.05
_BOOT_ORDER = ("vdsm", "broker", "agent")


class SimHost:
    """One host. `old`: it runs the predecessor in place of our agent and broker, now."""

    def __init__(self, world: World, host_id: int, name: str, *, old: bool = False) -> None:
        self.world = world
        self.host_id = host_id
        self.name = name
        self.old = old
        self.dice = world.dice.stream(name)
        spread = world.spec.clock_spread
        self.clock = SimClock(
            world.loop,
            rate=1.0 + self.dice.uniform(-spread, spread) if spread else 1.0,
            offset_seconds=self.dice.uniform(100.0, 1e6),
        )
        self.path = Path(world.storage, host_id, self.dice.stream("storage"))
        self.kernel: Process
        self.powered = False
        self.asleep = False
        self.boots = 0
        self.instance = ""
        self.faults: dict[str, float] = {}
        """The kinds of faults in force here, each with its number, 1 where it has none."""
        self.local_maintenance = False
        self.other_vms = 0
        self.ticked_at = 0.0
        """When its agent ticked last, and the score that it had then."""
        self.points = -1
        self.definitions: list[str] = []
        """The identities of those that this host accepted, the newest last: its history."""
        self.proven_definitions: list[str] = []
        """... of those that an engine here became healthy with, the last one last."""
        self.proven_elsewhere: frozenset[str] = frozenset()
        """... of those in the history that a status block said were proven."""
        self.kept_order: Optional[KeptOrder] = None
        self.kept_order_boot = ""
        self.fence: Optional[FenceDeadline] = None
        self.lost_vm: Optional[EngineVm] = None
        self.stale_stats: dict[str, Any] = {}
        self.vdsm: Optional[SimVdsm] = None
        self.agent: Optional[SimAgent] = None
        self.broker: Optional[SimBroker] = None
        self.guard: Optional[SimGuard] = None
        self.peer: Optional[OldPeer] = None
        self.sanlock: Optional[SimSanlock] = None
        self.holder: Optional[SimHolder] = None
        self.kept_distance: Optional[Distance] = None
        """What the broker's run folder has of its daemon's renewals."""
        self._slept_seconds = 0.0
        self._last_pid = 1000
        self._active: list[tuple[str, float]] = []
        self._held_down: dict[str, int] = {}
        self._told_lease = ""
        self.changing_software = False

    # What others see ---------------------------------------------------------------------

    @property
    def awake(self) -> bool:
        """Whether it has power and is not suspended."""
        return self.powered and not self.asleep

    @property
    def vms(self) -> list[EngineVm]:
        """The engine VM's processes here."""
        return [vm for vm in self.world.engine.vms if vm.host is self]

    def say(self, text: str) -> None:
        """Put a line about this host into the log."""
        self.world.say(f"{self.name} {text}")

    def lease_seen(self, view: LeaseEntry) -> None:
        """The broker says how the lease stands; told where this host is concerned."""
        text = ""
        if view.ours:
            text = f"lease ours, epoch {view.epoch}"
        elif self._told_lease.startswith("lease ours"):
            text = f"lease {view.state}" + (f": {view.detail}" if view.detail else "")
        if text and text != self._told_lease:
            self.say(text)
        if text:
            self._told_lease = text

    @property
    def known_definition(self) -> str:
        """The definition that was accepted last."""
        return self.definitions[-1] if self.definitions else ""

    def start_fault(self, definition: str) -> str:
        """Return why a VM of this definition ends at once here; "" when it does not."""
        if definition in self.world.bad_definitions:
            return "unsupported configuration"
        return "QEMU ended at once" if "start-crashes" in self.faults else ""

    def vdsm_event(self) -> None:
        """VDSM sends an event about the VM."""
        if self.agent is not None:
            self.agent.vdsm.hear()

    def processes(self) -> list[Process]:
        """All that run here now."""
        parts = (self.vdsm, self.agent, self.broker, self.guard, self.peer, self.sanlock,
                 self.holder)  # fmt: skip
        return [part.process for part in parts if part is not None and part.process.alive]

    # Conditions --------------------------------------------------------------------------

    def begin(self, kind: str, number: float) -> None:
        """A condition begins; of several of one kind the last one's number counts."""
        self._active.append((kind, number))
        self._conditions_changed()

    def end(self, kind: str) -> None:
        """The oldest condition of this kind ends."""
        self._active.remove(next(each for each in self._active if each[0] == kind))
        self._conditions_changed()

    def _conditions_changed(self) -> None:
        self.faults = dict(self._active)
        self.path.set({k: n for k, n in self._active if k.startswith("storage-")})

    # Power -------------------------------------------------------------------------------

    def boot(self, *, at_once: bool = False) -> None:
        """It has power; its services start. `at_once`: it has been up for long."""
        if self.powered:
            return
        self.powered = True
        self.boots += 1
        self.instance = f"{self.name}-boot{self.boots}"
        self._new_kernel()
        boot_seconds = self._slept_seconds = 0.0
        if not at_once:
            self.clock.boot()
            boot_seconds = self.world.spec.host_boot_seconds
            self.say(f"boots, which takes {boot_seconds:g} s")
        if self.world.spec.is_sanlock and at_once:
            self.start("sanlock", recovering=False)
        elif self.world.spec.is_sanlock:
            self.kernel.call_later(boot_seconds, self.start, "sanlock")
        for number, part in enumerate(_BOOT_ORDER):
            delay_seconds = boot_seconds + 0.2 * number + self.dice.uniform(0.0, 1.0)
            if part == "vdsm" and at_once:
                self.start("vdsm", recovering=False)
            else:
                self.kernel.call_later(delay_seconds, self.start, part)

    def power_off(self) -> None:
        """It loses its power, at once."""
        if not self.powered:
            return
        self.say("loses its power")
        self.powered = False
        self.world.engine.power_lost(self)
        for part in ("agent", "broker", "vdsm", "sanlock", "holder", "guard", "peer"):
            self._end(part)
        dead = self.kernel
        self._new_kernel()
        dead.kill()
        self.fence = self.lost_vm = self.kept_distance = None

    def reset(self) -> None:
        """Its watchdog fires."""
        self.say("is reset by its watchdog: sanlock renews no more")
        self.power_off()
        self.boot()

    def monotonic(self) -> float:
        """Read the clock that stands still while the host sleeps."""
        return self.clock.now().boottime_seconds - self._slept_seconds

    def _new_kernel(self) -> None:
        self.kernel = Process(self.world.loop, f"{self.name} kernel", self.clock.rate)
        self.path.power_lost(self.kernel)

    def suspend(self, duration_seconds: float) -> None:
        """The whole host sleeps. Its boot-time clock goes on, its timers don't."""
        if not self.awake:
            return
        self.say(f"is suspended for {duration_seconds:g} s")
        self.asleep = True
        asleep = (self.kernel, *self.processes())
        for process in asleep:
            process.hang()
        self.world.loop.delay(asleep, duration_seconds)
        self.world.outside.call_later(duration_seconds, self._resume, asleep, self.clock.now())
        self.world.check_health()

    def _resume(self, asleep: tuple[Process, ...], since: Instant) -> None:
        self.asleep = False
        if self.powered and asleep[0] is self.kernel:
            self._slept_seconds += self.clock.now() - since
            self.say("wakes up")
        for process in asleep:
            process.go_on()
        self._guard_looks()
        self.world.check_health()

    def set_rate(self, rate: float) -> None:
        """Its clocks run at another rate from now on."""
        self.clock.set_rate(rate)
        for process in (self.kernel, *self.processes()):
            process.rate = rate
        self._guard_looks()

    def _guard_looks(self) -> None:
        """The guard looks every 0.25 s in truth: a clock that has moved on is soon noticed."""
        if self.guard is not None:
            delay_seconds = self.dice.uniform(0.0, GUARD_POLL_SECONDS)
            self.guard.process.call_later(delay_seconds, self.guard.follow)

    # Processes ---------------------------------------------------------------------------

    def start(self, part: str, recovering: bool = True) -> None:
        """systemd starts a service, unless it runs or is held down."""
        service = "peer" if self.old and part in ("agent", "broker") else part
        if not self.powered or self._held_down.get(service) or service in self._running():
            return
        if self.old and part in ("agent", "broker"):
            if part == "agent":
                process = Process(self.world.loop, f"{self.name} old agent", self.clock.rate)
                self.peer = process.run(lambda: OldPeer(self, process))
            return
        process = Process(self.world.loop, f"{self.name} {part}", self.clock.rate)
        if part == "vdsm":
            self.vdsm = SimVdsm(self, process, recovering=recovering)
        elif part == "broker":
            self.broker = process.run(lambda: SimBroker(self, process))
        elif part == "sanlock":
            self.sanlock = SimSanlock(self, process)
            if not recovering:
                self.sanlock.has_joined_before()
        else:
            self.agent = process.run(lambda: SimAgent(self, process))

    def start_guard(self) -> None:
        """The broker starts the fence's guard."""
        process = Process(self.world.loop, f"{self.name} guard", self.clock.rate)
        self.guard = SimGuard(self, process)

    def next_pid(self) -> int:
        """Return a process id that was never used here."""
        self._last_pid += 1
        return self._last_pid

    def start_holder(self) -> SimHolder:
        """The broker starts the process that is to have the ownership."""
        process = Process(self.world.loop, f"{self.name} holder", self.clock.rate)
        self.holder = SimHolder(self, process)
        return self.holder

    def kill(self, part: str, down_seconds: float = RESTART_SECONDS) -> None:
        """SIGKILL; systemd starts it again after a while (the guard: the broker does)."""
        if self.old and part in ("agent", "broker"):
            part = "peer"
        if part not in self._running():
            return
        self._end(part)
        self.hold_down(part, down_seconds)

    def stop(self, part: str) -> None:
        """systemctl stop."""
        broker = self.broker
        if self.old and part in ("agent", "broker"):
            if self.peer is not None:
                self.peer.request_stop()
        elif part == "agent" and self.agent is not None:
            self.agent.request_stop()
        elif part == "broker" and broker is not None:
            task = broker.process.spawn(broker.stop())
            task.add_done_callback(lambda _: self._end("broker"))
        else:
            self._end(part)

    def hold_down(self, part: str, seconds: Optional[float]) -> None:
        """Let nothing start a service for so long; None: until it is started by hand."""
        if part in ("guard", "holder"):
            return
        part = "peer" if self.old and part in ("agent", "broker") else part
        self._held_down[part] = self._held_down.get(part, 0) + 1
        if seconds is not None:
            self.world.outside.call_later(seconds, self.let_start, part)

    def let_start(self, part: str) -> None:
        """End one `hold_down`; the service starts when it was the last."""
        self._held_down[part] = max(0, self._held_down.get(part, 0) - 1)
        self.start("agent" if part == "peer" else part)

    def start_now(self, part: str) -> None:
        """systemctl start."""
        part = "peer" if self.old and part in ("agent", "broker") else part
        self._held_down[part] = 0
        self.start("agent" if part == "peer" else part)

    def process(self, part: str) -> Optional[Process]:
        """Return the process of a service, if it runs."""
        if self.old and part in ("agent", "broker"):
            part = "peer"
        return self._running().get(part)

    def agent_left(self) -> None:
        """The agent has ended in order."""
        self.say("agent has stopped")
        self._end("agent")

    def peer_left(self) -> None:
        """The predecessor's agent has ended in order."""
        self.say("(old) agent has stopped")
        self._end("peer")

    def set_local_maintenance(self, enabled: bool) -> None:
        """Write the file of local maintenance."""
        self.local_maintenance = enabled
        if self.agent is not None:
            self.agent.process.call_later(_FILE_SEEN_SECONDS, self.agent.maintenance_changed)

    def _running(self) -> dict[str, Process]:
        parts = {"vdsm": self.vdsm, "agent": self.agent, "broker": self.broker,
                 "guard": self.guard, "peer": self.peer, "sanlock": self.sanlock,
                 "holder": self.holder}  # fmt: skip
        return {
            name: part.process
            for name, part in parts.items()
            if part is not None and part.process.alive
        }

    def holder_leaves(self) -> None:
        """The holder has ended by itself."""
        self._end("holder")

    def _end(self, part: str) -> None:
        process = self._running().get(part)
        if process is None:
            return
        process.kill()
        if part == "broker" and self.broker is not None:
            for lane in self.broker.lanes:
                lane.kill()
            self.broker = None
        elif part == "agent":
            self.agent = None
        elif part == "vdsm" and self.vdsm is not None:
            self.vdsm.stop()
            self.vdsm = None
        elif part == "guard":
            self.guard = None
        elif part == "sanlock" and self.sanlock is not None:
            self.sanlock.lane.kill()
            self.sanlock = None
        elif part == "holder" and self.holder is not None:
            self.holder.ended(self)
        elif part == "peer":
            self.peer = None
