# SPDX-License-Identifier: Apache-2.0
"""The steps after the domain is active: the VM's registration, its protection, the OVF_STORE.

What the engine changes of the VM is in the OVF_STORE only after the next update. So the journal
says "wanted" *before* such a change is asked for, and "done" after the update that followed it; a
kill in between leaves "wanted". Where the journal knows nothing (another host began) the store
is written once more, which harms nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

from ha_agent.engine.domain_steps import FindHost
from ha_agent.engine.faults import EngineNotFound
from ha_agent.engine.step_base import STORE_KEY, WANTED, WRITTEN, EngineStep, Run
from ha_agent.engine.store_view import StoreCopy, StoreView, unwritten
from ha_agent.engine.views import Vm
from ha_agent.errors import EnvironmentFault
from ha_agent.setup.step import Found, SetupFailed, SetupRefused

# The store's dates have whole seconds: an update in the second of the last one looks like none.
# After so many looks without a change it is asked for again.
_LOOKS_A_REQUEST = 40
# The engine reads the OVF_STORE while it attaches and activates the domain; about a minute.
_LOOKS_FOR_THE_VM = 25


class RegisterVm(EngineStep):
    """Has the engine take the VM from the OVF_STORE."""

    name = "register"
    title = "register the engine VM"

    def __init__(self, run: Run, host: FindHost) -> None:
        super().__init__(run)
        self._host = host
        self._looks_in_vain = 0

    async def observe(self) -> Found:
        vm = await self.engine.vm(self.wanted.vm_uuid)
        if vm is not None and vm.status == "image_locked":
            return Found(False, f"registered as {vm.name}, {_status(vm)}")
        if vm is not None:
            await self._refuse_without_disk(vm)
            return Found(True, f"registered as {vm.name}, {_status(vm)}")
        domain = await self.engine.domain(self.wanted.domain_uuid)
        if domain is None or domain.status != "active":
            return Found(False, "the storage domain is not active yet")
        waiting = await self._unregistered()
        if waiting is None:
            return Found(False, "the engine lists it neither as registered nor as unregistered")
        await self._refuse_same_name(waiting)
        return Found(False, f"unregistered in the OVF_STORE as {waiting.name}")

    async def advance(self) -> str:
        vm = await self.engine.vm(self.wanted.vm_uuid)
        if vm is not None:
            return "" if vm.status != "image_locked" else f"{vm.name} is {_status(vm)}"
        waiting = await self._unregistered()
        if waiting is None:
            self._looks_in_vain += 1
            others = await self.engine.unregistered_vms(self.wanted.domain_uuid)
            if others or self._looks_in_vain > _LOOKS_FOR_THE_VM:
                raise SetupFailed(self._not_there(others))
            return "the engine lists no VM of the OVF_STORE yet"
        await self._refuse_same_name(waiting)
        target = await self._host.target()
        vm_id = waiting.id
        self.run.journal.note(STORE_KEY, WANTED)
        await self.request(
            f"{waiting.name} is not registered",
            lambda: self.engine.register(self.wanted.domain_uuid, vm_id, target.cluster.id),
        )
        return f"the engine registers {waiting.name} in cluster {target.cluster.name}"

    async def _unregistered(self) -> Optional[Vm]:
        found = await self.engine.unregistered_vms(self.wanted.domain_uuid)
        return next((vm for vm in found if vm.id.lower() == self.wanted.vm_uuid), None)

    async def _refuse_same_name(self, waiting: Vm) -> None:
        for other in await self.engine.vms_called(waiting.name):
            if other.id.lower() != self.wanted.vm_uuid:
                raise SetupRefused(
                    f"another VM of the engine, {other.id}, has the name {waiting.name}; rename "
                    "it in the engine first"
                )

    async def _refuse_without_disk(self, vm: Vm) -> None:
        """Refuse a VM that is not the one in the OVF_STORE, but has its id.

        The engine notes a VM that it finds running on a host, with its id and no disks. The
        OVF_STORE gets the VMs that have a disk on the domain: an update would lose ours.
        """
        domain_uuid = self.wanted.domain_uuid
        try:
            here = {disk.id for disk in await self.engine.disks(domain_uuid)}
        except EngineNotFound:
            here = set()
        if not here & await self.engine.disk_ids_of(vm.id):
            raise SetupRefused(
                f"the engine has a VM {vm.name} of the id {vm.id} already, which has no disk on "
                f"storage domain {domain_uuid}; with it the OVF_STORE would be written without "
                "the engine VM, and so it is left as it is"
            )

    def _not_there(self, others: Sequence[Vm]) -> str:
        names = ", ".join(f"{vm.name} ({vm.id})" for vm in others) or "none"
        return (
            f"the engine found no VM {self.wanted.vm_uuid} in the OVF_STORE, which it reads when "
            f"the domain is attached; unregistered VMs there: {names}. See `ha-agent store verify`"
        )


class ProtectVm(EngineStep):
    """Sets delete protection, so that nobody removes the VM that the engine is."""

    name = "protect"
    title = "set the engine VM's delete protection"

    async def observe(self) -> Found:
        vm = await self.engine.vm(self.wanted.vm_uuid)
        if vm is None:
            return Found(False, "the engine VM is not registered yet")
        return Found(vm.delete_protected, "it is on" if vm.delete_protected else "it is off")

    async def advance(self) -> str:
        vm = await self.engine.vm(self.wanted.vm_uuid)
        if vm is None:
            raise SetupFailed("the engine VM is not registered any more")
        if vm.delete_protected:
            return ""
        self.run.journal.note(STORE_KEY, WANTED)
        await self.request(
            "delete protection is off", lambda: self.engine.protect(self.wanted.vm_uuid)
        )
        return "the engine sets it"


class UpdateOvfStore(EngineStep):
    """Has the engine write what it now knows of the VM, and waits until all copies are whole."""

    name = "ovf_store"
    title = "have the engine write the OVF_STORE"

    def __init__(self, run: Run, view: StoreView) -> None:
        super().__init__(run)
        self._view = view
        self._before: Optional[tuple[StoreCopy, ...]] = None
        self._looks_left = 0

    async def observe(self) -> Found:
        vm = await self.engine.vm(self.wanted.vm_uuid)
        if vm is None:
            return Found(False, "the engine VM is not registered yet")
        if self.run.journal.get(STORE_KEY) != WRITTEN:
            return Found(False, "the engine was not asked since its last change of the VM")
        waiting, seen = await self._unfinished(None)
        return Found(not waiting, waiting or seen)

    async def advance(self) -> str:
        if self._looks_left == 0:
            if self._before is None:  # a request whose answer was lost may have done its work
                self._before = await self._copies()
            await self.request(
                "the OVF_STORE stays as it was",
                lambda: self.engine.update_ovf_store(self.wanted.domain_uuid),
            )
            self._looks_left = _LOOKS_A_REQUEST
        self._looks_left -= 1
        waiting, _ = await self._unfinished(self._before)
        if not waiting:
            self.run.journal.note(STORE_KEY, WRITTEN)
        return waiting

    async def _unfinished(self, before: Optional[tuple[StoreCopy, ...]]) -> tuple[str, str]:
        """Return what is waited for, or "" and what was seen."""
        disks = await self.engine.ovf_disks(self.wanted.domain_uuid)
        locked = [disk.id for disk in disks if disk.status == "locked"]
        if locked:
            return f"the engine has disk {', '.join(locked)} locked", ""
        if not disks:
            return "the engine has no disk of the OVF_STORE", ""
        bad = [f"{disk.id} is {disk.status}" for disk in disks if disk.status != "ok"]
        if bad:
            raise SetupFailed(
                f"of the OVF_STORE's disks {', '.join(bad)}; the engine can't use it"
            )
        now = await self._copies()
        if now is None:
            return "", f"the engine has {len(disks)} disks of it; its dates can't be seen here"
        waiting = unwritten(before, now)
        return waiting, "; ".join(copy.told for copy in now)

    async def _copies(self) -> Optional[tuple[StoreCopy, ...]]:
        try:
            return await self._view.copies()
        except EnvironmentFault:
            return None  # no broker here; the engine's word has to do


def _status(vm: Vm) -> str:
    return vm.status.replace("_", " ") or "in an unknown state"
