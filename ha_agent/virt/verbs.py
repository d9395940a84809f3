# SPDX-License-Identifier: Apache-2.0
"""What the agent asks of libvirt about its VM, with the behaviour that VDSM has for the same.

    create_vm     returns when the start has begun; how it went is seen by looking
    vm_stats      WaitForLaunch, Up, ..., a Down record of how the VM ended, or None
    destroy_vm    ends the VM or its start, and clears the record
    shutdown_vm   asks the guest
    resume_vm     lets a VM that was started paused run

The domain is transient. Nothing on this host, neither autostart nor libvirt-guests nor `virsh
start`, can bring it back after a crash or a boot: whether the VM runs here is decided anew each
time, with lease and definition. libvirt forgets it at its end, so the record of the end is kept
here; an agent that is started anew sees no VM instead, and that is as good.

A persistent domain of the same UUID is somebody's own work. It is never touched, and a start is
refused until it is undefined: libvirt could start it by itself.

A start that nobody wants any more, or whose VM lease can't be proved, is undone by the thread
that carries it out, before the VM's CPUs run where the kind of lease allows that. While the
thread has not come back the VM is "WaitForLaunch", never absent: libvirt may still start it.
When its connection is lost meanwhile, the VM is unknown until libvirt has answered for a while
that it has none.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Callable, Optional, Protocol

from ha_agent.errors import DeadlineExceeded, HaAgentError
from ha_agent.instant import Instant
from ha_agent.vdsm.domain.launch_paused import launch_paused
from ha_agent.vdsm.vm_status import VmStats
from ha_agent.virt import status
from ha_agent.virt.binding import LIST_ACTIVE, START_PAUSED, Connection, Domain
from ha_agent.virt.errors import (
    LibvirtCallFailed,
    LibvirtCode,
    LibvirtConnectionLost,
    LibvirtError,
    VmExists,
)
from ha_agent.virt.link import Link, Module
from ha_agent.virt.place import LeaseKind, Placed, VirtSettings, place_vm
from ha_agent.virt.vm_lock import lock_text, lock_words, prove

log = logging.getLogger(__name__)

# libvirt itself gives QEMU 10 s after SIGTERM and 5 s after SIGKILL, more with busy devices.
_DESTROY_SECONDS = 30.0
_START_SECONDS = 86400.0  # no limit: the agent's own start timeout destroys what takes too long
_SETTLE_SECONDS = 5.0
_EVENT_SECONDS = 0.3


class Clock(Protocol):
    """What is needed of ports.Clock."""

    def now(self) -> Instant: ...

    async def sleep(self, duration_seconds: float) -> None: ...


@dataclass
class _Start:
    """A start under way. `unwanted` is what its thread looks at."""

    unwanted: threading.Event = field(default_factory=threading.Event)
    task: Optional[asyncio.Task[None]] = None


class _Unwanted(LibvirtError):
    """The start was undone, since it was destroyed meanwhile."""


class Virt:
    """VMs of this host's libvirt. `on_change` is called on the loop: a reason to look."""

    def __init__(
        self,
        module: Module,
        uri: str,
        settings: VirtSettings,
        *,
        clock: Clock,
        uniform: Callable[[], float],
        call_deadline_seconds: float,
        keepalive_interval_seconds: int,
        storage_deadline_seconds: float,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._storage_deadline_seconds = storage_deadline_seconds
        self._on_change = on_change
        self.link = Link(
            module,
            uri,
            clock=clock,
            uniform=uniform,
            call_deadline_seconds=call_deadline_seconds,
            keepalive_interval_seconds=keepalive_interval_seconds,
            on_connected=on_change,
            on_lifecycle=self._lifecycle,
        )
        self._changes = 0
        self._starts: dict[str, _Start] = {}
        self._running: set[str] = set()
        self._asked: set[str] = set()
        self._ended: dict[str, VmStats] = {}
        self._placed: dict[str, Placed] = {}
        self._unsure: dict[str, Optional[Instant]] = {}

    def start(self) -> None:
        """Begin to connect, in the background."""
        self.link.start()

    async def run(self) -> None:
        """Keep the connection until cancelled."""
        self.start()
        try:
            await self.link.ended()
        finally:
            await self.close()

    async def close(self) -> None:
        """End the connection. VMs go on; a start under way is left to libvirt."""
        for start in list(self._starts.values()):
            if start.task is not None:
                start.task.cancel()
                await asyncio.wait([start.task])
        await self.link.close()

    # Looking -----------------------------------------------------------------------------

    async def vm_stats(self, vm_uuid: str) -> Optional[VmStats]:
        """Return how the VM is; None where there is none, nor a record. Raises LibvirtError,
        DeadlineExceeded."""
        while True:
            changes = self._changes
            state = await self.link.call("look", functools.partial(self._state, vm_uuid))
            if state is None and vm_uuid in self._running and vm_uuid not in self._ended:
                await self._clock.sleep(_EVENT_SECONDS)  # its event says how it ended
            # Answers may overtake each other: this may be from before we changed something.
            if changes == self._changes:
                return self._stats(vm_uuid, state)

    def _stats(self, vm_uuid: str, state: Optional[tuple[int, int]]) -> Optional[VmStats]:
        if vm_uuid in self._starts:
            return status.launching_stats(vm_uuid)
        if state is not None:
            self._running.add(vm_uuid)
            self._ended.pop(vm_uuid, None)
            self._unsure.pop(vm_uuid, None)
            return status.active_stats(vm_uuid, *state, shutdown_asked=vm_uuid in self._asked)
        if vm_uuid in self._unsure:
            since = self._unsure[vm_uuid] or self._clock.now()
            self._unsure[vm_uuid] = since
            if self._clock.now() - since < _SETTLE_SECONDS:
                return status.unsure_stats(
                    vm_uuid, "the connection was lost during its start, which may still come"
                )
            del self._unsure[vm_uuid]
            self._ended[vm_uuid] = status.failed_stats(vm_uuid, "the connection was lost")
        if vm_uuid in self._running:
            self._gone(vm_uuid, status.failed_stats(vm_uuid, "ended unseen"))
        return self._ended.get(vm_uuid)

    async def vm_list(self) -> list[VmStats]:
        """Return all VMs that run on this host. Raises LibvirtError, DeadlineExceeded."""

        def work(connection: Connection) -> list[VmStats]:
            found = []
            for domain in connection.listAllDomains(LIST_ACTIVE):
                with self._unless(LibvirtCode.NO_DOMAIN):  # it has ended meanwhile
                    state, reason = domain.state()[:2]
                    found.append(status.active_stats(domain.UUIDString(), state, reason))
            return found

        return await self.link.call("list the VMs", work)

    # Changing ----------------------------------------------------------------------------

    async def create_vm(self, vm_uuid: str, xml: str, *, paused: bool = False) -> None:
        """Begin to start the VM from the engine's domain XML, or as far as `resume_vm`.

        Raises VmExists, LibvirtError, DeadlineExceeded, BadInput and EnvironmentFault when
        something on this host or its storage is not there; then nothing was begun.
        """
        if vm_uuid in self._starts or vm_uuid in self._ended or vm_uuid in self._unsure:
            raise VmExists(f"VM {vm_uuid}: it is being started, or has to be destroyed first")
        start = self._starts[vm_uuid] = _Start()
        try:
            run = await self._prepare(start, vm_uuid, launch_paused(xml) if paused else xml)
        except BaseException:
            del self._starts[vm_uuid]
            raise
        finally:
            self._changes += 1
        start.task = asyncio.get_running_loop().create_task(self._follow(vm_uuid, run))

    async def _prepare(self, start: _Start, vm_uuid: str, xml: str) -> Callable[[], None]:
        def look(connection: Connection) -> str:
            self._refuse_existing(connection, vm_uuid)
            return connection.getCapabilities()

        capabilities = await self.link.call("look before the start", look)
        placed = await self.link.threads.run(
            "the VM's disks",
            self._storage_deadline_seconds,
            functools.partial(place_vm, xml, vm_uuid, self._settings, capabilities),
        )
        for note in placed.domain.notes:
            log.info("VM %s: %s", vm_uuid, note)
        work = functools.partial(self._start, start, vm_uuid, placed)
        return self.link.worker("start the VM", work, changes=True)

    def _refuse_existing(self, connection: Connection, vm_uuid: str) -> None:
        domain = self._find(connection, vm_uuid)
        if domain is None:
            return
        if domain.isActive():
            raise VmExists(f"VM {vm_uuid} runs here already")
        if domain.isPersistent():
            raise LibvirtCallFailed(
                "start the VM",
                LibvirtCode.OPERATION_INVALID,
                f"somebody has defined a persistent domain of its UUID here, which libvirt could"
                f" start by itself; remove it with `virsh undefine {vm_uuid}`",
            )

    def _start(self, start: _Start, vm_uuid: str, placed: Placed, connection: Connection) -> None:
        """Start the VM; in a thread. What can't be proved, or is unwanted, is ended again."""
        kind = self._settings.vm_lease
        is_image = kind is LeaseKind.IMAGE
        flags = START_PAUSED if is_image or placed.is_paused else 0
        domain = connection.createXML(placed.domain.xml, flags)
        try:
            if is_image or not placed.is_paused:
                prove(kind, placed, self._settings.host_id)
            self._placed[vm_uuid] = placed
            if start.unwanted.is_set():
                raise _Unwanted("the start was undone")
            if flags and not placed.is_paused:
                domain.resume()
        except BaseException:
            with contextlib.suppress(self.link.error):
                domain.destroy()
            raise

    async def _follow(self, vm_uuid: str, run: Callable[[], None]) -> None:
        failure: Optional[HaAgentError] = None
        try:
            await self.link.threads.run("libvirt: start the VM", _START_SECONDS, run)
        except HaAgentError as fault:
            failure = fault
        finally:
            del self._starts[vm_uuid]
            self._changes += 1
            self._on_change()
        if failure is None:
            self._running.add(vm_uuid)
        elif isinstance(failure, LibvirtConnectionLost):
            self._unsure[vm_uuid] = None
        elif not isinstance(failure, _Unwanted):
            self._ended[vm_uuid] = status.failed_stats(vm_uuid, lock_text(failure))
        if failure is not None:
            log.warning("VM %s was not started: %s", vm_uuid, failure)

    async def resume_vm(self, vm_uuid: str) -> None:
        """Let a paused VM's CPUs run, and look that it has its lease. One that is found to have
        none is ended at once. Raises LibvirtError, DeadlineExceeded, EnvironmentFault."""
        kind, placed = self._settings.vm_lease, self._placed.get(vm_uuid)
        # Another agent's start may have been killed before it looked for an image's lock, and
        # libvirt takes the other kinds only now.
        if placed is None:
            why = "this agent has not started it and can't prove its lease; end it, by force"
            raise LibvirtCallFailed("resume the VM", LibvirtCode.OPERATION_INVALID, why)

        def work(connection: Connection) -> None:
            domain = connection.lookupByUUIDString(vm_uuid)
            domain.resume()
            try:
                if placed is not None:
                    prove(kind, placed, self._settings.host_id)
            except BaseException:
                with contextlib.suppress(self.link.error):
                    domain.destroy()
                raise

        try:
            await self.link.call("resume the VM", work, changes=True)
        except LibvirtCallFailed as fault:
            raise LibvirtCallFailed(fault.what, fault.code, lock_words(fault)) from fault
        finally:
            self._changes += 1

    async def shutdown_vm(self, vm_uuid: str) -> None:
        """Ask the guest to shut down, by its agent or by ACPI; no VM is no error. Raises
        LibvirtError, DeadlineExceeded."""

        def work(connection: Connection) -> bool:
            domain = self._find(connection, vm_uuid)
            if domain is None or not domain.isActive():
                return False
            with self._unless(LibvirtCode.NO_DOMAIN, LibvirtCode.OPERATION_INVALID):
                domain.shutdown()
            return True

        if await self.link.call("shut the VM down", work, changes=True):
            self._asked.add(vm_uuid)

    async def destroy_vm(self, vm_uuid: str) -> None:
        """End the VM, or its start, by force, and clear its record; no VM is success. Raises
        LibvirtError, DeadlineExceeded."""

        def work(connection: Connection) -> None:
            domain = self._find(connection, vm_uuid)
            if domain is not None and domain.isActive():
                with self._unless(LibvirtCode.NO_DOMAIN, LibvirtCode.OPERATION_INVALID):
                    domain.destroy()

        start = self._starts.get(vm_uuid)
        if start is not None:
            start.unwanted.set()
        try:
            await self.link.call(
                "destroy the VM", work, changes=True, deadline_seconds=_DESTROY_SECONDS
            )
            if start is not None and start.task is not None:
                await asyncio.wait([start.task], timeout=_DESTROY_SECONDS)
                if not start.task.done():
                    raise DeadlineExceeded("undoing the VM's start", _DESTROY_SECONDS)
            self._running.discard(vm_uuid)
            self._asked.discard(vm_uuid)
            self._ended.pop(vm_uuid, None)
            self._placed.pop(vm_uuid, None)
        finally:
            self._changes += 1

    # Inside ------------------------------------------------------------------------------

    def _find(self, connection: Connection, vm_uuid: str) -> Optional[Domain]:
        try:
            return connection.lookupByUUIDString(vm_uuid)
        except self.link.error as error:
            if self.link.code(error) == LibvirtCode.NO_DOMAIN:
                return None
            raise

    def _state(self, vm_uuid: str, connection: Connection) -> Optional[tuple[int, int]]:
        """Return state and reason of an active domain; of another there is nothing to say."""
        domain = self._find(connection, vm_uuid)
        if domain is None:
            return None
        with self._unless(LibvirtCode.NO_DOMAIN):
            state, reason = domain.state()[:2]
            if domain.isActive():
                return state, reason
        return None

    @contextlib.contextmanager
    def _unless(self, *codes: LibvirtCode) -> Iterator[None]:
        """Pass over libvirt's errors of these codes."""
        try:
            yield
        except self.link.error as error:
            if self.link.code(error) not in codes:
                raise

    def _lifecycle(self, vm_uuid: str, event: int, detail: int) -> None:
        # What fails to start stops as well; that is told by the start itself.
        ran = vm_uuid in self._running and vm_uuid not in self._starts
        if event == status.Lifecycle.STOPPED and ran:
            asked = vm_uuid in self._asked
            self._gone(vm_uuid, status.ended_stats(vm_uuid, detail, shutdown_asked=asked))
        self._on_change()

    def _gone(self, vm_uuid: str, record: VmStats) -> None:
        log.info("VM %s has ended: %s", vm_uuid, record.exit_message)
        self._ended[vm_uuid] = record
        self._placed.pop(vm_uuid, None)
        self._running.discard(vm_uuid)
        self._asked.discard(vm_uuid)
