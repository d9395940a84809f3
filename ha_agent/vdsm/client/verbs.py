# SPDX-License-Identifier: Apache-2.0
"""The VDSM verbs that we use, typed: arguments in, values out, one deadline each.

Verb and parameter names, and what really travels where it differs from VDSM's schema, are from
facts 2 and 3 (vdsm's lib/vdsm/api/vdsm-api.yml, and seen on its running code).

Every method raises `VdsmUnreachable`, `VdsmConnectionLost`, `DeadlineExceeded` (see errors.py),
`VdsmBadAnswer` for an answer of another shape than answers.py and vm_status.py know, and
`VdsmCallFailed` for the codes that its docstring does not map to a value. A method that says
"changes" must not be repeated blindly when `may_have_executed` is set: look first.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Mapping
from typing import Any, Optional

from ha_agent.errors import BadInput
from ha_agent.vdsm.client import answers, answers_connect
from ha_agent.vdsm.client.verb_calls import MEMORY_DEADLINE_SECONDS, NO_POOL
from ha_agent.vdsm.client.verbs_connect import ConnectCalls
from ha_agent.vdsm.client.verbs_storage import Allocation, StorageCalls
from ha_agent.vdsm.domain.launch_paused import launch_paused
from ha_agent.vdsm.errors import VdsmCallFailed, VdsmCode
from ha_agent.vdsm.vm_status import VmStats, parse_vm_stats

__all__ = ["NO_POOL", "Allocation", "Graphics", "OnConnected", "Vdsm"]

# Seconds. Usual times on a real VDSM are in facts 4.
_HOST_STATS_DEADLINE_SECONDS = 10.0
_CAPABILITIES_DEADLINE_SECONDS = 30.0  # 2 s on an idle host: it asks libvirt, rpm and more
_VM_DEADLINE_SECONDS = 30.0  # libvirt, and the disks' preparation


class Graphics(enum.Enum):
    """The protocols of a VM's console."""

    VNC = "vnc"
    SPICE = "spice"


class OnConnected(enum.Enum):
    """What becomes of who is connected to the console when its password changes.

    For SPICE. QEMU knows only KEEP for VNC (its qapi/ui.json, set_password), and VDSM passes the
    choice on for SPICE alone: a VNC client stays.
    """

    KEEP = "keep"
    DISCONNECT = "disconnect"
    FAIL = "fail"


class Vdsm(StorageCalls, ConnectCalls):
    """VDSM's verbs over a client."""

    async def ping2(self) -> None:
        """Host.ping2: return when VDSM answers requests at all."""
        await self._call("Host.ping2", {}, MEMORY_DEADLINE_SECONDS)

    # VMs.

    async def vm_stats(self, vm_id: str) -> Optional[VmStats]:
        """VM.getStats: the VM's status; None when VDSM has no record of it (code 1)."""
        read = functools.partial(_only_vm, vm_id)
        try:
            return await self._ask("VM.getStats", {"vmID": vm_id}, MEMORY_DEADLINE_SECONDS, read)
        except VdsmCallFailed as error:
            if error.code == VdsmCode.NO_SUCH_VM:
                return None
            raise

    async def vm_list(self) -> list[VmStats]:
        """Host.getVMList: id and libvirt's raw status of every VM, Down records too."""
        return await self._ask("Host.getVMList", {}, MEMORY_DEADLINE_SECONDS, _all_vms)

    async def create_vm(self, vm_id: str, domain_xml: str, *, paused: bool = False) -> VmStats:
        """VM.create: define and start. Changes. Returns the record, status WaitForLaunch.

        The start goes on after the answer: its end shows in events and vm_stats, a lost lease
        as Down with a reason. `vm_id` must be the XML's <uuid>, which alone counts. Codes: 4
        when there is a record, perhaps Down (destroy it first); 9 for XML that VDSM refuses.
        `paused`: its processors stand still, and it holds no VM lease, until `continue_vm`.
        Raises BadInput when that can't be written into the XML.
        """
        if paused:
            domain_xml = launch_paused(domain_xml)
        params = {"vmID": vm_id, "vmParams": {"xml": domain_xml}}
        read = functools.partial(parse_vm_stats, vm_id=vm_id)
        return await self._ask("VM.create", params, _VM_DEADLINE_SECONDS, read)

    async def shutdown_vm(
        self,
        vm_id: str,
        *,
        delay_seconds: Optional[int] = None,
        timeout_seconds: Optional[int] = None,
        message: str = "",
    ) -> bool:
        """VM.shutdown: begin an orderly shutdown. Changes. False: not here, or Down already.

        VDSM tries the guest's agents, then ACPI, each for `timeout_seconds`, after
        `delay_seconds` (its own defaults: 120 and 30); then it stays Down (exit reason 6) until
        destroyed. Code 4: the VM offers no way to shut it down.
        """
        params: dict[str, Any] = {"vmID": vm_id}
        if delay_seconds is not None:
            params["delay"] = delay_seconds
        if timeout_seconds is not None:
            params["timeout"] = timeout_seconds
        if message:
            params["message"] = message
        return await self._call_on_vm("VM.shutdown", params)

    async def destroy_vm(self, vm_id: str, *, graceful_attempts: int = 1) -> bool:
        """VM.destroy: end the VM now and forget it; also clears a Down record. Changes.

        Returns when the VM's process is gone. False: VDSM had no record of it. Code 42: QEMU
        does not die.
        """
        params = {"vmID": vm_id, "gracefulAttempts": graceful_attempts}
        return await self._call_on_vm("VM.destroy", params)

    async def continue_vm(self, vm_id: str) -> None:
        """VM.cont: let a paused VM run, taking its lease. Changes.

        Code 100 with "Failed to acquire lock" (vm_status.lock_failure reads it) when the lease is
        held elsewhere: the VM stays paused. Code 1: not here.
        """
        await self._call("VM.cont", {"vmID": vm_id}, _VM_DEADLINE_SECONDS)

    async def migration_status(self, vm_id: str) -> Optional[answers_connect.MigrationStatus]:
        """VM.getMigrationStatus: how far the VM's migration away from here is.

        None when no migration is under way (code 81) or the VM is not here (code 1).
        """
        try:
            return await self._ask(
                "VM.getMigrationStatus",
                {"vmID": vm_id},
                MEMORY_DEADLINE_SECONDS,
                answers_connect.read_migration_status,
            )
        except VdsmCallFailed as error:
            if error.code in (VdsmCode.MIGRATION_NOT_IN_PROGRESS, VdsmCode.NO_SUCH_VM):
                return None
            raise

    async def set_console_password(
        self,
        vm_id: str,
        password: str,
        *,
        ttl_seconds: int,
        graphics: Graphics = Graphics.VNC,
        on_connected: OnConnected = OnConnected.KEEP,
    ) -> bool:
        """VM.updateDevice: let whoever knows `password` connect to the console. Changes.

        For `ttl_seconds`: VDSM computes the end by its host's clock; who is connected by then
        stays. False: the VM is not here (code 1). Other codes: 6 and 100, the VM is down or has
        no console of that protocol. VM.setTicket, the older verb, sets the first console's
        password, whichever that is, and is not used.
        """
        device: dict[str, Any] = {
            "deviceType": "graphics",
            "graphicsType": graphics.value,
            "password": password,
            "ttl": ttl_seconds,
            "existingConnAction": on_connected.value,
            "params": {},
        }
        return await self._call_on_vm("VM.updateDevice", {"vmID": vm_id, "params": device})

    # The host.

    async def host_stats(self) -> answers.HostStats:
        """Host.getStats: free memory, CPU and links."""
        return await self._ask(
            "Host.getStats", {}, _HOST_STATS_DEADLINE_SECONDS, answers.read_host_stats
        )

    async def host_capabilities(self) -> answers.HostCapabilities:
        """Host.getCapabilities: memory, CPUs and machine types. Heavy for VDSM: ask seldom."""
        return await self._ask(
            "Host.getCapabilities",
            {},
            _CAPABILITIES_DEADLINE_SECONDS,
            answers.read_host_capabilities,
        )

    async def _call_on_vm(self, verb: str, params: Mapping[str, Any]) -> bool:
        try:
            await self._call(verb, params, _VM_DEADLINE_SECONDS)
        except VdsmCallFailed as error:
            if error.code == VdsmCode.NO_SUCH_VM:
                return False
            raise
        return True


def _all_vms(answer: Any) -> list[VmStats]:
    return [parse_vm_stats(value) for value in answers.as_objects(answer)]


def _only_vm(vm_id: str, answer: Any) -> VmStats:
    values = answers.as_objects(answer)
    if len(values) != 1:
        raise BadInput(f"{len(values)} VMs, not one")
    return parse_vm_stats(values[0], vm_id=vm_id)
