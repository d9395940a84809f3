# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: SIM117  (a server outlives its callers, and reads so)
"""Connections of callers that are slow, hostile or many; the server is a real one."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import socket
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Callable, Optional

import msgpack
import pytest

from ha_agent.broker.rpc import codec as rpc_codec
from ha_agent.broker.rpc.answer import Handler, Late, Stream
from ha_agent.broker.rpc.client import RpcCallFailed, RpcClient
from ha_agent.broker.rpc.codec import Message, Notification, Request, Response, RpcDecoder, encode
from ha_agent.broker.rpc.limits import KIB, ServerLimits
from ha_agent.broker.rpc.peer import Peer
from ha_agent.broker.rpc.server import RpcServer
from ha_agent.broker.rpc.unix_listener import listen_unix
from ha_agent.clock import SystemClock

CLOCK = SystemClock()
BIG = 4 * 1024 * KIB


class World:
    """Handlers, and what they saw."""

    def __init__(self) -> None:
        self.made = 0
        self.version = 0
        self.changed = asyncio.Event()
        self.watching = 0

    def change(self) -> None:
        self.version += 1
        self.changed.set()
        self.changed = asyncio.Event()

    async def echo(self, params: Mapping[str, Any], _peer: Peer) -> Any:
        return dict(params)

    async def wait(self, _params: Mapping[str, Any], _peer: Peer) -> Any:
        await asyncio.Event().wait()

    async def big(self, _params: Mapping[str, Any], _peer: Peer) -> Any:
        def make() -> bytes:
            self.made += 1
            return bytes(BIG)

        return Late(make)

    async def watch(self, params: Mapping[str, Any], _peer: Peer) -> Any:
        seen = -1

        async def news() -> Optional[Callable[[], Mapping[str, Any]]]:
            nonlocal seen
            self.watching += 1
            try:
                while seen == self.version:
                    await self.changed.wait()
            finally:
                self.watching -= 1
            return picture

        def picture() -> Mapping[str, Any]:
            nonlocal seen
            seen = self.version
            return {"version": seen, "fill": bytes(params.get("size_bytes", 0))}

        return Stream("watching", "changed", news)

    @property
    def handlers(self) -> dict[str, Handler]:
        return {"echo": self.echo, "wait": self.wait, "big": self.big, "watch": self.watch}


@contextlib.asynccontextmanager
async def serving(
    path: Path, world: World, limits: Optional[ServerLimits] = None, *, trusted: bool = True
) -> AsyncIterator[RpcServer]:
    server = RpcServer(world.handlers, limits=limits, trusted=lambda _peer: trusted)
    server.start(listen_unix(str(path)))
    try:
        yield server
    finally:
        await server.stop(grace_seconds=0.1)


Wire = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@contextlib.asynccontextmanager
async def raw(path: Path, data: bytes = b"") -> AsyncIterator[Wire]:
    reader, writer = await asyncio.open_unix_connection(str(path))
    try:
        writer.write(data)
        yield reader, writer
    finally:
        writer.transport.abort()


async def messages(reader: asyncio.StreamReader) -> AsyncIterator[Message]:
    decoder = RpcDecoder()
    while True:
        data = await reader.read(64 * KIB)
        if not data:
            return
        for message in decoder.feed(data):
            yield message


async def call(path: Path, verb: str = "echo") -> Any:
    client = RpcClient(str(path), call_deadline_seconds=20.0)
    try:
        return await client.call(verb)
    finally:
        await client.close()


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110  (the test's own time limit ends it)
        await asyncio.sleep(0.01)


async def test_an_unknown_verb_is_answered_with_the_nearest(tmp_path: Path) -> None:
    async with serving(tmp_path / "s", World()):
        with pytest.raises(RpcCallFailed, match="no method 'wacth'; did you mean 'watch'") as told:
            await call(tmp_path / "s", "wacth")
        assert told.value.code == "unknown_method"


@pytest.mark.parametrize("drips", [False, True])
async def test_a_message_that_is_never_whole_ends_its_connection(
    tmp_path: Path, drips: bool
) -> None:
    whole = encode(Request(1, "echo", {"a": bytes(1000)}))
    async with serving(
        tmp_path / "s", World(), ServerLimits(message_deadline_seconds=0.2)
    ) as server:
        async with raw(tmp_path / "s", whole[:40]) as (reader, writer):
            for number in range(40, len(whole) - 1):
                if not drips or reader.at_eof():
                    break
                writer.write(whole[number : number + 1])
                await asyncio.sleep(0.02)
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
        await until(lambda: server.connection_count == 0)


async def test_an_idle_caller_is_left_alone(tmp_path: Path) -> None:
    async with serving(tmp_path / "s", World(), ServerLimits(message_deadline_seconds=0.05)):
        async with raw(tmp_path / "s") as (reader, writer):
            await asyncio.sleep(0.2)
            writer.write(encode(Request(1, "echo")))
            assert await messages(reader).__anext__() == Response(1, result={})


async def test_who_may_only_look_sends_nothing_large(tmp_path: Path) -> None:
    request = encode(Request(1, "echo", {"a": bytes(65 * KIB)}))
    async with serving(tmp_path / "s", World(), trusted=False):
        async with raw(tmp_path / "s", request) as (reader, _writer):
            [told] = [message async for message in messages(reader)]
    assert isinstance(told, Notification)
    assert (told.method, told.params["code"]) == ("closing", "bad_message")


async def test_large_messages_take_turns_and_small_ones_do_not_wait(tmp_path: Path) -> None:
    request = encode(Request(1, "echo", {"a": bytes(300 * KIB)}))
    async with serving(tmp_path / "s", World(), ServerLimits(max_large=1)) as server:
        async with contextlib.AsyncExitStack() as stack:
            first = await stack.enter_async_context(raw(tmp_path / "s", request[: 200 * KIB]))
            await until(lambda: server.large.locked())
            reader, _ = await stack.enter_async_context(raw(tmp_path / "s", request))
            assert await call(tmp_path / "s") == {}
            answer = asyncio.ensure_future(messages(reader).__anext__())
            await asyncio.sleep(0.05)
            assert not answer.done()
            first[1].transport.abort()  # it never finishes; the next has its turn
            assert isinstance(await answer, Response)
        await until(lambda: not server.large.locked())


async def test_callers_that_do_not_read_cost_bounded_memory_and_hold_up_nobody(
    tmp_path: Path,
) -> None:
    world = World()
    limits = ServerLimits(max_owed_bytes=2 * BIG, drain_deadline_seconds=60.0)
    async with (
        serving(tmp_path / "s", world, limits) as server,
        contextlib.AsyncExitStack() as s,
    ):
        for _ in range(20):
            await s.enter_async_context(raw(tmp_path / "s", encode(Request(1, "big")) * 5))
        await until(lambda: world.made >= 2)
        for _ in range(50):
            await asyncio.sleep(0)
        # Nobody else waits for that: another user's room, or another of root's processes', is
        # another (test_rpc_limits.py). All of these are one process.
        assert world.made == 2
        assert server.room.owed_bytes <= 3 * BIG


async def test_who_does_not_read_is_closed_and_others_go_on(tmp_path: Path) -> None:
    world = World()
    limits = ServerLimits(max_owed_bytes=BIG, drain_deadline_seconds=0.2)
    async with serving(tmp_path / "s", world, limits) as server:
        async with raw(tmp_path / "s", encode(Request(1, "big"))):
            await until(lambda: world.made == 1)
            assert await call(tmp_path / "s") == {}
            await until(lambda: server.connection_count <= 1)
    assert server.room.owed_bytes == 0


async def test_a_flood_of_calls_is_read_no_faster_than_it_is_answered(tmp_path: Path) -> None:
    requests = b"".join(encode(Request(number, "wait")) for number in range(5000))
    async with serving(tmp_path / "s", World(), ServerLimits(max_in_flight=8)) as server:
        async with raw(tmp_path / "s", requests) as (_reader, writer):
            await until(lambda: len(server._calls) == 8)
            assert await call(tmp_path / "s") == {}
            assert len(server._calls) == 8
            assert not writer.is_closing()
        await until(lambda: not server._calls)


async def test_a_thousand_callers_at_once(tmp_path: Path) -> None:
    clients = []
    async with serving(tmp_path / "s", World()) as server, contextlib.AsyncExitStack() as stack:
        for _ in range(1000):
            clients.append(await stack.enter_async_context(raw(tmp_path / "s")))
        assert server.connection_count >= 999
        for number, (_reader, writer) in enumerate(clients):
            writer.write(encode(Request(number, "echo", {"n": number})))
        for number, (reader, _writer) in enumerate(clients):
            answer = await messages(reader).__anext__()
            assert answer == Response(number, result={"n": number})


async def test_a_watch_is_told_the_newest_and_not_every_change(tmp_path: Path) -> None:
    world = World()
    request = encode(Request(1, "watch", {"size_bytes": BIG}))
    async with serving(tmp_path / "s", world):
        async with raw(tmp_path / "s", request) as (reader, _writer):
            told = messages(reader)
            assert await told.__anext__() == Response(1, result="watching")
            for _ in range(500):  # far more than fits into buffers, while nothing is read
                world.change()
                await asyncio.sleep(0)
            versions = []
            async for message in told:
                assert isinstance(message, Notification)
                versions.append(message.params["version"])
                if versions[-1] == 500:
                    break
    assert versions == sorted(versions)
    assert len(versions) < 20


async def test_a_watch_ends_with_its_connection(tmp_path: Path) -> None:
    world = World()
    async with serving(tmp_path / "s", world) as server:
        async with raw(tmp_path / "s", encode(Request(1, "watch"))) as (reader, _writer):
            told = messages(reader)
            await told.__anext__()
            await told.__anext__()
            await until(lambda: world.watching == 1)
        await until(lambda: world.watching == 0)
        await until(lambda: server.connection_count == 0)


async def test_watches_of_one_connection_are_bounded(tmp_path: Path) -> None:
    requests = b"".join(encode(Request(number, "watch")) for number in range(4))
    async with serving(tmp_path / "s", World(), ServerLimits(max_streams=3)):
        async with raw(tmp_path / "s", requests) as (reader, _writer):
            answers = []
            async for message in messages(reader):
                if isinstance(message, Response):
                    answers.append(message.error.code if message.error else message.result)
                if len(answers) == 4:
                    break
    assert sorted(answers) == ["busy", "watching", "watching", "watching"]


NASTY = [
    msgpack.packb([0, 1, "echo", [{"a": [[]] * 10}]]),
    b"\x94\x00\x01\xa4echo\x91" + b"\x91" * 100_000,
    b"\xdd\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff",
    os.urandom(3000),
    b"\x94\x00\x01\xa4echo",
]


async def test_all_at_once_and_an_honest_caller_beside_them(tmp_path: Path) -> None:
    async with serving(
        tmp_path / "s", World(), ServerLimits(message_deadline_seconds=0.3)
    ) as server:
        for data in itertools.chain(*[NASTY] * 10):
            with socket.socket(socket.AF_UNIX) as sock:
                sock.setblocking(False)
                await asyncio.get_running_loop().sock_connect(sock, str(tmp_path / "s"))
                sock.send(data[: 60 * KIB])
            assert await call(tmp_path / "s") == {}
        await until(lambda: server.connection_count == 0)
    assert rpc_codec.CODE_BUSY not in {code for _verb, code in server.tally.calls}


async def test_a_flood_of_calls_by_who_may_only_look_leaves_the_loop_to_the_daemons(
    tmp_path: Path,
) -> None:
    """Each call is cheap; thousands that are ready at once must not be one pass of the loop."""
    done = 0

    async def dear(_params: Mapping[str, Any], _peer: Peer) -> Any:
        nonlocal done
        done += 1
        ends_at = CLOCK.now() + 0.001
        while CLOCK.now() < ends_at:
            pass
        return True

    server = RpcServer({"dear": dear}, trusted=lambda _peer: False)
    server.start(listen_unix(str(tmp_path / "s")))
    calls = b"".join(encode(Request(number, "dear", {})) for number in range(32))
    try:
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(40):
                await stack.enter_async_context(raw(tmp_path / "s", calls))
            await until(lambda: done > 0)
            for _ in range(20):  # passes of the loop, as a renewal of the lease takes
                before = done
                await asyncio.sleep(0)
                assert done - before <= 1
            await until(lambda: done > 20)
    finally:
        await server.stop(grace_seconds=0.1)
