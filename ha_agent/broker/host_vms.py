# SPDX-License-Identifier: Apache-2.0
"""Who tells the broker of this host's VMs: VDSM, or libvirt where [host] hypervisor says so.

On a host with libvirt and no VDSM the embedded VDSM serves the storage domain (its volumes, its
monitor, with sanlock its lockspace), and knows of no VM.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional, Protocol

from ha_agent.broker.part import Part
from ha_agent.clock import SystemClock
from ha_agent.config.schema import Config
from ha_agent.vdsm.vm_status import VmStats
from ha_agent.virt.from_config import virt


class Source(Protocol):
    """What is needed of vdsm.verbs.Vdsm and virt.verbs.Virt; both raise EnvironmentFault."""

    async def vm_stats(self, vm_id: str, /) -> Optional[VmStats]: ...

    async def vm_list(self) -> Sequence[VmStats]: ...


class HostVms:
    """The VMs of this host."""

    def __init__(self, config: Config, vdsm: Source, clock: SystemClock) -> None:
        """Raises EnvironmentFault where libvirt is wanted and its binding is not there."""
        self._virt = virt(config, clock) if config.host.hypervisor == "libvirt" else None
        self._source: Source = self._virt or vdsm
        self.name = "VDSM" if self._virt is None else "libvirt"
        self._vm_uuid = config.engine.vm_uuid

    async def engine_vm(self) -> Optional[VmStats]:
        """Return how the engine VM is; None is "no such VM". Raises EnvironmentFault."""
        return await self._source.vm_stats(self._vm_uuid)

    async def vm_list(self) -> Sequence[VmStats]:
        """Return all VMs. Raises EnvironmentFault."""
        return await self._source.vm_list()

    def part(self) -> Part:
        """Return what keeps the connection to libvirt; VDSM's is the broker's own."""
        return Part("host_vms", work=() if self._virt is None else (self._virt.run,))
