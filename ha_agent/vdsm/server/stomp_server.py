# SPDX-License-Identifier: Apache-2.0
"""VDSM's side of STOMP over TCP, or TLS: who listens, what goes where. It knows no verbs.

As VDSM does it (facts 1.1, 1.2; vdsm's lib/yajsonrpc/stompserver.py), for all connections
together:
- The destination of a reply is looked up by the request's id, in one table of all clients: two
  that use the same id at once get one of the replies astray, on `jms.topic.vdsm_responses`. A
  notification has no id, and neither has an event: the next event goes where the notification's
  reply would have gone. So ids are uuid4 and notifications are not sent.
- A reply goes to every subscriber of its destination, and nowhere when there is none: the request
  is executed all the same. Events go to `jms.queue.events`.
- A request that can't be read has no id, and is answered on `jms.topic.vdsm_responses`.
- What is sent to another destination goes to its subscribers, and to those of its parents.
Other than VDSM it gives nobody copies of the requests, passwords and all.

A client that does not read is cut off, by itself or as the worst when all together have too much
waiting; the others notice nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import Awaitable
from typing import Callable, Optional

from ha_agent.certificates import TlsFiles
from ha_agent.vdsm import jsonrpc
from ha_agent.vdsm.server.stomp_session import MAX_OUTPUT_BYTES, MAX_REQUESTS, Session
from ha_agent.vdsm.server.stomp_stream import open_stream
from ha_agent.vdsm.stomp import Frame, encode

__all__ = ["MAX_OUTPUT_BYTES", "MAX_REQUESTS", "StompServer"]

log = logging.getLogger(__name__)

EVENTS = "jms.queue.events"
COMMON_REPLIES = "jms.topic.vdsm_responses"
REQUEST_DESTINATIONS = ("jms.topic.vdsm_requests", "jms.topic.vdsm_irs_requests")

MAX_CONNECTIONS = 200
MAX_ALL_OUTPUT_BYTES = 128 * 1024 * 1024
_MAX_ROUTES = 10_000  # ids that were never answered are forgotten, the oldest first
_MAX_DEPTH = 32  # parents of a destination that are looked at
_ACCEPT_RETRY_SECONDS = 0.5

# Takes a request's body; returns the reply's body, None for none, and whether it was readable.
Answer = Callable[[bytes], Awaitable[tuple[Optional[bytes], bool]]]
_Subscription = tuple[Session, str]


class StompServer:
    """Listens, answers requests, publishes events."""

    def __init__(self, answer: Answer, tls: Optional[TlsFiles] = None) -> None:
        """`tls` None is plain TCP."""
        self._answer = answer
        self._tls = tls
        self._listeners: list[socket.socket] = []
        self._accepting: list[asyncio.Task[None]] = []
        self._connections: set[asyncio.Task[None]] = set()
        self._sessions: set[Session] = set()
        self._requests: set[asyncio.Task[None]] = set()
        self._subscriptions: dict[str, dict[_Subscription, None]] = {}
        self._routes: dict[Optional[jsonrpc.MessageId], str] = {}

    async def start(self, host: str, port: int) -> None:
        """Listen at every address of the host; "::" is all of both kinds. Raises OSError."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        failed: Optional[OSError] = None
        for family, _kind, _protocol, _name, address in dict.fromkeys(found):
            try:
                # Port 0 is any, but the same for all.
                where = (address[0], self.port if self._listeners else port, *address[2:])
                self._listeners.append(_bound(family, where))
            except OSError as error:
                failed = failed or error
        if failed is not None and not (self._listeners and _is_no_address(failed)):
            self._stop_listening()
            raise failed
        self._accepting = [loop.create_task(self._accept(each)) for each in self._listeners]

    @property
    def port(self) -> int:
        """The port that is listened on, also when 0 was asked for; 0 while none is."""
        return int(self._listeners[0].getsockname()[1]) if self._listeners else 0

    @property
    def output_bytes(self) -> int:
        """How much waits for all clients together to read it."""
        return sum(session.output_bytes for session in self._sessions)

    async def close(self) -> None:
        """Stop listening, end all connections, and the requests under way."""
        tasks = [*self._accepting, *self._connections, *self._requests]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._stop_listening()

    def publish(self, destination: str, body: bytes) -> None:
        """Send a message to every subscriber of the destination."""
        for session, name in list(self._subscriptions.get(destination, ())):
            headers = {
                "destination": destination,
                "content-type": "application/json",
                "subscription": name,
            }
            session.deliver(encode(Frame("MESSAGE", headers, body)))
        self._hold_down()

    def publish_event(self, body: bytes) -> None:
        """Send an event, to `jms.queue.events` or where a notification leads it."""
        self.publish(self._routes.pop(None, EVENTS), body)

    # What sessions call

    def subscribe(self, session: Session, name: str, destination: str) -> None:
        """Remember a subscription."""
        self._subscriptions.setdefault(destination, {})[session, name] = None

    def unsubscribe(self, session: Session, name: str, destination: str) -> None:
        """Forget a subscription."""
        subscribers = self._subscriptions.get(destination, {})
        subscribers.pop((session, name), None)
        if not subscribers:
            self._subscriptions.pop(destination, None)

    def send(self, frame: Frame) -> Optional[asyncio.Task[None]]:
        """Route a SEND; return the request that it began. Raises LookupError: nobody takes it."""
        destination = frame.headers["destination"]
        if any(
            destination == known or destination.startswith(f"{known}.")
            for known in REQUEST_DESTINATIONS
        ):
            ids = self._note(frame)
            task = asyncio.get_running_loop().create_task(self._carry_out(frame.body, ids))
            self._requests.add(task)
            task.add_done_callback(self._request_done)
            return task
        subscribers = self._subscribers_of(destination)
        if not subscribers:
            raise LookupError(destination)
        for session, name in subscribers:
            headers = {"subscription": name, **frame.headers}
            session.deliver(encode(Frame("MESSAGE", headers, frame.body)))
        self._hold_down()
        return None

    # Inside

    def _note(self, frame: Frame) -> list[Optional[jsonrpc.MessageId]]:
        """Note where the replies of a body's requests go, and return the requests' ids."""
        try:
            messages = jsonrpc.decode_batch(frame.body)
        except jsonrpc.JsonRpcError:
            return [None]
        ids = [None if isinstance(each, jsonrpc.Event) else each.id for each in messages]
        for message_id in ids:
            self._routes.pop(message_id, None)
            # No subscription has an empty destination: without reply-to the reply is dropped.
            self._routes[message_id] = frame.headers.get("reply-to", "")
        while len(self._routes) > _MAX_ROUTES:
            del self._routes[next(iter(self._routes))]
        return ids

    async def _carry_out(self, body: bytes, ids: list[Optional[jsonrpc.MessageId]]) -> None:
        reply, is_readable = await self._answer(body)
        if reply is not None:
            message_id = ids[0] if is_readable else None
            self.publish(self._routes.pop(message_id, COMMON_REPLIES), reply)

    def _request_done(self, task: asyncio.Task[None]) -> None:
        self._requests.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a request failed", exc_info=task.exception())

    def _subscribers_of(self, destination: str) -> list[_Subscription]:
        parts = destination.split(".", _MAX_DEPTH)
        names = [".".join(parts[: count + 1]) for count in range(len(parts))]
        return [each for name in names for each in self._subscriptions.get(name, ())]

    def _hold_down(self) -> None:
        """Cut off who has the most waiting, until all together are within their bound."""
        while self.output_bytes > MAX_ALL_OUTPUT_BYTES:
            worst = max(self._sessions, key=lambda session: session.output_bytes)
            worst.cut_off("all clients together do not read what they are sent")

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, address = await loop.sock_accept(listener)
            except OSError as error:
                log.warning("can't accept a connection: %s", error)
                await asyncio.sleep(_ACCEPT_RETRY_SECONDS)
                continue
            peer = f"{address[0]}:{address[1]}"
            if len(self._connections) >= MAX_CONNECTIONS:
                log.warning("%s: refused, there are %d connections", peer, MAX_CONNECTIONS)
                sock.close()
                continue
            task = loop.create_task(self._serve(sock, peer))
            self._connections.add(task)
            task.add_done_callback(self._connection_done)

    async def _serve(self, sock: socket.socket, peer: str) -> None:
        sock.setblocking(False)
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            stream = await open_stream(sock, self._tls, peer)
        except OSError as error:
            log.info("%s: %s", peer, error)
            return
        if stream is not None:
            session = Session(self, stream, sock, peer)
            self._sessions.add(session)
            try:
                await session.run()
            finally:
                self._sessions.discard(session)
                await stream.dispose()

    def _connection_done(self, task: asyncio.Task[None]) -> None:
        self._connections.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a connection failed", exc_info=task.exception())

    def _stop_listening(self) -> None:
        while self._listeners:
            self._listeners.pop().close()


def _bound(family: int, address: tuple[object, ...]) -> socket.socket:
    """Return a listening socket. Raises OSError."""
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, address[0] != "::")
        listener.bind(address)
        listener.listen(128)
    except BaseException:
        listener.close()
        raise
    return listener


def _is_no_address(error: OSError) -> bool:
    """Tell whether a host's name has an address of a kind that the host does not have."""
    return error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
