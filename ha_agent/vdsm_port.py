# SPDX-License-Identifier: Apache-2.0
"""ports.Hypervisor over VDSM, real or embedded."""

from __future__ import annotations

import collections
import logging

from ha_agent import observe
from ha_agent.errors import EnvironmentFault
from ha_agent.fsm.observation import HostFacts, VmCondition, VmView
from ha_agent.vdsm.verbs import Vdsm

log = logging.getLogger(__name__)

# CPU load counts as its mean over this many samples, so that a burst costs no points.
_CPU_SAMPLES = 20


class VdsmHypervisor:
    """The one VM on this host's VDSM. `bridge` is the management network whose link counts."""

    def __init__(
        self, vdsm: Vdsm, vm_uuid: str, *, bridge: str, shutdown_timeout_seconds: float
    ) -> None:
        self._vdsm = vdsm
        self._vm_uuid = vm_uuid
        self._bridge = bridge
        self._shutdown_timeout_seconds = shutdown_timeout_seconds
        self._changes = 0
        self._cpu_samples: collections.deque[float] = collections.deque(maxlen=_CPU_SAMPLES)

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

    async def facts(self) -> HostFacts:
        """Return CPU load (mean of the last samples), free memory, and the bridge's link."""
        stats = await self._vdsm.host_stats()
        if stats.cpu_idle_percent is not None:
            self._cpu_samples.append(min(1.0, max(0.0, 1.0 - stats.cpu_idle_percent / 100.0)))
        load = sum(self._cpu_samples) / len(self._cpu_samples) if self._cpu_samples else None
        bridge_up = stats.networks_up.get(self._bridge) if stats.networks_up else None
        return HostFacts(bridge_up=bridge_up, cpu_load=load, memory_free_mib=stats.memory_free_mib)
