# SPDX-License-Identifier: Apache-2.0
"""The connection to libvirt: kept open, and its calls kept off the event loop.

libvirt-python blocks, and blocks for ever where libvirtd hangs. So each call runs in a daemon
thread of its own (vdsm/deadline.py) and the caller waits no longer than a deadline; the number of
threads is bounded. libvirt's keepalive ends a connection whose other side is silent, and with it
the calls that hang on it:

    0 s                     libvirtd stops answering
    call deadline           callers are told DeadlineExceeded, which says nothing of the outcome
    interval * (count + 1)  keepalive closes the connection, the threads come back, we reconnect

Then, as after a restart of libvirtd, it is tried again with growing, jittered pauses. VMs live
through all of it. Whether a request was carried out when its connection ended can't be known:
`LibvirtConnectionLost.may_have_executed`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any, Callable, NamedTuple, Optional, Protocol, TypeVar

from ha_agent.errors import EnvironmentFault
from ha_agent.journal_messages import VDSM_BACK, VDSM_LOST
from ha_agent.log import fields
from ha_agent.vdsm.deadline import StorageThreads
from ha_agent.virt.binding import LIFECYCLE, Connection
from ha_agent.virt.errors import (
    LibvirtCallFailed,
    LibvirtCode,
    LibvirtConnectionLost,
    LibvirtError,
    LibvirtUnreachable,
)
from ha_agent.waiting import Signal

log = logging.getLogger(__name__)

T = TypeVar("T")

KEEPALIVE_COUNT = 2
_FIRST_RETRY_SECONDS = 0.5
_LAST_RETRY_SECONDS = 10.0
_CLOSE_SECONDS = 2.0
_FOR_EVER_SECONDS = 3600.0


class Clock(Protocol):
    """What is needed of ports.Clock."""

    async def sleep(self, duration_seconds: float) -> None: ...


class Module(Protocol):
    """What is needed of binding.Libvirt."""

    error: type[Exception]

    def open(self, uri: str) -> Connection: ...

    def code(self, error: Exception) -> int: ...


class _Opened(NamedTuple):
    """A connection, and the number of its events' callback."""

    connection: Connection
    events: Optional[int]


class Link:
    """One connection that is made again whenever it ends.

    `on_lifecycle(uuid, event, detail)` and `on_connected()` are called on the loop. `uniform`
    returns a number in [0, 1), for jitter.
    """

    def __init__(
        self,
        module: Module,
        uri: str,
        *,
        clock: Clock,
        uniform: Callable[[], float],
        call_deadline_seconds: float,
        keepalive_interval_seconds: int,
        on_connected: Callable[[], None],
        on_lifecycle: Callable[[str, int, int], None],
    ) -> None:
        self.uri = uri
        self.reason = "not connected yet"
        self.threads = StorageThreads()
        self._module = module
        self._clock = clock
        self._uniform = uniform
        self._call_deadline_seconds = call_deadline_seconds
        self._keepalive_interval_seconds = keepalive_interval_seconds
        self._on_connected = on_connected
        self._on_lifecycle = on_lifecycle
        self._connection: Optional[Connection] = None
        self._lost = Signal()
        self._task: Optional[asyncio.Task[None]] = None

    @property
    def is_connected(self) -> bool:
        """Whether calls have a connection to go by."""
        return self._connection is not None

    def start(self) -> None:
        """Begin to connect, in the background."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def ended(self) -> None:
        """Wait for the end of what `start` began, which only `close` and a bug bring about."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def close(self) -> None:
        """End the connection; a libvirtd that hangs is not waited for."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            if not self._task.cancelled():
                self._task.result()  # a bug that ended it before

    async def call(
        self,
        what: str,
        work: Callable[[Connection], T],
        *,
        changes: bool = False,
        deadline_seconds: Optional[float] = None,
    ) -> T:
        """Return what `work` gives, which is called with the connection in a thread.

        `changes`: it does not only read. Raises LibvirtUnreachable (nothing was asked),
        LibvirtCallFailed (libvirt's own answer), LibvirtConnectionLost, DeadlineExceeded.
        """
        run = self.worker(what, work, changes=changes)
        seconds = self._call_deadline_seconds if deadline_seconds is None else deadline_seconds
        return await self.threads.run(f"libvirt: {what}", seconds, run)

    def worker(
        self, what: str, work: Callable[[Connection], T], *, changes: bool
    ) -> Callable[[], T]:
        """Return `work` on the present connection, for a thread, with libvirt's errors as ours.

        Raises LibvirtUnreachable at once.
        """
        connection = self._connection
        if connection is None:
            raise LibvirtUnreachable(self.uri, self.reason)

        def run() -> T:
            try:
                return work(connection)
            except self._module.error as error:
                raise self._told(what, error, connection, changes) from error

        return run

    def code(self, error: Exception) -> int:
        """Return a libvirtError's number."""
        return self._module.code(error)

    @property
    def error(self) -> type[Exception]:
        """libvirtError."""
        return self._module.error

    def _told(
        self, what: str, error: Exception, connection: Connection, changes: bool
    ) -> LibvirtError:
        with contextlib.suppress(self._module.error):
            if connection.isAlive() != 1:
                return LibvirtConnectionLost(self.uri, str(error), may_have_executed=changes)
        return LibvirtCallFailed(what, self._module.code(error), str(error))

    async def _run(self) -> None:
        failures = 0
        while True:
            try:
                opened = await self._open()
            except EnvironmentFault as fault:
                reason = fault.reason if isinstance(fault, LibvirtUnreachable) else str(fault)
                if reason != self.reason:
                    self._tell_lost(reason)
                self.reason = reason
            else:
                failures = 0
                await self._live(opened)
            longest = min(_LAST_RETRY_SECONDS, _FIRST_RETRY_SECONDS * 2.0 ** min(failures, 10))
            await self._clock.sleep(longest * (0.5 + 0.5 * self._uniform()))
            failures += 1

    def _tell_lost(self, reason: str) -> None:
        told = fields(VDSM_LOST, peer=self.uri, reason=reason)
        log.warning("no connection to libvirt at %s: %s", self.uri, reason, extra=told)

    async def _open(self) -> _Opened:
        loop = asyncio.get_running_loop()

        def on_loop(call: Callable[..., None], *arguments: Any) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens
                loop.call_soon_threadsafe(call, *arguments)

        def lifecycle(_c: Any, domain: Any, event: int, detail: int, _opaque: Any) -> None:
            on_loop(self._on_lifecycle, domain.UUIDString(), event, detail)

        def closed(_connection: Any, _reason: int, _opaque: Any) -> None:
            on_loop(self._lost.set)

        def body() -> _Opened:
            try:
                connection = self._module.open(self.uri)
            except self._module.error as error:
                raise LibvirtUnreachable(self.uri, str(error)) from error
            events: Optional[int] = None
            try:
                events = connection.domainEventRegisterAny(None, LIFECYCLE, lifecycle, None)
                self._watch(connection, closed)
            except self._module.error as error:
                self._end(_Opened(connection, events))
                raise LibvirtUnreachable(self.uri, str(error)) from error
            return _Opened(connection, events)

        self._lost.clear()
        what = f"connecting to libvirt at {self.uri}"
        return await self.threads.run(what, self._call_deadline_seconds, body, discard=self._end)

    def _watch(self, connection: Connection, closed: Callable[..., None]) -> None:
        """Have libvirt tell of the connection's end, which a driver inside us has not."""
        try:
            connection.registerCloseCallback(closed, None)
            connection.setKeepAlive(self._keepalive_interval_seconds, KEEPALIVE_COUNT)
        except self._module.error as error:
            if self._module.code(error) != LibvirtCode.NO_SUPPORT:
                raise

    async def _live(self, opened: _Opened) -> None:
        self._connection = opened.connection
        self.reason = ""
        told = fields(VDSM_BACK, peer=self.uri)
        log.info("connected to libvirt at %s", self.uri, extra=told)
        try:
            self._on_connected()
            while not await self._lost.wait(_FOR_EVER_SECONDS):
                pass
            self.reason = "the connection has ended"
            self._tell_lost(self.reason)
        finally:
            self._connection = None
            with contextlib.suppress(EnvironmentFault):
                await self.threads.run(
                    "closing libvirt", _CLOSE_SECONDS, lambda: self._end(opened)
                )

    def _end(self, opened: _Opened) -> None:
        """Close; each callback holds a reference, with which libvirt keeps the socket open."""
        connection, events = opened
        with contextlib.suppress(self._module.error):
            connection.unregisterCloseCallback()
        if events is not None:
            with contextlib.suppress(self._module.error):
                connection.domainEventDeregisterAny(events)
        with contextlib.suppress(self._module.error):
            connection.close()
