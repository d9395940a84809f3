# SPDX-License-Identifier: Apache-2.0
"""What a running VM can be told: pause, cont, reset, shutdown, a console's password.

An order ends within the deadlines of qemu/process.py and of the VM lease, whatever QEMU does.
What it changes in the VM's status comes from QEMU's events (monitor.py), not from the order
itself: a VM.cont into a full disk may be Paused again before its answer is there.
"""

from __future__ import annotations

import asyncio
import calendar
import contextlib
import logging
import re
from collections.abc import Awaitable
from typing import Any, Callable, Optional

from ha_agent.errors import EnvironmentFault, HaAgentError
from ha_agent.vdsm.domain.model import Domain
from ha_agent.vdsm.errors import VdsmCode
from ha_agent.vdsm.qemu.process import QemuProcess
from ha_agent.vdsm.refusal import Refusal, general
from ha_agent.vdsm.vm.start import VmHost, find_leases
from ha_agent.vdsm.vm.state import VmState

log = logging.getLogger(__name__)

_DEFAULT_SHUTDOWN_SECONDS = 120.0  # VDSM's [vars] sys_shutdown_timeout
_VALID_TO = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)", re.ASCII)


class VmOrders:
    """Orders for one VM. `running` gives its QEMU or raises Refusal 1; `destroy` ends it."""

    def __init__(
        self,
        state: VmState,
        domain: Domain,
        host: VmHost,
        running: Callable[[], QemuProcess],
        destroy: Callable[[], Awaitable[None]],
    ) -> None:
        self._state = state
        self._domain = domain
        self._host = host
        self._running = running
        self._destroy = destroy
        self._cont_lock = asyncio.Lock()

    async def _execute(self, command: str, **arguments: Any) -> None:
        try:
            await self._running().execute(command, **arguments)
        except EnvironmentFault as error:
            raise general(error) from error

    async def pause(self) -> None:
        """Stop the vCPUs. Raises Refusal."""
        await self._execute("stop")

    async def cont(self) -> None:
        """Let the vCPUs run, once the VM lease is held. Raises Refusal."""
        async with self._cont_lock:
            process = self._running()
            if not self._state.record.is_lease_held:
                await self._hand_over_leases(process)
                self._running()  # or it has ended meanwhile
                self._state.save(is_lease_held=True)
            # QEMU's own cont of a running VM says STOP and RESUME; libvirt makes it nothing.
            if self._state.is_paused:
                await self._execute("cont")
            else:
                self._state.pause_code = ""
            self._state.powering_up()
            self._state.emit_status()

    async def _hand_over_leases(self, process: QemuProcess) -> None:
        try:
            leases = await find_leases(self._host, self._domain)
            await self._host.leases.hand_over(leases, process)
        except HaAgentError as error:
            raise general(error) from error

    async def reset(self) -> None:
        """Press the reset button. Raises Refusal."""
        await self._execute("system_reset")

    async def set_destroy_on_reboot(self) -> None:
        """Have the guest's next reboot end the VM. Raises Refusal."""
        await self._execute("set-action", reboot="shutdown")

    def begin_shutdown(self, *, force: bool, reboot: bool) -> QemuProcess:
        """Check and note VM.shutdown; `shut_down` does it, which takes as long as the guest.

        Raises Refusal: 1 for a Down VM, 4 when nothing can do it.
        """
        process = self._running()
        # ACPI has no button for a reboot, and there is no guest agent.
        if not force and (reboot or not process.is_connected):
            raise Refusal(VdsmCode.VM_EXISTS, "VM without ACPI or active oVirt guest agent")
        if not reboot:
            self._state.save(is_shutdown_asked=True)
            self._state.powering_down()
            self._state.emit_status()
        return process

    async def shut_down(
        self, process: QemuProcess, timeout_seconds: Optional[float], *, force: bool
    ) -> None:
        """Press the power button; after the timeout, if `force`, do as VM.destroy does."""
        with contextlib.suppress(EnvironmentFault):
            await process.execute("system_powerdown")
        lasts = _DEFAULT_SHUTDOWN_SECONDS if timeout_seconds is None else timeout_seconds
        if force and not await process.wait(lasts):
            try:
                await self._destroy()
            except Refusal as error:
                log.error("VM %s: %s", self._state.record.uuid, error)

    # Consoles

    async def set_graphics_password(
        self,
        kind: str,
        password: str,
        ttl_seconds: int,
        existing_action: Optional[str] = None,
    ) -> None:
        """Set a console's password; QEMU refuses it after `ttl_seconds`, 0 means never.

        With an empty one nobody gets in, as under libvirt: QEMU itself would let in everybody who
        answers with none.

        `existing_action` (keep, disconnect, fail) is for SPICE: VNC keeps who is connected.
        Raises Refusal 100 when the VM has no such console.
        """
        self._running()
        kinds = {"vnc"} & {graphics.kind for graphics in self._domain.graphics}
        if kind not in kinds:
            raise general(
                f"no {kind or 'nameless'} console: this VM has {', '.join(kinds) or 'none'}"
            )
        if existing_action not in (None, "", "keep"):
            log.info("VM %s: its VNC console keeps who is connected", self._state.record.uuid)
        await self._execute("set_password", protocol="vnc", password=password)
        until = f"+{ttl_seconds}" if ttl_seconds > 0 else "never"
        if not password:
            until = "now"
        await self._execute("expire_password", protocol="vnc", time=until)

    async def set_first_password(self, process: QemuProcess) -> None:
        """Set the console's password that the definition carries. Raises EnvironmentFault.

        Without one QEMU lets nobody in, which is what the engine's expired one means.
        """
        for graphics in self._domain.graphics:
            valid_to = _VALID_TO.match(graphics.valid_to)
            if graphics.kind != "vnc" or not graphics.password or not valid_to:
                continue
            seconds = calendar.timegm((*map(int, valid_to.groups()), 0, 0, 0))
            await process.execute("set_password", protocol="vnc", password=graphics.password)
            await process.execute("expire_password", protocol="vnc", time=str(max(1, seconds)))
