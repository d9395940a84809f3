# SPDX-License-Identifier: Apache-2.0
"""One VM as VDSM shows it: its status, its start, its ends, its events.

VDSM has two statuses. The raw one (Host.getVMList) is WaitForLaunch, Up or Down. The reported
one (VM.getStats, events) refines Up, in this order (facts, section 3):

    Paused              the vCPUs are stopped
    Powering down       for 300 s after VM.shutdown
    Powering up         for 60 s after the start or VM.cont, since no guest agent says Up
    RebootInProgress    for 60 s after a reset
    Up

A VM that ended stays as a Down record, with exit code, reason and message, until VM.destroy.
The end is reported at the moment that the kernel tells it (qemu.py's pidfd).
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import Coroutine, Mapping
from typing import Any, Callable, Optional, Protocol

from ha_agent.errors import EnvironmentFault, HaAgentError
from ha_agent.instant import Instant
from ha_agent.vdsm import registry
from ha_agent.vdsm.domain_model import Domain
from ha_agent.vdsm.errors import VdsmCode
from ha_agent.vdsm.qemu import QemuExit, QemuProcess, listen_for_qmp, spawn
from ha_agent.vdsm.refusal import Refusal, general, no_such_vm
from ha_agent.vdsm.registry import VmRecord
from ha_agent.vdsm.vm_end import EXIT_MESSAGES, judge_end, log_tail
from ha_agent.vdsm.vm_lease import LeasedStart, LeaseRefused
from ha_agent.vdsm.vm_start import VmHost, command_for, find_leases
from ha_agent.vdsm.vm_status import ExitReason, VmStatus

log = logging.getLogger(__name__)

_POWERING_UP_SECONDS = 60.0
_POWERING_DOWN_SECONDS = 300.0
_REBOOT_SECONDS = 60.0
_DEFAULT_SHUTDOWN_SECONDS = 120.0  # VDSM's [vars] sys_shutdown_timeout
_QUIT_SECONDS = 2.0
_KILL_SECONDS = 10.0


class Clock(Protocol):
    """The clock that statuses are dated by."""

    def now(self) -> Instant: ...


def vdsm_clock_ms(now: Instant) -> int:
    """Return a time as VDSM writes it in statusTime and notify_time (its common/time.py)."""
    return 2**31 - 1 + int(now.boottime_seconds * 1000)


class Vm:
    """One VM. `emit` gets (uuid, fields) for each status event."""

    def __init__(
        self,
        record: VmRecord,
        domain: Domain,
        host: VmHost,
        clock: Clock,
        emit: Callable[[str, Mapping[str, Any]], None],
    ) -> None:
        self.record = record
        self.domain = domain
        self.notes: tuple[str, ...] = ()
        self._host = host
        self._clock = clock
        self._emit = emit
        self._vm_dir = registry.vm_dir(host.run_dir, record.uuid)
        self._process: Optional[QemuProcess] = None
        self._changed_at = clock.now()
        # What the guest is believed to do, for how long, since when.
        self._phase = (VmStatus.POWERING_UP, _POWERING_UP_SECONDS, clock.now())
        self._is_paused = False
        self._pause_code = "NOERR"
        self._ended_as: Optional[ExitReason] = None
        self._start: Optional[asyncio.Task[None]] = None
        self._chores: set[asyncio.Task[None]] = set()
        self._lock = asyncio.Lock()

    # What it says

    @property
    def raw_status(self) -> VmStatus:
        """WaitForLaunch, Up or Down."""
        return VmStatus(self.record.status)

    @property
    def status(self) -> VmStatus:
        """The refined status, see the module."""
        if self.raw_status != VmStatus.UP:
            return self.raw_status
        if self._is_paused:
            return VmStatus.PAUSED
        status, lasts_seconds, since = self._phase
        return status if self._clock.now() - since < lasts_seconds else VmStatus.UP

    def stats(self) -> dict[str, Any]:
        """Return what VM.getStats answers: ExitedVmStats or RunningVmStats."""
        answer: dict[str, Any] = {
            "vmId": self.record.uuid,
            "vmName": self.record.name,
            "status": self.status.value,
            "statusTime": str(vdsm_clock_ms(self._changed_at)),
            "timeOffset": "0",
        }
        if self.raw_status == VmStatus.DOWN:
            return {**answer, **self._exit_fields()}
        elapsed_seconds = self._clock.now().boottime_seconds - self.record.started_at_seconds
        answer.update(
            vmType="kvm",
            pid=str(self.record.pid or 0),
            elapsedTime=str(max(0, int(elapsed_seconds))),
            monitorResponse="0" if self._process and self._process.is_connected else "-1",
            acpiEnable="true",
            displayInfo=[],
            guestIPs="",
            username="Unknown",
            clientIp="",
        )
        if self._pause_code:
            answer["pauseCode"] = self._pause_code
        return answer

    def summary(self) -> dict[str, str]:
        """Return the VM's element of Host.getVMList."""
        return {
            "vmId": self.record.uuid,
            "status": self.raw_status.value,
            "statusTime": str(vdsm_clock_ms(self._changed_at)),
        }

    def _exit_fields(self) -> dict[str, Any]:
        return {
            "exitCode": self.record.exit_code,
            "exitReason": self.record.exit_reason,
            "exitMessage": self.record.exit_message,
        }

    # Start

    def start(self) -> None:
        """Begin to start the VM; how it went comes as an event."""
        self._start = asyncio.create_task(self._run_start())

    async def _run_start(self) -> None:
        start: Optional[LeasedStart] = None
        try:
            command = await command_for(self._host, self.domain, self._vm_dir)
            self.notes = command.notes
            for note in command.notes:
                log.info("VM %s: %s", self.record.uuid, note)
            leases = await find_leases(self._host, self.domain)
            # As under libvirt, a VM that starts paused takes its lease with VM.cont.
            is_paused = self.domain.launch_paused
            start = await self._host.leases.prepare(leases, command.arguments, is_paused=is_paused)
            self._save(is_lease_held=not is_paused)
            self._spawn(start)
            # QEMU has its own copies; from here on the leases end with it.
            start.let_go()
            await start.settled()
            await self._connect()
        except (HaAgentError, OSError) as error:
            await self._abandon_start(error)
            return
        finally:
            if start is not None:
                start.close()
        self._save(status=VmStatus.UP.value)
        self._set_phase(VmStatus.POWERING_UP, _POWERING_UP_SECONDS)
        self._emit_status(self.status)

    def _spawn(self, start: LeasedStart) -> None:
        listener = listen_for_qmp(self._vm_dir)
        try:
            pid = spawn(
                start.arguments, self._vm_dir, listener, start.descriptors, start.variables
            )
            self.watch(pid)
        finally:
            listener.close()
        self._save(
            pid=pid,
            start_ticks=registry.start_ticks(pid),
            started_at_seconds=self._clock.now().boottime_seconds,
        )

    def watch(self, pid: int) -> None:
        """Take a QEMU process as this VM's. Raises ProcessLookupError when it is gone."""
        self._process = QemuProcess(pid, on_event=self._qmp_event, on_exit=self._exited)

    async def _connect(self) -> None:
        assert self._process is not None
        await self._process.connect(self._vm_dir)
        answer = await self._process.execute("query-status")
        self._is_paused = not answer.get("running", True)
        if answer.get("status") == "io-error":
            self._pause_code = "EIO"

    async def adopt(self, pid: int, start_ticks: int) -> None:
        """Take up a VM that runs since before our restart. Raises ProcessLookupError."""
        self.watch(pid)
        # With the pidfd open the pid can't change hands any more, so now the check holds.
        if registry.start_ticks(pid) != start_ticks:
            await self._close_process()
            raise ProcessLookupError(f"process {pid} is another one")
        self._save(status=VmStatus.UP.value, pid=pid, start_ticks=start_ticks)
        try:
            await self._connect()
        except EnvironmentFault as error:
            # It still runs and holds its lease: it is Up, and VM.destroy can kill it.
            log.warning("VM %s: %s", self.record.uuid, error)

    async def _abandon_start(self, error: Exception) -> None:
        process, why = self._process, str(error)
        if process is not None:
            process.kill()
            await process.wait(_KILL_SECONDS)
            if not isinstance(error, LeaseRefused):
                # QEMU's own words say more than that its QMP socket closed.
                why = log_tail(self._vm_dir) or why
        if self.raw_status != VmStatus.DOWN:
            self.set_down(1, ExitReason.GENERIC_ERROR, why)

    # End

    def set_down(self, exit_code: int, reason: ExitReason, message: str = "") -> None:
        """Make the VM a Down record and tell it."""
        self._save(
            status=VmStatus.DOWN.value,
            pid=None,
            start_ticks=None,
            exit_code=exit_code,
            exit_reason=int(reason),
            exit_message=message or EXIT_MESSAGES[reason],
            is_lease_held=False,
        )
        self._emit(
            self.record.uuid,
            {"status": VmStatus.DOWN.value, "vmId": self.record.uuid, **self._exit_fields()},
        )

    def _exited(self, end: QemuExit) -> None:
        log.info(
            "VM %s: QEMU ended, status %s %s", self.record.uuid, end.status, end.shutdown_reason
        )
        if self.raw_status == VmStatus.DOWN:
            return
        if self.raw_status == VmStatus.WAIT_FOR_LAUNCH and self._ended_as is None:
            return  # the start is told of it by QMP's end, and reports it
        self.set_down(*judge_end(end, self._ended_as, self.record.is_shutdown_asked))

    async def destroy(
        self, graceful: bool, reason: ExitReason = ExitReason.ADMIN_SHUTDOWN
    ) -> None:
        """End QEMU, in order if it answers at once, else by SIGKILL. Raises Refusal 42."""
        async with self._lock:
            self._ended_as = reason
            if self._start is not None and not self._start.done():
                self._start.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await self._start
            process = self._process
            if process is not None and not process.exited.is_set():
                if graceful and process.is_connected:
                    with contextlib.suppress(EnvironmentFault):
                        await asyncio.wait_for(process.execute("quit"), _QUIT_SECONDS)
                    await process.wait(_QUIT_SECONDS)
                process.kill()
                if not await process.wait(_KILL_SECONDS):
                    raise Refusal(
                        VdsmCode.VM_DESTROY_FAILED,
                        f"QEMU {process.pid} does not end: it hangs in the kernel",
                    )
            if self.raw_status != VmStatus.DOWN:
                self.set_down(0, reason)

    # Orders

    async def pause(self) -> None:
        """Stop the vCPUs. Raises Refusal."""
        await self._execute("stop")

    async def cont(self) -> None:
        """Let the vCPUs run, once the VM lease is held. Raises Refusal."""
        process = self._running()
        async with self._lock:
            if not self.record.is_lease_held:
                await self._hand_over_leases(process)
            await self._execute("cont")
            self._pause_code = ""
            self._is_paused = False
            self._set_phase(VmStatus.POWERING_UP, _POWERING_UP_SECONDS)
            self._emit_status(self.status)

    async def _hand_over_leases(self, process: QemuProcess) -> None:
        try:
            leases = await find_leases(self._host, self.domain)
            await self._host.leases.hand_over(leases, process)
        except HaAgentError as error:
            raise general(error) from error
        self._save(is_lease_held=True)

    async def shutdown(self, timeout_seconds: Optional[float], force: bool, reboot: bool) -> None:
        """Press the power button; after the timeout, if `force`, do as VM.destroy does.

        The record stays. Raises Refusal: 1 for a Down VM, 4 when nothing can do it.
        """
        process = self._running()
        if reboot and not force:
            # ACPI has no button for it, and there is no guest agent.
            raise Refusal(VdsmCode.VM_EXISTS, "VM without ACPI or active oVirt guest agent")
        if reboot:
            await self._execute("system_reset")
            return
        if not process.is_connected and not force:
            raise Refusal(VdsmCode.VM_EXISTS, "VM without ACPI or active oVirt guest agent")
        self._save(is_shutdown_asked=True)
        self._set_phase(VmStatus.POWERING_DOWN, _POWERING_DOWN_SECONDS)
        self._emit_status(VmStatus.POWERING_DOWN)
        with contextlib.suppress(EnvironmentFault):
            await process.execute("system_powerdown")
        if force:
            self._do(self._force(process, timeout_seconds))

    async def _force(self, process: QemuProcess, timeout_seconds: Optional[float]) -> None:
        lasts = _DEFAULT_SHUTDOWN_SECONDS if timeout_seconds is None else timeout_seconds
        if not await process.wait(lasts):
            with contextlib.suppress(Refusal):
                await self.destroy(graceful=True)

    async def close(self) -> None:
        """Let go of the VM, which goes on; its record has what is needed to find it again."""
        tasks = [*self._chores, *([self._start] if self._start else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._close_process()

    # Inside

    async def _close_process(self) -> None:
        if self._process is not None:
            await self._process.close()
            self._process = None

    def _running(self) -> QemuProcess:
        if self.raw_status != VmStatus.UP or self._process is None:
            raise no_such_vm(self.record.uuid)
        return self._process

    async def _execute(self, command: str) -> None:
        try:
            await self._running().execute(command)
        except EnvironmentFault as error:
            raise general(error) from error

    def _do(self, chore: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(chore)
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)

    def _set_phase(self, status: VmStatus, lasts_seconds: float) -> None:
        self._phase = (status, lasts_seconds, self._clock.now())
        self._changed_at = self._clock.now()

    def _save(self, **changes: Any) -> None:
        if changes.get("status", self.record.status) != self.record.status:
            self._changed_at = self._clock.now()
        self.record = dataclasses.replace(self.record, **changes)
        registry.save(self._host.run_dir, self.record)

    def _emit_status(self, status: VmStatus, **more: str) -> None:
        self._emit(self.record.uuid, {"status": status.value, **more})

    def _qmp_event(self, name: str, data: Mapping[str, Any]) -> None:
        if name == "BLOCK_IO_ERROR" and data.get("action") == "stop":
            self._pause_code = "ENOSPC" if data.get("nospace") else "EIO"
            log.warning("VM %s: %s on %s", self.record.uuid, self._pause_code, data.get("device"))
        elif name == "STOP" and self._ended_as is None:
            self._is_paused = True
            self._changed_at = self._clock.now()
            self._emit_status(VmStatus.PAUSED, pauseCode=self._pause_code or "NOERR")
        elif name == "RESUME":
            self._is_paused = False
            self._changed_at = self._clock.now()
        elif name == "RESET" and self.domain.destroy_on_reboot:
            self._do(self.destroy(graceful=False, reason=ExitReason.DESTROYED_ON_REBOOT))
        elif name == "RESET":
            self._set_phase(VmStatus.REBOOT_IN_PROGRESS, _REBOOT_SECONDS)
            self._emit_status(VmStatus.REBOOT_IN_PROGRESS)
