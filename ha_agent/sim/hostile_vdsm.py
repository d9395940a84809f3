# SPDX-License-Identifier: Apache-2.0
"""What a simulated VDSM does by itself when it is mad: floods of events, restarts without end.

Both go on while their condition is in `SimHost.faults`, and begin with it.

    vdsm-flood N       N events a second, in a batch every 10 ms, as they come out of a socket.
                       In turn: another VM's; ours, Down, of an hour ago; ours as it is; the
                       same once more; ours, in a state that it is not in, of this moment; ours,
                       Up, of 5 ms ago; one that names our VM and is no status; ours without a
                       time. What the client keeps of so many is tested on real bytes
                       (tests/scenarios/test_hostile_vdsm.py).
    vdsm-restarts N    killed every N seconds of true time, started a second later, and answers
                       code 99 for 10 s more: with N up to 11 it is never ready
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ha_agent.vdsm.jsonrpc import Event
from ha_agent.vdsm.vm_status import VmStatus

if TYPE_CHECKING:
    from ha_agent.sim.host import SimHost
    from ha_agent.sim.vdsm import SimVdsm

BATCH_SECONDS = 0.01
_HOUR_MS = 3_600_000
_LATE_MS = 5
_OTHER_VM = "00000000-0000-4000-8000-00000000000f"


def flood(host: SimHost, events_a_second: float) -> None:
    """Send so many events a second for as long as `vdsm-flood` is in force on the host."""
    owed = events_a_second * BATCH_SECONDS

    def batch(sent: int, owed_in_all: float) -> None:
        if "vdsm-flood" not in host.faults:
            return
        count = int(owed_in_all) - sent
        if host.vdsm is not None and host.vdsm.process.alive and host.agent is not None:
            host.agent.vdsm.hear_flood(events(host.vdsm, sent, count))
        host.world.outside.call_later(BATCH_SECONDS, batch, sent + count, owed_in_all + owed)

    batch(0, owed)


def events(vdsm: SimVdsm, first: int, count: int) -> list[Event]:
    """Return `count` events, from the one with number `first` on: their sorts go round."""
    vm_id, now_ms = vdsm.host.world.vm_uuid, vdsm.clock_ms
    stats = vdsm.stats()
    true = stats.status if stats is not None and stats.status is not None else VmStatus.DOWN
    false = VmStatus.UP if true is VmStatus.DOWN else VmStatus.DOWN
    sorts = (
        _status(_OTHER_VM, VmStatus.DOWN, now_ms),
        _status(vm_id, VmStatus.DOWN, max(0, now_ms - _HOUR_MS)),
        _status(vm_id, true, now_ms),
        _status(vm_id, true, now_ms),
        _status(vm_id, false, now_ms),
        _status(vm_id, VmStatus.UP, max(0, now_ms - _LATE_MS)),
        Event(f"|virt|VM_migration_status|{vm_id}", {vm_id: {"progress": 1}}),
        Event(f"|virt|VM_status|{vm_id}", {vm_id: {"status": false.value}}),
    )
    return [sorts[number % len(sorts)] for number in range(first, first + count)]


def _status(vm_id: str, status: VmStatus, at_ms: int) -> Event:
    params = {vm_id: {"status": status.value}, "notify_time": at_ms}
    return Event(f"|virt|VM_status|{vm_id}", params)


def restart_again_and_again(host: SimHost, every_seconds: float) -> None:
    """Kill VDSM now and every so often while `vdsm-restarts` is in force on the host."""

    def kill() -> None:
        if "vdsm-restarts" in host.faults:
            host.kill("vdsm")
            host.world.outside.call_later(every_seconds, kill)

    kill()
