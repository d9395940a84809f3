# SPDX-License-Identifier: Apache-2.0
"""The embedded VDSM's verbs on VMs: from a verb's arguments to what vms.py and vm.py do.

What VDSM does by moving a VM between hosts, or by an agent inside it, is refused: this VDSM has
neither. Codes are those that VDSM gives when it can't do it either.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

from ha_agent.vdsm.errors import VdsmCode
from ha_agent.vdsm.refusal import Refusal, general
from ha_agent.vdsm.vm.vms import Vms

_GRAPHICS = "graphics"
_NO_MIGRATION = "this VDSM moves no VM to another host: shut it down, and start it there"


class VmVerbs:
    """The VMs of `vms`, asked for by verbs."""

    def __init__(self, vms: Vms) -> None:
        self._vms = vms

    # Asked

    def summaries(
        self, _full: object, wanted: Optional[list[Any]], _only: object
    ) -> list[dict[str, Any]]:
        """Host.getVMList: whatever it is asked for, id, raw status and statusTime."""
        return [vm.summary() for vm in self._vms.some(wanted)]

    def full_list(self, wanted: Optional[list[Any]]) -> list[dict[str, Any]]:
        """Host.getVMFullList. The schema promises more of each VM than its definition and what
        Host.getVMList has, in the form of the dead device list.
        """
        return [
            {
                **vm.summary(),
                "vmName": vm.record.name,
                "vmType": "kvm",
                "pid": str(vm.record.pid or 0),
                "xml": vm.record.xml,
            }
            for vm in self._vms.some(wanted)
        ]

    def definitions(self, wanted: Optional[list[Any]]) -> dict[str, str]:
        """Host.dumpxmls."""
        return {vm.record.uuid: vm.record.xml for vm in self._vms.some(wanted)}

    def all_stats(self) -> list[dict[str, Any]]:
        """Host.getAllVmStats."""
        return [vm.stats() for vm in self._vms.all()]

    def stats(self, vm_id: str) -> list[dict[str, Any]]:
        """VM.getStats: one element."""
        return [self._vms.get(vm_id).stats()]

    # Started and ended

    def create(self, _vm_id: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """VM.create: as in VDSM the id is the document's, and vmID is ignored."""
        xml = params.get("_srcDomXML") or params.get("xml")
        if not isinstance(xml, str):
            raise general("'xml'")
        for name in ("_X_tpmdata", "_X_nvramdata"):
            if params.get(name):
                # To start without it would be to lose it: the guest makes its own anew.
                raise general(f"{name} is not supported: TPM and UEFI variables start empty here")
        return self._vms.create(xml)

    async def destroy(self, vm_id: str, graceful_attempts: Optional[int]) -> None:
        """VM.destroy."""
        await self._vms.destroy(vm_id, graceful=graceful_attempts is None or graceful_attempts > 0)

    async def shutdown(
        self,
        vm_id: str,
        _delay: Optional[int],
        _message: Optional[str],
        reboot: Any,
        timeout_seconds: Optional[int],
        force: Any,
    ) -> None:
        """VM.shutdown. Delay and message are for a guest agent, which is not spoken to here."""
        await self._vms.get(vm_id).shutdown(timeout_seconds, _flag(force), _flag(reboot))

    # Ordered about

    async def pause(self, vm_id: str) -> dict[str, Any]:
        """VM.pause."""
        await self._vms.get(vm_id).pause()
        return {"vmList": {}}

    async def cont(self, vm_id: str) -> dict[str, Any]:
        """VM.cont."""
        await self._vms.get(vm_id).cont()
        return {"vmList": {}}

    async def reset(self, vm_id: str) -> None:
        """VM.reset."""
        await self._vms.get(vm_id).orders.reset()

    async def set_destroy_on_reboot(self, vm_id: str) -> None:
        """VM.setDestroyOnReboot."""
        await self._vms.get(vm_id).orders.set_destroy_on_reboot()

    async def update_device(self, vm_id: str, params: Mapping[str, Any]) -> None:
        """VM.updateDevice, of which a console's password is done here, as `hosted-engine
        --add-console-password` asks for it.
        """
        vm = self._vms.get(vm_id)
        kind = params.get("deviceType")
        if kind is None:
            raise general("Missing required key: deviceType")
        if kind != _GRAPHICS:
            raise general(f"device type {str(kind)[:40]!r} can't be updated, only {_GRAPHICS}")
        graphics, password = params.get("graphicsType"), params.get("password")
        if not isinstance(graphics, str) or not isinstance(password, str):
            raise general("graphicsType and password are wanted, as texts")
        action = params.get("existingConnAction")
        await vm.set_graphics_password(
            graphics,
            password,
            _seconds(params.get("ttl")),
            None if action is None else str(action),
        )

    async def set_ticket(
        self,
        vm_id: str,
        password: str,
        ttl_seconds: int,
        existing_action: str,
        _params: object,
    ) -> None:
        """VM.setTicket: the older form, for the VM's first console."""
        vm = self._vms.get(vm_id)
        kind = next((graphics.kind for graphics in vm.domain.graphics), "")
        await vm.set_graphics_password(kind, password, ttl_seconds, existing_action)

    # Not done here

    def migrate(self, vm_id: str, _params: object) -> None:
        """VM.migrate."""
        self._vms.get(vm_id)
        raise Refusal(VdsmCode.MIGRATION_ERROR, f"Fatal error during migration: {_NO_MIGRATION}")

    def no_migration(self, vm_id: str) -> None:
        """VM.migrateCancel, VM.getMigrationStatus."""
        self._vms.get(vm_id)
        raise Refusal(VdsmCode.MIGRATION_NOT_IN_PROGRESS, "Migration not in progress")

    def no_guest_agent(self, vm_id: str, *_arguments: object) -> None:
        """VM.desktopLogin, desktopLock, desktopLogoff."""
        self._vms.get(vm_id)
        raise Refusal(VdsmCode.GUEST_AGENT_SILENT, "Guest agent non-responsive")

    def no_hotplug(self, vm_id: str, *_arguments: object) -> None:
        """VM.hotplugLease, hotunplugLease, hotplugDisk and so on."""
        self._vms.get(vm_id)
        raise general("devices are changed by the VM's next start only")


def _flag(value: Any) -> bool:
    """Read a boolean, also as the text that VDSM's tools send."""
    return value.strip().lower() == "true" if isinstance(value, str) else bool(value)


def _seconds(value: Any) -> int:
    """Read a time to live, also as the text that VDSM's tools send. Raises Refusal."""
    try:
        return int(value)
    except (TypeError, ValueError):
        raise general(f"ttl {str(value)[:40]!r} is no number of seconds") from None
