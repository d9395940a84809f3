# SPDX-License-Identifier: Apache-2.0
"""One connection to VDSM, from its first byte to its end: greeting, calls, events, heart-beats.

    -> CONNECT                                  <- CONNECTED
    -> SUBSCRIBE to a reply destination of our own, and to jms.queue.events
    -> SEND to jms.topic.vdsm_requests          <- MESSAGE to the reply destination
                                                <- MESSAGE to jms.queue.events
    -> line ends each half of the agreed interval; silence for 1.5 intervals ends it

VDSM routes replies by destination and request id in tables that all its clients share. So the
reply destination is a uuid4, anew for each connection, and a request's id is another one with
the request's number; and every request is a bare object with an id: a notification or a batch
would end VDSM's service to everybody (facts 1.2).

A connection ends once, for one reason, and then every pending call fails at once. It is never
mended: client.py makes the next one. It keeps no queue of events and waits for nobody: the
reader is never blocked by whoever uses what it reads.

A frame is handed to asyncio only when all before it have gone to the kernel; until then it waits
here. So of a request that waits here when the connection ends, or its caller does, it is known
that VDSM never saw it; of any other one nobody can say. (asyncio's TLS tells one frame late that
the kernel takes no more: what it has is counted as sent.)
"""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Callable, Optional, Protocol, cast

from ha_agent.errors import BadInput, DeadlineExceeded
from ha_agent.instant import Instant, WallTime
from ha_agent.vdsm import jsonrpc, stomp
from ha_agent.vdsm.client.tls import is_tls, plain_lost
from ha_agent.vdsm.errors import (
    VdsmCallFailed,
    VdsmConnectionLost,
    VdsmNoAnswer,
    VdsmUnreachable,
)

STOMP_VERSION = "1.2"  # VDSM refuses a list of versions
EVENT_DESTINATION = "jms.queue.events"
REQUEST_DESTINATION = "jms.topic.vdsm_requests"

# Late by half an interval is late, not dead; and noticed within two intervals.
_SILENCE_INTERVALS = 1.5
# VDSM grants a client no delay at all, so we beat twice as often as we promise.
_BEATS_PER_INTERVAL = 2
# A peer that sends heart-beats and reads nothing must not fill our memory.
_MAX_UNSENT_BYTES = 8 * 1024 * 1024
_MAX_REASON_CHARS = 300
# What is read in one turn of the loop, so that others have theirs: some 150 events, which take a
# few milliseconds. asyncio's own choice would be four times as much.
_READ_BYTES = 64 * 1024


class Clock(Protocol):
    """The part of ports.Clock that is needed here, and by the client."""

    def now(self) -> Instant:
        """Read the boot-time clock."""

    def wall(self) -> WallTime:
        """Read the calendar."""

    async def sleep(self, duration_seconds: float) -> None:
        """Sleep without blocking the loop."""


@dataclass
class _Call:
    """A request under way. `is_sent`: some of it may have left this process.

    `due_at` is when its answer is late, by the loop's time.
    """

    method: str
    answer: asyncio.Future[Any]
    deadline_seconds: float
    due_at: float
    is_sent: bool = False


class Connection(asyncio.BufferedProtocol):
    """An asyncio protocol; `greet` comes first, then `call`.

    `peer` is host:port for messages. `heart_beat_ms` is what we (send, want). `on_event` gets
    each event in the reader's own turn: it must be quick and must not raise. `why_lost` puts in
    words what asyncio's connection_lost says, and whether VDSM had greeted before. `ended`
    resolves to the reason, when the connection is over.
    """

    def __init__(
        self,
        peer: str,
        *,
        clock: Clock,
        heart_beat_ms: tuple[int, int],
        on_event: Callable[[jsonrpc.Event], None],
        why_lost: Callable[[Optional[Exception], bool], str] = plain_lost,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[str] = loop.create_future()
        self.answers = 0  # to calls, errors and unmatched ones too
        self.unmatched_replies = 0  # late after a deadline, or an answer to nobody
        self._loop = loop
        self._peer = peer
        self._clock = clock
        self._heart_beat_ms = heart_beat_ms
        self._on_event = on_event
        self._why_lost = why_lost
        # A view, since asyncio takes slices of it, and those of a bytearray are copies.
        self._read_buffer = memoryview(bytearray(_READ_BYTES))
        self._decoder = stomp.StompDecoder(where=f"VDSM at {peer}")
        self._reply_destination = str(uuid.uuid4())
        self._id_prefix = str(uuid.uuid4())
        self._numbers = itertools.count(1)  # of requests, and of what waits to be sent
        self._request_head = stomp.encode_head(
            "SEND",
            {
                "destination": REQUEST_DESTINATION,
                "content-type": "application/json",
                "reply-to": self._reply_destination,
            },
        )
        self._greeting: asyncio.Future[None] = loop.create_future()
        self._calls: dict[jsonrpc.MessageId, _Call] = {}
        self._deadline_timer: Optional[asyncio.TimerHandle] = None  # of all calls, see _limit
        self._is_paused = False
        self._unsent: OrderedDict[jsonrpc.MessageId, tuple[bytes, Optional[_Call]]] = OrderedDict()
        self._unsent_bytes = 0
        self._beat_timer: Optional[asyncio.TimerHandle] = None
        self._silence_timer: Optional[asyncio.TimerHandle] = None
        self._heard_at = clock.now()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; nothing is sent before `greet`."""
        self._transport = cast(asyncio.Transport, transport)
        # Anything that the kernel does not take at once pauses us. Not 0, which asyncio's TLS
        # takes for "always".
        self._transport.set_write_buffer_limits(high=1, low=0)

    def get_buffer(self, _sizehint: int) -> memoryview:
        """Say where to put what comes."""
        return self._read_buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Decode what came and hand it on; what can't be decoded ends the connection."""
        data = bytes(self._read_buffer[:nbytes])
        self._heard_at = self._clock.now()
        if not self._greeting.done() and is_tls(data):
            self.end("it speaks TLS, and we do not: set [vdsm] ssl = true")
            return
        try:
            for frame in self._decoder.feed(data):
                self._take(frame)
                if self.ended.done():
                    return
        except BadInput as error:
            self.end(f"it sent what can't be read: {error}")

    def pause_writing(self) -> None:
        """Keep what is to be sent: the kernel takes no more for now."""
        self._is_paused = True

    def resume_writing(self) -> None:
        """Send what waited."""
        self._is_paused = False
        while self._unsent and not self._is_paused and not self.ended.done():
            _key, (data, call) = self._unsent.popitem(last=False)
            self._unsent_bytes -= len(data)
            self._write(data, call)

    def connection_lost(self, exc: Optional[Exception]) -> None:
        """End, with the reason."""
        if not self.ended.done():
            self.end(self._why_lost(exc, self._greeting.done()))

    # What client.py calls.

    async def greet(self, deadline_seconds: float) -> None:
        """Open the STOMP session and subscribe. Raises VdsmConnectionLost, DeadlineExceeded."""
        sends_ms, wants_ms = self._heart_beat_ms
        self._send_frame(
            "CONNECT",
            {"accept-version": STOMP_VERSION, "heart-beat": f"{sends_ms},{wants_ms}"},
        )
        # Not wait_for: before Python 3.12 it swallows a cancel that comes with the greeting.
        await asyncio.wait({self._greeting}, timeout=deadline_seconds)
        if not self._greeting.done():
            raise DeadlineExceeded(f"STOMP greeting of VDSM at {self._peer}", deadline_seconds)
        self._greeting.result()
        for destination in (self._reply_destination, EVENT_DESTINATION):
            self._send_frame(
                "SUBSCRIBE",
                {"destination": destination, "ack": "auto", "id": str(uuid.uuid4())},
            )

    async def call(self, method: str, params: Mapping[str, Any], deadline_seconds: float) -> Any:
        """Send one request and return its result.

        Raises VdsmCallFailed, VdsmConnectionLost, VdsmNoAnswer, or VdsmUnreachable when the
        connection is over already. A request whose caller leaves before it was sent never is.
        """
        if self.ended.done():
            raise VdsmUnreachable(self._peer, self.ended.result())
        now = self._loop.time()
        call = _Call(method, self._loop.create_future(), deadline_seconds, now + deadline_seconds)
        number = f"{self._id_prefix}-{next(self._numbers)}"
        body = jsonrpc.encode_request(jsonrpc.Request(method, params, number))
        self._calls[number] = call
        self._limit(call.due_at)
        try:
            self._send(stomp.with_body(self._request_head, body), number, call)
            return await call.answer
        finally:
            del self._calls[number]
            if number in self._unsent:
                data, _call = self._unsent.pop(number)
                self._unsent_bytes -= len(data)

    def end(self, reason: str) -> None:
        """Close at once and fail every pending call. The first reason stays."""
        if self.ended.done():
            return
        reason = reason[:_MAX_REASON_CHARS]
        self.ended.set_result(reason)
        for timer in (self._beat_timer, self._silence_timer, self._deadline_timer):
            if timer is not None:
                timer.cancel()
        self._transport.abort()
        if not self._greeting.done():
            lost = VdsmConnectionLost(self._peer, reason, may_have_executed=False)
            self._greeting.set_exception(lost)
            self._greeting.exception()  # seen: greet() may not be waiting for it (any more)
        for call in self._calls.values():
            if not call.answer.done():
                lost = VdsmConnectionLost(self._peer, reason, may_have_executed=call.is_sent)
                call.answer.set_exception(lost)

    # Frames in.

    def _take(self, frame: stomp.Frame) -> None:
        if frame.command == "MESSAGE":
            self._take_message(jsonrpc.decode(frame.body))
        elif frame.command == "CONNECTED" and not self._greeting.done():
            self._take_greeting(frame)
        elif frame.command == "ERROR":
            # It names no request, so it can't be told which of the pending calls it ends.
            self.end(f"STOMP error: {frame.body.decode('utf-8', 'replace')}")
        elif frame.command != "RECEIPT":
            raise stomp.StompError(f"unexpected {frame.command}")

    def _take_greeting(self, frame: stomp.Frame) -> None:
        version = frame.headers.get("version", "")
        if version != STOMP_VERSION:
            raise stomp.StompError(f"STOMP version {version[:20]!r}, not {STOMP_VERSION}")
        theirs = stomp.parse_heart_beat(frame.headers.get("heart-beat", "0,0"))
        send_ms, expect_ms = stomp.negotiate(self._heart_beat_ms, theirs)
        if send_ms:
            self._beat(send_ms / 1000 / _BEATS_PER_INTERVAL)
        if expect_ms:
            self._watch(expect_ms / 1000 * _SILENCE_INTERVALS)
        self._greeting.set_result(None)

    def _take_message(self, message: jsonrpc.Message) -> None:
        if isinstance(message, jsonrpc.Event):
            # On any destination: another client's notification makes VDSM send one astray.
            self._on_event(message)
            return
        if isinstance(message, jsonrpc.Request):
            raise stomp.StompError("a request, which VDSM never sends")
        self.answers += 1
        call = None if message.id is None else self._calls.get(message.id)
        if call is None or call.answer.done():
            self.unmatched_replies += 1
        elif message.error is not None:
            error = VdsmCallFailed(call.method, message.error.code, message.error.message)
            call.answer.set_exception(error)
        else:
            call.answer.set_result(message.result)

    # Bytes out, and time.

    def _send_frame(self, command: str, headers: Mapping[str, str]) -> None:
        frame = stomp.encode(stomp.Frame(command, headers))
        self._send(frame, next(self._numbers), None)

    def _send(self, data: bytes, key: jsonrpc.MessageId, call: Optional[_Call]) -> None:
        """Send a frame, in its turn. `call` is the call that it is the request of, if any."""
        if self.ended.done():
            return
        if not self._is_paused:
            self._write(data, call)
            return
        self._unsent[key] = data, call
        self._unsent_bytes += len(data)
        if self._unsent_bytes > _MAX_UNSENT_BYTES:
            self.end("it reads nothing of what we send")

    def _write(self, data: bytes, call: Optional[_Call]) -> None:
        if call is not None:
            call.is_sent = True
        self._transport.write(data)

    def _limit(self, due_at: float) -> None:
        """See that `_expire` runs at that time of the loop.

        Calls share a timer. Most are answered long before their deadline, and the next ones find
        it set, to a time before theirs.
        """
        timer = self._deadline_timer
        if timer is not None:
            if timer.when() <= due_at:
                return
            timer.cancel()
        self._deadline_timer = self._loop.call_at(due_at, self._expire)

    def _expire(self) -> None:
        """Fail the calls whose time is over, and set the timer for those that are left."""
        self._deadline_timer = None
        now = self._loop.time()
        for call in self._calls.values():
            if call.answer.done():
                continue
            if call.due_at > now:
                self._limit(call.due_at)
                continue
            late = VdsmNoAnswer(call.method, call.deadline_seconds, may_have_executed=call.is_sent)
            call.answer.set_exception(late)

    def _beat(self, period_seconds: float) -> None:
        if not self._is_paused:  # else VDSM has yet to read what stands before it
            self._transport.write(stomp.HEART_BEAT)
        self._beat_timer = self._loop.call_later(period_seconds, self._beat, period_seconds)

    def _watch(self, limit_seconds: float) -> None:
        """End the connection after too long a silence.

        When it was this process that stood still, asyncio reads the sockets before it runs this
        timer, so what came meanwhile counts.
        """
        left_seconds = limit_seconds - (self._clock.now() - self._heard_at)
        if left_seconds <= 0:
            self.end(f"no heart-beat for {limit_seconds:g} s")
            return
        self._silence_timer = self._loop.call_later(left_seconds, self._watch, limit_seconds)
