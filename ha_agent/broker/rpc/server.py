# SPDX-License-Identifier: Apache-2.0
"""The server of the operators' socket: connections, deadlines and bounds around handlers.

It must not know what any method means, nor wait for anything without a bound: the predecessor
served one call at a time, so a slow mail server froze status, agent and VDSM with it (facts
1.5). The wire is rpc/codec.py's.

What a caller may count on:

- Calls of one connection run at the same time and are answered as each one ends, in any order.
- Each call is answered, by its deadline at the latest. The handler is cancelled then; what it
  had begun outside may still take effect. A handler that must not be cut short shields that part.
- When a caller closes its connection, its calls that still run are cancelled.

What one caller can't do to others (rpc/limits.py has the figures): a connection has a bounded
number of calls at once (more are left unread in its socket), and is closed when it does not take
its answers, or does not finish a message that it began, in time. Who finds no place is told "busy"
and closed; root has places that nobody else can take. Callers who may only look have a part of
our time, and never all. An answer is made when there is room for it, so callers that don't read
cost bounded memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
from collections.abc import Mapping
from typing import Callable, Optional

from ha_agent.broker.rpc import codec as rpc_codec
from ha_agent.broker.rpc.answer import Handler as Handler
from ha_agent.broker.rpc.answer import RpcRefusal as RpcRefusal
from ha_agent.broker.rpc.codec import RpcCodecError
from ha_agent.broker.rpc.connection import Connection, ConnectionGivenUp, closing
from ha_agent.broker.rpc.limits import Places, Room, Turns
from ha_agent.broker.rpc.limits import ServerLimits as ServerLimits
from ha_agent.broker.rpc.peer import Peer as Peer
from ha_agent.broker.rpc.peer import Reads, Writes, peer_of
from ha_agent.broker.rpc.tally import RpcTally

_log = logging.getLogger(__name__)

# asyncio reads twice as much ahead of us, at most.
_AHEAD_BYTES = 16 * 1024
# When accept fails for want of descriptors, only time (another connection's end) helps.
_ACCEPT_RETRY_SECONDS = 0.5


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
        trusted: Callable[[Peer], bool] = lambda _peer: True,
    ) -> None:
        """`on_bad_stream` is told of each connection that is closed for what it sent. Who is not
        `trusted` has no business with large requests, and takes turns with its like."""
        self.on_bad_stream = on_bad_stream
        self.is_trusted = trusted
        self.handlers = dict(handlers)
        self._deadlines_seconds = dict(deadlines_seconds or {})
        self.limits = limits or ServerLimits()
        self.room = Room(self.limits.max_owed_bytes)
        self.turns = Turns()
        self._places = Places(self.limits, os.getuid())
        self.tally = tally or RpcTally()
        self._listener: Optional[socket.socket] = None
        self._accepting: Optional[asyncio.Task[None]] = None
        self._connections: set[asyncio.Task[None]] = set()
        self._calls: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._large: Optional[asyncio.Semaphore] = None

    @property
    def connection_count(self) -> int:
        """Connections that are open now."""
        return len(self._connections)

    @property
    def large(self) -> asyncio.Semaphore:
        """The turns of large messages."""
        # Made here: in Python 3.9 one binds to the loop that is current when it is made.
        if self._large is None:
            self._large = asyncio.Semaphore(self.limits.max_large)
        return self._large

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
            # sock_accept doesn't wait while there is a caller; a storm of them, each turned away,
            # would have the loop to itself.
            await asyncio.sleep(0)
            try:
                sock, _ = await loop.sock_accept(listener)
            except OSError as error:
                if error.errno != errno.ECONNABORTED:
                    _log.warning("can't accept a connection: %s", error)
                    await asyncio.sleep(_ACCEPT_RETRY_SECONDS)
                continue
            sock.setblocking(False)
            try:
                peer = peer_of(sock)
            except OSError as error:
                _log.info("a caller went away at once: %s", error)
                sock.close()
                continue
            why = self._places.take(peer)
            if why:
                self.tally.turned_away += 1
                _turn_away(sock, why)
                continue
            self._count(loop.create_task(self._serve(sock, peer)))

    async def _serve(self, sock: socket.socket, peer: Peer) -> None:
        try:
            try:
                reader, writer = await asyncio.open_unix_connection(sock=sock, limit=_AHEAD_BYTES)
            except OSError as error:
                _log.info("a caller went away at once: %s", error)
                sock.close()
                return
            # drain() waits until the kernel has everything: what is left is counted by `room`.
            writer.transport.set_write_buffer_limits(high=0)
            await self._talk(reader, writer, peer)
        finally:
            self._places.leave(peer)

    async def serve_stream(self, reader: Reads, writer: Writes, peer: Peer) -> None:
        """Serve a connection that somebody else accepted and knows, until it ends.

        It counts among those that stop() closes, but `max_connections` is the caller's matter.
        """
        task = asyncio.current_task()
        assert task is not None
        self._count(task)
        await self._talk(reader, writer, peer)

    async def _talk(self, reader: Reads, writer: Writes, peer: Peer) -> None:
        connection = Connection(self, reader, writer, peer)
        try:
            await connection.run()
        except (OSError, ConnectionGivenUp) as error:
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


def _turn_away(sock: socket.socket, why: str) -> None:
    """Tell a caller too many why. The few bytes fit into a new socket's buffer, or are lost."""
    with contextlib.suppress(OSError):
        sock.send(closing(rpc_codec.CODE_BUSY, why))
    sock.close()
