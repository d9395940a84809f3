# SPDX-License-Identifier: Apache-2.0
"""The simulated daemon by itself, and that the rules see a world in which it is broken."""

from __future__ import annotations

from typing import Callable

import pytest

from ha_agent.broker.lease.rules import LeaseRecord, decode, encode
from ha_agent.broker.sanlock.times import SanlockTimes
from ha_agent.sim.faults import parse
from ha_agent.sim.host import SimHost
from ha_agent.sim.runner import run
from ha_agent.sim.sanlock import Delta, SimSanlock, delta_of
from ha_agent.sim.seeds import spec_of
from ha_agent.sim.spec import SANLOCK, Result, Spec
from ha_agent.sim.storage import LEASE, VM_LEASE, delta_place
from ha_agent.sim.world import Checker, World
from tests.sim.sim_story import Story, story

BACK_END = {"lease_backend": SANLOCK}


def daemon_of(told: Story, host_id: int) -> SimSanlock:
    daemon = told.world[host_id].sanlock
    assert daemon is not None
    return daemon


def record(told: Story, place: int) -> LeaseRecord:
    return decode(told.world.storage.read(place))


def test_a_delta_survives_storage() -> None:
    delta = Delta("h7", 3, 1234, 2)
    assert delta_of(delta.encoded()) == delta
    assert delta_of(bytes(4096)) == Delta()


def test_it_renews_and_others_see_it_live_then_dead() -> None:
    with story(seconds=9.0, **BACK_END) as told:
        daemon = daemon_of(told, 2)
        assert daemon.flag(1) == "LIVE"
        told.do("h1 power-off")
        told.wait(22.0)
        assert daemon.flag(1) == "FAIL"
        assert not daemon.is_over(record(told, LEASE))
        told.wait(10.0)
        assert daemon.flag(1) == "DEAD"


def test_lost_storage_ends_the_vm_and_then_it_leaves() -> None:
    with story(seconds=9.0, **BACK_END) as told:
        told.do("h1 hang guard for 60")
        told.do("h1 storage-hang for 60")
        told.wait(9.0)
        assert told.running_on == [1]
        told.wait(10.0)
        assert "h1 engine VM ends: ended by sanlock" in told.log
        told.wait(45.0)
        assert "h1 sanlock has left the lockspace" in told.log
        assert "watchdog" not in told.log


def test_a_killed_daemon_has_its_host_reset() -> None:
    with story(seconds=9.0, **BACK_END) as told:
        told.do("h1 kill sanlock")
        told.wait(27.0)
        assert "h1 is reset by its watchdog" in told.log


def test_a_daemon_that_is_stopped_briefly_renews_on() -> None:
    with story(seconds=9.0, **BACK_END) as told:
        told.do("h1 hang sanlock for 6")
        told.wait(60.0)
        assert told.running_on == [1]
        assert "watchdog" not in told.log


def test_a_rebooted_host_comes_with_a_new_generation() -> None:
    with story(seconds=9.0, host_boot_seconds=5.0, **BACK_END) as told:
        told.do("h1 power-off for 1")
        told.wait(25.0)
        assert "h1 sanlock joins the lockspace, generation 2" in told.log
        assert delta_of(told.world.storage.read(delta_place(1))).generation == 2


def test_a_machine_with_another_s_host_id_does_not_join() -> None:
    with story(seconds=9.0, host_boot_seconds=5.0, **BACK_END) as told:
        told.do("h2 twin for 200")
        told.wait(150.0)
        assert "twin1 sanlock joins" not in told.log
        assert delta_of(told.world.storage.read(delta_place(2))).name == "h2"


def test_what_a_host_has_and_nobody_uses_is_freed() -> None:
    with story(seconds=9.0, **BACK_END) as told:
        daemon = daemon_of(told, 2)
        for place in (LEASE, VM_LEASE):
            told.world.storage.write(2, place, _taken(daemon, record(told, place)))
        told.wait(5.0)
        assert record(told, LEASE).state == record(told, VM_LEASE).state == "free"


def _taken(daemon: SimSanlock, before: LeaseRecord) -> bytes:
    return encode(daemon.taken(before))


# A world in which a part is broken -------------------------------------------------------

HANG = "at 30 h1 storage-hang for 90"


def result(*saboteurs: Checker, lines: tuple[str, ...] = (HANG,), hosts: int = 3) -> Result:
    faults = tuple(parse(line, "test") for line in lines)
    spec = Spec(130.0, hosts, faults=faults, engine_on=1, lease_backend=SANLOCK)
    return run(spec, checkers=saboteurs)


def broken(*saboteurs: Checker, lines: tuple[str, ...] = (HANG,)) -> list[str]:
    return [found.checker for found in result(*saboteurs, lines=lines).violations]


class NoFence(Checker):
    """A keeper that never has the VM ended: each deadline is taken away."""

    def on_fence_set(self, host: SimHost) -> None:
        if host.fence is not None:
            host.fence = None
            self.world.fence_set(host)


class NoVmLease(Checker):
    """QEMU is not registered with the daemon, and has no lease of its own."""

    def begin(self, world: World) -> None:
        super().begin(world)
        self._forget()

    def _forget(self) -> None:
        self.world.engine.lease_holder = None
        self.world.outside.call_later(0.5, self._forget)


class NoWatchdog(Checker):
    """No host has one."""

    def begin(self, world: World) -> None:
        super().begin(world)
        world.outside.call_later(0.1, self._stop)

    def _stop(self) -> None:
        for host in self.world.hosts.values():
            if host.sanlock is not None:
                host.sanlock.watchdog.stop()
        self.world.outside.call_later(0.5, self._stop)


class At(Checker):
    """Does something to the world at a time."""

    def __init__(self, at_seconds: float, does: Callable[[World], object]) -> None:
        super().__init__()
        self._at_seconds, self._does = at_seconds, does

    def begin(self, world: World) -> None:
        super().begin(world)
        world.outside.call_later(self._at_seconds, self._does, world)


def hasty(world: World) -> None:
    """Other hosts' daemons call a host dead after 5 s."""
    for host_id in (2, 3):
        daemon = world[host_id].sanlock
        assert daemon is not None
        daemon.times = SanlockTimes(2, -11)


def holder_leaves(world: World) -> None:
    world[1].holder_leaves()


def test_a_sound_world_breaks_no_rule() -> None:
    assert broken() == []


def test_a_keeper_that_never_ends_the_vm_is_made_up_for_by_the_daemon() -> None:
    run_of_it = result(NoFence())
    assert not run_of_it.violations
    assert any("ended by sanlock" in line for line in run_of_it.log)


def test_what_is_not_registered_is_ended_by_the_watchdog() -> None:
    run_of_it = result(NoFence(), NoVmLease())
    assert not run_of_it.violations
    assert any("reset by its watchdog" in line for line in run_of_it.log)


def test_a_vm_that_nothing_ends_when_renewals_fail() -> None:
    found = broken(NoFence(), NoVmLease(), NoWatchdog())
    assert "fence-first" in found
    assert "one-vm" in found


def test_a_lease_that_is_given_away_before_its_host_is_dead() -> None:
    assert broken(At(20, hasty))[0] == "fence-first"


def test_a_holder_that_leaves_before_the_vm_is_gone() -> None:
    lines = ("at 30 h1 kill broker for 90",)
    assert broken(lines=lines) == []
    assert broken(At(31, holder_leaves), lines=lines)[0] == "fence-first"


@pytest.mark.parametrize("seed", [2])
def test_seeds_hold(seed: int) -> None:
    assert run(spec_of(seed, hosts=3, hours=0.2, lease_backend=SANLOCK)).violations == ()
