# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from ha_agent.broker.rpc.client import BrokerUnreachable
from ha_agent.broker.snapshot import Snapshot
from ha_agent.broker_port import BrokerRefused
from ha_agent.errors import BadInput, DeadlineExceeded, EnvironmentFault, HaAgentError
from ha_agent.fsm.effect import Effect, EffectKind
from ha_agent.fsm.observation import Outcome, OutcomeCode, VmCondition, VmExit
from ha_agent.instant import Instant
from ha_agent.perform import Performed, Performer
from ha_agent.ports import DomainDefinition
from ha_agent.vdsm.errors import (
    VdsmBadAnswer,
    VdsmCallFailed,
    VdsmCode,
    VdsmConnectionLost,
    VdsmUnreachable,
)
from ha_agent.virt.errors import LibvirtCallFailed
from tests.fakes import FakeBroker, FakeHypervisor
from tests.journal_sink import journal

PICTURE = Snapshot(3, 1, "h1", "vm", Instant(1000.0))
LEASE_KINDS = [EffectKind.TAKE_LEASE, EffectKind.RELEASE_LEASE, EffectKind.ABANDON_LEASE]
VM_KINDS = [EffectKind.START_VM, EffectKind.SHUTDOWN_VM, EffectKind.DESTROY_VM]
UNKNOWN, FAILED = OutcomeCode.UNKNOWN, OutcomeCode.FAILED


class NotedBroker(FakeBroker):
    """A definition with a remark."""

    async def domain_definition(self, fallback: bool = False, why: str = "") -> DomainDefinition:
        self._ask("definition")
        return DomainDefinition("d1", "<domain/>", ("sound card left out",))


class World:
    def __init__(self) -> None:
        self.broker = FakeBroker(PICTURE)
        self.hypervisor = FakeHypervisor(start_seconds=0.01, shutdown_seconds=0.01)
        self.order = self.broker.calls = self.hypervisor.calls

    async def perform(self, kind: EffectKind, **more: Any) -> Performed:
        effect = Effect(kind, 7, "because", **more)
        return await Performer(self.broker, self.hypervisor).perform(effect)

    async def running(self) -> None:
        await self.hypervisor.create("<domain/>")
        await asyncio.sleep(0.05)
        assert self.hypervisor.running_since is not None
        self.order.clear()


@pytest.fixture
async def world() -> World:
    return World()


# What is called ---------------------------------------------------------------------------


async def test_a_start_asks_the_definition_and_then_creates(world: World) -> None:
    performed = await world.perform(EffectKind.START_VM)
    assert world.order == ["definition", "create"]
    assert performed.outcome == Outcome(7, OutcomeCode.OK, definition="d1")
    assert performed.vm is not None
    assert performed.vm.condition is VmCondition.STARTING, "the look is from after the create"
    assert performed.snapshot is None


async def test_a_start_from_the_definition_before_asks_for_that(world: World) -> None:
    performed = await world.perform(EffectKind.START_VM, fallback=True)
    assert world.order == ["definition, fallback: because", "create"]
    assert performed.outcome.definition == "d0"


async def test_a_shutdown_and_a_destroy_look_afterwards(world: World) -> None:
    await world.running()
    performed = await world.perform(EffectKind.SHUTDOWN_VM)
    assert performed.vm is not None
    assert performed.vm.condition is VmCondition.STOPPING
    performed = await world.perform(EffectKind.DESTROY_VM)
    assert performed.vm is not None
    assert performed.vm.condition is VmCondition.ABSENT
    assert world.order == ["shutdown", "destroy"]


async def test_the_lease_is_taken_on_the_epoch_of_the_decision(world: World) -> None:
    performed = await world.perform(EffectKind.TAKE_LEASE, lease_epoch=41)
    assert world.order == ["take 41"]
    assert performed == Performed(Outcome(7, OutcomeCode.OK), snapshot=PICTURE)
    await world.perform(EffectKind.RELEASE_LEASE)
    assert world.order == ["take 41", "release"]


async def test_an_abandoned_lease_is_not_released(world: World) -> None:
    """A release would disarm the fence."""
    performed = await world.perform(EffectKind.ABANDON_LEASE)
    assert world.order == ["abandon"]
    assert performed == Performed(Outcome(7, OutcomeCode.OK), snapshot=PICTURE)


async def test_remarks_on_the_definition_are_told(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.broker = NotedBroker(PICTURE)
    with caplog.at_level(logging.INFO):
        await world.perform(EffectKind.START_VM)
    assert "sound card left out" in caplog.text


# What went wrong --------------------------------------------------------------------------


def refused(code: int, message: str = "no") -> VdsmCallFailed:
    return VdsmCallFailed("VM.create", code, message)


@pytest.mark.parametrize("kind", VM_KINDS)
@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (DeadlineExceeded("VM.create", 5.0), UNKNOWN),
        (VdsmUnreachable("h:54321", "refused"), UNKNOWN),
        (VdsmConnectionLost("h:54321", "reset", may_have_executed=True), UNKNOWN),
        (VdsmConnectionLost("h:54321", "reset", may_have_executed=False), UNKNOWN),
        (VdsmBadAnswer("VM.create", "no list"), UNKNOWN),
        (refused(VdsmCode.VM_EXISTS), UNKNOWN),
        (refused(VdsmCode.CANNOT_CREATE_VM), FAILED),
        (refused(987654), FAILED),
        (
            refused(
                VdsmCode.GENERAL_EXCEPTION,
                "Failed to acquire lock: Lease is held by another host",
            ),
            OutcomeCode.LEASE_HELD_ELSEWHERE,
        ),
        (
            refused(VdsmCode.GENERAL_EXCEPTION, "Failed to acquire lock: No space left"),
            FAILED,
        ),
        (EnvironmentFault("something else"), UNKNOWN),
    ],
    ids=lambda value: getattr(value, "name", None) or type(value).__name__,
)
async def test_what_a_fault_of_vdsm_means(
    world: World, kind: EffectKind, fault: EnvironmentFault, code: OutcomeCode
) -> None:
    world.hypervisor.refusal = fault
    performed = await world.perform(kind)
    asked_with = "d1" if kind is EffectKind.START_VM else ""
    assert performed.outcome == Outcome(7, code, str(fault), asked_with)
    assert performed.vm is not None, "the look tells what became of it"


async def test_a_paused_start_and_what_lets_it_go_on(world: World) -> None:
    performed = await world.perform(EffectKind.START_VM, paused=True)
    assert world.order == ["definition", "create paused"]
    assert performed.outcome == Outcome(7, OutcomeCode.OK, definition="d1")
    await asyncio.sleep(0.05)
    performed = await world.perform(EffectKind.RESUME_VM)
    assert performed.outcome == Outcome(7, OutcomeCode.OK)
    assert performed.vm is not None
    assert performed.vm.condition is VmCondition.UP


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (
            VdsmCallFailed(
                "VM.cont",
                VdsmCode.GENERAL_EXCEPTION,
                "General Exception: ('Failed to acquire lock: error -243',)",
            ),
            OutcomeCode.LEASE_HELD_ELSEWHERE,
        ),
        (
            LibvirtCallFailed("resume the VM", 87, "Failed to acquire lock: is locked"),
            OutcomeCode.LEASE_HELD_ELSEWHERE,
        ),
        (LibvirtCallFailed("resume the VM", 55, "domain is not running"), FAILED),
        (VdsmCallFailed("VM.cont", VdsmCode.NO_SUCH_VM, "Virtual machine does not exist"), FAILED),
        (DeadlineExceeded("VM.cont", 30.0), UNKNOWN),
    ],
)
async def test_what_refuses_a_resume(
    world: World, fault: EnvironmentFault, code: OutcomeCode
) -> None:
    world.hypervisor.refusal = fault
    performed = await world.perform(EffectKind.RESUME_VM)
    assert performed.outcome == Outcome(7, code, str(fault))


async def test_a_silent_vdsm_is_unknown_and_so_is_the_vm(world: World) -> None:
    world.hypervisor.answers = False
    performed = await world.perform(EffectKind.DESTROY_VM)
    assert performed.outcome.code is UNKNOWN
    assert performed.vm is not None
    assert performed.vm.condition is VmCondition.UNKNOWN


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (BrokerRefused("not_ready", "no definition"), FAILED),
        (BadInput("is missing", where="broker.definition.domain.xml"), FAILED),
        (DeadlineExceeded("definition.domain", 5.0), UNKNOWN),
        (BrokerUnreachable("/run/broker.socket", "refused"), UNKNOWN),
    ],
)
async def test_without_a_definition_nothing_is_created(
    world: World, fault: HaAgentError, code: OutcomeCode
) -> None:
    """A broker that restarts is no failure of the VM's: it costs no points and no tries."""
    world.broker.fault = fault
    performed = await world.perform(EffectKind.START_VM)
    assert world.order == ["definition"]
    assert performed.outcome == Outcome(7, code, str(fault))
    assert performed.vm is not None
    assert performed.vm.condition is VmCondition.ABSENT


async def test_a_start_over_a_down_record_is_not_counted_as_a_failure(world: World) -> None:
    await world.running()
    world.hypervisor.end(VmExit.CRASHED)
    performed = await world.perform(EffectKind.START_VM)
    assert performed.outcome.code is UNKNOWN
    assert performed.vm is not None
    assert performed.vm.condition is VmCondition.DOWN


@pytest.mark.parametrize("kind", LEASE_KINDS)
async def test_a_refused_lease_is_a_value_with_the_picture(world: World, kind: EffectKind) -> None:
    world.broker.refusal = "epoch is 5, not 4"
    performed = await world.perform(kind)
    outcome = Outcome(7, OutcomeCode.REFUSED, "epoch is 5, not 4")
    assert performed == Performed(outcome, snapshot=PICTURE)


@pytest.mark.parametrize("kind", LEASE_KINDS)
@pytest.mark.parametrize(
    "fault",
    [
        DeadlineExceeded("lease.take", 15.0),
        EnvironmentFault("is ha-broker running?"),
        BrokerRefused("internal", "bug"),
        BadInput("is missing", where="broker.lease.take.ok"),
    ],
    ids=lambda fault: type(fault).__name__,
)
async def test_a_lease_call_that_failed_in_any_way_is_unknown(
    world: World, kind: EffectKind, fault: HaAgentError
) -> None:
    """It may have been written; only the broker's next picture tells."""
    world.broker.fault = fault
    assert await world.perform(kind) == Performed(Outcome(7, UNKNOWN, str(fault)))


@pytest.mark.parametrize(
    ("kind", "fault", "name"),
    [
        (EffectKind.START_VM, BrokerRefused("not_ready", "no definition"), "VM_START_FAILED"),
        (EffectKind.START_VM, DeadlineExceeded("definition.domain", 5.0), "-"),
    ],
)
async def test_only_what_surely_failed_is_told_as_failed(
    world: World, kind: EffectKind, fault: HaAgentError, name: str
) -> None:
    world.broker.fault = fault
    with journal() as sink:
        await world.perform(kind)
    assert sink.named("reason", "effect") == [(name, str(fault), kind.value)]


@pytest.mark.parametrize(
    ("kind", "name"), [(EffectKind.TAKE_LEASE, "LEASE_REFUSED"), (EffectKind.RELEASE_LEASE, "-")]
)
async def test_a_lease_that_was_not_given_is_told(
    world: World, kind: EffectKind, name: str
) -> None:
    world.broker.refusal = "epoch is 5, not 4"
    with journal() as sink:
        await world.perform(kind)
    assert sink.named("reason") == [(name, "epoch is 5, not 4")]


@pytest.mark.parametrize("kind", [*LEASE_KINDS, EffectKind.START_VM])
async def test_a_bug_is_not_an_outcome(world: World, kind: EffectKind) -> None:

    world.broker.fault = ZeroDivisionError("bug")
    with pytest.raises(ZeroDivisionError):
        await world.perform(kind)
