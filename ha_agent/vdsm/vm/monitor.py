# SPDX-License-Identifier: Apache-2.0
"""Hears one VM's QEMU: from its QMP events, and by a look now and then, to the VM's status.

    BLOCK_IO_ERROR, action stop    the pause code, EIO or ENOSPC; the STOP comes with it
    STOP, RESUME                   Paused with the pause code; running, the pause code is gone
    RESET                          RebootInProgress
    SHUTDOWN                       kept by qemu/process.py: with QEMU's end it tells why

An event may be lost with a connection, so every 15 s, and after each connect, QEMU is asked.
A connection that ended is made again for as long as QEMU lives; a QEMU that does not answer
keeps its status, and VM.getStats tells monitorResponse -1, as VDSM does.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Callable

from ha_agent.errors import EnvironmentFault
from ha_agent.vdsm.qemu.process import QemuProcess
from ha_agent.vdsm.vm.pause import IO_ERROR_CODES
from ha_agent.vdsm.vm.state import VmState
from ha_agent.waiting import Signal, wait_for_event

log = logging.getLogger(__name__)

_LOOK_SECONDS = 15.0
_RECONNECT_SECONDS = 2.0
_RECONNECT_DEADLINE_SECONDS = 5.0


class VmMonitor:
    """Keeps a VM's state as its QEMU's is; `on_io_pause` is told of a pause by an I/O error."""

    def __init__(self, state: VmState, vm_dir: Path, on_io_pause: Callable[[], None]) -> None:
        self._state = state
        self._vm_dir = vm_dir
        self._on_io_pause = on_io_pause
        # Set once QEMU has been asked how it is.
        self.has_looked = Signal()
        self._changes = 0

    def hear(self, name: str, data: Mapping[str, Any]) -> None:
        """Take a QMP event."""
        state = self._state
        if name == "BLOCK_IO_ERROR":
            code = "ENOSPC" if data.get("nospace") else "EIO"
            disk = data.get("qom-path") or data.get("node-name") or data.get("device")
            log.warning(
                "VM %s: %s on %s, action %s", state.record.uuid, code, disk, data.get("action")
            )
            if data.get("action") == "stop":
                state.pause_code = code
        elif name == "GUEST_PANICKED":
            log.warning("VM %s: the guest has panicked", state.record.uuid)
        elif state.is_down or state.ended_as is not None:
            return  # QEMU stops its vCPUs before it ends; that is no pause
        elif name == "STOP":
            self._stopped()
        elif name == "RESUME":
            self._resumed()
        elif name == "RESET":
            state.rebooting()
            state.emit_status()

    def _stopped(self) -> None:
        self._changes += 1
        self._state.set_paused(True)
        self._state.emit_status()
        if self._state.pause_code in IO_ERROR_CODES:
            self._on_io_pause()

    def _resumed(self) -> None:
        self._changes += 1
        self._state.pause_code = ""
        self._state.set_paused(False)

    async def look(self, process: QemuProcess) -> None:
        """Ask QEMU how it is. Raises EnvironmentFault, DeadlineExceeded."""
        changes = self._changes
        answer = await process.execute("query-status")
        is_running, status = bool(answer.get("running", True)), answer.get("status")
        code = await _io_error(process) if status == "io-error" else ""
        if changes != self._changes or status in ("shutdown", "guest-panicked"):
            return  # an event that came meanwhile knows better; its end will be told
        state = self._state
        if not is_running and (not state.is_paused or (code and state.pause_code != code)):
            state.pause_code = code or state.pause_code
            state.set_paused(True)
            if state.pause_code in IO_ERROR_CODES:
                self._on_io_pause()
        elif is_running and state.is_paused:
            self._resumed()

    async def keep(self, process: QemuProcess) -> None:
        """Keep a connection and look now and then, until QEMU's end."""
        complaint = ""
        while not process.exited.is_set():
            try:
                if not process.is_connected:
                    await process.connect(self._vm_dir, _RECONNECT_DEADLINE_SECONDS)
                before = self._state.status
                await self.look(process)
                self.has_looked.set()
                self._state.settle()
                if self._state.status != before:
                    self._state.emit_status()
                complaint = ""
            except EnvironmentFault as error:
                if str(error) != complaint and not process.exited.is_set():
                    log.warning("VM %s: %s", self._state.record.uuid, error)
                complaint = str(error)
            if process.is_connected:
                await process.hung_up.wait(_LOOK_SECONDS)
            else:
                await wait_for_event(process.exited, _RECONNECT_SECONDS)


async def _io_error(process: QemuProcess) -> str:
    """Return the pause code of a QEMU that is in its state io-error."""
    for block in await process.execute("query-block"):
        if block.get("io-status") == "nospace":
            return "ENOSPC"
    return "EIO"
