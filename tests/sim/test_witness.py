# SPDX-License-Identifier: Apache-2.0
"""What the witness tells of a world, and that the rules see a world in which a part is broken.

A saboteur hangs on the world's hooks as a checker does, and breaks what it may only look at.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, Callable

import pytest

from ha_agent.fsm.policy import Policy, ScoreWeights
from ha_agent.sim import events as e
from ha_agent.sim.faults import parse
from ha_agent.sim.host import SimHost
from ha_agent.sim.runner import run
from ha_agent.sim.spec import Spec
from ha_agent.sim.world import Checker, World


def spec_with(*lines: str, seconds: float = 120.0, **more: Any) -> Spec:
    faults = tuple(parse(line, "test") for line in lines)
    return Spec(seconds=seconds, engine_on=1, faults=faults, **more)


def broken(spec: Spec, *saboteurs: Checker) -> list[str]:
    return [found.checker for found in run(spec, checkers=saboteurs).violations]


class NoFence(Checker):
    """Takes away each deadline that is armed."""

    def on_fence_set(self, host: SimHost) -> None:
        if host.fence is not None:
            host.fence = None
            self.world.fence_set(host)


class NoGuard(Checker):
    """No host has a guard that acts."""

    def on_fence_set(self, host: SimHost) -> None:
        self.world.outside.call_later(0.0, self._end, host)

    def _end(self, host: SimHost) -> None:
        if host.guard is not None:
            host.guard.process.hang()


class NoVmLease(Checker):
    """The hypervisor forgets who holds the VM lease."""

    def begin(self, world: World) -> None:
        super().begin(world)
        self._forget()

    def _forget(self) -> None:
        self.world.engine.lease_holder = None
        self.world.outside.call_later(0.5, self._forget)


class At(Checker):
    """Does something to the world at a time."""

    def __init__(self, at_seconds: float, does: Callable[[World], object]) -> None:
        super().__init__()
        self._at_seconds, self._does = at_seconds, does

    def begin(self, world: World) -> None:
        super().begin(world)
        world.outside.call_later(self._at_seconds, self._does, world)


HANG = "at 30 h1 storage-hang for 60"


def test_a_sound_world_breaks_no_rule() -> None:
    assert broken(spec_with(HANG)) == []


def test_a_fence_that_is_never_armed() -> None:
    found = broken(spec_with(HANG), NoFence())
    assert found[0] == "fence-first"
    assert "one-vm" not in found


def test_a_guard_that_does_not_act() -> None:
    assert broken(spec_with(HANG), NoGuard())[0] in ("covered", "fence-first")


def test_no_fence_and_a_broken_vm_lease() -> None:
    assert "one-vm" in broken(spec_with(HANG), NoFence(), NoVmLease())


def test_only_the_vm_lease_held() -> None:
    assert "only-vm-lease" in broken(spec_with(HANG), NoFence())


def stops_it(world: World) -> None:
    vdsm = world[1].vdsm
    assert vdsm is not None
    vdsm.shutdown(by="h1 agent")


def test_a_healthy_engine_is_stopped() -> None:
    # Long after the engine came up: a page that was bad lately would be a cause.
    assert "needless-stop" in broken(spec_with(seconds=460), At(400, stops_it))


def clears_the_flag(world: World) -> None:
    world.storage.write(2, 0, bytes(4096))


def test_a_flag_that_is_lost() -> None:
    spec = spec_with("at 20 cluster global-maintenance on", seconds=200)
    assert broken(spec) == []
    assert broken(spec, At(150, clears_the_flag)) == ["flag-durable"]


def stops_ticking(world: World) -> None:
    for task in asyncio.all_tasks(world.loop):
        if "_tick_until_stopped" in repr(task.get_coro()):
            task.cancel()


def test_an_agent_that_does_not_tick() -> None:
    assert "keeps-ticking" in broken(spec_with(), At(20, stops_ticking))


def test_a_score_beyond_the_scale() -> None:
    policy = replace(Policy(), weights=ScoreWeights(base=5000))
    assert "score-range" in broken(spec_with(policy=policy))


def pulls_all_plugs(world: World) -> None:
    for host in world.hosts.values():
        host.power_off()


def test_an_engine_that_stays_away() -> None:
    spec = spec_with("at 5 h2 kill agent", seconds=900, calm_seconds=800)
    assert broken(spec) == []
    assert "comes-up" in broken(spec, At(200, pulls_all_plugs))


def kills_agents_on_and_on(world: World) -> None:
    world[2].kill("agent")
    world.outside.call_later(50, kills_agents_on_and_on, world)


def test_a_state_that_flaps() -> None:
    spec = spec_with("at 5 h2 kill agent", seconds=900, calm_seconds=800)
    assert broken(spec, At(100, kills_agents_on_and_on)) == ["nothing-flaps"]


# What is told ----------------------------------------------------------------------------


def told(spec: Spec) -> list[e.Event]:
    seen: list[e.Event] = []
    run(spec, (seen.append,))
    return seen


def test_a_power_off_and_its_take_over_are_told() -> None:
    seen = told(spec_with("at 30 h1 power-off"))
    ended = [event for event in seen if isinstance(event, e.VmEnded)]
    assert [(event.at_seconds, event.host_id, event.cause) for event in ended] == [
        (30, 1, "power")
    ]
    assert ended[0].healthy
    started = [event for event in seen if isinstance(event, e.VmStarted)]
    assert [event.cause for event in started] == ["hand", "agent"]
    taken = [event for event in seen if isinstance(event, e.LeaseLanded)][-1]
    assert taken.record.host_id == started[1].host_id == 2
    good = [event.good for event in seen if isinstance(event, e.HealthChanged)]
    assert good == [True, False, True]
    assert isinstance(seen[-1], e.Ended)


def test_a_migration_never_shows_two() -> None:
    seen = told(spec_with("at 30 h1 migrate-to h2 for 5"))
    moved = [event for event in seen if isinstance(event, (e.VmStarted, e.VmEnded))]
    assert [(event.host_id, event.cause) for event in moved] == [
        (1, "hand"),
        (1, "migration"),
        (2, "migration"),
    ]


def test_effects_and_their_ends_are_told() -> None:
    seen = told(spec_with("at 30 h1 power-off"))
    begun = [(d.host_id, *d.effect) for d in seen if isinstance(d, e.Decided) and d.effect]
    ended = [(d.host_id, d.serial) for d in seen if isinstance(d, e.EffectEnded)]
    assert (2, "take lease") in [(host_id, kind) for host_id, _, kind in begun]
    assert [(host_id, serial) for host_id, serial, _ in begun] == ended


@pytest.mark.parametrize("word", ["on", "off"])
def test_the_flag_is_told_as_it_is_on_storage(word: str) -> None:
    seen = told(spec_with(f"at 30 cluster global-maintenance {word}"))
    answered = [event for event in seen if isinstance(event, e.FlagAnswered)]
    assert [(event.enabled, event.durable) for event in answered] == [(word == "on", True)]
