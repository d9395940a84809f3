# SPDX-License-Identifier: Apache-2.0
"""The server of the operators' socket: connections, deadlines and bounds around handlers.

It must not know what any method means, nor wait for anything without a bound: the predecessor
served one call at a time, so a slow mail server froze status, agent and VDSM with it (facts
1.5). The wire is rpc_codec.py's.

What a caller may count on:

- Calls of one connection run at the same time and are answered as each one ends, in any order.
- Each call is answered, by its deadline at the latest. The handler is cancelled then; what it
  had begun outside may still take effect. A handler that must not be cut short shields that part.
- When a caller closes its connection, its calls that still run are cancelled.

What one caller can't do to others: a connection has at most `max_in_flight` calls at once (more
are left unread in its socket), and is closed when it does not take its answers within
`drain_deadline_seconds`; beyond `max_connections`, one is told "busy" and closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Any, Callable, Optional

from ha_agent.broker import rpc_codec
from ha_agent.broker.rpc_codec import Notification, Request, Response, RpcCodecError, RpcError
from ha_agent.broker.rpc_peer import Peer as Peer
from ha_agent.broker.rpc_peer import Reads, Writes, peer_of
from ha_agent.broker.rpc_tally import OK, UNKNOWN_VERB, RpcTally
from ha_agent.errors import HaAgentError

_log = logging.getLogger(__name__)

_READ_BYTES = 64 * 1024
# When accept fails for want of descriptors, only time (another connection's end) helps.
_ACCEPT_RETRY_SECONDS = 0.5


Handler = Callable[[Mapping[str, Any], Peer], Awaitable[Any]]
"""Takes params by name and the caller; returns a result that rpc_codec can encode, or raises
RpcRefusal. Checks its params itself."""


class RpcRefusal(HaAgentError):
    """Raised by a handler: the caller gets `code`, `message` and `details`. No fault of ours."""

    def __init__(
        self, code: str, message: str, details: Optional[Mapping[str, Any]] = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = dict(details or {})


@dataclass(frozen=True)
class ServerLimits:
    """Bounds of one server. Memory is bounded by connections x (in flight + 1) x message."""

    # A thousand callers, and room for the daemons among them.
    max_connections: int = 1100
    max_in_flight: int = 32
    max_message_bytes: int = rpc_codec.DEFAULT_MAX_MESSAGE_BYTES
    call_deadline_seconds: float = 10.0
    drain_deadline_seconds: float = 5.0


class RpcServer:
    """Serves `handlers`, a handler for each method, on a listening UNIX stream socket.

    `deadlines_seconds` overrides `limits.call_deadline_seconds` for methods that wait on
    purpose, such as a long-polled watch.
    """

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        *,
        deadlines_seconds: Optional[Mapping[str, float]] = None,
        limits: Optional[ServerLimits] = None,
        tally: Optional[RpcTally] = None,
        on_bad_stream: Callable[[RpcCodecError], None] = lambda _error: None,
    ) -> None:
        """`on_bad_stream` is told of each connection that is closed for what it sent."""
        self.on_bad_stream = on_bad_stream
        self._handlers = dict(handlers)
        self._deadlines_seconds = dict(deadlines_seconds or {})
        self.limits = limits or ServerLimits()
        self.tally = tally or RpcTally()
        self._listener: Optional[socket.socket] = None
        self._accepting: Optional[asyncio.Task[None]] = None
        self._connections: set[asyncio.Task[None]] = set()
        self._calls: set[asyncio.Task[None]] = set()
        self._stopping = False

    @property
    def connection_count(self) -> int:
        """Connections that are open now."""
        return len(self._connections)

    def start(self, listener: socket.socket) -> None:
        """Begin to accept on `listener`: of unix_listener.listen_unix(), or from systemd.

        The server closes it in stop(), but does not remove its file: systemd's must stay.
        """
        listener.setblocking(False)
        self._listener = listener
        self._accepting = asyncio.get_running_loop().create_task(self._accept(listener))

    async def stop(self, grace_seconds: float = 2.0) -> None:
        """Stop accepting, let running calls end for `grace_seconds`, refuse new ones, close all.

        Who owns handlers that wait on purpose wakes them first, or the grace is used up by them.
        """
        self._stopping = True
        if self._accepting is not None:
            self._accepting.cancel()
            await asyncio.wait({self._accepting})
        if self._listener is not None:
            self._listener.close()
        if self._calls:
            await asyncio.wait(self._calls, timeout=grace_seconds)
        for connection in self._connections:
            connection.cancel()
        if self._connections:
            await asyncio.wait(self._connections, timeout=self.limits.drain_deadline_seconds)

    # asyncio's own server is not used: since 3.13 it removes the socket file when it closes,
    # systemd's as well, and it has no bound on connections.
    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, _ = await loop.sock_accept(listener)
            except OSError as error:
                if error.errno != errno.ECONNABORTED:
                    _log.warning("can't accept a connection: %s", error)
                    await asyncio.sleep(_ACCEPT_RETRY_SECONDS)
                continue
            sock.setblocking(False)
            if len(self._connections) >= self.limits.max_connections:
                self.tally.turned_away += 1
                _turn_away(sock, self.limits.max_connections)
                continue
            self._count(loop.create_task(self._serve(sock)))

    async def _serve(self, sock: socket.socket) -> None:
        try:
            peer = peer_of(sock)
            reader, writer = await asyncio.open_unix_connection(sock=sock)
        except OSError as error:
            _log.info("a caller went away at once: %s", error)
            sock.close()
            return
        await self._talk(reader, writer, peer)

    async def serve_stream(self, reader: Reads, writer: Writes, peer: Peer) -> None:
        """Serve a connection that somebody else accepted and knows, until it ends.

        It counts among those that stop() closes, but `max_connections` is the caller's matter.
        """
        task = asyncio.current_task()
        assert task is not None
        self._count(task)
        await self._talk(reader, writer, peer)

    async def _talk(self, reader: Reads, writer: Writes, peer: Peer) -> None:
        connection = _Connection(self, reader, writer, peer)
        try:
            await connection.run()
        except (OSError, _SlowReader) as error:
            _log.info("connection of %s closed: %s", peer, error)
        finally:
            connection.abort()

    def _count(self, connection: asyncio.Task[None]) -> None:
        self._connections.add(connection)
        self.tally.connections += 1
        self.tally.open_connections += 1
        connection.add_done_callback(self._uncount)

    def _uncount(self, connection: asyncio.Task[None]) -> None:
        self._connections.discard(connection)
        self.tally.open_connections -= 1

    def handler_of(self, method: str) -> Optional[Handler]:
        """Return the handler of `method`, or None."""
        return self._handlers.get(method)

    def deadline_seconds_of(self, method: str) -> float:
        """Return how long a call of `method` may take."""
        return self._deadlines_seconds.get(method, self.limits.call_deadline_seconds)

    def track(self, call: asyncio.Task[None]) -> None:
        """Count `call` among those that stop() waits for."""
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)

    @property
    def is_stopping(self) -> bool:
        """Whether new calls are refused."""
        return self._stopping


class _SlowReader(Exception):
    """The other end does not take its answers."""


class _Connection:
    """One caller: reads requests, runs each in a task, writes answers as they come."""

    def __init__(
        self,
        server: RpcServer,
        reader: Reads,
        writer: Writes,
        peer: Peer,
    ) -> None:
        self._server = server
        self._limits = server.limits
        self._reader = reader
        self._writer = writer
        self._peer = peer
        self._decoder = rpc_codec.RpcDecoder(self._limits.max_message_bytes)
        self._free_slots = asyncio.Semaphore(self._limits.max_in_flight)
        # drain() of Python 3.9 can't be waited for by two tasks at once.
        self._write_lock = asyncio.Lock()
        self._calls: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Serve until the other end closes, breaks the protocol or the task is cancelled."""
        while True:
            data = await self._reader.read(_READ_BYTES)
            if not data:
                return
            try:
                for message in self._decoder.feed(data):
                    if not isinstance(message, Request):
                        raise RpcCodecError("a client sends requests only")
                    await self._free_slots.acquire()
                    if self._writer.is_closing():  # by a call that could not be answered
                        return
                    self._start_call(message)
            except RpcCodecError as error:
                await self._refuse_stream(error)
                return

    def abort(self) -> None:
        """Cancel what still runs and close at once: nobody is there to wait for."""
        for call in self._calls:
            call.cancel()
        self._writer.transport.abort()

    def _start_call(self, request: Request) -> None:
        call = asyncio.get_running_loop().create_task(self._answer(request))
        self._calls.add(call)
        call.add_done_callback(self._call_ended)
        self._server.track(call)

    def _call_ended(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        self._free_slots.release()
        if not call.cancelled() and call.exception() is not None:
            # Only writing can fail here, and then nothing more can be said on this connection.
            _log.info("%s did not take an answer: %s", self._peer, call.exception())
            self._writer.transport.abort()

    async def _answer(self, request: Request) -> None:
        response = await self._respond(request)
        known = self._server.handler_of(request.method) is not None
        verb = request.method if known else UNKNOWN_VERB
        self._server.tally.calls[verb, response.error.code if response.error else OK] += 1
        try:
            data = rpc_codec.encode(response, max_message_bytes=self._limits.max_message_bytes)
        except RpcCodecError as error:
            _log.error("the result of %s %s", request.method, error)
            data = rpc_codec.encode(_internal_error(request))
        await self._write(data)

    async def _respond(self, request: Request) -> Response:
        handler = self._server.handler_of(request.method)
        if handler is None:
            return _error(
                request, rpc_codec.CODE_UNKNOWN_METHOD, f"there is no method {request.method!r}"
            )
        if self._server.is_stopping:
            return _error(request, rpc_codec.CODE_STOPPING, "the broker is stopping")
        deadline_seconds = self._server.deadline_seconds_of(request.method)
        work = asyncio.get_running_loop().create_task(self._run_handler(handler, request))
        try:
            # Not wait_for(): it would wait for the handler to heed its cancellation, too.
            await asyncio.wait({work}, timeout=deadline_seconds)
            if not work.done():
                return _error(
                    request,
                    rpc_codec.CODE_DEADLINE,
                    f"{request.method} did not end within {deadline_seconds:g} s",
                )
            if work.cancelled():  # by itself: what it waited for was cancelled
                _log.error("%s failed: it was cancelled from inside", request.method)
                return _internal_error(request)
            return Response(request.msgid, result=work.result())
        except RpcRefusal as refusal:
            return _error(request, refusal.code, refusal.message, refusal.details)
        except Exception:  # the one place: a fault in a handler ends its call, not the broker
            _log.exception("%s failed", request.method)
            return _internal_error(request)
        finally:
            if not work.done():
                work.add_done_callback(_log_late_failure)
                work.cancel()

    async def _run_handler(self, handler: Handler, request: Request) -> Any:
        return await handler(request.params, self._peer)

    async def _refuse_stream(self, error: RpcCodecError) -> None:
        """Say what was wrong, as well as it can be said, before the connection is closed."""
        self._server.on_bad_stream(error)
        _log.warning("connection of %s closed: %s", self._peer, error)
        if error.msgid is None:
            await self._write(_closing(rpc_codec.CODE_BAD_MESSAGE, str(error)))
        else:
            answer = RpcError(rpc_codec.CODE_BAD_MESSAGE, str(error))
            await self._write(rpc_codec.encode(Response(error.msgid, error=answer)))
        # abort() drops what is not sent yet; a well-meaning client deserves the explanation.
        self._writer.close()
        with contextlib.suppress(asyncio.TimeoutError, OSError):
            await asyncio.wait_for(self._writer.wait_closed(), self._limits.drain_deadline_seconds)

    async def _write(self, data: bytes) -> None:
        async with self._write_lock:
            self._writer.write(data)
            try:
                await asyncio.wait_for(self._writer.drain(), self._limits.drain_deadline_seconds)
            except asyncio.TimeoutError:
                raise _SlowReader(
                    f"its answers were not read within {self._limits.drain_deadline_seconds:g} s"
                ) from None


def _error(
    request: Request, code: str, message: str, details: Optional[Mapping[str, Any]] = None
) -> Response:
    return Response(request.msgid, error=RpcError(code, message, details or {}))


def _internal_error(request: Request) -> Response:
    message = f"{request.method} failed inside the broker; the broker's log says more"
    return _error(request, rpc_codec.CODE_INTERNAL, message)


def _log_late_failure(work: asyncio.Future[Any]) -> None:
    if not work.cancelled() and work.exception() is not None:
        _log.error("a call failed after its answer had been sent", exc_info=work.exception())


def _closing(code: str, message: str) -> bytes:
    return rpc_codec.encode(Notification(rpc_codec.CLOSING, {"code": code, "message": message}))


def _turn_away(sock: socket.socket, max_connections: int) -> None:
    """Tell a caller too many why. The few bytes fit into a new socket's buffer, or are lost."""
    with contextlib.suppress(OSError):
        sock.send(_closing(rpc_codec.CODE_BUSY, f"all {max_connections} connections are in use"))
    sock.close()
