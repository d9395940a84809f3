# SPDX-License-Identifier: Apache-2.0
"""ports.Hypervisor over libvirt, on hosts without VDSM."""

from __future__ import annotations

from ha_agent import observe
from ha_agent.errors import EnvironmentFault
from ha_agent.fsm.observation import VmCondition, VmView
from ha_agent.virt.verbs import Virt


class VirtHypervisor:
    """The one VM on this host's libvirt."""

    def __init__(self, virt: Virt, vm_uuid: str) -> None:
        self._virt = virt
        self._vm_uuid = vm_uuid

    async def look(self) -> VmView:
        """Return the VM as libvirt has it; UNKNOWN when libvirt does not tell."""
        try:
            return observe.vm_view(await self._virt.vm_stats(self._vm_uuid))
        except EnvironmentFault as fault:
            return VmView(VmCondition.UNKNOWN, detail=str(fault))

    async def create(self, xml: str, *, paused: bool = False) -> None:
        """Begin the start. Raises LibvirtError, DeadlineExceeded, BadInput, EnvironmentFault."""
        await self._virt.create_vm(self._vm_uuid, xml, paused=paused)

    async def resume(self) -> None:
        """Let the VM's CPUs run. Raises LibvirtError, DeadlineExceeded, EnvironmentFault."""
        await self._virt.resume_vm(self._vm_uuid)

    async def shutdown(self) -> None:
        """Ask the guest; one that does not follow is destroyed at the agent's own deadline."""
        await self._virt.shutdown_vm(self._vm_uuid)

    async def destroy(self) -> None:
        """End the VM; no such VM is what was wanted."""
        await self._virt.destroy_vm(self._vm_uuid)
