# SPDX-License-Identifier: Apache-2.0
"""All VMs of this host: made, looked up, forgotten, and found again after a restart."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping
from typing import Any, Callable, Optional

from ha_agent.errors import BadInput
from ha_agent.vdsm.domain.document import parse_domain
from ha_agent.vdsm.domain.model import Domain
from ha_agent.vdsm.errors import VdsmCode
from ha_agent.vdsm.file_domain import is_uuid
from ha_agent.vdsm.refusal import Refusal, general, no_such_vm
from ha_agent.vdsm.vm import registry
from ha_agent.vdsm.vm.registry import VmRecord
from ha_agent.vdsm.vm.start import StartTimes, VmHost
from ha_agent.vdsm.vm.state import Clock, vdsm_clock_ms
from ha_agent.vdsm.vm.vm import Vm
from ha_agent.vdsm.vm_status import ExitReason, VmStatus

log = logging.getLogger(__name__)


class Vms:
    """The VMs by UUID. `emit` gets (uuid, fields) of each status event."""

    def __init__(
        self, host: VmHost, clock: Clock, emit: Callable[[str, Mapping[str, Any]], None]
    ) -> None:
        self._host = host
        self._clock = clock
        self._emit = emit
        self._vms: dict[str, Vm] = {}

    def get(self, uuid: str) -> Vm:
        """Return the VM, Down records included. Raises Refusal 1."""
        vm = self._vms.get(uuid)
        if vm is None:
            raise no_such_vm(uuid)
        return vm

    def all(self) -> list[Vm]:
        """Return all VMs, Down records included, in the order of their making."""
        return list(self._vms.values())

    def some(self, wanted: Optional[Collection[object]]) -> list[Vm]:
        """Return the VMs with these UUIDs, all without any."""
        return [vm for vm in self._vms.values() if not wanted or vm.record.uuid in wanted]

    def create(self, xml: str) -> dict[str, Any]:
        """Begin to start a VM and return VM.create's answer.

        Raises Refusal: 4 when a record is there, 9 for a VNC display without password, 100 for
        a document that can't be read.
        """
        times = StartTimes(self._clock)
        try:
            domain = parse_domain(xml)
        except BadInput as error:
            raise general(error) from error
        if domain.uuid in self._vms:
            raise Refusal(
                VdsmCode.VM_EXISTS, f"Virtual machine already exists: {{'vmId': {domain.uuid!r}}}"
            )
        if domain.has_open_vnc:
            raise Refusal(VdsmCode.CANNOT_CREATE_VM, "VNC graphics without password and SASL")
        record = VmRecord(
            uuid=domain.uuid, name=domain.name, xml=xml, status=VmStatus.WAIT_FOR_LAUNCH.value
        )
        registry.prepare_dir(self._host.run_dir, record.uuid)
        registry.save_definition(self._host.run_dir, record.uuid, xml)
        registry.save(self._host.run_dir, record)
        times.step("definition")
        vm = Vm(record, domain, self._host, self._clock, self._emit, times)
        self._vms[record.uuid] = vm
        vm.start()
        return {
            "vmId": record.uuid,
            "status": record.status,
            "statusTime": str(vdsm_clock_ms(self._clock.now())),
            "xml": xml,
        }

    async def destroy(self, uuid: str, graceful: bool) -> None:
        """End the VM and forget its record. Raises Refusal 1, 42."""
        vm = self.get(uuid)
        await vm.destroy(graceful)
        await vm.close()
        if self._vms.get(uuid) is vm:  # not one that was made meanwhile
            del self._vms[uuid]
            vm.state.forget()

    async def recover(self) -> None:
        """Find the VMs of our earlier life again: running ones are taken up, others are Down."""
        run_dir = self._host.run_dir
        records, faults = registry.load_all(run_dir)
        pids = registry.running_qemus(run_dir)
        domains: dict[str, Domain] = {}
        sound: dict[str, VmRecord] = {}
        for record in records:
            try:
                domains[record.uuid] = parse_domain(record.xml)
                sound[record.uuid] = record
            except BadInput as error:
                faults[record.uuid] = error
        for uuid, fault in faults.items():
            log.error("VM %s: its record is damaged: %s", uuid, fault)
        for uuid in sorted({*faults, *pids} - set(sound)):
            if is_uuid(uuid):
                sound[uuid], domains[uuid] = self._rebuilt(uuid, pids.get(uuid))
        await asyncio.gather(
            *(
                self._recover_one(record, domains[uuid], pids.get(uuid))
                for uuid, record in sound.items()
            )
        )

    def _rebuilt(self, uuid: str, pid: Optional[int]) -> tuple[VmRecord, Domain]:
        record = registry.rebuild(self._host.run_dir, uuid, pid)
        try:
            domain = parse_domain(record.xml)
        except BadInput as fault:
            log.error("VM %s: its definition is damaged, too: %s", uuid, fault)
            record = registry.rebuild(self._host.run_dir, uuid, pid, with_definition=False)
            domain = parse_domain(record.xml)
        how = f"by its QEMU, pid {pid}" if pid is not None else "Down, no QEMU runs it"
        log.warning("VM %s, %r: known again without its record: %s", uuid, record.name, how)
        return record, domain

    async def _recover_one(self, record: VmRecord, domain: Domain, found: Optional[int]) -> None:
        vm = Vm(record, domain, self._host, self._clock, self._emit)
        self._vms[record.uuid] = vm
        if record.status == VmStatus.DOWN.value and found is None:
            return
        pid, ticks = record.pid, record.start_ticks
        if found is not None:
            # The command line knows better than the record: we may have died before the pid was
            # written down; or QEMU would not end and was given up; or the record is damaged. What
            # runs must not be taken for Down: it could be created a second time.
            pid, ticks = found, registry.start_ticks(found)
        try:
            if pid is None or ticks is None:
                raise ProcessLookupError("no QEMU")
            await vm.adopt(pid, ticks)
            log.info("VM %s: found again, pid %d", record.uuid, pid)
        except ProcessLookupError as error:
            log.warning("VM %s: is gone (%s)", record.uuid, error)
            vm.state.set_down(1, ExitReason.GENERIC_ERROR)

    async def close(self) -> None:
        """Let go of all VMs; those that run go on."""
        for vm in self._vms.values():
            await vm.close()
