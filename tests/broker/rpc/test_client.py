# SPDX-License-Identifier: Apache-2.0
"""The asyncio client against servers that misbehave. (Against the good one: test_rpc_server.)"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Callable

import pytest

from ha_agent.broker.rpc.client import BrokerUnreachable, RpcCallFailed, RpcClient
from ha_agent.broker.rpc.codec import (
    Notification,
    Request,
    Response,
    RpcCodecError,
    RpcDecoder,
    RpcError,
    encode,
)
from ha_agent.errors import DeadlineExceeded

_Act = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def _server(path: Path, act: _Act) -> AsyncIterator[None]:
    tasks: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.append(task)
        try:
            await act(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_unix_server(serve, str(path))
    try:
        yield
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


async def _requests(reader: asyncio.StreamReader) -> AsyncIterator[Request]:
    decoder = RpcDecoder()
    while True:
        data = await reader.read(65536)
        if not data:
            return
        for message in decoder.feed(data):
            assert isinstance(message, Request)
            yield message


async def _silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    while await reader.read(65536):
        pass


async def test_nobody_there(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with pytest.raises(BrokerUnreachable, match="no such socket") as raised:
        await RpcClient(path).call("status")
    assert raised.value.path == path


async def test_silent_server_meets_the_deadline_and_the_connection_lives(tmp_path: Path) -> None:
    connections = 0

    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        async for request in _requests(reader):
            if request.method == "late":
                await asyncio.sleep(0.1)
            if request.method != "never":
                writer.write(encode(Response(request.msgid, result=request.method)))

    async with _server(tmp_path / "s", act):
        client = RpcClient(str(tmp_path / "s"), call_deadline_seconds=5)
        with pytest.raises(DeadlineExceeded, match=r"never .* within 0\.05 s"):
            await client.call("never", deadline_seconds=0.05)
        with pytest.raises(DeadlineExceeded):
            await client.call("late", deadline_seconds=0.05)
        # The answer that comes too late is nobody's, least of all the next call's.
        assert await client.call("good") == "good"
        assert connections == 1
        await client.close()


async def test_full_queue_meets_the_deadline(tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "s"))
    listener.listen(0)
    with listener, socket.socket(socket.AF_UNIX) as first:
        first.connect(str(tmp_path / "s"))
        client = RpcClient(str(tmp_path / "s"), connect_deadline_seconds=0.05)
        with pytest.raises(DeadlineExceeded, match="connecting"):
            await client.call("status")


async def test_answers_in_any_order_and_byte_by_byte(tmp_path: Path) -> None:
    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held: list[Request] = []
        async for request in _requests(reader):
            held.append(request)
            if len(held) < 20:
                continue
            for old in reversed(held):
                for byte in encode(Response(old.msgid, result=old.params["number"])):
                    writer.write(bytes([byte]))
                    await asyncio.sleep(0)

    async with _server(tmp_path / "s", act):
        client = RpcClient(str(tmp_path / "s"))
        calls = [client.call("m", {"number": number}) for number in range(20)]
        assert await asyncio.gather(*calls) == list(range(20))
        await client.close()


async def test_a_lost_connection_fails_its_calls_and_the_next_call_reconnects(
    tmp_path: Path,
) -> None:
    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async for request in _requests(reader):
            if request.method == "die":
                return
            writer.write(encode(Response(request.msgid, result="good")))

    async with _server(tmp_path / "s", act):
        client = RpcClient(str(tmp_path / "s"))
        for _ in range(3):
            assert await client.call("live") == "good"
            with pytest.raises(BrokerUnreachable, match="ended before the answer"):
                await client.call("die")
        await client.close()


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"\xc1", "can't be read"),
        (b"\x94\x01\x00\xc0\xdd\xff\xff\xff\xff", "can't be read"),
        (encode(Notification("closing", {"code": "busy", "message": "all in use"})), "all in use"),
        (b"\x94\x01", "ended before"),
    ],
)
async def test_bad_answers_are_typed_errors(tmp_path: Path, answer: bytes, says: str) -> None:
    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(answer)
        await writer.drain()

    async with _server(tmp_path / "s", act):
        client = RpcClient(str(tmp_path / "s"))
        with pytest.raises(BrokerUnreachable, match=says):
            await client.call("status")
        await client.close()


async def test_an_error_answer_is_typed(tmp_path: Path) -> None:
    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async for request in _requests(reader):
            error = RpcError("denied", "only root may", {"uid": 1000})
            writer.write(encode(Response(request.msgid, error=error)))

    async with _server(tmp_path / "s", act):
        client = RpcClient(str(tmp_path / "s"))
        with pytest.raises(RpcCallFailed, match="only root may") as failed:
            await client.call("maintenance")
        assert (failed.value.code, failed.value.details) == ("denied", {"uid": 1000})
        await client.close()


async def test_close_fails_waiting_calls(tmp_path: Path) -> None:
    async with _server(tmp_path / "s", _silent):
        client = RpcClient(str(tmp_path / "s"))
        call = asyncio.ensure_future(client.call("status"))
        await asyncio.sleep(0.05)
        await client.close()
        with pytest.raises(BrokerUnreachable, match="client closed"):
            await call


async def test_what_cannot_be_sent_harms_no_other_call(tmp_path: Path) -> None:
    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async for request in _requests(reader):
            writer.write(encode(Response(request.msgid, result="good")))

    async with _server(tmp_path / "s", act):
        client = RpcClient(str(tmp_path / "s"))
        with pytest.raises(RpcCodecError, match="can't be sent"):
            await client.call("m", {"number": 2**70})
        assert await client.call("m") == "good"
        await client.close()
