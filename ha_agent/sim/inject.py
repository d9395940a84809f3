# SPDX-License-Identifier: Apache-2.0
"""Makes a fault (faults.py) happen in a world, and end. One function for each kind.

A kind that has no function of its own is a condition: it is in `SimHost.faults` for as long as it
lasts, and whom it concerns looks there.
"""

from __future__ import annotations

from typing import Callable, Optional

from ha_agent.sim import hostile_vdsm, operators
from ha_agent.sim.faults import ALL_HOSTS, KINDS, Fault
from ha_agent.sim.guest import EngineVm
from ha_agent.sim.host import RESTART_SECONDS, SimHost
from ha_agent.sim.software import change_software
from ha_agent.sim.vdsm import SimVdsm
from ha_agent.sim.world import World
from ha_agent.vdsm.errors import VdsmCallFailed
from ha_agent.vdsm.vm_status import ExitReason


def inject(world: World, fault: Fault) -> None:
    """Let a fault begin now; one that lasts ends by itself."""
    duration = fault.duration_seconds
    lasts = f" for {duration:g} s" if duration is not None else ""
    value = f" {fault.value}" if fault.value else ""
    if KINDS[fault.kind].who == "cluster":
        world.say(f"-- {fault.kind}{value}{lasts}")
        _CLUSTER[fault.kind](world, fault)
        return
    known = (
        world.hosts.values() if fault.host_id == ALL_HOSTS else [world.hosts.get(fault.host_id)]
    )
    for host in known:
        if host is not None:
            host.say(f"-- {fault.kind}{value}{lasts}")
            _HOST.get(fault.kind, _condition)(host, fault)


def _later(world: World, fault: Fault, then: Callable[..., object], *args: object) -> None:
    """Do something when the fault ends, if it does."""
    if fault.duration_seconds is not None:
        world.outside.call_later(fault.duration_seconds, then, *args)


# Conditions of a host --------------------------------------------------------------------


def _condition(host: SimHost, fault: Fault) -> None:
    host.begin(fault.kind, fault.number if fault.value else 1.0)
    _later(host.world, fault, _end_condition, host, fault)


def _end_condition(host: SimHost, fault: Fault) -> None:
    host.end(fault.kind)
    host.say(f"-- end of {fault.kind}")


def _vdsm_flood(host: SimHost, fault: Fault) -> None:
    _condition(host, fault)
    hostile_vdsm.flood(host, fault.number)


def _vdsm_restarts(host: SimHost, fault: Fault) -> None:
    _condition(host, fault)
    hostile_vdsm.restart_again_and_again(host, fault.number)


def _vdsm_stale(host: SimHost, fault: Fault) -> None:
    if host.vdsm is not None:
        stats = {"stats": host.vdsm.stats()}
        host.stale_stats = stats
        _later(host.world, fault, _fresh_again, host)


def _fresh_again(host: SimHost) -> None:
    host.stale_stats = {}


# Power, processes, clocks ----------------------------------------------------------------


def _power_off(host: SimHost, fault: Fault) -> None:
    host.power_off()
    _later(host.world, fault, host.boot)


def _power_on(host: SimHost, _fault: Fault) -> None:
    host.boot()


def _suspend(host: SimHost, fault: Fault) -> None:
    assert fault.duration_seconds is not None
    host.suspend(fault.duration_seconds)


def _kill(host: SimHost, fault: Fault) -> None:
    down_seconds = RESTART_SECONDS if fault.duration_seconds is None else fault.duration_seconds
    host.kill(fault.value, down_seconds)


def _kill_at(host: SimHost, fault: Fault) -> None:
    for part in ("agent", "broker"):
        process = host.process(part)
        if process is not None:
            process.kill_at(int(fault.number), lambda part=part: host.kill(part))  # type: ignore[misc]


def _hang(host: SimHost, fault: Fault, part: str = "") -> None:
    process = host.process(part or fault.value)
    if process is not None:
        process.hang()
        _later(host.world, fault, process.go_on)


def _vdsm_silent(host: SimHost, fault: Fault) -> None:
    _hang(host, fault, "vdsm")


def _stop(host: SimHost, fault: Fault) -> None:
    host.hold_down(fault.value, fault.duration_seconds)
    host.stop(fault.value)


def _start(host: SimHost, fault: Fault) -> None:
    host.start_now(fault.value)


def _software(host: SimHost, fault: Fault) -> None:
    change_software(host, fault.value == "old")


def _twin(host: SimHost, fault: Fault) -> None:
    twin = host.world.twin(host.host_id)
    _later(host.world, fault, twin.power_off)


def _clock_rate(host: SimHost, fault: Fault) -> None:
    before = host.clock.rate
    host.set_rate(fault.number)
    _later(host.world, fault, host.set_rate, before)


def _clock_jump(host: SimHost, fault: Fault) -> None:
    host.clock.jump(fault.number)


# The engine VM ---------------------------------------------------------------------------


def _guest_crash(world: World, _fault: Fault) -> None:
    vm = world.engine.current
    if vm is not None:
        vm.end(
            "QEMU crashed", ExitReason.LOST_QEMU_CONNECTION, "Lost connection with qemu process"
        )


def _guest_poweroff(world: World, _fault: Fault) -> None:
    vm = world.engine.current
    if vm is not None and vm.has_disk:
        vm.end(
            "the guest powers itself off", ExitReason.USER_SHUTDOWN, "User shut down from within"
        )


def _guest_hang(world: World, fault: Fault) -> None:
    _mark(world, fault, "hung")


def _engine_stop(world: World, fault: Fault) -> None:
    _mark(world, fault, "page_bad")


def _mark(world: World, fault: Fault, name: str) -> None:
    """Set a flag of the VM that runs; it may end by itself, for that VM wherever it is."""
    vm = world.engine.current
    if vm is None:
        return
    setattr(vm, name, True)
    world.check_health()
    _later(world, fault, _unmark, world, name)


def _unmark(world: World, name: str) -> None:
    for vm in world.engine.vms:
        setattr(vm, name, False)
    world.check_health()


def _guest_pause(world: World, fault: Fault) -> None:
    vm = world.engine.current
    if vm is not None:
        world.engine.pause(vm)
        _later(world, fault, world.engine.resume, vm)


def _boot_seconds(world: World, fault: Fault) -> None:
    world.engine.boot_seconds = fault.number


def _migrate(host: SimHost, fault: Fault) -> None:
    """The engine moves its VM: VDSM of both hosts is asked, nobody asks the agents."""
    world = host.world
    target = world.hosts.get(fault.target)
    source = next((vm for vm in host.vms if vm.has_disk), None)
    sound = target is not None and target.awake and not target.vms and target is not host
    if source is None or not sound or host.vdsm is None:
        host.say("no migration: not possible now")
        return
    assert target is not None
    assert fault.duration_seconds is not None
    there: Optional[SimVdsm] = target.vdsm
    if there is None or (there.vm is not None and there.vm.state != "ended"):
        host.say(f"no migration: VDSM of {target.name} refuses")
        return
    incoming = world.engine.receive(target, source.definition)
    there.keep(incoming)
    source.migrating = True
    world.engine.changed(source, f"engine VM begins to migrate to {target.name}")
    world.engine.changed(incoming, "")
    fails = fault.kind == "migrate-fails"
    _later(world, fault, _migrated, world, source, incoming, fails)


def _migrated(world: World, source: EngineVm, incoming: EngineVm, fails: bool) -> None:
    source.migrating = False
    able = source.has_disk and source.host.awake
    if not fails and able and incoming.state == "incoming" and incoming.host.awake:
        world.engine.hand_over(source, incoming)
        return
    incoming.end("the migration failed", ExitReason.MIGRATION_FAILED)
    world.engine.changed(source, "")


def _start_by_hand(host: SimHost, _fault: Fault) -> None:
    if host.vdsm is None:
        host.say("no start by hand: VDSM is not there")
        return
    try:
        host.vdsm.create(host.world.definition)
    except VdsmCallFailed as fault:
        host.say(f"no start by hand: {fault.message}")


# People and the engine -------------------------------------------------------------------


def _local_maintenance(host: SimHost, fault: Fault) -> None:
    host.set_local_maintenance(fault.value == "on")
    _later(host.world, fault, host.set_local_maintenance, fault.value != "on")


def _other_vms(host: SimHost, fault: Fault) -> None:
    host.other_vms = int(fault.number)


def _definition_change(world: World, _fault: Fault) -> None:
    operators.push_definition(world, sound=True)


def _definition_bad(world: World, _fault: Fault) -> None:
    operators.push_definition(world, sound=False)


def _global_maintenance(world: World, fault: Fault) -> None:
    operators.set_global_maintenance(world, fault.value == "on", fault.duration_seconds)


def _shutdown(world: World, _fault: Fault) -> None:
    operators.shut_cluster_down(world)


def _resume(world: World, _fault: Fault) -> None:
    operators.resume_cluster(world)


_HOST: dict[str, Callable[[SimHost, Fault], None]] = {
    "power-off": _power_off,
    "power-on": _power_on,
    "suspend": _suspend,
    "kill": _kill,
    "kill-at": _kill_at,
    "hang": _hang,
    "stop": _stop,
    "start": _start,
    "software": _software,
    "twin": _twin,
    "clock-rate": _clock_rate,
    "clock-jump": _clock_jump,
    "vdsm-silent": _vdsm_silent,
    "vdsm-stale": _vdsm_stale,
    "vdsm-flood": _vdsm_flood,
    "vdsm-restarts": _vdsm_restarts,
    "migrate-to": _migrate,
    "migrate-fails": _migrate,
    "start-by-hand": _start_by_hand,
    "local-maintenance": _local_maintenance,
    "other-vms": _other_vms,
}

_CLUSTER: dict[str, Callable[[World, Fault], None]] = {
    "guest-crash": _guest_crash,
    "guest-poweroff": _guest_poweroff,
    "guest-hang": _guest_hang,
    "engine-stop": _engine_stop,
    "guest-pause": _guest_pause,
    "boot-seconds": _boot_seconds,
    "global-maintenance": _global_maintenance,
    "shutdown": _shutdown,
    "resume": _resume,
    "definition-change": _definition_change,
    "definition-bad": _definition_bad,
}
