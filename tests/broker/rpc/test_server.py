# SPDX-License-Identifier: Apache-2.0
"""The server over real UNIX sockets, spoken to in raw bytes or through RpcClient."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Optional

import pytest

from ha_agent.broker.rpc import codec as rpc_codec
from ha_agent.broker.rpc.client import BrokerUnreachable, RpcCallFailed, RpcClient
from ha_agent.broker.rpc.codec import Message, Notification, Request, Response, encode
from ha_agent.broker.rpc.server import Handler, Peer, RpcRefusal, RpcServer, ServerLimits
from ha_agent.broker.rpc.unix_listener import listen_unix


async def _echo(params: Mapping[str, Any], _peer: Peer) -> Any:
    return dict(params)


async def _sleep(params: Mapping[str, Any], _peer: Peer) -> Any:
    await asyncio.sleep(params["seconds"])
    return "slept"


async def _refuse(_params: Mapping[str, Any], _peer: Peer) -> Any:
    raise RpcRefusal(rpc_codec.CODE_NOT_FOUND, "there is no host 7", {"host_id": 7})


async def _break(_params: Mapping[str, Any], _peer: Peer) -> Any:
    raise ZeroDivisionError("a fault of ours")


async def _cancel_itself(_params: Mapping[str, Any], _peer: Peer) -> Any:
    waited_for: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    waited_for.cancel()
    await waited_for


async def _unsendable(_params: Mapping[str, Any], _peer: Peer) -> Any:
    return {1: object()}


async def _big(params: Mapping[str, Any], _peer: Peer) -> Any:
    return bytes(params["size_bytes"])


async def _whoami(_params: Mapping[str, Any], peer: Peer) -> Any:
    groups = sorted(peer.groups)
    return {"pid": peer.pid, "uid": peer.uid, "gid": peer.gid, "groups": groups}


_HANDLERS: dict[str, Handler] = {
    "echo": _echo,
    "sleep": _sleep,
    "refuse": _refuse,
    "break": _break,
    "cancel_itself": _cancel_itself,
    "unsendable": _unsendable,
    "big": _big,
    "whoami": _whoami,
}


@asynccontextmanager
async def _serving(
    path: Path,
    handlers: Optional[Mapping[str, Handler]] = None,
    limits: Optional[ServerLimits] = None,
    deadlines_seconds: Optional[Mapping[str, float]] = None,
) -> AsyncIterator[RpcServer]:
    server = RpcServer(handlers or _HANDLERS, limits=limits, deadlines_seconds=deadlines_seconds)
    server.start(listen_unix(str(path)))
    try:
        yield server
    finally:
        await server.stop(grace_seconds=0.1)


@asynccontextmanager
async def _client(path: Path, deadline_seconds: float = 5.0) -> AsyncIterator[RpcClient]:
    client = RpcClient(str(path), call_deadline_seconds=deadline_seconds)
    try:
        yield client
    finally:
        await client.close()


async def _talk(path: Path, data: bytes) -> list[Message]:
    """Send raw bytes; return what comes until the server closes."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    try:
        writer.write(data)
        return rpc_codec.RpcDecoder().feed(await asyncio.wait_for(reader.read(), 5))
    finally:
        writer.transport.abort()


async def test_answers_and_errors(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "s"
    async with _serving(path), _client(path) as client:
        assert await client.call("echo", {"a": [1, {"b": None}]}) == {"a": [1, {"b": None}]}
        with pytest.raises(RpcCallFailed, match="no host 7") as refused:
            await client.call("refuse")
        assert (refused.value.code, refused.value.details) == ("not_found", {"host_id": 7})
        with pytest.raises(RpcCallFailed, match="no method 'nonsense'") as unknown:
            await client.call("nonsense")
        assert unknown.value.code == "unknown_method"
        assert not caplog.records


@pytest.mark.parametrize("method", ["break", "cancel_itself", "unsendable"])
async def test_a_fault_in_a_handler_is_logged_once_and_ends_its_call_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    path = tmp_path / "s"
    async with _serving(path), _client(path) as client:
        with pytest.raises(RpcCallFailed) as failed:
            await client.call(method)
        assert failed.value.code == "internal"
        assert "ZeroDivision" not in str(failed.value)
        assert await client.call("echo") == {}
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(errors) == 1
    assert (errors[0].exc_info is not None) == (method == "break")


async def test_a_result_beyond_the_limit_is_an_internal_error(tmp_path: Path) -> None:
    path = tmp_path / "s"
    limits = ServerLimits(max_message_bytes=1000)
    async with _serving(path, limits=limits), _client(path) as client:
        with pytest.raises(RpcCallFailed, match="big failed") as failed:
            await client.call("big", {"size_bytes": 2000})
        assert failed.value.code == "internal"


async def test_calls_of_one_connection_run_together(tmp_path: Path) -> None:
    path = tmp_path / "s"
    order: list[str] = []

    async def call(client: RpcClient, seconds: float, name: str) -> None:
        await client.call("sleep", {"seconds": seconds})
        order.append(name)

    async with _serving(path), _client(path) as client:
        await asyncio.gather(call(client, 0.2, "slow"), call(client, 0.0, "quick"))
    assert order == ["quick", "slow"]


async def test_calls_in_flight_are_bounded_and_none_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "s"
    running = most = 0

    async def count(params: Mapping[str, Any], _peer: Peer) -> Any:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1
        return params["number"]

    limits = ServerLimits(max_in_flight=8)
    async with _serving(path, {"count": count}, limits), _client(path) as client:
        calls = [client.call("count", {"number": number}) for number in range(200)]
        assert await asyncio.gather(*calls) == list(range(200))
    assert most == 8


async def test_server_holds_a_calls_deadline_even_if_the_handler_does_not_heed_it(
    tmp_path: Path,
) -> None:
    path = tmp_path / "s"
    release = asyncio.Event()

    async def stubborn(_params: Mapping[str, Any], _peer: Peer) -> Any:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    limits = ServerLimits(call_deadline_seconds=0.05)
    async with _serving(path, {"stubborn": stubborn}, limits), _client(path) as client:
        with pytest.raises(RpcCallFailed, match=r"did not end within 0\.05 s") as failed:
            await client.call("stubborn")
        assert failed.value.code == "deadline"
        release.set()


async def test_a_method_that_waits_on_purpose_has_its_own_deadline(tmp_path: Path) -> None:
    path = tmp_path / "s"
    limits = ServerLimits(call_deadline_seconds=0.05)
    serving = _serving(path, limits=limits, deadlines_seconds={"sleep": 5.0})
    async with serving, _client(path) as client:
        assert await client.call("sleep", {"seconds": 0.15}) == "slept"


async def test_calls_of_a_caller_that_went_away_are_cancelled(tmp_path: Path) -> None:
    path = tmp_path / "s"
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def watch(_params: Mapping[str, Any], _peer: Peer) -> Any:
        begun.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async with _serving(path, {"watch": watch}) as server:
        _, writer = await asyncio.open_unix_connection(str(path))
        writer.write(encode(Request(1, "watch")))
        await asyncio.wait_for(begun.wait(), 5)
        writer.transport.abort()
        await asyncio.wait_for(cancelled.wait(), 5)
        for _ in range(100):
            if server.connection_count == 0:
                break
            await asyncio.sleep(0.01)
        assert server.connection_count == 0


async def test_peer_credentials_come_from_the_kernel(tmp_path: Path) -> None:
    path = tmp_path / "s"
    async with _serving(path), _client(path) as client:
        assert await client.call("whoami") == {
            "pid": os.getpid(),
            "uid": os.geteuid(),
            "gid": os.getegid(),
            "groups": sorted(set(os.getgroups())),
        }


@pytest.mark.parametrize(
    "bad",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x94\x00\x01\xa6status\xdd\xff\xff\xff\xff",
        b"\x91" * 2000,
        encode(Response(1, result=1)),
        encode(Notification("status")),
    ],
)
async def test_bad_bytes_close_their_connection_with_a_reason(tmp_path: Path, bad: bytes) -> None:
    path = tmp_path / "s"
    async with _serving(path), _client(path) as other:
        assert await other.call("echo") == {}
        [message] = await _talk(path, bad)
        assert isinstance(message, Notification)
        assert message.method == rpc_codec.CLOSING
        assert message.params["code"] == "bad_message"
        assert await other.call("echo") == {}


async def test_a_call_with_bad_params_is_answered(tmp_path: Path) -> None:
    path = tmp_path / "s"
    async with _serving(path):
        [message] = await _talk(path, b"\x94\x00\x05\xa4echo\x91\x01")
    assert isinstance(message, Response)
    assert message.msgid == 5
    assert message.error is not None
    assert message.error.code == "bad_message"
    assert "params" in message.error.message


async def test_a_caller_that_does_not_read_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "s"
    limits = ServerLimits(drain_deadline_seconds=0.1, max_in_flight=4)
    async with _serving(path, limits=limits) as server, _client(path) as other:
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(path))
        request = Request(1, "big", {"size_bytes": 500_000})
        sock.sendall(b"".join(encode(request) for _ in range(50)))
        await other.call("echo")
        assert server.connection_count == 2
        for _ in range(300):
            if server.connection_count == 1:
                break
            await asyncio.sleep(0.01)
        assert server.connection_count == 1
        assert await other.call("echo") == {}
        sock.close()


async def test_connections_are_bounded(tmp_path: Path) -> None:
    path = tmp_path / "s"
    limits = ServerLimits(max_connections=2)
    async with _serving(path, limits=limits), _client(path) as one, _client(path) as two:
        await one.call("echo")
        await two.call("echo")
        [message] = await _talk(path, b"")
        assert isinstance(message, Notification)
        assert message.params["code"] == "busy"
        assert "all 2 connections" in message.params["message"]
        await two.close()
        for _ in range(100):
            try:
                async with _client(path) as three:
                    assert await three.call("echo") == {}
                    break
            except BrokerUnreachable:
                await asyncio.sleep(0.01)
        else:
            pytest.fail("a free connection was not given")


async def test_stop_lets_calls_end_and_refuses_new_ones(tmp_path: Path) -> None:
    path = tmp_path / "s"
    async with _serving(path) as server, _client(path) as client:
        await client.call("echo")
        slow = asyncio.ensure_future(client.call("sleep", {"seconds": 0.2}))
        await asyncio.sleep(0.05)
        stop = asyncio.ensure_future(server.stop(grace_seconds=5.0))
        await asyncio.sleep(0.01)
        with pytest.raises(RpcCallFailed) as refused:
            await client.call("echo")
        assert refused.value.code == "stopping"
        assert await slow == "slept"
        await stop
        with pytest.raises(BrokerUnreachable):
            await client.call("echo")


async def test_stop_does_not_wait_longer_than_its_grace(tmp_path: Path) -> None:
    path = tmp_path / "s"
    async with _serving(path) as server, _client(path) as client:
        slow = asyncio.ensure_future(client.call("sleep", {"seconds": 60}))
        await asyncio.sleep(0.05)
        await asyncio.wait_for(server.stop(grace_seconds=0.05), 2)
        with pytest.raises(BrokerUnreachable):
            await slow


async def test_an_inherited_listening_socket_is_served_and_its_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "s"
    made_by_systemd = socket.socket(socket.AF_UNIX)
    made_by_systemd.bind(str(path))
    made_by_systemd.listen()
    server = RpcServer(_HANDLERS)
    server.start(made_by_systemd)
    async with _client(path) as client:
        assert await client.call("echo") == {}
    await server.stop(0.1)
    assert path.exists()
