# SPDX-License-Identifier: Apache-2.0
"""ports.Hypervisor over VDSM, real or embedded."""

from __future__ import annotations

import logging

from ha_agent import observe
from ha_agent.errors import EnvironmentFault
from ha_agent.fsm.observation import VmCondition, VmView
from ha_agent.vdsm.client.verbs import Vdsm
from ha_agent.vdsm.client.vm_watch import VmWatch
from ha_agent.vdsm.jsonrpc import Event

log = logging.getLogger(__name__)

# Two look at a time, so one overtakes the other once; more is no VDSM that can be believed.
_MOST_OVERTAKEN = 5


class VdsmHypervisor:
    """The one VM on this host's VDSM."""

    def __init__(self, vdsm: Vdsm, vm_uuid: str, *, shutdown_timeout_seconds: float) -> None:
        self._vdsm = vdsm
        self._vm_uuid = vm_uuid
        self._shutdown_timeout_seconds = shutdown_timeout_seconds
        self._changes = 0
        self._watch = VmWatch(vm_uuid)

    def connected(self) -> None:
        """Take that VDSM's connection is a new one."""
        self._watch = self._watch.connected()

    def hears(self, event: Event) -> bool:
        """Take an event of VDSM; tell whether the VM has to be looked at for it."""
        self._watch, is_news = self._watch.event(event)
        return is_news

    async def look(self) -> VmView:
        """Return the VM as VM.getStats has it; UNKNOWN when VDSM does not tell."""
        overtaken = 0
        while overtaken < _MOST_OVERTAKEN:
            changes, answers = self._changes, self._watch.answers
            try:
                stats = await self._vdsm.vm_stats(self._vm_uuid)
            except EnvironmentFault as fault:
                return VmView(VmCondition.UNKNOWN, detail=str(fault))
            if changes != self._changes:
                # VDSM answers out of order: this may be the VM as it was before we changed it.
                continue
            self._watch, is_old = self._watch.answer(stats, answers)
            if not is_old:
                return observe.vm_view(stats)
            overtaken += 1
        return VmView(VmCondition.UNKNOWN, detail="VDSM's answers are of times that go back")

    async def create(self, xml: str, *, paused: bool = False) -> None:
        """VM.create with a domain XML. Raises VdsmError, DeadlineExceeded, BadInput."""
        try:
            await self._vdsm.create_vm(self._vm_uuid, xml, paused=paused)
        finally:
            self._changes += 1

    async def resume(self) -> None:
        """VM.cont, which takes the VM lease. Raises VdsmError, DeadlineExceeded."""
        try:
            await self._vdsm.continue_vm(self._vm_uuid)
        finally:
            self._changes += 1

    async def shutdown(self) -> None:
        """VM.shutdown at once; VDSM gives each of its ways our whole timeout, ours is shorter
        or equal and ends with a destroy."""
        await self._vdsm.shutdown_vm(
            self._vm_uuid,
            delay_seconds=0,
            timeout_seconds=max(1, round(self._shutdown_timeout_seconds)),
            message="the hosted-engine agent stops the engine VM",
        )

    async def destroy(self) -> None:
        """VM.destroy; no such VM is what was wanted."""
        try:
            await self._vdsm.destroy_vm(self._vm_uuid)
        finally:
            self._changes += 1
