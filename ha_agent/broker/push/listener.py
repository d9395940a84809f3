# SPDX-License-Identifier: Apache-2.0
"""The TLS listener of the engine's push: who is let in, and what is counted of the others.

    accept      at most 50 a second; more than [push] max_connections, or too many of one
                address, are closed at once
    handshake   within its deadline, TLS 1.2 or later, a certificate of the CA; else closed with
                TLS's alert
    subject     one of [push] allowed_subjects is the certificate's common name or a DNS name of
                its; else told "denied", and closed
    calls       rpc/server.py serves them, with push/api.py's verbs only

A refusal is counted, and said in the log, there once a minute for its kind at most. The listener
never ends the broker: what it can't listen on is tried again, and without certificates that can be
used it waits for some. New files are taken by the next connection; bad ones leave the old in use.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import socket
import ssl
from collections import Counter
from typing import Callable, Optional, Protocol

from ha_agent.broker.push.certs import identity_in, server_context
from ha_agent.broker.push.entry import PushCounters, PushEntry
from ha_agent.broker.rpc import codec as rpc_codec
from ha_agent.broker.rpc.codec import Notification
from ha_agent.broker.rpc.peer import Peer
from ha_agent.broker.rpc.server import RpcServer
from ha_agent.certificates import TlsFiles
from ha_agent.config.schema import PushConfig
from ha_agent.errors import BadInput, EnvironmentFault
from ha_agent.instant import WallTime
from ha_agent.journal_messages import BUG, PUSH_REFUSED
from ha_agent.log import fields
from ha_agent.tls_stream import TlsStream, handshake_fault
from ha_agent.waiting import wait_for_event, within

log = logging.getLogger(__name__)

_RETRY_SECONDS = 5.0
_ACCEPT_RETRY_SECONDS = 0.5
# A handshake costs this process, which renews the lease, one to three milliseconds. So a flood
# has at most a tenth of a processor; who is not accepted yet waits in the kernel's queue.
_ACCEPT_PAUSE_SECONDS = 0.02
_GOODBYE_SECONDS = 2.0
IDLE_SECONDS = 900.0
"""A connection ends on which nothing was asked for so long, more than the longest call takes: an
engine that forgets its connections would find no room for another."""
# A peer that lost its power says nothing: after about a minute its connection is over.
_KEEPALIVE = (
    (socket.TCP_KEEPIDLE, 30),
    (socket.TCP_KEEPINTVL, 10),
    (socket.TCP_KEEPCNT, 3),
)


class Clock(Protocol):
    """What is needed of ports.Clock."""

    def wall(self) -> WallTime: ...

    async def sleep(self, duration_seconds: float) -> None: ...


class PushListener:
    """Accepts the engine's connections and hands them to `server`. Run `run`; then `close`."""

    def __init__(
        self,
        config: PushConfig,
        server: RpcServer,
        *,
        clock: Clock,
        on_change: Callable[[PushEntry], None],
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self._config = config
        self._server = server
        self._clock = clock
        self._on_change = on_change
        self._idle_seconds = idle_seconds
        self.on_peer: Callable[[bytes], None] = lambda _der: None
        """Given the certificate, DER, of each one that was let in."""
        self._files = TlsFiles(config.key_file, config.cert_file, config.ca_file)
        self._allowed = frozenset(name.lower() for name in config.allowed_subjects)
        self._context: Optional[ssl.SSLContext] = None
        self._problems = {"files": "", "listen": ""}
        self._listening = False
        self._files_changed = asyncio.Event()
        self._open: dict[asyncio.Task[None], str] = {}
        self._last: tuple[str, float] = ("", 0.0)
        self.counters: Counter[str] = Counter()
        """Of the fields of push_entry.PushCounters."""

    async def run(self) -> None:
        """Listen for ever."""
        while True:
            self._files_changed.clear()
            if self._context is None:
                self._load()
            listener = None
            if self._context is not None:
                listener = await self._listen()
            if listener is None:
                await wait_for_event(self._files_changed, _RETRY_SECONDS)
                continue
            try:
                await self._accept(listener)
            finally:
                self._listening = False
                listener.close()

    async def close(self) -> None:
        """End all connections, after `run` was cancelled; calls may end within a moment."""
        await self._server.stop()
        for task in self._open:
            task.cancel()
        if self._open:
            await asyncio.wait(self._open)

    def reload(self) -> None:
        """Read the certificates anew; those that can't be used leave the old ones in use."""
        self._load()
        self._files_changed.set()

    def _load(self) -> None:
        try:
            self._context = server_context(self._files)
        except EnvironmentFault as fault:
            kept = "" if self._context is None else "; those from before stay in use"
            self._set_problem("files", f"{fault}{kept}")
        else:
            self._set_problem("files", "")

    def count(self, name: str) -> None:
        """Count something that is in PushCounters."""
        self.counters[name] += 1
        self._tell()

    def entry(self) -> PushEntry:
        """Return what the picture says of the listener."""
        config = self._config
        who, at = self._last
        return PushEntry(
            state="listening" if self._listening else "waiting",
            address=_at(config.listen_address, config.listen_port),
            problem="; ".join(filter(None, self._problems.values())),
            connections=len(self._open),
            last_peer=who,
            last_at_unix_seconds=at,
            counters=PushCounters(**self.counters),
        )

    # Listening ---------------------------------------------------------------------------

    async def _listen(self) -> Optional[socket.socket]:
        config, loop = self._config, asyncio.get_running_loop()
        where = _at(config.listen_address, config.listen_port)
        try:
            found = await within(
                _RETRY_SECONDS,
                loop.getaddrinfo(
                    config.listen_address, config.listen_port, type=socket.SOCK_STREAM
                ),
            )
            listener = _bound(found[0][0], found[0][4])
        except (OSError, asyncio.TimeoutError) as error:
            reason = getattr(error, "strerror", None) or str(error) or "its name is not found"
            self._set_problem("listen", f"can't listen at {where}: {reason}")
            return None
        self._listening = True
        self._set_problem("listen", "")
        log.info("the engine's push is taken at %s", where)
        return listener

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, address = await loop.sock_accept(listener)
            except OSError as error:
                log.warning("the engine's push: can't accept: %s", error)
                await self._clock.sleep(_ACCEPT_RETRY_SECONDS)
                continue
            sock.setblocking(False)
            origin = origin_of(address[0])
            config, of_origin = self._config, list(self._open.values()).count(origin)
            if len(self._open) >= config.max_connections:
                self._drop(sock, origin, f"all {config.max_connections} connections are in use")
            elif of_origin >= config.max_connections_per_address:
                self._drop(sock, origin, f"it has {of_origin} connections already")
            else:
                task = loop.create_task(self._serve(sock, origin))
                self._open[task] = origin
                task.add_done_callback(self._ended)
                self._tell()
            await self._clock.sleep(_ACCEPT_PAUSE_SECONDS)

    def _drop(self, sock: socket.socket, origin: str, why: str) -> None:
        sock.close()
        self._refused("too_many", origin, why)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._open[task]
        self._tell()
        if not task.cancelled() and task.exception() is not None:
            text = "a connection of the engine's push failed"
            log.error(text, exc_info=task.exception(), extra=fields(BUG))

    # One connection ----------------------------------------------------------------------

    async def _serve(self, sock: socket.socket, origin: str) -> None:
        assert self._context is not None  # without one nothing listens
        stream = TlsStream(sock, self._context)
        deadline_seconds = self._config.handshake_deadline_seconds
        try:
            _keep_alive(sock)
            await within(deadline_seconds, stream.handshake())
            peer = await self._let_in(stream, origin)
            if peer is not None:
                reads = _ImpatientReads(stream, self._idle_seconds)
                await self._server.serve_stream(reads, stream, peer)
        except asyncio.TimeoutError:
            why = f"its handshake took more than {deadline_seconds:g} s"
            self._refused("handshake_deadline", origin, why)
        except OSError as error:
            counter, why = handshake_fault(error)
            self._refused(counter, origin, why)
            await _goodbye(stream)
        finally:
            await stream.dispose()

    async def _let_in(self, stream: TlsStream, origin: str) -> Optional[Peer]:
        der = stream.peer_certificate()
        try:
            identity = identity_in(der)
        except BadInput as fault:
            self._refused("wrong_subject", origin, str(fault))
            return None
        if self._allowed.isdisjoint(identity.names):
            why = f"{identity.subject or 'its certificate'} is not in [push] allowed_subjects"
            self._refused("wrong_subject", origin, why)
            await _say(stream, rpc_codec.CODE_DENIED, why)
            return None
        who = identity.subject or min(self._allowed & identity.names)
        self._last = (who, self._clock.wall().unix_seconds)
        self.count("accepted")
        log.debug("the engine's push: %s connected from %s", who, origin)
        self.on_peer(der)
        return Peer(-1, -1, -1, name=who)

    def _refused(self, counter: str, origin: str, why: str) -> None:
        # One key for a kind: a flood from a thousand addresses is told once a minute, too.
        told = fields(
            PUSH_REFUSED,
            key=f"push refused: {counter}",
            push_refused=counter,
            peer_address=origin,
        )
        log.warning("the engine's push: %s was refused: %s", origin, why, extra=told)
        self.count(counter)

    def _set_problem(self, of: str, problem: str) -> None:
        before, self._problems[of] = self._problems[of], problem
        if problem and problem != before:
            log.warning("the engine's push: %s", problem)
        elif before and not problem:
            log.info("the engine's push: fine again (was: %s)", before)
        self._tell()

    def _tell(self) -> None:
        self._on_change(self.entry())


class _ImpatientReads:
    """What the other end sends; its end when that is nothing for too long."""

    def __init__(self, stream: TlsStream, idle_seconds: float) -> None:
        self._stream = stream
        self._idle_seconds = idle_seconds

    async def read(self, n: int = -1) -> bytes:
        try:
            return await within(self._idle_seconds, self._stream.read(n))
        except asyncio.TimeoutError:
            why = f"nothing was asked for {self._idle_seconds:g} s"
            await _say(self._stream, rpc_codec.CODE_DEADLINE, why)
            return b""


def origin_of(address: str) -> str:
    """Return what connections are counted by: an IPv4 address, or the /64 of an IPv6 one, of
    which a single machine has every address."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address):
        mapped = found.ipv4_mapped
        if mapped is None:
            return str(ipaddress.IPv6Network((found, 64), strict=False))
        return str(mapped)
    return str(found)


def _at(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _bound(family: int, address: object) -> socket.socket:
    """Return a listening socket. Raises OSError."""
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # "::" is all addresses of the host, of both kinds.
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(address)  # type: ignore[arg-type]
        listener.listen(128)
    except BaseException:
        listener.close()
        raise
    return listener


def _keep_alive(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE:
        sock.setsockopt(socket.IPPROTO_TCP, option, value)


async def _say(stream: TlsStream, code: str, message: str) -> None:
    """Tell why, as well as it can be told, before the connection is closed."""
    params = {"code": code, "message": message}
    stream.write(rpc_codec.encode(Notification(rpc_codec.CLOSING, params)))
    stream.close()
    await _goodbye(stream)


async def _goodbye(stream: TlsStream) -> None:
    """Give the other end a moment to take our last words."""
    with contextlib.suppress(asyncio.TimeoutError, OSError):
        await within(_GOODBYE_SECONDS, stream.wait_closed())
