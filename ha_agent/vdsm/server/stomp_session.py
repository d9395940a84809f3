# SPDX-License-Identifier: Apache-2.0
"""One client's connection to the embedded VDSM: its frames, heart-beats, bounds.

    first 11 bytes    must begin with the command of a frame, within 10 s; else a reset
    CONNECT           not enforced; only accept-version 1.2 is CONNECTED
    SEND ...          stomp_server.py routes
    DISCONNECT        a RECEIPT when asked for; without a `receipt` header the end, as with VDSM
    garbage           an ERROR frame that says what it was, and the end

A request that breaks a rule of STOMP, such as a second subscription of one id, is answered by an
ERROR frame with VDSM's text, and the connection stays.

What one client can have of us is bounded: requests under way, by number and by bytes, after
which it is read no further; subscriptions; and output, after which it is cut off.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections import deque
from typing import Optional, Protocol

from ha_agent.vdsm.server.stomp_stream import Stream, reset_when_closed
from ha_agent.vdsm.stomp import HEART_BEAT, Frame, StompDecoder, StompError, encode
from ha_agent.waiting import Signal, within

log = logging.getLogger(__name__)

MAX_OUTPUT_BYTES = 32 * 1024 * 1024
MAX_FRAME_BYTES = 8 * 1024 * 1024  # no verb needs more: a definition has 20 to 200 KiB
MAX_REQUESTS = 80  # under way for one client, the length of VDSM's own queue
MAX_REQUEST_BYTES = 16 * 1024 * 1024
MAX_SUBSCRIPTIONS = 1000

_FIRST_BYTES = len("UNSUBSCRIBE")
_FIRST_SECONDS = 10.0
# What VDSM detects STOMP by: no "STOMP", and none of the commands that it does not know.
_FIRST_WORDS = (
    b"MESSAGE", b"SEND", b"SUBSCRIBE", b"UNSUBSCRIBE", b"CONNECT", b"CONNECTED", b"ERROR",
    b"RECEIPT", b"DISCONNECT",
)  # fmt: skip
_LEAST_BEAT_MS = 1000
_MOST_BEAT_MS = 24 * 3600 * 1000
_FLUSH_SECONDS = 2.0
# We beat a little early, so that a client without patience never misses one.
_BEAT_SHARE = 0.8
_NO_BEAT_SECONDS = 3600.0
# VDSM has no patience at all. Here a client that beats exactly at its interval is not cut off by
# the loop's own delay: what came while we stood still is read before this is over.
_GRACE_SECONDS = 0.5
_READ_BYTES = 64 * 1024


class Router(Protocol):
    """What a session needs of stomp_server.StompServer."""

    def subscribe(self, session: Session, name: str, destination: str) -> None: ...

    def unsubscribe(self, session: Session, name: str, destination: str) -> None: ...

    def send(self, frame: Frame) -> Optional[asyncio.Task[None]]:
        """Route a SEND; return the request that it began. Raises LookupError: nobody takes it."""
        ...


class _End(Exception):
    """The client, or what it sent, ends the connection; VDSM then says nothing."""


class Session:
    """One client. `run` serves it until either side ends the connection."""

    def __init__(self, router: Router, stream: Stream, sock: socket.socket, peer: str) -> None:
        """`sock` is the stream's own, to say how it is to end."""
        self._router = router
        self._stream = stream
        self._sock = sock
        self._peer = peer
        self._decoder = StompDecoder(max_frame_bytes=MAX_FRAME_BYTES, where=peer)
        self._subscriptions: dict[str, str] = {}  # id -> destination
        self._output: deque[bytes] = deque()
        self._output_bytes = 0
        self._has_output = Signal()
        self._is_ending = False
        self._beat_seconds = _NO_BEAT_SECONDS
        self._beats = False
        self._silence_seconds: Optional[float] = None
        self._silence: Optional[asyncio.TimerHandle] = None
        self._requests: dict[asyncio.Task[None], int] = {}  # with the bytes of their bodies
        self._request_bytes = 0
        self._has_room = Signal()

    async def run(self) -> None:
        """Serve the client. The stream is its caller's to dispose of."""
        writing = asyncio.create_task(self._write())
        reading = asyncio.create_task(self._read())
        try:
            await asyncio.wait({reading, writing}, return_when=asyncio.FIRST_COMPLETED)
            # What was said last, the reason for instance, still goes out.
            self._is_ending = True
            self._has_output.set()
            await asyncio.wait({writing}, timeout=_FLUSH_SECONDS)
        finally:
            self._is_ending = True
            self._stop_waiting_for_silence()
            for task in (reading, writing):
                task.cancel()
            for outcome in await asyncio.gather(reading, writing, return_exceptions=True):
                if isinstance(outcome, Exception):
                    log.error("%s: a fault of ours ends it", self._peer, exc_info=outcome)
            for name, destination in self._subscriptions.items():
                self._router.unsubscribe(self, name, destination)
            # Requests go on: they are executed whether or not somebody waits for the reply.
        self._stream.close()
        with contextlib.suppress(OSError, asyncio.TimeoutError):
            await within(_FLUSH_SECONDS, self._stream.wait_closed())

    # In

    async def _read(self) -> None:
        try:
            data = await within(_FIRST_SECONDS, self._first_bytes())
            while data and not self._is_ending:
                self._heard()
                for frame in self._decoder.feed(data):
                    await self._take(frame)
                data = await self._stream.read(_READ_BYTES)
        except asyncio.TimeoutError:
            log.info("%s: says nothing", self._peer)
            self._reset()
        except _End as end:
            log.info("%s: %s", self._peer, end)
        except StompError as error:
            log.warning("%s", error)
            self._error(str(error))
        except OSError as error:
            log.info("%s: %s", self._peer, error)

    async def _first_bytes(self) -> bytes:
        data = b""
        while len(data) < _FIRST_BYTES:
            more = await self._stream.read(_READ_BYTES)
            if not more:
                return b""  # gone before it said anything
            data += more
        if not data.startswith(_FIRST_WORDS):
            self._reset()
            raise _End(f"does not speak STOMP 1.2: {data[:_FIRST_BYTES]!r}")
        return data

    async def _take(self, frame: Frame) -> None:
        headers = frame.headers
        if frame.command == "CONNECT":
            self._connect(headers.get("accept-version", ""), headers.get("heart-beat", "0,0"))
        elif frame.command == "SUBSCRIBE":
            self._subscribe(headers.get("id", ""), headers.get("destination", ""))
        elif frame.command == "UNSUBSCRIBE":
            self._unsubscribe(headers.get("id", ""))
        elif frame.command == "SEND":
            await self._request(frame)
        elif frame.command == "DISCONNECT" and "receipt" in headers:
            if headers["receipt"]:
                self._send(encode(Frame("RECEIPT", {"receipt-id": headers["receipt"]})))
        elif frame.command == "DISCONNECT":
            raise _End("DISCONNECT without a receipt")
        else:
            raise _End(f"{frame.command}, which VDSM does not know")

    def _connect(self, versions: str, heart_beat: str) -> None:
        if versions != "1.2":
            self._error("Version unsupported")
            return
        sends_ms, wants_ms = parse_heart_beat(heart_beat)
        if wants_ms:
            self._beats = True
            self._beat_seconds = wants_ms / 1000 * _BEAT_SHARE
        if sends_ms:
            self._silence_seconds = sends_ms / 1000
            self._heard()
        headers = {"version": "1.2", "heart-beat": f"{wants_ms},{sends_ms}"}
        self._send(encode(Frame("CONNECTED", headers)))

    def _subscribe(self, name: str, destination: str) -> None:
        if not name or not destination:
            self._error("Missing destination or subscription id header")
        elif name in self._subscriptions:
            self._error("Subscription id already exists")
        elif len(self._subscriptions) >= MAX_SUBSCRIPTIONS:
            self._error("Too many subscriptions")
        else:
            self._subscriptions[name] = destination
            self._router.subscribe(self, name, destination)

    def _unsubscribe(self, name: str) -> None:
        if not name:
            self._error("Missing id header")
            return
        destination = self._subscriptions.pop(name, None)
        if destination is not None:
            self._router.unsubscribe(self, name, destination)

    async def _request(self, frame: Frame) -> None:
        if "destination" not in frame.headers:
            raise _End("SEND without a destination")
        while self._requests and (
            len(self._requests) >= MAX_REQUESTS
            or self._request_bytes + len(frame.body) > MAX_REQUEST_BYTES
        ):
            self._has_room.clear()
            await self._has_room.wait(_NO_BEAT_SECONDS)
        try:
            task = self._router.send(frame)
        except LookupError:
            self._error("Subscription not available")
            return
        if task is not None:
            self._requests[task] = len(frame.body)
            self._request_bytes += len(frame.body)
            task.add_done_callback(self._request_done)

    def _request_done(self, task: asyncio.Task[None]) -> None:
        self._request_bytes -= self._requests.pop(task)
        self._has_room.set()

    # Silence

    def _heard(self) -> None:
        if self._silence_seconds is not None:
            self._stop_waiting_for_silence()
            self._silence = asyncio.get_running_loop().call_later(
                self._silence_seconds, self._silent
            )

    def _silent(self) -> None:
        # Its bytes may have come while this process stood still, and are read only now.
        loop = asyncio.get_running_loop()
        self._silence = loop.call_later(_GRACE_SECONDS, self._silent_too_long)

    def _silent_too_long(self) -> None:
        if self._has_room_for_more():
            log.info("%s: silent for too long", self._peer)
            self._is_ending = True
            self._stream.abort()
        else:
            self._heard()  # it is us who do not read

    def _has_room_for_more(self) -> bool:
        return len(self._requests) < MAX_REQUESTS and self._request_bytes < MAX_REQUEST_BYTES

    def _stop_waiting_for_silence(self) -> None:
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None

    # Out

    @property
    def output_bytes(self) -> int:
        """How much waits for the client to read it."""
        return self._output_bytes

    def deliver(self, data: bytes) -> None:
        """Send a frame's bytes, that somebody else made."""
        self._send(data)

    def cut_off(self, why: str) -> None:
        """End at once; what waits is dropped, also of one that is ending already."""
        if not self._is_ending:
            log.warning("%s: cut off, %s", self._peer, why)
        self._is_ending = True
        self._output.clear()
        self._output_bytes = 0
        self._has_output.set()
        self._stream.abort()

    def _reset(self) -> None:
        self._is_ending = True
        reset_when_closed(self._sock)
        self._stream.abort()

    def _error(self, text: str) -> None:
        self._send(encode(Frame("ERROR", {}, text.encode())))

    def _send(self, data: bytes) -> None:
        if self._is_ending:
            return
        self._output.append(data)
        self._output_bytes += len(data)
        self._has_output.set()
        if self._output_bytes > MAX_OUTPUT_BYTES:
            self.cut_off("it does not read what it is sent")

    async def _write(self) -> None:
        with contextlib.suppress(OSError):
            while self._output or not self._is_ending:
                if not self._output:
                    self._has_output.clear()
                    if not await self._has_output.wait(self._beat_seconds) and self._beats:
                        self._stream.write(HEART_BEAT)
                while self._output:
                    data = self._output.popleft()
                    self._stream.write(data)
                    await self._stream.drain()
                    # Zero when it was cut off meanwhile.
                    self._output_bytes = max(0, self._output_bytes - len(data))
                await self._stream.drain()


def parse_heart_beat(value: str) -> tuple[int, int]:
    """Read a heart-beat header as VDSM does: "sends,wants" in milliseconds, what is no number is
    0, and what is not 0 is raised to 1000. A day is as good as no beat, and a bound.
    """
    numbers = []
    for part in (*value.split(",", 1), "")[:2]:
        try:
            number = int(part[:20]) if "," in value else 0
        except ValueError:
            number = 0
        numbers.append(min(max(number, _LEAST_BEAT_MS), _MOST_BEAT_MS) if number else 0)
    return numbers[0], numbers[1]
