# SPDX-License-Identifier: Apache-2.0
"""All VMs of this host: made, looked up, forgotten, and found again after a restart."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Callable

from ha_agent.errors import BadInput
from ha_agent.vdsm import registry
from ha_agent.vdsm.domain_xml import parse_domain
from ha_agent.vdsm.errors import VdsmCode
from ha_agent.vdsm.refusal import Refusal, general, no_such_vm
from ha_agent.vdsm.registry import VmRecord
from ha_agent.vdsm.vm import Clock, Vm, vdsm_clock_ms
from ha_agent.vdsm.vm_start import VmHost
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

    def create(self, xml: str) -> dict[str, Any]:
        """Begin to start a VM and return VM.create's answer.

        Raises Refusal: 4 when a record is there, 9 for a VNC display without password, 100 for
        a document that can't be read.
        """
        try:
            domain = parse_domain(xml)
        except BadInput as error:
            raise general(error) from error
        if domain.uuid in self._vms:
            raise Refusal(
                VdsmCode.VM_EXISTS, f"Virtual machine already exists: {{'vmId': {domain.uuid!r}}}"
            )
        if domain.vnc_without_password:
            raise Refusal(VdsmCode.CANNOT_CREATE_VM, "VNC graphics without password and SASL")
        record = VmRecord(
            uuid=domain.uuid, name=domain.name, xml=xml, status=VmStatus.WAIT_FOR_LAUNCH.value
        )
        registry.prepare_dir(self._host.run_dir, record.uuid)
        registry.save(self._host.run_dir, record)
        vm = Vm(record, domain, self._host, self._clock, self._emit)
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
            registry.forget(self._host.run_dir, uuid)

    async def recover(self) -> None:
        """Find the VMs of our earlier life again: running ones are taken up, others are Down."""
        records, faults = registry.load_all(self._host.run_dir)
        for fault in faults:
            log.error("a VM's record is lost: %s", fault)
        await asyncio.gather(*(self._recover_one(record) for record in records))

    async def _recover_one(self, record: VmRecord) -> None:
        try:
            domain = parse_domain(record.xml)
        except BadInput as error:
            log.error("VM %s: its record is lost: %s", record.uuid, error)
            return
        vm = Vm(record, domain, self._host, self._clock, self._emit)
        self._vms[record.uuid] = vm
        if record.status == VmStatus.DOWN.value:
            return
        pid, ticks = record.pid, record.start_ticks
        if pid is None:
            # We died between spawning QEMU and writing down its pid, or before.
            pid = registry.find_qemu(self._host.run_dir, record.uuid)
            ticks = registry.start_ticks(pid) if pid is not None else None
        try:
            if pid is None or ticks is None:
                raise ProcessLookupError("no QEMU")
            await vm.adopt(pid, ticks)
            log.info("VM %s: found again, pid %d", record.uuid, pid)
        except ProcessLookupError as error:
            log.warning("VM %s: is gone (%s)", record.uuid, error)
            vm.set_down(1, ExitReason.GENERIC_ERROR)

    async def close(self) -> None:
        """Let go of all VMs; those that run go on."""
        for vm in self._vms.values():
            await vm.close()
