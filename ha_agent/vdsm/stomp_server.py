# SPDX-License-Identifier: Apache-2.0
"""VDSM's side of STOMP over TCP: connections, subscriptions, routing. It knows no verbs.

As VDSM does it (facts 1.1, 1.2):
- The first 11 bytes must begin a frame's command; "STOMP" and a line end are reset.
- SUBSCRIBE and SEND work without CONNECT; only accept-version 1.2 is CONNECTED.
- A reply goes to every subscriber of its `reply-to` on any connection, and nowhere when there
  is none: the request is executed all the same. Events go to `jms.queue.events`.
- A request that can't be read is answered on `jms.topic.vdsm_responses`.
Other than VDSM it gives nobody copies of the requests, passwords and all, and keeps a request's
reply-to with the request, so that equal ids of two clients do not mix.

A client's output is bounded: one that does not read is cut off, and the others notice nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable
from typing import Callable, Optional

from ha_agent.vdsm.stomp import (
    CLIENT_COMMANDS,
    HEART_BEAT,
    SERVER_COMMANDS,
    Frame,
    StompDecoder,
    StompError,
    encode,
    parse_heart_beat,
)

log = logging.getLogger(__name__)

EVENTS = "jms.queue.events"
UNREADABLE_REPLIES = "jms.topic.vdsm_responses"
REQUEST_DESTINATIONS = ("jms.topic.vdsm_requests", "jms.topic.vdsm_irs_requests")

MAX_OUTPUT_BYTES = 32 * 1024 * 1024
MAX_REQUESTS = 80  # under way for one client; then it is read no further
MAX_SUBSCRIPTIONS = 1000
MAX_CONNECTIONS = 200
_FIRST_BYTES = len("UNSUBSCRIBE")
_FIRST_SECONDS = 10.0
_LEAST_BEAT_MS = 1000
_FLUSH_SECONDS = 2.0
# We beat a little early, so that a client without patience never misses one.
_BEAT_SHARE = 0.8
# A client that beats exactly at its interval is not cut off by the loop's own delay.
_GRACE_SECONDS = 0.5
_READ_BYTES = 64 * 1024
_FIRST_WORDS = tuple(
    command.encode() for command in (CLIENT_COMMANDS | SERVER_COMMANDS) - {"STOMP"}
)

# Takes a request's body; returns the reply's body, None for none, and whether it was readable.
Answer = Callable[[bytes], Awaitable[tuple[Optional[bytes], bool]]]


class StompServer:
    """Listens, answers requests, publishes events."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._sessions: set[_Session] = set()
        self._server: Optional[asyncio.Server] = None

    async def start(self, host: str, port: int) -> None:
        """Listen. Raises OSError."""
        self._server = await asyncio.start_server(self._connected, host, port)

    @property
    def port(self) -> int:
        """The port that is listened on, also when 0 was asked for."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop listening and end all connections."""
        if self._server is not None:
            self._server.close()
        tasks = [session.task for session in self._sessions if session.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def publish(self, destination: str, body: bytes) -> None:
        """Send a message to every subscriber of the destination."""
        for session in list(self._sessions):
            session.deliver(destination, body)

    async def answer(self, body: bytes, reply_to: str) -> None:
        """Have one request carried out and route its reply."""
        reply, is_readable = await self._answer(body)
        if reply is not None:
            self.publish(reply_to if is_readable else UNREADABLE_REPLIES, reply)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._sessions) >= MAX_CONNECTIONS:
            log.warning("more than %d connections: one is refused", MAX_CONNECTIONS)
            writer.transport.abort()
            return
        session = _Session(self, reader, writer)
        session.task = asyncio.current_task()
        self._sessions.add(session)
        try:
            await session.run()
        except asyncio.CancelledError:
            pass  # we are closing; asyncio's streams would log it as a fault
        finally:
            self._sessions.discard(session)


class _Session:
    """One client's connection."""

    def __init__(
        self, server: StompServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.task: Optional[asyncio.Task[None]] = None
        self._server = server
        self._reader = reader
        self._writer = writer
        peer = writer.get_extra_info("peername")
        self._peer = f"{peer[0]}:{peer[1]}" if peer else "?"
        self._decoder = StompDecoder(where=self._peer)
        self._subscriptions: dict[str, str] = {}  # id -> destination
        self._output: deque[bytes] = deque()
        self._output_bytes = 0
        self._has_output = asyncio.Event()
        self._is_ending = False
        self._beat_seconds: Optional[float] = None
        self._silence_seconds: Optional[float] = None
        self._requests: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(MAX_REQUESTS)

    async def run(self) -> None:
        """Serve the client until either side ends the connection."""
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
            tasks = [reading, writing]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            # Requests go on: they are executed whether or not somebody waits for the reply.
            self._writer.close()
            with contextlib.suppress(OSError, asyncio.TimeoutError):
                await asyncio.wait_for(self._writer.wait_closed(), _FLUSH_SECONDS)
            self._writer.transport.abort()

    # In

    async def _read(self) -> None:
        try:
            data = await asyncio.wait_for(self._first_bytes(), _FIRST_SECONDS)
            # wait_for may swallow a cancel that comes with the data (before Python 3.12).
            while data and not self._is_ending:
                for frame in self._decoder.feed(data):
                    await self._take(frame)
                data = await asyncio.wait_for(
                    self._reader.read(_READ_BYTES), self._silence_seconds
                )
        except asyncio.TimeoutError:
            log.info("%s: silent for too long", self._peer)
        except asyncio.IncompleteReadError:
            pass  # gone before it said anything
        except StompError as error:
            log.warning("%s", error)
            self._error(str(error))
        except OSError as error:
            log.info("%s: %s", self._peer, error)

    async def _first_bytes(self) -> bytes:
        data = await self._reader.readexactly(_FIRST_BYTES)
        if not data.startswith(_FIRST_WORDS):
            raise StompError(f"does not speak STOMP 1.2: {data!r}", where=self._peer)
        return data

    async def _take(self, frame: Frame) -> None:
        headers = frame.headers
        if frame.command == "CONNECT":
            self._connect(headers.get("accept-version", ""), headers.get("heart-beat", "0,0"))
        elif frame.command == "SUBSCRIBE":
            self._subscribe(headers.get("id", ""), headers.get("destination", ""))
        elif frame.command == "UNSUBSCRIBE":
            if self._subscriptions.pop(headers.get("id", ""), None) is None:
                self._error("Subscription not available")
        elif frame.command == "SEND":
            await self._request(frame)
        elif frame.command == "DISCONNECT" and "receipt" in headers:
            self._send(encode(Frame("RECEIPT", {"receipt-id": headers["receipt"]})))
        elif frame.command == "DISCONNECT":
            raise StompError("DISCONNECT without a receipt", where=self._peer)
        else:
            raise StompError(f"{frame.command} is not supported", where=self._peer)

    def _connect(self, versions: str, heart_beat: str) -> None:
        if versions != "1.2":
            self._error("Version unsupported")
            return
        sends_ms, wants_ms = (
            max(interval, _LEAST_BEAT_MS) if interval else 0
            for interval in parse_heart_beat(heart_beat)
        )
        if wants_ms:
            self._beat_seconds = wants_ms / 1000 * _BEAT_SHARE
        if sends_ms:
            self._silence_seconds = sends_ms / 1000 + _GRACE_SECONDS
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

    async def _request(self, frame: Frame) -> None:
        destination = frame.headers.get("destination", "")
        if not any(
            destination == known or destination.startswith(f"{known}.")
            for known in REQUEST_DESTINATIONS
        ):
            self._error("Subscription not available")
            return
        await self._slots.acquire()
        task = asyncio.create_task(
            self._server.answer(frame.body, frame.headers.get("reply-to", ""))
        )
        self._requests.add(task)
        task.add_done_callback(self._request_done)

    def _request_done(self, task: asyncio.Task[None]) -> None:
        self._requests.discard(task)
        self._slots.release()
        if not task.cancelled() and task.exception() is not None:
            log.error("%s: a request failed", self._peer, exc_info=task.exception())

    # Out

    def deliver(self, destination: str, body: bytes) -> None:
        """Send a message for each subscription of this client to the destination."""
        for name, subscribed in self._subscriptions.items():
            if subscribed == destination:
                headers = {
                    "destination": destination,
                    "content-type": "application/json",
                    "subscription": name,
                }
                self._send(encode(Frame("MESSAGE", headers, body)))

    def _error(self, text: str) -> None:
        self._send(encode(Frame("ERROR", {}, text.encode())))

    def _send(self, data: bytes) -> None:
        if self._is_ending:
            return
        self._output.append(data)
        self._output_bytes += len(data)
        self._has_output.set()
        if self._output_bytes > MAX_OUTPUT_BYTES:
            log.warning("%s: does not read what it is sent, cut off", self._peer)
            self._is_ending = True
            self._output.clear()
            self._writer.transport.abort()

    async def _write(self) -> None:
        with contextlib.suppress(OSError):
            while self._output or not self._is_ending:
                if not self._output and not await self._wait_for_output():
                    self._writer.write(HEART_BEAT)
                while self._output:
                    data = self._output.popleft()
                    self._writer.write(data)
                    await self._writer.drain()
                    self._output_bytes -= len(data)
                await self._writer.drain()

    async def _wait_for_output(self) -> bool:
        """Return True when there is something to send (or the end), False when a beat is due."""
        self._has_output.clear()
        try:
            await asyncio.wait_for(self._has_output.wait(), self._beat_seconds)
        except asyncio.TimeoutError:
            return False
        return True
