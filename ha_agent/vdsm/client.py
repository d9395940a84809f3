# SPDX-License-Identifier: Apache-2.0
"""Keeps one connection to VDSM, for as long as the process lives.

    connect -> greet, subscribe -> Host.ping2 until VDSM no longer answers 99 (recovering, 10 to
    11 s after each start of vdsmd) -> ready, `on_connected` -> ... -> the connection ends, all
    pending calls fail -> wait, with jitter and growing -> connect

What this client promises to its user:
- A call ends: with a result or with one of the errors of errors.py, by its deadline.
- A call is sent at most once. Nothing is repeated here, since only the caller knows what may be.
- Calls are refused at once (VdsmUnreachable) while there is no ready connection.
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
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Callable, Optional

from ha_agent.errors import DeadlineExceeded
from ha_agent.vdsm.connection import Clock, Connection
from ha_agent.vdsm.errors import VdsmCallFailed, VdsmCode, VdsmConnectionLost, VdsmUnreachable
from ha_agent.vdsm.jsonrpc import Event
from ha_agent.waiting import within

DEFAULT_PORT = 54321

_FIRST_RETRY_SECONDS = 0.25
_LAST_RETRY_SECONDS = 5.0
_RECOVERY_POLL_SECONDS = 0.5

_log = logging.getLogger(__name__)


class ClientState(enum.Enum):
    """Where the client is in its life."""

    DISCONNECTED = "disconnected"
    RECOVERING = "recovering"  # connected, and VDSM answers 99 or has not answered yet
    READY = "ready"
    CLOSED = "closed"


class VdsmClient:
    """A JSON-RPC client for one VDSM. `start` it in a running loop and `close` it, or run `run`.

    `ssl_context` is called for each connection, since renewed certificates are read by new
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
        ssl_context: Optional[Callable[[], ssl.SSLContext]] = None,
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
        self._host = host
        self._port = port
        self._clock = clock
        self._uniform = uniform
        self._ssl_context = ssl_context
        self._on_connected = on_connected
        self._connect_deadline_seconds = connect_deadline_seconds
        self._call_deadline_seconds = call_deadline_seconds
        self._heart_beat_ms = heart_beat_ms
        self._events: collections.deque[Event] = collections.deque(maxlen=max_queued_events)
        self._event_waiter: Optional[asyncio.Future[None]] = None
        self._connection: Optional[Connection] = None
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
        and DeadlineExceeded (it may have taken effect, or still will).
        """
        if self.state is not ClientState.READY or self._connection is None:
            raise VdsmUnreachable(self.peer, self.reason)
        if deadline_seconds is None:
            deadline_seconds = self._call_deadline_seconds
        return await self._connection.call(method, params, deadline_seconds)

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
                try:
                    self._disconnected(await self._live_once())
                    failures = 0
                except (VdsmUnreachable, VdsmConnectionLost) as error:
                    self._disconnected(error.reason)
                except DeadlineExceeded as error:
                    self._disconnected(str(error))
                await self._clock.sleep(self._retry_delay_seconds(failures))
                failures += 1
        finally:
            self.state = ClientState.CLOSED
            self.reason = "closed"

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
            share_seconds = (until - now()) / (len(addresses) - number)
            try:
                return await within(
                    max(share_seconds, 0.0),
                    self._connect_to(socket.socket(family, kind, protocol), address),
                    lambda unwanted: unwanted.end("closed by ourselves"),
                )
            except asyncio.TimeoutError:
                reasons.append(f"{address[0]}: no connection within {share_seconds:.1f} s")
            except OSError as error:
                reasons.append(f"{address[0]}: {_why(error)}")
        raise VdsmUnreachable(self.peer, "; ".join(reasons) or "its name has no address")

    async def _connect_to(self, sock: socket.socket, address: Any) -> Connection:
        loop = asyncio.get_running_loop()
        try:
            context = None if self._ssl_context is None else self._ssl_context()
            sock.setblocking(False)
            await loop.sock_connect(sock, address)
            _transport, connection = await loop.create_connection(
                lambda: Connection(
                    self.peer,
                    clock=self._clock,
                    heart_beat_ms=self._heart_beat_ms,
                    on_event=self._queue_event,
                ),
                sock=sock,
                ssl=context,
                server_hostname=None if context is None else self._host,
            )
        except BaseException:
            sock.close()
            raise
        return connection

    async def _make_ready(self, connection: Connection) -> None:
        await connection.greet(self._connect_deadline_seconds)
        self.state = ClientState.RECOVERING
        self.reason = "it has not answered yet"
        while not await self._ping(connection):
            self.reason = "it is recovering after its start"
            await self._clock.sleep(_RECOVERY_POLL_SECONDS)
        self._connection = connection
        self.state = ClientState.READY
        self.reason = ""
        _log.info("connected to VDSM at %s", self.peer)
        self._on_connected()

    async def _ping(self, connection: Connection) -> bool:
        """Return False while VDSM recovers; any other answer means that it answers."""
        try:
            await connection.call("Host.ping2", {}, self._call_deadline_seconds)
        except VdsmCallFailed as error:
            return error.code != VdsmCode.RECOVERY_IN_PROGRESS
        return True

    def _disconnected(self, reason: str) -> None:
        if self.state is ClientState.READY or self.reason != reason:
            _log.warning("no connection to VDSM at %s: %s", self.peer, reason)
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
    if not task.cancelled():
        _log.error("the client of VDSM ended by a bug of ours", exc_info=task.exception())


def _why(error: OSError) -> str:
    """Say what the system says: asyncio's own "Connect call failed" hides it."""
    if error.errno is None or error.filename is not None or isinstance(error, ssl.SSLError):
        return str(error)
    return os.strerror(error.errno)


def vdsm_ssl_context(key_file: Path, certificate_file: Path, ca_file: Path) -> ssl.SSLContext:
    """Return a client context as VDSM's own client makes it (vdsm's lib/vdsm/sslutils.py).

    The host's own server pair is the client pair too. VDSM's certificate must come from
    `ca_file`; its name is not checked, since it bears whatever name the host was added by. Under
    TLS 1.3 VDSM's refusal of our certificate comes with the first read, after the handshake.
    Raises OSError (ssl.SSLError is one) when a file is missing or unusable.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(ca_file)
    context.load_cert_chain(certificate_file, key_file)
    return context
