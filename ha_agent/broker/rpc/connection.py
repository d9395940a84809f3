# SPDX-License-Identifier: Apache-2.0
"""One caller of the RPC server: reads requests, runs each in a task, writes answers as they come.

It must not wait for anything without a bound; rpc/server.py says what a caller may count on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Mapping
from typing import Any, Callable, Optional, Protocol

from ha_agent.broker.api.verb import near
from ha_agent.broker.rpc import codec as rpc_codec
from ha_agent.broker.rpc.answer import Handler, Late, RpcRefusal, Stream
from ha_agent.broker.rpc.codec import Notification, Request, Response, RpcCodecError, RpcError
from ha_agent.broker.rpc.limits import Room, ServerLimits, Turns, debtor_of
from ha_agent.broker.rpc.peer import Peer, Reads, Writes
from ha_agent.broker.rpc.tally import OK, UNKNOWN_VERB, RpcTally
from ha_agent.journal_messages import BUG
from ha_agent.log import fields
from ha_agent.waiting import within

_log = logging.getLogger(__name__)

_READ_BYTES = 16 * 1024


class Service(Protocol):
    """What a connection needs of its server."""

    limits: ServerLimits
    tally: RpcTally
    room: Room
    turns: Turns
    on_bad_stream: Callable[[RpcCodecError], None]

    @property
    def large(self) -> asyncio.Semaphore: ...

    @property
    def handlers(self) -> Mapping[str, Handler]: ...

    @property
    def is_stopping(self) -> bool: ...

    def deadline_seconds_of(self, method: str) -> float: ...

    def is_trusted(self, peer: Peer) -> bool: ...

    def track(self, call: asyncio.Task[None]) -> None: ...


class ConnectionGivenUp(Exception):
    """The other end does not take its answers, or does not finish its message."""


class Connection:
    """One caller; `run` serves it, `abort` ends it."""

    def __init__(self, server: Service, reader: Reads, writer: Writes, peer: Peer) -> None:
        self._server = server
        self._limits = server.limits
        self._reader = reader
        self._writer = writer
        self._peer = peer
        limits, self._trusted = server.limits, server.is_trusted(peer)
        self._decoder = rpc_codec.RpcDecoder(
            limits.max_message_bytes if self._trusted else limits.small_message_bytes
        )
        self._large = False
        self._message_ends_at: Optional[float] = None  # by the loop's clock
        self._free_slots = asyncio.Semaphore(
            limits.max_in_flight if self._trusted else limits.lookers_in_flight
        )
        # drain() of Python 3.9 can't be waited for by two tasks at once.
        self._write_lock = asyncio.Lock()
        self._calls: set[asyncio.Task[None]] = set()
        self._streams: set[asyncio.Task[None]] = set()
        self._stream_count = 0  # with those whose answer is not written yet

    async def run(self) -> None:
        """Serve until the other end closes, breaks the protocol or the task is cancelled."""
        while True:
            data = await self._read()
            if not data:
                return
            await self._have_turn()
            try:
                for message in self._decoder.feed(data):
                    if not isinstance(message, Request):
                        raise RpcCodecError("a client sends requests only")
                    await self._free_slots.acquire()
                    if self._writer.is_closing():  # by a call that could not be answered
                        return
                    self._start_call(message)
                await self._take_turn()
            except RpcCodecError as error:
                await self._refuse_stream(error)
                return

    def abort(self) -> None:
        """Cancel what still runs and close at once: nobody is there to wait for."""
        for task in (*self._calls, *self._streams):
            task.cancel()
        if self._large:
            self._server.large.release()
            self._large = False
        self._writer.transport.abort()

    async def _read(self) -> bytes:
        if not self._decoder.has_partial_message:
            self._message_ends_at = None
            return await self._reader.read(_READ_BYTES)
        now = asyncio.get_running_loop().time()
        seconds = self._limits.message_deadline_seconds
        if self._message_ends_at is None:
            self._message_ends_at = now + seconds
        try:
            # Of the whole message: one that drips would have any number of single reads.
            left_seconds = max(self._message_ends_at - now, 0.0)
            return await within(left_seconds, self._reader.read(_READ_BYTES))
        except asyncio.TimeoutError:
            what = f"its message was not whole within {seconds:g} s"
            raise ConnectionGivenUp(what) from None

    async def _have_turn(self) -> None:
        """Before any work that a caller causes: who may only look waits for their like."""
        if not self._trusted:
            await self._server.turns.take(self._peer.uid)

    async def _take_turn(self) -> None:
        """A message that has become large is only read on in its turn."""
        is_large = self._decoder.buffered_bytes > self._limits.small_message_bytes
        if is_large and not self._large:
            seconds = self._limits.message_deadline_seconds
            try:
                await within(seconds, self._server.large.acquire(), self._give_back)
            except asyncio.TimeoutError:
                raise ConnectionGivenUp("too many large messages at once") from None
            self._large = True
        elif self._large and not is_large:
            self._large = False
            self._server.large.release()

    def _give_back(self, _acquired: bool) -> None:
        self._server.large.release()

    # Calls -------------------------------------------------------------------------------

    def _start_call(self, request: Request) -> None:
        call = asyncio.get_running_loop().create_task(self._answer(request))
        self._calls.add(call)
        call.add_done_callback(self._call_ended)
        self._server.track(call)

    def _call_ended(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        self._free_slots.release()
        self._look_at(call)

    def _look_at(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            # Only writing can fail here, and then nothing more can be said on this connection.
            _log.info("%s did not take an answer: %s", self._peer, task.exception())
            self._writer.transport.abort()

    async def _answer(self, request: Request) -> None:
        response = await self._respond(request)
        stream = response.result if isinstance(response.result, Stream) else None
        if stream is not None:
            response = self._with_stream(request, stream)
            stream = None if response.error else stream
        known = request.method in self._server.handlers
        verb = request.method if known else UNKNOWN_VERB
        self._server.tally.calls[verb, response.error.code if response.error else OK] += 1
        await self._write(lambda: self._encoded(request, response))
        if stream is not None:
            task = asyncio.get_running_loop().create_task(self._follow(stream))
            self._streams.add(task)
            task.add_done_callback(self._stream_ended)

    def _stream_ended(self, stream: asyncio.Task[None]) -> None:
        self._streams.discard(stream)
        self._stream_count -= 1
        self._look_at(stream)

    def _with_stream(self, request: Request, stream: Stream) -> Response:
        if self._stream_count < self._limits.max_streams:
            self._stream_count += 1
            return Response(request.msgid, result=stream.first)
        what = f"a connection has at most {self._limits.max_streams} streams"
        return _error(request, rpc_codec.CODE_BUSY, what)

    def _encoded(self, request: Request, response: Response) -> bytes:
        try:
            if isinstance(response.result, Late):
                response = Response(response.msgid, result=response.result.make())
            return rpc_codec.encode(response, max_message_bytes=self._limits.max_message_bytes)
        except RpcCodecError as error:
            _log.error("the result of %s %s", request.method, error)
            return rpc_codec.encode(_internal_error(request))

    async def _respond(self, request: Request) -> Response:
        handler = self._server.handlers.get(request.method)
        if handler is None:
            what = f"there is no method {request.method!r}"
            what += near(request.method, self._server.handlers)
            return _error(request, rpc_codec.CODE_UNKNOWN_METHOD, what)
        if self._server.is_stopping:
            return _error(request, rpc_codec.CODE_STOPPING, "the broker is stopping")
        deadline_seconds = self._server.deadline_seconds_of(request.method)
        work = asyncio.get_running_loop().create_task(self._run_handler(handler, request))
        try:
            # Not within(): a failure after the deadline is to be logged.
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
            _log.exception("%s failed", request.method, extra=fields(BUG))
            return _internal_error(request)
        finally:
            if not work.done():
                work.add_done_callback(_log_late_failure)
                work.cancel()

    async def _run_handler(self, handler: Handler, request: Request) -> Any:
        await self._have_turn()
        return await handler(request.params, self._peer)

    async def _follow(self, stream: Stream) -> None:
        """Send what is new, each when the one before has been taken."""
        while not self._server.is_stopping:
            make = await stream.next()
            if make is None:
                return
            await self._write(_notification(stream.name, make, self._limits.max_message_bytes))

    # Writing -----------------------------------------------------------------------------

    async def _refuse_stream(self, error: RpcCodecError) -> None:
        """Say what was wrong, as well as it can be said, before the connection is closed."""
        self._server.on_bad_stream(error)
        _log.warning("connection of %s closed: %s", self._peer, error)
        if error.msgid is None:
            await self._write(lambda: closing(rpc_codec.CODE_BAD_MESSAGE, str(error)))
        else:
            answer = Response(error.msgid, error=RpcError(rpc_codec.CODE_BAD_MESSAGE, str(error)))
            await self._write(lambda: rpc_codec.encode(answer))
        # abort() drops what is not sent yet; a well-meaning client deserves the explanation.
        self._writer.close()
        with contextlib.suppress(asyncio.TimeoutError, OSError):
            await within(self._limits.drain_deadline_seconds, self._writer.wait_closed())

    async def _write(self, make: Callable[[], bytes]) -> None:
        """Send what `make` gives, made only when it can be sent."""
        room, seconds = self._server.room, self._limits.drain_deadline_seconds
        debtor = debtor_of(self._peer, os.getuid())
        async with self._write_lock:
            await room.wait(debtor)
            await self._have_turn()
            data = make()
            size_bytes = len(data)
            room.owe(debtor, size_bytes)
            try:
                self._writer.write(data)
                del data
                await within(seconds, self._writer.drain())
            except asyncio.TimeoutError:
                # At once: what it has not taken is held until then.
                self._writer.transport.abort()
                what = f"its answers were not read within {seconds:g} s"
                raise ConnectionGivenUp(what) from None
            finally:
                room.settle(debtor, size_bytes)


def _notification(
    name: str, make: Callable[[], Mapping[str, Any]], max_message_bytes: int
) -> Callable[[], bytes]:
    def encoded() -> bytes:
        return rpc_codec.encode(Notification(name, make()), max_message_bytes=max_message_bytes)

    return encoded


def closing(code: str, message: str) -> bytes:
    """Return the notification that says why the server is about to close."""
    return rpc_codec.encode(Notification(rpc_codec.CLOSING, {"code": code, "message": message}))


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
