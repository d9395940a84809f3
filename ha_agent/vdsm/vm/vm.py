# SPDX-License-Identifier: Apache-2.0
"""One VM's life: its start, its being found again after our restart, its ends.

    Vms.create   WaitForLaunch: command line, VM lease, QEMU, QMP
    running      Up; ordered about by vm/orders.py, heard by vm/monitor.py
    end          told by the kernel at once (qemu/process.py's pidfd), or made by `destroy`
    Down         the record stays until VM.destroy

What it is at any time, in VDSM's words, is vm/state.py's. VM.destroy waits for nobody: neither
for an order that hangs with QEMU or storage, nor for a start.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import Coroutine, Mapping
from typing import Any, Callable, Optional

from ha_agent.errors import EnvironmentFault, HaAgentError
from ha_agent.vdsm.domain.model import Domain
from ha_agent.vdsm.errors import VdsmCode
from ha_agent.vdsm.qemu.process import QemuExit, QemuProcess, listen_for_qmp, spawn
from ha_agent.vdsm.refusal import Refusal, no_such_vm
from ha_agent.vdsm.vm import registry
from ha_agent.vdsm.vm import tpm as vm_tpm
from ha_agent.vdsm.vm.end import exit_code, judge_end, log_tail
from ha_agent.vdsm.vm.lease import LeasedStart, LeaseRefused
from ha_agent.vdsm.vm.monitor import VmMonitor
from ha_agent.vdsm.vm.orders import VmOrders
from ha_agent.vdsm.vm.pause import PauseTender, can_be_used
from ha_agent.vdsm.vm.registry import VmRecord
from ha_agent.vdsm.vm.start import StartTimes, VmHost, command_for, disk_paths, find_leases
from ha_agent.vdsm.vm.state import Clock, VmState
from ha_agent.vdsm.vm_status import ExitReason, VmStatus

log = logging.getLogger(__name__)

_QUIT_SECONDS = 2.0
_KILL_SECONDS = 10.0
_FIRST_LOOK_SECONDS = 3.0


class Vm:
    """One VM. `emit` gets (uuid, fields) for each status event; `times` are those of its start."""

    def __init__(
        self,
        record: VmRecord,
        domain: Domain,
        host: VmHost,
        clock: Clock,
        emit: Callable[[str, Mapping[str, Any]], None],
        times: Optional[StartTimes] = None,
    ) -> None:
        self.domain = domain
        self.notes: tuple[str, ...] = ()
        self.state = VmState(record, host.run_dir, clock, emit)
        self.orders = VmOrders(self.state, domain, host, self._running, self.destroy)
        self._host = host
        self._clock = clock
        self._times = times or StartTimes(clock)
        self._vm_dir = registry.vm_dir(host.run_dir, record.uuid)
        self._monitor = VmMonitor(self.state, self._vm_dir, self._paused_by_io)
        self._process: Optional[QemuProcess] = None
        self._tpm: Optional[QemuProcess] = None
        self._tending: Optional[asyncio.Task[None]] = None
        self._start: Optional[asyncio.Task[None]] = None
        self._chores: set[asyncio.Task[None]] = set()
        self._end_lock = asyncio.Lock()

    # What it says

    @property
    def record(self) -> VmRecord:
        """What is kept of it."""
        return self.state.record

    @property
    def raw_status(self) -> VmStatus:
        """WaitForLaunch, Up or Down."""
        return self.state.raw_status

    @property
    def status(self) -> VmStatus:
        """The refined status, see vm/state.py."""
        return self.state.status

    def stats(self) -> dict[str, Any]:
        """Return what VM.getStats answers: ExitedVmStats or RunningVmStats."""
        process = self._process
        return self.state.stats(is_responding=process is not None and process.is_responding)

    def summary(self) -> dict[str, str]:
        """Return the VM's element of Host.getVMList."""
        return self.state.summary()

    # Start

    def start(self) -> None:
        """Begin to start the VM; how it went comes as an event."""
        self._start = asyncio.create_task(self._run_start())

    async def _run_start(self) -> None:
        start: Optional[LeasedStart] = None
        try:
            command = await command_for(self._host, self.domain, self._vm_dir)
            self._times.step("command")
            self.notes = command.notes
            for note in command.notes:
                log.info("VM %s: %s", self.record.uuid, note)
            leases = await find_leases(self._host, self.domain)
            # As under libvirt, a VM that starts paused takes its lease with VM.cont.
            is_paused = self.domain.launch_paused
            start = await self._host.leases.prepare(leases, command.arguments, is_paused=is_paused)
            self._times.step("lease")
            self.state.save(is_lease_held=not is_paused)
            if vm_tpm.socket_for(self.domain, self._vm_dir):
                self._tpm = vm_tpm.start(self._vm_dir)
            self._spawn(start)
            # QEMU has its own copies; from here on the leases end with it.
            start.let_go()
            self._times.step("spawn")
            await start.settled()
            self._times.step("lease")
            await self._connect()
        except (HaAgentError, OSError) as error:
            await self._abandon_start(error)
            return
        finally:
            if start is not None:
                start.close()
        self.state.save(status=VmStatus.UP.value)
        self.state.powering_up()
        self.state.emit_status()
        self._times.step("running")
        log.info("VM %s: %s", self.record.uuid, self._times.told())

    def _spawn(self, start: LeasedStart) -> None:
        listener = listen_for_qmp(self._vm_dir)
        try:
            pid = spawn(
                start.arguments, self._vm_dir, listener, start.descriptors, start.variables
            )
            self.watch(pid)
        finally:
            listener.close()
        self.state.save(
            pid=pid,
            start_ticks=registry.start_ticks(pid),
            started_at_seconds=self._clock.now().boottime_seconds,
        )

    def watch(self, pid: int) -> None:
        """Take a QEMU process as this VM's. Raises ProcessLookupError when it is gone."""
        self._process = QemuProcess(pid, on_event=self._monitor.hear, on_exit=self._exited)

    async def _connect(self) -> None:
        assert self._process is not None
        await self._process.connect(self._vm_dir)
        self._times.step("qmp")
        await self._monitor.look(self._process)
        await self.orders.set_first_password(self._process)
        self._do(self._monitor.keep(self._process))

    async def adopt(self, pid: int, start_ticks: int) -> None:
        """Take up a VM that runs since before our restart. Raises ProcessLookupError.

        A QEMU that does not answer still runs and holds its lease: it is Up, VM.destroy can kill
        it, and it is asked again and again.
        """
        self.watch(pid)
        assert self._process is not None
        # With the pidfd open the pid can't change hands any more, so now the check holds.
        if registry.start_ticks(pid) != start_ticks:
            await self._close_process()
            raise ProcessLookupError(f"process {pid} is another one")
        self.state.save(status=VmStatus.UP.value, pid=pid, start_ticks=start_ticks)
        self._do(self._monitor.keep(self._process))
        # Whether it is paused should be known before the first answer, if QEMU tells it soon.
        has_looked = await self._monitor.has_looked.wait(_FIRST_LOOK_SECONDS)
        if has_looked and not (self.state.is_paused or self.record.is_lease_held):
            # Its record was damaged, or we died before it was written. Nothing lets vCPUs run
            # without the VM lease, so it is held.
            self.state.save(is_lease_held=True)

    async def _abandon_start(self, error: Exception) -> None:
        process, why = self._process, str(error)
        if process is not None:
            process.kill()
            await process.wait(_KILL_SECONDS)
            if not isinstance(error, LeaseRefused):
                # QEMU's own words say more than that its QMP socket closed.
                why = log_tail(self._vm_dir) or why
        if not self.state.is_down:
            self.state.set_down(1, ExitReason.GENERIC_ERROR, why)

    # End

    def _exited(self, end: QemuExit) -> None:
        log.info(
            "VM %s: QEMU ended, status %s %s", self.record.uuid, end.status, end.shutdown_reason
        )
        if self.state.is_down:
            return
        if self.raw_status == VmStatus.WAIT_FOR_LAUNCH and self.state.ended_as is None:
            return  # the start is told of it by QMP's end, and reports it
        self.state.set_down(*judge_end(end, self.state.ended_as, self.record.is_shutdown_asked))

    async def destroy(
        self, graceful: bool = True, reason: ExitReason = ExitReason.ADMIN_SHUTDOWN
    ) -> None:
        """End QEMU, in order if it answers at once, else by SIGKILL. Raises Refusal 42."""
        async with self._end_lock:
            if self.state.is_down and self._process is None:
                return
            self.state.ended_as = reason
            if self._start is not None and not self._start.done():
                self._start.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await self._start
            process = self._process
            if process is not None and not process.exited.is_set():
                if graceful and process.is_responding:
                    with contextlib.suppress(EnvironmentFault):
                        await process.execute("quit", deadline_seconds=_QUIT_SECONDS)
                    await process.wait(_QUIT_SECONDS)
                process.kill()
                if not await process.wait(_KILL_SECONDS):
                    raise Refusal(
                        VdsmCode.VM_DESTROY_FAILED,
                        f"QEMU {process.pid} does not end: it hangs in the kernel",
                    )
            if not self.state.is_down:
                self.state.set_down(exit_code(reason), reason)

    # Orders

    async def pause(self) -> None:
        """Stop the vCPUs. Raises Refusal."""
        await self.orders.pause()

    async def cont(self) -> None:
        """Let the vCPUs run, once the VM lease is held. Raises Refusal."""
        await self.orders.cont()

    async def shutdown(self, timeout_seconds: Optional[float], force: bool, reboot: bool) -> None:
        """Begin VM.shutdown, see vm/orders.py. The record stays. Raises Refusal."""
        process = self.orders.begin_shutdown(force=force, reboot=reboot)
        if reboot:
            await self.orders.reset()
        else:
            self._do(self.orders.shut_down(process, timeout_seconds, force=force))

    async def set_graphics_password(
        self,
        kind: str,
        password: str,
        ttl_seconds: int,
        existing_action: Optional[str] = None,
    ) -> None:
        """Set a console's password, see vm/orders.py. Raises Refusal."""
        await self.orders.set_graphics_password(kind, password, ttl_seconds, existing_action)

    def _paused_by_io(self) -> None:
        if self._tending is not None and not self._tending.done():
            return
        tender = PauseTender(
            self.domain.resume_behavior,
            # Also while it still starts: its first write may fail.
            is_paused=lambda: self.state.is_paused and not self.state.is_down,
            is_storage_well=self._is_storage_well,
            resume=self._resume,
            kill=self._kill_paused,
            times=self._host.pause_times,
        )
        self._tending = self._do(tender.tend())

    async def _is_storage_well(self) -> bool:
        try:
            paths = await disk_paths(self._host, self.domain)
            return await self._host.threads.run(
                f"disks of VM {self.record.uuid}",
                self._host.storage_deadline_seconds,
                functools.partial(can_be_used, paths),
            )
        except HaAgentError:
            return False

    async def _resume(self) -> None:
        log.info("VM %s: its disks can be used again, it goes on", self.record.uuid)
        with contextlib.suppress(Refusal):
            await self.cont()

    async def _kill_paused(self) -> None:
        log.warning("VM %s: paused for too long, it is destroyed", self.record.uuid)
        with contextlib.suppress(Refusal):
            await self.destroy(reason=ExitReason.DESTROYED_ON_PAUSE_TIMEOUT)

    async def close(self) -> None:
        """Let go of the VM, which goes on; its record has what is needed to find it again."""
        tasks = [*self._chores, *([self._start] if self._start else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._close_process()

    # Inside

    async def _close_process(self) -> None:
        if self._tpm is not None:
            if self.state.is_down:
                self._tpm.kill()  # it ends with QEMU, but not when QEMU never came
                await self._tpm.wait(_KILL_SECONDS)
            await self._tpm.close()
            self._tpm = None
        if self._process is not None:
            await self._process.close()
            self._process = None

    def _running(self) -> QemuProcess:
        if self.raw_status != VmStatus.UP or self._process is None:
            raise no_such_vm(self.record.uuid)
        return self._process

    def _do(self, chore: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(chore)
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)
        return task
