# SPDX-License-Identifier: Apache-2.0
"""Carries out the state machine's effects: one request, calls of a port, one outcome.

The order that keeps the VM single, and why:
  1. the lease is taken first: storage has our epoch, the broker has armed the fence;
  2. then VM.create, which takes the VM lease inside the hypervisor;
  3. to stop: the VM first, confirmed gone by a look at VDSM, and only then the lease is
     released, which disarms the fence. The table's rows hold to it (`vm_absent` before
     RELEASE_LEASE); this module adds nothing of its own to the order;
  4. where no look can confirm it, the lease is abandoned, not released: the fence stays armed.
A call that ended without an answer is UNKNOWN, never a failure: the next look tells.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Optional

from ha_agent.broker.snapshot import Snapshot
from ha_agent.broker_port import BrokerRefused
from ha_agent.errors import BadInput, HaAgentError
from ha_agent.fsm.effect import Effect, EffectKind
from ha_agent.fsm.observation import Outcome, OutcomeCode, VmView
from ha_agent.journal_messages import LEASE_REFUSED, VM_START_FAILED, VM_STOP_FAILED
from ha_agent.log import fields
from ha_agent.ports import Broker, DomainDefinition, Hypervisor
from ha_agent.vdsm.errors import VdsmCallFailed, VdsmCode
from ha_agent.vdsm.vm_status import is_lost_race, lock_failure, lock_failure_of_error
from ha_agent.virt.errors import LibvirtCallFailed

log = logging.getLogger(__name__)

_FAILED = {
    EffectKind.START_VM: VM_START_FAILED,
    EffectKind.SHUTDOWN_VM: VM_STOP_FAILED,
    EffectKind.DESTROY_VM: VM_STOP_FAILED,
}
LEASE_KINDS = (EffectKind.TAKE_LEASE, EffectKind.RELEASE_LEASE, EffectKind.ABANDON_LEASE)


@dataclass(frozen=True)
class Performed:
    """An outcome with the fresh looks that belong to it, so that the tick that hears of the
    outcome also sees what it did. None: nothing fresher than before."""

    outcome: Outcome
    vm: Optional[VmView] = None
    snapshot: Optional[Snapshot] = None


class Performer:
    """Performs one effect at a time over the agent's ports."""

    def __init__(self, broker: Broker, hypervisor: Hypervisor) -> None:
        self._broker = broker
        self._hypervisor = hypervisor

    async def perform(self, effect: Effect) -> Performed:
        """Carry `effect` out. Never raises for a broken environment: that is an outcome."""
        if effect.kind in LEASE_KINDS:
            return await self._lease(effect)
        code, detail, identity = OutcomeCode.OK, "", ""
        try:
            if effect.kind is EffectKind.START_VM:
                definition = await self._definition(effect)
                identity = definition.identity
                await self._hypervisor.create(definition.xml, paused=effect.paused)
            elif effect.kind is EffectKind.RESUME_VM:
                await self._hypervisor.resume()
            elif effect.kind is EffectKind.SHUTDOWN_VM:
                await self._hypervisor.shutdown()
            else:
                await self._hypervisor.destroy()
        except HaAgentError as fault:  # also an answer that can't be read: the outcome must come
            code, detail = _code(fault), str(fault)
            # Without an answer it may have worked.
            message = None if code is OutcomeCode.UNKNOWN else _FAILED.get(effect.kind)
            told = fields(message, reason=detail, effect=effect.kind.value)
            log.warning("%s did not work: %s", effect.kind.value, detail, extra=told)
        vm = await self._hypervisor.look()
        return Performed(Outcome(effect.serial, code, detail, identity), vm=vm)

    async def _definition(self, effect: Effect) -> DomainDefinition:
        definition = await self._broker.domain_definition(effect.fallback, effect.why)
        for note in definition.notes:
            log.info("definition %s: %s", definition.identity, note)
        return definition

    async def _lease(self, effect: Effect) -> Performed:
        try:
            if effect.kind is EffectKind.TAKE_LEASE:
                answer = await self._broker.take_lease(effect.lease_epoch, effect.why)
            elif effect.kind is EffectKind.RELEASE_LEASE:
                answer = await self._broker.release_lease(effect.why)
            else:
                answer = await self._broker.abandon_lease(effect.why)
        except HaAgentError as fault:
            log.warning("%s did not work: %s", effect.kind.value, fault)
            return Performed(Outcome(effect.serial, OutcomeCode.UNKNOWN, str(fault)))
        code = OutcomeCode.OK if answer.ok else OutcomeCode.REFUSED
        if not answer.ok:
            message = LEASE_REFUSED if effect.kind is EffectKind.TAKE_LEASE else None
            told = fields(message, reason=answer.detail, effect=effect.kind.value)
            log.info("%s refused: %s", effect.kind.value, answer.detail, extra=told)
        return Performed(Outcome(effect.serial, code, answer.detail), snapshot=answer.snapshot)


def _code(fault: HaAgentError) -> OutcomeCode:
    if isinstance(fault, VdsmCallFailed):
        if is_lost_race(lock_failure_of_error(fault.code, fault.message)):
            return OutcomeCode.LEASE_HELD_ELSEWHERE
        if fault.code == VdsmCode.VM_EXISTS:
            # The record is there already, as after an answer that was lost: a look tells more.
            return OutcomeCode.UNKNOWN
        return OutcomeCode.FAILED
    if isinstance(fault, LibvirtCallFailed) and is_lost_race(lock_failure(fault.message)):
        return OutcomeCode.LEASE_HELD_ELSEWHERE
    if isinstance(fault, (BrokerRefused, BadInput, LibvirtCallFailed)):
        # An answer, and it will hardly be another one the next time: let other hosts try.
        return OutcomeCode.FAILED
    return OutcomeCode.UNKNOWN
