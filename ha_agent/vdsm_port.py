# SPDX-License-Identifier: Apache-2.0
"""ports.Hypervisor over VDSM, real or embedded."""

from __future__ import annotations

import logging

from ha_agent import observe
from ha_agent.errors import EnvironmentFault
from ha_agent.fsm.observation import VmCondition, VmView
from ha_agent.vdsm.verbs import Vdsm

log = logging.getLogger(__name__)


class VdsmHypervisor:
    """The one VM on this host's VDSM."""

    def __init__(self, vdsm: Vdsm, vm_uuid: str, *, shutdown_timeout_seconds: float) -> None:
        self._vdsm = vdsm
        self._vm_uuid = vm_uuid
        self._shutdown_timeout_seconds = shutdown_timeout_seconds
        self._changes = 0

    async def look(self) -> VmView:
        """Return the VM as VM.getStats has it; UNKNOWN when VDSM does not tell."""
        while True:
            changes = self._changes
            try:
                view = observe.vm_view(await self._vdsm.vm_stats(self._vm_uuid))
            except EnvironmentFault as fault:
                return VmView(VmCondition.UNKNOWN, detail=str(fault))
            if changes == self._changes:
                return view
            # VDSM answers out of order: this may be the VM as it was before we changed it.

    async def create(self, xml: str) -> None:
        """VM.create with a domain XML. Raises VdsmError, DeadlineExceeded."""
        try:
            await self._vdsm.create_vm(self._vm_uuid, xml)
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
