# SPDX-License-Identifier: Apache-2.0
"""The cycle in hand-made time: answers in, ticks, effects and reports out. What is decided is
tests/fsm's matter; here it is that the right picture is decided on, and what becomes of it."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from typing import Any, Callable, Optional

import pytest

from ha_agent.broker.snapshot import (
    BridgeEntry,
    DefinitionEntry,
    HealthEntry,
    HostEntry,
    LeaseEntry,
    NetworkEntry,
    Report,
    Snapshot,
)
from ha_agent.cycle import Cycle, CycleTimes
from ha_agent.errors import EnvironmentFault
from ha_agent.fsm.effect import EffectKind
from ha_agent.fsm.machine import Decision, Fsm, Step
from ha_agent.fsm.observation import (
    OutcomeCode,
    VmCondition,
    VmExit,
    VmView,
)
from ha_agent.fsm.policy import Policy
from ha_agent.fsm.state import State
from ha_agent.perform import Performer
from ha_agent.ports import LeaseAnswer
from tests.fakes import ABSENT, SILENT, FakeBroker, FakeClock, FakeHypervisor

TIMES = CycleTimes(
    snapshot_max_age_seconds=6.0,
    vm_max_age_seconds=20.0,
    vdsm_grace_seconds=3.0,
    publish_interval_seconds=5.0,
)
UP = VmView(VmCondition.UP, detail="Up")


class GatedBroker(FakeBroker):
    """A broker whose answers to `take_lease` and `publish` wait for the test."""

    def __init__(self, picture: Snapshot) -> None:
        super().__init__(picture)
        self.gate = asyncio.Event()
        self.gate.set()

    async def publish(self, report: Report) -> None:
        await self.gate.wait()
        await super().publish(report)

    async def take_lease(self, expected_epoch: int, why: str) -> LeaseAnswer:
        await self.gate.wait()
        return await super().take_lease(expected_epoch, why)


class World:
    def __init__(self, **settings: Any) -> None:
        self.clock = FakeClock()
        self.broker = GatedBroker(self.picture())
        self.hypervisor = FakeHypervisor(start_seconds=0.0)
        self.wakes = 0
        self.steps: list[Step] = []
        self.cycle = Cycle(
            1,
            Policy(),
            self.clock,
            self.broker,
            Performer(self.broker, self.hypervisor),
            times=TIMES,
            wake=self.woken,
            on_decision=self.steps.append,
            **settings,
        )

    def woken(self) -> None:
        self.wakes += 1

    def picture(self, **parts: Any) -> Snapshot:
        now = self.clock.now()
        values: dict[str, Any] = {
            "lease": LeaseEntry("free", epoch=7, available_since=now - 100.0),
            "global_maintenance": False,
            "definition": DefinitionEntry(available=True, identity="d1", memory_mib=4096),
        }
        values.update(parts)
        return Snapshot(1, 1, "h1", "vm", now, **values)

    def ours(self, *, fence_after_seconds: float = 1000.0) -> LeaseEntry:
        fence_at = self.clock.now() + fence_after_seconds
        return LeaseEntry("held", ours=True, host_id=1, epoch=8, fence_at=fence_at)

    def see(self, vm: Optional[VmView] = ABSENT, **parts: Any) -> None:
        self.broker.picture = self.picture(**parts)
        self.cycle.on_snapshot(self.broker.picture)
        if vm is not None:
            self.cycle.on_vm(vm, self.clock.now())

    async def tick(self, after_seconds: float = 0.0) -> Decision:
        self.clock.time = self.clock.time + after_seconds
        decision = self.cycle.tick()
        await self.settle()
        return decision

    def bridge(self, up: bool) -> None:
        """Take a new sample of the bridge, with all else as it was."""
        entry = BridgeEntry(up, "", self.clock.now())
        self.broker.picture = dataclasses.replace(self.broker.picture, bridge=entry)
        self.cycle.on_snapshot(self.broker.picture)

    async def measure(self, *, bridge_up: bool) -> Decision:
        """Take as many samples of this host as it takes to count."""
        for _ in range(3):
            self.clock.time = self.clock.time + 0.01
            self.bridge(bridge_up)
            decision = await self.tick()
        return decision

    async def settle(self) -> None:
        for _ in range(10):
            await asyncio.sleep(0)

    async def up(self) -> None:
        """Come to EngineUp, by way of an engine that runs here already."""
        health = HealthEntry("good", "", self.clock.now() + 1.0)
        self.see(UP, lease=self.ours(), health=health)
        await self.tick(1.0)
        await self.tick()
        assert self.cycle.state is State.ENGINE_UP

    @property
    def reports(self) -> list[Report]:
        return self.broker.reports


@pytest.fixture
async def world() -> World:
    return World()


async def test_the_words_name_the_hypervisor_that_this_host_has() -> None:
    world = World(hypervisor_name="libvirt")
    world.see(None)
    for _time in range(30):
        await world.tick(1.0)
    assert world.reports
    words = str([dataclasses.asdict(one) for one in world.reports])
    assert "libvirt" in words
    assert "VDSM" not in words


class TestAnswers:
    async def test_nothing_is_decided_before_everybody_has_answered(self, world: World) -> None:
        assert (await world.tick()).state is State.START
        world.cycle.on_vm(ABSENT)
        assert (await world.tick()).state is State.START
        world.cycle.on_snapshot(world.picture())
        assert (await world.tick()).state is State.ENGINE_DOWN

    async def test_every_answer_that_is_news_wakes_the_tick(self, world: World) -> None:
        held = LeaseEntry("held", host_id=2)
        world.see(lease=held)
        for _ in range(3):
            await world.tick()
        news: list[Callable[[], None]] = [
            lambda: world.see(None, lease=LeaseEntry("unknown")),
            lambda: world.cycle.on_vm(UP),
            lambda: world.cycle.on_policy(Policy()),
            lambda: world.cycle.on_local_maintenance(True),
            lambda: world.bridge(False),
            lambda: world.cycle.request_stop(),
        ]
        for tell in news:
            wakes = world.wakes
            tell()
            assert world.wakes == wakes + 1
            for _ in range(3):
                await world.tick()

    async def test_what_is_only_newer_wakes_nothing(self, world: World) -> None:
        held = LeaseEntry("held", host_id=2)
        world.see(lease=held)
        await world.measure(bridge_up=True)
        await world.measure(bridge_up=True)
        wakes, told = world.wakes, len(world.steps)
        for _ in range(5):
            world.clock.time = world.clock.time + 0.5
            world.see(lease=held)
            world.bridge(True)
            world.cycle.on_local_maintenance(False)
            decision = await world.tick()
            assert (decision.row, decision.effect, decision.changed) == (None, None, False)
        assert (world.wakes, len(world.steps)) == (wakes, told)

    async def test_the_first_silence_of_vdsm_wakes_a_tick_that_would_come_too_late(
        self, world: World
    ) -> None:
        world.see(lease=LeaseEntry("held", host_id=2))
        for _ in range(3):
            await world.tick()
        wakes = world.wakes
        world.cycle.on_vm(SILENT)
        assert world.wakes == wakes + 1
        await world.tick()
        assert world.cycle.next_due_seconds == pytest.approx(3.0)

    async def test_a_look_from_before_an_effect_is_not_taken_after_it(self, world: World) -> None:
        """VDSM may answer it late, with the Down record that was cleared for the start: to act on
        that would end the VM that runs by now."""
        asked_at = world.clock.now()
        down = VmView(VmCondition.DOWN, VmExit.CRASHED, "Down")
        world.hypervisor.view = down
        world.see(down, lease=world.ours())
        effects = []
        for _ in range(10):
            decision = await world.tick(2.5)
            effects += [decision.effect.kind] if decision.effect is not None else []
            world.see(None, lease=world.ours())
        assert effects == [EffectKind.DESTROY_VM, EffectKind.START_VM]
        world.cycle.on_vm(down, asked_at)
        assert (await world.tick()).state is State.ENGINE_STARTING
        world.cycle.on_vm(down, world.clock.now())
        assert (await world.tick()).state is State.ENGINE_START

    async def test_a_picture_older_than_the_one_at_hand_is_left_out(self, world: World) -> None:
        old = world.picture(global_maintenance=True)
        world.clock.time = world.clock.time + 0.1
        world.see()
        world.cycle.on_snapshot(old)
        await world.tick()
        assert world.cycle.memory.global_maintenance is False

    async def test_an_old_picture_does_not_count(self, world: World) -> None:
        """The broker may be hanging: what it said of the lease is not to be acted on."""
        world.see()
        decision = await world.tick(6.0)
        assert decision.state is State.START
        world.see()
        assert (await world.tick(5.9)).state is State.ENGINE_DOWN

    async def test_an_old_look_at_the_vm_does_not_count(self, world: World) -> None:
        world.see()
        assert (await world.tick()).state is State.ENGINE_DOWN
        world.clock.time = world.clock.time + 20.0
        world.see(vm=None)
        assert (await world.tick()).state is State.UNKNOWN_LOCAL_VM
        world.see(ABSENT)
        world.clock.time = world.clock.time + 19.9
        world.see(vm=None)
        assert (await world.tick()).state is State.ENGINE_DOWN

    async def test_silence_of_vdsm_counts_when_it_has_lasted(self, world: World) -> None:
        await world.up()
        world.cycle.on_vm(SILENT)
        world.clock.time = world.clock.time + 2.9
        world.see(SILENT, lease=world.ours())
        assert (await world.tick()).state is State.ENGINE_UP
        assert (await world.tick(0.1)).state is State.UNKNOWN_LOCAL_VM

    async def test_a_silence_is_reported_with_what_was_seen_last(self, world: World) -> None:
        await world.up()
        seen_at = world.clock.now()
        world.see(UP, lease=world.ours())
        world.clock.time = world.clock.time + 1.0
        silent_at = world.clock.now()
        world.cycle.on_vm(SILENT)
        world.clock.time = world.clock.time + 3.0
        for _ in range(3):
            world.see(SILENT, lease=world.ours())
            await world.tick()
        report = world.reports[-1]
        assert report.vdsm_silent_since == silent_at
        assert (report.vm_seen, report.vm_seen_at) == (UP.detail or UP.condition.value, seen_at)
        for _ in range(3):
            world.see(UP, lease=world.ours())
            await world.tick()
        report = world.reports[-1]
        assert (report.vdsm_silent_since, report.vm_seen, report.vm_seen_at) == (None, "", None)

    async def test_an_answer_ends_the_silence(self, world: World) -> None:
        await world.up()
        for _ in range(3):
            world.cycle.on_vm(SILENT)
            world.clock.time = world.clock.time + 2.0
            world.see(UP, lease=world.ours())
            assert (await world.tick()).state is not State.UNKNOWN_LOCAL_VM

    async def test_facts_policy_and_maintenance_are_in_the_next_decision(
        self, world: World
    ) -> None:
        world.see()
        await world.tick()
        assert (await world.measure(bridge_up=False)).score.points == 2800
        weights = dataclasses.replace(Policy().weights, bridge=1)
        world.cycle.on_policy(dataclasses.replace(Policy(), weights=weights))
        world.cycle.on_local_maintenance(True)
        assert (await world.tick()).state is State.LOCAL_MAINTENANCE

    async def test_a_stop_leaves_the_vm_alone(self, world: World) -> None:
        await world.up()
        world.cycle.request_stop()
        decision = await world.tick()
        assert (decision.state, decision.effect) == (State.AGENT_STOPPED, None)
        assert world.hypervisor.calls == []
        assert world.reports[-1].stopped


class TestEffects:
    async def test_the_outcome_comes_with_the_picture_it_made(self, world: World) -> None:
        world.see()
        await world.tick()
        world.broker.gate.clear()
        decision = await world.tick()
        assert decision.effect is not None
        assert decision.effect.kind is EffectKind.TAKE_LEASE
        assert decision.effect.lease_epoch == 7
        world.clock.time = world.clock.time + 0.1
        world.broker.picture = world.picture(lease=world.ours())
        await world.tick()
        assert world.cycle.memory.pending == decision.effect
        wakes = world.wakes
        world.broker.gate.set()
        await world.settle()
        assert world.wakes > wakes
        decision = await world.tick()
        assert world.cycle.memory.settled is not None
        assert world.cycle.memory.settled.code is OutcomeCode.OK
        assert decision.effect is not None
        assert decision.effect.kind is EffectKind.START_VM, "the lease is known to be ours at once"

    async def test_an_outcome_is_told_once(self, world: World) -> None:
        world.see()
        world.broker.refusal = "epoch is 8, not 7"
        await world.tick()
        await world.tick()
        await world.tick()
        assert world.cycle.memory.settled is not None
        assert world.cycle.memory.settled.detail == "epoch is 8, not 7"
        await world.tick()
        assert world.cycle.memory.settled is None

    async def test_an_outcome_without_a_picture_wakes_the_tick_too(self, world: World) -> None:
        world.see()
        await world.tick()
        world.broker.fault = EnvironmentFault("is ha-broker running?")
        world.cycle.tick()
        wakes = world.wakes
        await world.settle()
        assert world.wakes == wakes + 1
        await world.tick()
        assert world.cycle.memory.settled is not None
        assert world.cycle.memory.settled.code is OutcomeCode.UNKNOWN

    async def test_a_look_that_failed_after_an_effect_ends_what_was_seen_before(
        self, world: World
    ) -> None:
        """The VM was absent, then came a start without an answer: it must not be started again
        on the strength of the older look, whatever the grace for a silent VDSM."""
        world.see(lease=world.ours())
        await world.tick()
        world.hypervisor.answers = False
        decisions = [await world.tick(), await world.tick()]
        assert [d.effect.kind for d in decisions if d.effect] == [EffectKind.START_VM]
        decision = await world.tick(2.5)
        assert decision.effect is None
        assert world.hypervisor.calls == ["create"]

    async def test_a_bug_in_an_effect_comes_out_in_the_next_tick(self, world: World) -> None:
        world.see()
        await world.tick()
        world.broker.fault = ZeroDivisionError("bug")
        await world.tick()
        with pytest.raises(ZeroDivisionError, match="bug"):
            await world.tick()

    async def test_a_bug_in_a_report_comes_out_in_the_next_tick(self, world: World) -> None:
        world.broker.fault = ZeroDivisionError("bug")
        await world.tick()
        with pytest.raises(ZeroDivisionError, match="bug"):
            await world.tick()

    async def test_a_change_without_an_effect_wakes_the_next_tick(self, world: World) -> None:
        world.see()
        wakes = world.wakes
        decision = await world.tick()
        assert decision.changed
        assert world.wakes == wakes + 1
        world.see(global_maintenance=True)
        await world.tick()
        wakes = world.wakes
        assert not (await world.tick()).changed
        assert world.wakes == wakes


class TestTellingDecisions:
    async def test_what_went_in_gives_what_came_out_again(self, world: World) -> None:
        await world.up()
        world.see(VmView(VmCondition.DOWN, VmExit.CRASHED), lease=world.ours())
        await world.tick(1.0)
        assert [step.decision.state for step in world.steps if step.decision.changed] == [
            State.ENGINE_STARTING,
            State.ENGINE_UP,
            State.ENGINE_START,
        ]
        for step in world.steps:
            again = Fsm().step(step.state, step.memory, step.observation, step.policy)
            assert again == step.decision

    async def test_a_step_that_changed_nothing_is_not_told(self, world: World) -> None:
        world.see(lease=LeaseEntry("held", host_id=2))
        await world.tick()
        await world.tick()
        told = len(world.steps)
        for _ in range(3):
            world.see(lease=LeaseEntry("held", host_id=2))
            await world.tick(1.0)
        assert len(world.steps) == told

    async def test_another_score_is_told(self, world: World) -> None:
        world.see(lease=LeaseEntry("held", host_id=2))
        await world.tick()
        await world.tick()
        told = len(world.steps)
        world.see(
            lease=LeaseEntry("held", host_id=2),
            definition=DefinitionEntry(available=True, identity="d1", stale=True),
        )
        await world.tick()
        [step] = world.steps[told:]
        assert (step.decision.row, step.decision.score.points) == (None, 2400)


class TestNextDue:
    async def test_without_any_change_the_next_report_is(self, world: World) -> None:
        world.see(lease=LeaseEntry("held", host_id=2, epoch=7))
        for _ in range(3):
            await world.tick()
        assert world.cycle.next_due_seconds == pytest.approx(5.0)
        await world.tick(2.0)
        assert world.cycle.next_due_seconds == pytest.approx(3.0)

    async def test_at_once_after_a_change(self, world: World) -> None:
        """The next row may fire on the same picture."""
        world.see()
        assert (await world.tick()).changed
        assert world.cycle.next_due_seconds == 0.0

    async def test_our_turn_at_the_lease(self, world: World) -> None:
        better = tuple(HostEntry(n, f"h{n}", alive=True, score=3401) for n in (2, 3))
        now = world.clock.now()
        world.see(lease=LeaseEntry("free", epoch=7, available_since=now), hosts=better)
        await world.tick()
        await world.tick()
        assert world.cycle.next_due_seconds == pytest.approx(2.0)
        await world.tick(0.75)
        assert world.cycle.next_due_seconds == pytest.approx(1.25)
        decision = await world.tick(1.25)
        assert decision.effect is not None
        assert decision.effect.kind is EffectKind.TAKE_LEASE

    async def test_the_end_of_a_pause_before_a_restart(self, world: World) -> None:
        await world.up()
        for pause_seconds in (0.0, 1.0):
            world.see(VmView(VmCondition.DOWN, VmExit.CRASHED), lease=world.ours())
            await world.tick(2.0)
            await world.tick()  # clears the record
            world.see(ABSENT, lease=world.ours())
            decision = await world.tick()
            if pause_seconds:
                await world.tick()
                assert world.cycle.next_due_seconds == pytest.approx(pause_seconds)
                decision = await world.tick(pause_seconds)
            assert decision.effect is not None
            assert decision.effect.kind is EffectKind.START_VM
            world.see(UP, lease=world.ours())
            for _ in range(4):
                await world.tick(0.1)

    async def test_the_pause_between_two_tries_of_an_effect(self, world: World) -> None:
        world.clock.time = world.clock.time + Policy().start_open_seconds
        world.see(lease=world.ours(), definition=DefinitionEntry())
        await world.tick()
        decision = await world.tick()
        assert decision.effect is not None
        assert decision.effect.kind is EffectKind.RELEASE_LEASE
        await world.tick(0.5)
        await world.tick()
        assert world.cycle.next_due_seconds == pytest.approx(1.5)
        assert (await world.tick(1.5)).effect is not None


class TestAge:
    """What becomes true by age alone is due, too: nobody else would wake the tick for it."""

    async def rest(self, world: World) -> None:
        for _ in range(3):
            await world.tick()

    async def at_due(self, world: World, seconds: float) -> State:
        """Tick at the due alone, reports apart, and once a little before."""
        end = world.clock.now() + seconds
        while world.clock.now() < end:
            state = world.cycle.state
            due = world.cycle.next_due_seconds
            assert due > 0.0
            if world.clock.now() + due >= end:
                before = end - world.clock.now() - 0.001
                assert (await world.tick(before)).state is state
                due = world.cycle.next_due_seconds
            world.clock.time = world.clock.time + due
            await world.tick()
        assert world.clock.now() - end == pytest.approx(0.0, abs=1e-6)
        return world.cycle.state

    async def test_a_picture_that_is_too_old(self, world: World) -> None:
        world.see(lease=LeaseEntry("held", host_id=2))
        await self.rest(world)
        await self.at_due(world, 6.0)
        step = world.steps[-1]
        assert (step.observation.global_maintenance, step.decision.score.points) == (None, 0)

    async def test_a_look_at_the_vm_that_is_too_old(self, world: World) -> None:
        world.see(lease=LeaseEntry("held", host_id=2))
        await self.rest(world)
        world.clock.time = world.clock.time + 16.0
        world.see(None, lease=LeaseEntry("held", host_id=2))
        await self.rest(world)
        assert await self.at_due(world, 4.0) is State.UNKNOWN_LOCAL_VM

    async def test_a_silence_of_vdsm_that_has_lasted(self, world: World) -> None:
        world.see(lease=LeaseEntry("held", host_id=2))
        await self.rest(world)
        world.cycle.on_vm(SILENT)
        await self.rest(world)
        assert await self.at_due(world, 3.0) is State.UNKNOWN_LOCAL_VM

    async def test_a_lease_of_ours_whose_fence_comes(self, world: World) -> None:
        vm = VmView(VmCondition.MIGRATING_HERE)
        world.see(vm, lease=world.ours(fence_after_seconds=4.0))
        await self.rest(world)
        unknown = "news of the lease on shared storage"
        assert all(entry.what != unknown for entry in world.reports[-1].waits)
        await self.at_due(world, 4.0)
        assert any(entry.what == unknown for entry in world.reports[-1].waits)


class TestSight:
    """What is said of network and page: by an owner without network, and by another host."""

    def network(self, world: World, share_lost: float) -> NetworkEntry:
        return NetworkEntry(share_lost, "", world.clock.now())

    async def test_another_host_looks_and_says_for_how_long(self, world: World) -> None:
        owner = HostEntry(
            2, "h2", alive=True, score=1800, engine_status={"vm": "up"}, network_lost=True
        )
        lease = LeaseEntry("held", False, 2, "h2", 7)
        for _ in range(3):
            network = self.network(world, 0.0)
            world.see(ABSENT, lease=lease, hosts=(owner,), network=network)
            await world.tick(1.0)
        assert world.reports[-1].watch_engine
        assert world.reports[-1].engine_page == ""
        began = world.clock.now() + 1.0
        for word in ("bad", "bad", "good"):
            page = HealthEntry(word, "", world.clock.now())
            world.see(ABSENT, lease=lease, hosts=(owner,), health=page)
            await world.tick(1.0)
            report = world.reports[-1]
            assert report.engine_page == word
            assert report.page_bad_since == (began if word == "bad" else None)
        world.see(ABSENT, lease=lease, hosts=(dataclasses.replace(owner, network_lost=False),))
        await world.tick(1.0)
        assert (world.reports[-1].watch_engine, world.reports[-1].engine_page) == (False, "")

    async def test_an_owner_says_that_its_network_is_lost_and_when_it_hands_over(
        self, world: World
    ) -> None:
        await world.up()
        good = HealthEntry("good", "", world.clock.now())
        for _ in range(4):
            network = self.network(world, 1.0)
            world.see(UP, lease=world.ours(), health=good, network=network)
            await world.tick(1.0)
        assert world.reports[-1].network_lost
        assert world.reports[-1].hand_over_at is None
        told_at = world.clock.now()
        blind = HostEntry(
            2,
            "h2",
            alive=True,
            score=3400,
            engine_page="bad",
            page_bad_seconds=50,
            changed_at=told_at,
        )
        world.see(UP, lease=world.ours(), health=good, hosts=(blind,))
        await world.tick(1.0)
        assert world.reports[-1].hand_over_at == told_at + 70.0
        world.see(
            UP,
            lease=world.ours(),
            health=good,
            hosts=(dataclasses.replace(blind, page_bad_seconds=120),),
        )
        await world.tick(1.0)
        assert world.cycle.state is State.ENGINE_STOP


class TestBetterHost:
    async def test_is_said_once_and_reported(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        await world.up()
        better = (HostEntry(2, "h2", alive=True, score=4200),)
        good = HealthEntry("good", "", world.clock.now())
        steps = len(world.steps)
        with caplog.at_level(logging.INFO):
            for _ in range(70):
                world.see(UP, lease=world.ours(), health=good, hosts=better)
                await world.tick(1.0)
        assert caplog.text.count("host 2 (h2) would be better by 800 points") == 1
        assert world.reports[-1].better_host == 2
        assert [step.decision.better_host for step in world.steps[steps:]] == [2]
        assert world.cycle.state is State.ENGINE_UP
        assert world.hypervisor.calls == [], "a healthy engine is not stopped for a score"
        with caplog.at_level(logging.INFO):
            world.see(UP, lease=world.ours(), health=good)
            await world.tick(1.0)
        assert "no other host is better" in caplog.text
        assert world.reports[-1].better_host is None

    async def test_the_causes_are_named(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        await world.up()
        better = (HostEntry(2, "h2", alive=True, score=3400),)
        good = HealthEntry("good", "", world.clock.now())
        stale = DefinitionEntry(available=True, identity="d1", stale=True, problem="EIO")
        with caplog.at_level(logging.INFO):
            for _ in range(70):
                world.see(UP, lease=world.ours(), health=good, hosts=better, definition=stale)
                await world.tick(1.0)
        assert "better by 1000 points: stale definition -1000 (EIO); the engine" in caplog.text


class TestReports:
    async def test_a_report_says_what_was_decided_on_what(self, world: World) -> None:
        await world.measure(bridge_up=False)
        await world.up()
        report = world.reports[-1]
        assert (report.state, report.state_meaning) == ("EngineUp", State.ENGINE_UP.meaning)
        assert report.state_since == world.clock.now()
        assert report.made_at == world.clock.now()
        assert report.reason == "the engine is healthy"
        assert report.score == 2800
        assert [(p.name, p.points) for p in report.penalties] == [("bridge", 600)]
        assert report.engine_status == {"vm": "up", "health": "good", "detail": "Up"}
        assert report.watch_engine
        assert not report.local_maintenance
        assert not report.stopped

    @pytest.mark.parametrize(
        ("vm", "watched"),
        [
            (ABSENT, False),
            (VmView(VmCondition.DOWN, VmExit.CRASHED), False),
            (VmView(VmCondition.MIGRATING_HERE), False),
            (VmView(VmCondition.STARTING), True),
            (VmView(VmCondition.PAUSED), True),
            (VmView(VmCondition.MIGRATING_AWAY), True),
        ],
    )
    async def test_the_engine_is_watched_where_its_vm_is(
        self, world: World, vm: VmView, watched: bool
    ) -> None:
        world.see(vm)
        await world.tick()
        assert world.reports[-1].watch_engine is watched

    async def test_health_from_before_this_run_of_the_vm_is_not_published(
        self, world: World
    ) -> None:
        good = HealthEntry("good", "", world.clock.now() - 1.0)
        world.see(UP, lease=world.ours(), health=good)
        await world.tick()
        assert world.reports[-1].engine_status["health"] == "bad"

    async def test_a_change_is_published_at_once_and_all_else_by_interval(
        self, world: World
    ) -> None:
        world.see(global_maintenance=True)
        for _ in range(4):
            await world.tick()
        sent = len(world.reports)
        for _ in range(4):
            world.see(global_maintenance=True)
            await world.tick(1.0)
        assert len(world.reports) == sent
        await world.tick(1.0)
        assert len(world.reports) == sent + 1
        await world.measure(bridge_up=False)
        assert len(world.reports) == sent + 2

    async def test_a_report_that_was_not_taken_is_sent_again(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        for _time in range(2):
            world.broker.fault = EnvironmentFault("is ha-broker running?")
            caplog.clear()
            for _tick in range(6):
                await world.tick(1.0)
            assert caplog.text.count("is ha-broker running?") == 1  # not at every tick
            world.broker.fault = None
            sent = len(world.reports)
            await world.tick()
            assert len(world.reports) == sent + 1

    async def test_a_slow_report_holds_up_no_tick_and_the_newest_follows(
        self, world: World
    ) -> None:
        world.broker.gate.clear()
        world.see(lease=LeaseEntry("held", host_id=2))
        await world.tick()
        await world.measure(bridge_up=False)
        for points in (600, 601):
            weights = dataclasses.replace(Policy().weights, bridge=points)
            world.cycle.on_policy(dataclasses.replace(Policy(), weights=weights))
            assert (await world.tick(0.1)).score.points == 3400 - points
        assert world.reports == []
        world.broker.gate.set()
        await world.settle()
        await world.tick()
        assert [report.score for report in world.reports] == [3400, 2799]


class TestFinish:
    async def test_a_report_under_way_gets_out(self, world: World) -> None:
        world.broker.gate.clear()
        world.see()
        world.cycle.request_stop()
        world.cycle.tick()
        asyncio.get_running_loop().call_later(0.02, world.broker.gate.set)
        await world.cycle.finish(5.0)
        assert world.reports[-1].stopped

    async def test_what_hangs_is_dropped_at_the_deadline(self, world: World) -> None:
        world.broker.gate.clear()
        await world.tick()
        await world.cycle.finish(0.01)
        world.broker.gate.set()
        await world.settle()
        assert world.reports == []

    async def test_without_a_tick_there_is_nothing_to_finish(self, world: World) -> None:
        await world.cycle.finish(0.01)


async def test_changes_are_logged_with_their_reason(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.see()
    with caplog.at_level(logging.INFO):
        await world.tick()
        await world.tick()
        await world.tick()
    assert "StartState -> EngineDown: first look done" in caplog.text
    assert "(take lease)" in caplog.text


class TestEvents:
    async def test_events_travel_with_reports_until_one_is_taken(self, world: World) -> None:
        world.broker.fault = EnvironmentFault("is ha-broker running?")
        world.see()
        await world.tick()
        assert world.reports == []
        world.broker.fault = None
        await world.tick(1.0)
        told = [(event.serial, event.values.get("to")) for event in world.reports[-1].events]
        assert told[0][1] == "EngineDown"
        sent = len(world.reports)
        await world.tick(1.0)
        later = [event.serial for r in world.reports[sent:] for event in r.events]
        assert told[0][0] not in later

    async def test_an_event_is_published_at_once_and_carried_once(self, world: World) -> None:
        world.see(lease=LeaseEntry("free", epoch=7, available_since=world.clock.now() - 100.0))
        for _ in range(6):
            await world.tick(0.1)
        kinds = [event.kind for report in world.reports for event in report.events]
        assert kinds[:3] == ["state", "state", "effect"]
        serials = [event.serial for report in world.reports for event in report.events]
        assert len(serials) == len(set(serials))
        assert "outcome" in kinds

    async def test_a_report_says_what_is_waited_for_and_who_could_take_over(
        self, world: World
    ) -> None:
        peers = (HostEntry(2, "h2", alive=True, score=3400), HostEntry(3, "h3", score=3400))
        held = LeaseEntry("held", host_id=2, host_name="h2", epoch=7)
        world.see(lease=held, hosts=peers)
        await world.tick()
        report = world.reports[-1]
        assert [wait.what for wait in report.waits] == [
            "nothing: h2 holds the lease and renews it"
        ]
        assert [(other.host_id, other.able) for other in report.others] == [(2, True), (3, False)]
