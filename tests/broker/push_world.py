# SPDX-License-Identifier: Apache-2.0
"""The push's listener on a free port, with verbs of the test's own behind it, and clients."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Callable, Optional

from demo.hosts import free_port
from ha_agent.broker.push.entry import PushEntry
from ha_agent.broker.push.listener import PushListener
from ha_agent.broker.rpc.server import Handler, Peer, RpcServer, ServerLimits
from ha_agent.clock import SystemClock
from ha_agent.config.schema import PushConfig
from ha_agent.instant import WallTime
from ha_agent.push_client import Deadlines, Target, call_host, client_context
from tests.push_certs import ENGINE, Pair, Pki

CLOCK = SystemClock()
LIMIT_SECONDS = 20.0
MAX_MESSAGE_BYTES = 100_000


async def echo(params: Mapping[str, Any], peer: Peer) -> Any:
    """Answer with what came, and who sent it."""
    return {"who": peer.who, "params": dict(params)}


class PacedClock:
    """The real calendar; who sleeps waits until `go` is set, which it is at first."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.go.set()

    def wall(self) -> WallTime:
        return CLOCK.wall()

    async def sleep(self, duration_seconds: float) -> None:
        await asyncio.sleep(0)
        await self.go.wait()


class PushWorld:
    """A listener, its certificates, and what it has said of itself."""

    def __init__(
        self,
        folder: Path,
        handlers: Optional[dict[str, Handler]] = None,
        *,
        idle_seconds: float = LIMIT_SECONDS,
        **config: Any,
    ) -> None:
        self.pki = Pki(folder)
        self.own = self.pki.pair("localhost", "127.0.0.1", file="host")
        self.engine = self.pki.pair(ENGINE, file="engine")
        self.config = PushConfig(
            **{
                "listen_address": "127.0.0.1",
                "listen_port": free_port(),
                "allowed_subjects": (ENGINE,),
                "key_file": self.own.key,
                "cert_file": self.own.cert,
                "ca_file": self.pki.ca,
                **config,
            }
        )
        self.server = RpcServer(
            handlers or {"echo": echo},
            limits=ServerLimits(max_message_bytes=MAX_MESSAGE_BYTES),
            on_bad_stream=lambda _error: self.listener.count("bad_message"),
        )
        self.clock = PacedClock()
        self.said: list[PushEntry] = []
        self.seen: list[bytes] = []
        self.listener = PushListener(
            self.config,
            self.server,
            clock=self.clock,
            on_change=self.said.append,
            idle_seconds=idle_seconds,
        )
        self.listener.on_peer = self.seen.append
        self._running: Optional[asyncio.Task[None]] = None

    async def start(self) -> None:
        """Begin, and wait until it listens."""
        self._running = asyncio.ensure_future(self.listener.run())
        await self.until(lambda: self.listener.entry().state == "listening")

    def begin(self) -> None:
        """Begin, whether it can listen or not."""
        self._running = asyncio.ensure_future(self.listener.run())

    async def stop(self) -> None:
        if self._running is not None:
            assert not self._running.done(), self._running.exception()
            self._running.cancel()
            await asyncio.wait({self._running})
        await self.listener.close()

    async def until(self, look: Callable[[], Any]) -> Any:
        """Wait until there is something to see."""
        ends_at = CLOCK.now() + LIMIT_SECONDS
        while not look():
            assert CLOCK.now() < ends_at, self.listener.entry()
            await CLOCK.sleep(0.01)
        return look()

    async def counted(self, name: str, number: int = 1) -> None:
        """Wait until so many of these were counted, and look that nothing else was refused."""
        await self.until(lambda: self.listener.counters[name] >= number)
        assert self.listener.counters[name] == number

    async def call(
        self,
        method: str = "echo",
        *,
        pair: Optional[Pair] = None,
        ca: Optional[Path] = None,
        server_name: str = "localhost",
        **params: Any,
    ) -> Any:
        """Call as the engine, or with another certificate, in a thread."""
        pair = pair or self.engine
        context = client_context(pair.cert, pair.key, ca or self.pki.ca)
        target = Target("127.0.0.1", self.config.listen_port, server_name)

        def call() -> Any:
            return call_host(target, context, method, params, Deadlines(10, 10), clock=CLOCK)

        return await asyncio.get_running_loop().run_in_executor(None, call)

    async def raw(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect in the clear."""
        return await asyncio.open_connection("127.0.0.1", self.config.listen_port)

    def plain_socket(self) -> socket.socket:
        """Connect and say nothing."""
        return socket.create_connection(("127.0.0.1", self.config.listen_port), 10)
