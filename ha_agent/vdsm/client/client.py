# SPDX-License-Identifier: Apache-2.0
"""Keeps one connection to VDSM, for as long as the process lives.

    connect -> greet, subscribe -> Host.ping2 until VDSM no longer answers 99 (recovering, 10 to
    11 s after each start of vdsmd) -> ready, `on_connected` -> ... -> the connection ends, all
    pending calls fail -> wait, with jitter, and longer each time until a connection has been
    ready for ten seconds -> connect

What this client promises to its user:
- A call ends: with a result or with one of the errors of errors.py, by its deadline.
- A call is sent at most once. Nothing is repeated here, since only the caller knows what may be.
- Calls are refused at once (VdsmUnreachable) while there is no ready connection.
- A connection on which no call is answered is given up: when one had no answer by its deadline,
  or its caller waited for long and left, Host.ping2 is asked. When nothing at all is answered
  by that one's deadline, the next connection is made.
- Events may get lost: while disconnected, and when the reader of `next_event` is slow (then
  `events_lost` counts). VDSM has no replay. So poll as well, and after each `on_connected`.

Heart-beats tell that VDSM's reactor lives, not that it answers: a notification from another
client makes it deaf while beats and events go on. Only a call that is answered tells (facts 1.2).
"""

from __future__ import annotations

import asyncio
import collections
import enum
import logging
import os
import socket
from collections.abc import Mapping
from typing import Any, Callable, Optional

from ha_agent.certificates import TlsFiles
from ha_agent.errors import DeadlineExceeded, EnvironmentFault
from ha_agent.instant import Instant
from ha_agent.journal_messages import BUG, VDSM_BACK, VDSM_LOST
from ha_agent.log import fields
from ha_agent.vdsm.client.connection import Clock, Connection
from ha_agent.vdsm.client.tls import ClientTls, plain_lost
from ha_agent.vdsm.errors import (
    VdsmCallFailed,
    VdsmCode,
    VdsmConnectionLost,
    VdsmError,
    VdsmNoAnswer,
    VdsmUnreachable,
)
from ha_agent.vdsm.jsonrpc import Event
from ha_agent.waiting import within

DEFAULT_PORT = 54321

_FIRST_RETRY_SECONDS = 0.25
_LAST_RETRY_SECONDS = 5.0
# A VDSM that takes connections and drops them soon must not be connected to without a pause.
_STEADY_SECONDS = 10.0
_RECOVERY_POLL_SECONDS = 0.5
# VDSM answers it from memory. With no answer by then it is deaf, or all its workers hang.
_PING_DEADLINE_SECONDS = 5.0

_log = logging.getLogger(__name__)


class ClientState(enum.Enum):
    """Where the client is in its life."""

    DISCONNECTED = "disconnected"
    RECOVERING = "recovering"  # connected, and VDSM answers 99 or has not answered yet
    READY = "ready"
    CLOSED = "closed"


class VdsmClient:
    """A JSON-RPC client for one VDSM. `start` it in a running loop and `close` it, or run `run`.

    `tls` are the files, read for each connection, since renewed certificates are taken by new
    connections only; None means plain TCP. `uniform` returns a number in [0, 1), for jitter.
    `on_connected` is called in the loop whenever the connection becomes ready; like VDSM's
    domain monitors, nothing of the last connection is known to live. `heart_beat_ms` is what
    we (send, want). `max_queued_events` bounds what `next_event` has not fetched.
    """

    def __init__(
        self,
        host: str,
        port: int = DEFAULT_PORT,
        *,
        clock: Clock,
        uniform: Callable[[], float],
        tls: Optional[TlsFiles] = None,
        on_connected: Callable[[], None] = lambda: None,
        connect_deadline_seconds: float = 5.0,
        call_deadline_seconds: float = 10.0,
        heart_beat_ms: tuple[int, int] = (5000, 5000),
        max_queued_events: int = 1000,
    ) -> None:
        self.peer = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self.state = ClientState.DISCONNECTED
        self.reason = "not connected yet"  # why the state is not READY, for operators
        self.events_lost = 0
        self.server_certificate: Optional[bytes] = None  # as VDSM showed it last, in DER
        self._host = host
        self._port = port
        self._clock = clock
        self._uniform = uniform
        self._tls = None if tls is None else ClientTls(tls, clock.wall)
        self._on_connected = on_connected
        self._connect_deadline_seconds = connect_deadline_seconds
        self._call_deadline_seconds = call_deadline_seconds
        self._heart_beat_ms = heart_beat_ms
        self._events: collections.deque[Event] = collections.deque(maxlen=max_queued_events)
        self._event_waiter: Optional[asyncio.Future[None]] = None
        self._connection: Optional[Connection] = None
        self._ready_at: Optional[Instant] = None
        self._lost_at: Optional[Instant] = None
        self._check: Optional[asyncio.Task[None]] = None
        self._task: Optional[asyncio.Task[None]] = None

    def start(self) -> None:
        """Begin to connect, in the background."""
        self._task = asyncio.get_running_loop().create_task(self.run())
        self._task.add_done_callback(_report_bug)

    async def close(self) -> None:
        """End the connection and the background task. Pending calls fail.

        A bug that ended the task before is raised here.
        """
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.wait([self._task])
        if not self._task.cancelled():
            self._task.result()

    async def call(
        self,
        method: str,
        params: Mapping[str, Any],
        *,
        deadline_seconds: Optional[float] = None,
    ) -> Any:
        """Call a verb once and return its result.

        Raises VdsmUnreachable (not sent), VdsmCallFailed (VDSM's own error), VdsmConnectionLost
        and VdsmNoAnswer (`may_have_executed` says whether it may have taken effect, or still
        will).
        """
        connection = self._connection
        if self.state is not ClientState.READY or connection is None:
            raise VdsmUnreachable(self.peer, self.reason)
        if deadline_seconds is None:
            deadline_seconds = self._call_deadline_seconds
        began_at = self._clock.now()
        try:
            return await connection.call(method, params, deadline_seconds)
        except VdsmNoAnswer as error:
            self._doubt(connection, str(error))
            raise
        except asyncio.CancelledError:
            waited_seconds = self._clock.now() - began_at
            if waited_seconds >= self._ping_deadline_seconds / 2:
                late = f"VDSM {method}: no answer within {waited_seconds:.1f} s, and nobody waits"
                self._doubt(connection, late)
            raise

    async def next_event(self) -> Event:
        """Wait for the oldest event that was not fetched yet. For one reader."""
        while not self._events:
            self._event_waiter = asyncio.get_running_loop().create_future()
            await self._event_waiter
        return self._events.popleft()

    async def run(self) -> None:
        """Connect, stay connected, connect again, until cancelled."""
        failures = 0
        try:
            while True:
                self._ready_at = None
                try:
                    reason = await self._live_once()
                except (VdsmUnreachable, VdsmConnectionLost) as error:
                    reason = error.reason
                except DeadlineExceeded as error:
                    reason = str(error)
                if self._was_steady():
                    failures = 0
                self._disconnected(reason)
                await self._clock.sleep(self._retry_delay_seconds(failures))
                failures += 1
        finally:
            self.state = ClientState.CLOSED
            self.reason = "closed"

    def _was_steady(self) -> bool:
        ready_at = self._ready_at
        return ready_at is not None and self._clock.now() - ready_at >= _STEADY_SECONDS

    async def _live_once(self) -> str:
        """Live through one connection and return why it ended, when it had become ready."""
        connection = await self._connect()
        try:
            await self._make_ready(connection)
            # Not awaited itself: a cancellation would cancel the future too.
            await asyncio.wait([connection.ended])
            return connection.ended.result()
        finally:
            self._connection = None
            connection.end("closed by ourselves")
            if self._check is not None:
                await asyncio.wait([self._check])  # its call has just failed

    def _doubt(self, connection: Connection, late: str) -> None:
        """Begin to check whether VDSM answers at all, unless that is being done."""
        if connection is self._connection and (self._check is None or self._check.done()):
            self._check = asyncio.ensure_future(self._check_hearing(connection, late))
            self._check.add_done_callback(_report_bug)

    async def _check_hearing(self, connection: Connection, late: str) -> None:
        """Give the connection up when VDSM does not answer the simplest of calls either.

        An answer to any other call meanwhile, a late one too, tells that it is slow and not deaf.
        """
        answers = connection.answers
        try:
            await connection.call("Host.ping2", {}, self._ping_deadline_seconds)
        except VdsmNoAnswer as silent:
            if connection.answers == answers:
                said = f"it keeps the connection but answers no call: {late}, then {silent}"
                connection.end(said)
        except VdsmError:
            return  # an answer, too; or the connection has ended by itself

    # Connecting.

    async def _connect(self) -> Connection:
        """Connect to the first address that takes us, within the connect deadline."""
        now = self._clock.now
        until = now() + self._connect_deadline_seconds
        try:
            addresses = await within(
                self._connect_deadline_seconds,
                asyncio.get_running_loop().getaddrinfo(
                    self._host, self._port, type=socket.SOCK_STREAM
                ),
            )
        except asyncio.TimeoutError:
            raise VdsmUnreachable(self.peer, "its name was not resolved in time") from None
        except OSError as error:
            raise VdsmUnreachable(self.peer, f"its name can't be resolved: {error}") from error
        reasons = []
        for number, (family, kind, protocol, _name, address) in enumerate(addresses):
            # A silent address must leave time for those after it.
            share_seconds = max((until - now()) / (len(addresses) - number), 0.0)
            sock = socket.socket(family, kind, protocol)
            try:
                return await self._connect_to(sock, address, share_seconds)
            except EnvironmentFault as fault:
                reasons.append(f"{address[0]}: {fault}")
        raise VdsmUnreachable(self.peer, "; ".join(reasons) or "its name has no address")

    async def _connect_to(
        self, sock: socket.socket, address: Any, limit_seconds: float
    ) -> Connection:
        """Connect within the limit. Raises EnvironmentFault that says why not."""
        until = self._clock.now() + limit_seconds
        try:
            await within(limit_seconds, _open(sock, address))
        except asyncio.TimeoutError:
            raise EnvironmentFault(f"no connection within {limit_seconds:.1f} s") from None
        except OSError as error:
            raise EnvironmentFault(_why(error)) from error
        left_seconds = max(until - self._clock.now(), 0.001)
        try:
            connection = await within(
                left_seconds,
                self._converse(sock, left_seconds),
                lambda unwanted: unwanted.end("closed by ourselves"),
            )
        except asyncio.TimeoutError:
            what = f"connected, but no TLS handshake within {left_seconds:.1f} s"
            raise EnvironmentFault(what) from None
        except OSError as error:
            if self._tls is None:
                raise EnvironmentFault(_why(error)) from error
            raise EnvironmentFault(self._tls.handshake_fault(error)) from error
        return connection

    async def _converse(self, sock: socket.socket, limit_seconds: float) -> Connection:
        """Make a connection of a connected socket, TLS included. The socket is taken."""
        try:
            context = None if self._tls is None else self._tls.context()
        except EnvironmentFault:
            sock.close()
            raise
        transport, connection = await asyncio.get_running_loop().create_connection(
            lambda: Connection(
                self.peer,
                clock=self._clock,
                heart_beat_ms=self._heart_beat_ms,
                on_event=self._queue_event,
                why_lost=plain_lost if self._tls is None else self._tls.lost,
            ),
            sock=sock,
            ssl=context,
            # No name is checked, and none is sent: an address, or a name with a zone, is no fault.
            server_hostname=None if context is None else "",
            # Before Python 3.11 a handshake that is cancelled goes on until then.
            ssl_handshake_timeout=None if context is None else limit_seconds,
        )
        tls = transport.get_extra_info("ssl_object")
        if tls is not None:
            self.server_certificate = tls.getpeercert(binary_form=True)
        return connection

    async def _make_ready(self, connection: Connection) -> None:
        await connection.greet(self._connect_deadline_seconds)
        self.state = ClientState.RECOVERING
        self.reason = "it has not answered yet"
        while not await self._ping(connection):
            self.reason = "it is recovering after its start"
            await self._clock.sleep(_RECOVERY_POLL_SECONDS)
        self._connection = connection
        self._ready_at = self._clock.now()
        self.state = ClientState.READY
        self.reason = ""
        lost_at, self._lost_at = self._lost_at, None
        gap = "" if lost_at is None else f", after {self._ready_at - lost_at:.0f} s without it"
        told = fields(VDSM_BACK, peer=self.peer)
        _log.info("connected to VDSM at %s%s", self.peer, gap, extra=told)
        self._on_connected()

    async def _ping(self, connection: Connection) -> bool:
        """Return False while VDSM recovers; any other answer means that it answers."""
        try:
            await connection.call("Host.ping2", {}, self._ping_deadline_seconds)
        except VdsmCallFailed as error:
            return error.code != VdsmCode.RECOVERY_IN_PROGRESS
        except VdsmNoAnswer as error:
            reason = f"it takes the connection but answers no call: {error}"
            raise VdsmUnreachable(self.peer, reason) from error
        return True

    @property
    def _ping_deadline_seconds(self) -> float:
        return min(self._call_deadline_seconds, _PING_DEADLINE_SECONDS)

    def _disconnected(self, reason: str) -> None:
        if self.state is ClientState.READY or self.reason != reason:
            told = fields(VDSM_LOST, peer=self.peer, reason=reason)
            _log.warning("no connection to VDSM at %s: %s", self.peer, reason, extra=told)
        if self._lost_at is None:
            self._lost_at = self._clock.now()
        self.state = ClientState.DISCONNECTED
        self.reason = reason

    def _retry_delay_seconds(self, failures: int) -> float:
        longest = min(_LAST_RETRY_SECONDS, _FIRST_RETRY_SECONDS * 2.0 ** min(failures, 10))
        return longest * (0.5 + 0.5 * self._uniform())

    def _queue_event(self, event: Event) -> None:
        if len(self._events) == self._events.maxlen:
            self.events_lost += 1  # the deque drops its oldest
        self._events.append(event)
        if self._event_waiter is not None and not self._event_waiter.done():
            self._event_waiter.set_result(None)


def _report_bug(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        text = "the client of VDSM ended by a bug of ours"
        _log.error(text, exc_info=task.exception(), extra=fields(BUG))


async def _open(sock: socket.socket, address: Any) -> None:
    # Closed here, by whoever waits for it in the loop: from elsewhere its number could be another
    # socket's before the loop has forgotten it.
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise


def _why(error: OSError) -> str:
    """Say what the system says: asyncio's own "Connect call failed" hides it."""
    return str(error) if error.errno is None else os.strerror(error.errno)
