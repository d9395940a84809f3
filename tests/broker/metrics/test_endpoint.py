# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from ha_agent.broker.metrics.endpoint import MAX_CONNECTIONS, MetricsEndpoint
from ha_agent.errors import EnvironmentFault

HOST = "127.0.0.1"


async def text(accept: str) -> tuple[bytes, str]:
    return b"ha_agent_x 1\n", f"text/plain; asked={accept or 'nothing'}"


@asynccontextmanager
async def running(deadline_seconds: float = 20.0) -> AsyncIterator[int]:
    endpoint = MetricsEndpoint(HOST, 0, text, deadline_seconds)
    port = await endpoint.start()
    try:
        yield port
    finally:
        endpoint.stop()


async def ask(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        writer.write(request)
        return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


async def test_gives_the_text_and_closes() -> None:
    async with running() as port:
        answer = await ask(port, b"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: this\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert b"asked=this" in head
    assert body == b"ha_agent_x 1\n"


@pytest.mark.parametrize(
    ("line", "status"),
    [(b"GET /other HTTP/1.1", b"404"), (b"POST /metrics HTTP/1.1", b"405")],
)
async def test_there_is_nothing_else(line: bytes, status: bytes) -> None:
    async with running() as port:
        answer = await ask(port, line + b"\r\nHost: x\r\n\r\n")
    assert answer.split(b" ")[1] == status


@pytest.mark.parametrize("request_", [b"\x16\x03\x01 hello\r\n\r\n", b"GET /" + b"x" * 20_000])
async def test_what_is_not_http_is_closed(request_: bytes) -> None:
    async with running() as port:
        assert await ask(port, request_) == b""


async def test_who_says_nothing_is_closed_at_the_deadline() -> None:
    async with running(deadline_seconds=0.05) as port:
        assert await ask(port, b"GET /metr") == b""


async def test_one_more_than_the_limit_is_closed_and_room_is_made_again() -> None:
    async with running(deadline_seconds=20.0) as port:
        silent = [await asyncio.open_connection(HOST, port) for _ in range(MAX_CONNECTIONS)]
        request = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
        assert await ask(port, request) == b""
        for _reader, writer in silent:
            writer.close()
            await writer.wait_closed()
        while not await ask(port, request):  # noqa: ASYNC110  # it is another's end
            await asyncio.sleep(0.01)


async def test_few_are_accepted_in_one_turn_of_the_loop() -> None:
    async with running() as port:
        flood = [socket.socket() for _ in range(30)]
        for sock in flood:  # no turn of the loop in between: the kernel's queue takes them
            sock.setblocking(False)
            sock.connect_ex((HOST, port))
        _, waiting, _ = select.select([], flood, [], 0)
        for sock in flood:
            sock.close()
    assert 0 < len(waiting) < 10


async def test_an_address_in_use_is_said() -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EnvironmentFault, match=f"port {port}"):
            await MetricsEndpoint(HOST, port, text).start()
