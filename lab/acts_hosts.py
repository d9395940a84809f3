# SPDX-License-Identifier: Apache-2.0
"""What is done to hosts and to our daemons on them: power, signals, cables, clocks."""

from __future__ import annotations

import time
from typing import Optional

from lab.budgets import Budget
from lab.case import SETTLE_SECONDS, Lab
from lab.view import snapshot, wait_for

AGENT, BROKER, VDSM = "ha-agent.service", "ha-broker.service", "ha-vdsm.service"
DAEMONS = (AGENT, BROKER, VDSM)
SANLOCK = "sanlock.service"
# systemd ends a daemon that is silent for longer (WatchdogSec=30), and starts it again.
WATCHDOG_SECONDS = 30.0
NETWORK_SECONDS = 30.0
CLOCK_STEPS_SECONDS = (3600.0, -7200.0, 86400.0)
CLOCK_STAYS_SECONDS = 8.0
SUSPENDED_TIMES_LEASE = 1.5


def power_cut(lab: Lab, target: str) -> None:
    """Everything of the host is gone at once, QEMU too."""
    lab.host(target).power_cut()


def boot(lab: Lab, target: str) -> None:
    """The power is back."""
    lab.host(target).boot()
    lab.host(target).wait_up()


def power_cut_all(lab: Lab, _target: str) -> Optional[Budget]:
    """Every host at once, and all are switched on at once."""
    for host in lab.cluster.hosts.values():
        host.power_cut()
    dark_at = time.monotonic()
    for host in lab.cluster.hosts.values():
        host.boot()

    def answer() -> Optional[bool]:
        return all(snapshot(host) is not None for host in lab.cluster.hosts.values()) or None

    wait_for(answer, SETTLE_SECONDS, "the brokers do not answer")
    return lab.budgets.booted(time.monotonic() - dark_at)


def suspend(lab: Lab, target: str) -> Optional[Budget]:
    """The whole host stands still for longer than its lease, and goes on: its VM lease keeps
    others from a second VM meanwhile, and its guard ends the VM when it wakes."""
    seconds = SUSPENDED_TIMES_LEASE * lab.budgets.dead_seconds
    lab.host(target).freeze()
    try:
        time.sleep(seconds)
    finally:
        lab.host(target).thaw()
    return lab.budgets.suspended(seconds)


# --- daemons -----------------------------------------------------------------------------


def signal_unit(lab: Lab, target: str, unit: str, signal: str) -> None:
    """Send a signal to a unit's main process."""
    lab.command(target, "systemctl", "kill", "--kill-whom=main", f"--signal={signal}", unit)


def kill_agent(lab: Lab, target: str) -> None:
    """SIGKILL; systemd starts it again."""
    signal_unit(lab, target, AGENT, "KILL")


def kill_broker(lab: Lab, target: str) -> None:
    """SIGKILL; systemd starts it again."""
    signal_unit(lab, target, BROKER, "KILL")


def kill_vdsm(lab: Lab, target: str) -> None:
    """SIGKILL; systemd starts it again."""
    signal_unit(lab, target, VDSM, "KILL")


def kill_all_daemons(lab: Lab, target: str) -> None:
    """SIGKILL to the three of them at once."""
    for unit in DAEMONS:
        signal_unit(lab, target, unit, "KILL")


def _stop(lab: Lab, target: str, unit: str) -> None:
    """SIGSTOP for longer than the lease, then SIGCONT. With sanlock's long lease the watchdog of
    systemd is sooner: it ends the daemon and starts another."""
    signal_unit(lab, target, unit, "STOP")
    time.sleep(min(lab.budgets.silent_seconds, 2 * WATCHDOG_SECONDS))
    signal_unit(lab, target, unit, "CONT")


def stop_agent(lab: Lab, target: str) -> None:
    """SIGSTOP for longer than the lease."""
    _stop(lab, target, AGENT)


def stop_broker(lab: Lab, target: str) -> Optional[Budget]:
    """SIGSTOP for longer than the lease."""
    _stop(lab, target, BROKER)
    # The watchdog has it back before a long lease is lost.
    return lab.budgets.untouched() if lab.budgets.fence_seconds > WATCHDOG_SECONDS else None


def stop_vdsm(lab: Lab, target: str) -> None:
    """SIGSTOP for longer than the lease."""
    _stop(lab, target, VDSM)


def restart_all_daemons(lab: Lab, target: str) -> None:
    """`systemctl restart` of all of ours."""
    for unit in DAEMONS:
        # Where storage hangs, so may a daemon's end.
        lab.command(target, "systemctl", "--no-block", "restart", unit)


def kill_sanlock(lab: Lab, target: str) -> None:
    """SIGKILL to the daemon; what holds leases through it loses them."""
    signal_unit(lab, target, SANLOCK, "KILL")


def start_sanlock(lab: Lab, target: str) -> None:
    """It is started again, as by its administrator."""
    lab.command(target, "systemctl", "start", SANLOCK)


# --- cables and clocks -------------------------------------------------------------------


def cut_cable(lab: Lab, target: str) -> None:
    """The host's cable is pulled; it stays out until the case is mended."""
    lab.cluster.network.cut(target)


def blink_cable(lab: Lab, target: str) -> Optional[Budget]:
    """The host's cable is pulled for a while."""
    lab.cluster.network.cut(target)
    time.sleep(NETWORK_SECONDS)
    lab.cluster.network.join(target)
    return lab.budgets.unplugged(NETWORK_SECONDS)


def cut_between_hosts(lab: Lab, target: str) -> Optional[Budget]:
    """Every host but this one loses its cable: no host reaches another, and nobody the engine
    where it runs on one of those."""
    reached = [run.host for run in lab.observer.qemus.running()] == [target]
    for other in lab.others(target):
        lab.cluster.network.cut(other)
    time.sleep(NETWORK_SECONDS)
    for other in lab.others(target):
        lab.cluster.network.join(other)
    return None if reached else lab.budgets.unplugged(NETWORK_SECONDS)


def join_all(lab: Lab, _target: str) -> None:
    """All cables are in."""
    for host in lab.cluster.hosts.values():
        if host.leader is not None:
            lab.cluster.network.join(host.name)


def jump_clock(lab: Lab, target: str) -> None:
    """An hour ahead, an hour back, a day ahead: the calendar clock of our daemons there."""
    host = lab.host(target)
    host.fake_clock(DAEMONS)
    for offset in CLOCK_STEPS_SECONDS:
        host.jump_clock(offset)
        time.sleep(CLOCK_STAYS_SECONDS)


def real_clock(lab: Lab, target: str) -> None:
    """The clock is right again."""
    lab.host(target).real_clock(DAEMONS)
