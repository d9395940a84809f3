# SPDX-License-Identifier: Apache-2.0
"""The client against a small STOMP server that plays VDSM well and badly."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import subprocess
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Callable, Optional

import pytest
import pytest_asyncio

from ha_agent.clock import SystemClock
from ha_agent.errors import DeadlineExceeded
from ha_agent.vdsm import stomp
from ha_agent.vdsm.client import ClientState, VdsmClient
from ha_agent.vdsm.errors import VdsmCallFailed, VdsmConnectionLost, VdsmUnreachable
from tests.vdsm.stomp_peer import StompPeer


class QuickClock(SystemClock):
    """Real time, but waits of the client's own choice are a twentieth as long."""

    async def sleep(self, duration_seconds: float) -> None:
        await asyncio.sleep(duration_seconds / 20)


@pytest_asyncio.fixture
async def peer() -> AsyncIterator[StompPeer]:
    stomp_peer = StompPeer()
    await stomp_peer.start()
    yield stomp_peer
    await stomp_peer.stop()


@pytest_asyncio.fixture
async def make_client(peer: StompPeer) -> AsyncIterator[Callable[..., VdsmClient]]:
    clients = []

    def make(host: str = "127.0.0.1", port: Optional[int] = None, **options: Any) -> VdsmClient:
        clients.append(
            VdsmClient(host, port or peer.port, clock=QuickClock(), uniform=lambda: 0.5, **options)
        )
        clients[-1].start()
        return clients[-1]

    yield make
    for client in clients:
        await client.close()


async def until(condition: Callable[[], bool]) -> None:
    async def poll() -> None:
        while not condition():  # noqa: ASYNC110 - it watches plain values
            await asyncio.sleep(0.005)

    await asyncio.wait_for(poll(), 10)


async def ready(client: VdsmClient) -> VdsmClient:
    await until(lambda: client.state is ClientState.READY)
    return client


async def disconnected(client: VdsmClient) -> str:
    await until(lambda: client.state is ClientState.DISCONNECTED)
    return client.reason


def sent(peer: StompPeer, command: str) -> list[stomp.Frame]:
    return [frame for frame in peer.frames if frame.command == command]


async def test_calls_and_their_answers(make_client: Callable[..., VdsmClient]) -> None:
    client = await ready(make_client())
    assert await client.call("Echo", {"a": 1}) == {"a": 1}
    with pytest.raises(VdsmCallFailed) as caught:
        await client.call("Fail", {})
    assert (caught.value.verb, caught.value.code) == ("Fail", 100)
    assert caught.value.message == "General Exception: ('no',)"
    answers = await asyncio.gather(*(client.call("Echo", {"n": n}) for n in range(50)))
    assert answers == [{"n": n} for n in range(50)]


async def test_what_is_sent(peer: StompPeer, make_client: Callable[..., VdsmClient]) -> None:
    client = await ready(make_client())
    await client.call("Echo", {})
    peer.drop()
    await disconnected(client)
    await ready(client)
    await client.call("Echo", {})

    connects, subscribes, sends = (sent(peer, c) for c in ("CONNECT", "SUBSCRIBE", "SEND"))
    assert [frame.headers for frame in connects] == [
        {"accept-version": "1.2", "heart-beat": "5000,5000"}
    ] * 2
    first_reply, first_events, second_reply, second_events = (
        frame.headers["destination"] for frame in subscribes
    )
    assert first_events == second_events == "jms.queue.events"
    assert first_reply != second_reply
    assert len({frame.headers["id"] for frame in subscribes}) == 4
    assert [frame.headers["reply-to"] for frame in sends] == [first_reply] * 2 + [second_reply] * 2
    assert {frame.headers["destination"] for frame in sends} == {"jms.topic.vdsm_requests"}
    assert all(frame.body.startswith(b"{") for frame in sends)
    assert len({request.id for request in peer.requests}) == 4


async def test_not_ready_before_recovery_ends(
    peer: StompPeer, make_client: Callable[..., VdsmClient]
) -> None:
    times_connected = []
    peer.recovering_pings = 3
    client = make_client(on_connected=lambda: times_connected.append(len(peer.requests)))
    await until(lambda: len(peer.requests) == 2)
    assert client.state is ClientState.RECOVERING
    with pytest.raises(VdsmUnreachable, match="recovering"):
        await client.call("Echo", {})
    await ready(client)
    assert times_connected == [4]
    assert [request.method for request in peer.requests] == ["Host.ping2"] * 4


async def test_break_in_the_middle_of_calls(
    peer: StompPeer, make_client: Callable[..., VdsmClient]
) -> None:
    client = await ready(make_client())
    calls = [asyncio.create_task(client.call("Silent", {})) for _ in range(3)]
    await until(lambda: len(peer.requests) == 4)
    peer.drop()
    for result in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(result, VdsmConnectionLost)
        assert result.may_have_executed
    with pytest.raises(VdsmUnreachable) as caught:
        await client.call("Echo", {})
    assert not caught.value.may_have_executed
    await ready(client)
    assert await client.call("Echo", {"again": True}) == {"again": True}
    silent = [request for request in peer.requests if request.method == "Silent"]
    assert len(silent) == 3, "a call is sent at most once"


async def test_late_reply_is_dropped(
    peer: StompPeer, make_client: Callable[..., VdsmClient]
) -> None:
    client = await ready(make_client())
    peer.reply_delay_seconds = 0.1
    with pytest.raises(DeadlineExceeded, match=r"VDSM Echo: no answer within 0\.02 s"):
        await client.call("Echo", {"n": 1}, deadline_seconds=0.02)
    assert await client.call("Echo", {"n": 2}) == {"n": 2}
    assert peer.connections == 1


async def test_default_deadline(make_client: Callable[..., VdsmClient]) -> None:
    client = await ready(make_client(call_deadline_seconds=0.05))
    with pytest.raises(DeadlineExceeded):
        await client.call("Silent", {})


async def test_silent_from_the_start(
    peer: StompPeer, make_client: Callable[..., VdsmClient]
) -> None:
    peer.greets = False
    client = make_client(connect_deadline_seconds=0.05)
    await until(lambda: peer.connections >= 2)
    assert "no answer within 0.05 s" in client.reason
    peer.greets = True
    await ready(client)


async def test_deaf_to_pings(peer: StompPeer, make_client: Callable[..., VdsmClient]) -> None:
    peer.answers_pings = False
    client = make_client(call_deadline_seconds=0.05)
    await until(lambda: peer.connections >= 2)
    with pytest.raises(VdsmUnreachable):
        await client.call("Echo", {})
    peer.answers_pings = True
    await ready(client)


async def test_dead_peer_is_noticed_within_two_intervals(
    peer: StompPeer, make_client: Callable[..., VdsmClient]
) -> None:
    peer.heart_beat = "100,0"
    client = await ready(make_client(heart_beat_ms=(100, 100)))
    started = asyncio.get_running_loop().time()
    with pytest.raises(VdsmConnectionLost, match=r"no heart-beat for 0\.15 s"):
        await client.call("Silent", {})
    assert asyncio.get_running_loop().time() - started < 0.2 + 0.5  # a busy machine


async def test_heart_beats_both_ways_keep_the_connection(
    peer: StompPeer, make_client: Callable[..., VdsmClient]
) -> None:
    peer.heart_beat = "100,100"
    client = await ready(make_client(heart_beat_ms=(100, 100)))
    for _ in range(20):
        peer.send_raw(stomp.HEART_BEAT)
        await asyncio.sleep(0.02)
    assert client.state is ClientState.READY
    assert peer.connections == 1
    assert peer.heart_beats_received >= 4


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"MESSAGE\ncontent-length:100000000\n\n" + b"x" * 100_000, "over the limit"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "unknown command"),
        (stomp.encode(stomp.Frame("MESSAGE", {}, b"{")), "not JSON"),
        (stomp.encode(stomp.Frame("SEND", {}, b"{}")), "unexpected SEND"),
        (stomp.encode(stomp.Frame("CONNECTED", {"version": "1.2"})), "unexpected CONNECTED"),
        (stomp.encode(stomp.Frame("ERROR", {}, b"Subscription not available")), "not available"),
        (
            stomp.encode(
                stomp.Frame("MESSAGE", {}, b'{"jsonrpc":"2.0","method":"a","params":{},"id":1}')
            ),
            "a request",
        ),
    ],
)
async def test_nonsense_ends_the_connection_with_a_reason(
    peer: StompPeer, make_client: Callable[..., VdsmClient], data: bytes, reason: str
) -> None:
    client = await ready(make_client())
    call = asyncio.create_task(client.call("Silent", {}))
    await until(lambda: len(peer.requests) == 2)
    peer.send_raw(data)
    with pytest.raises(VdsmConnectionLost, match=reason):
        await call
    await ready(client)
    assert peer.connections == 2


async def test_another_stomp_version(
    peer: StompPeer, make_client: Callable[..., VdsmClient]
) -> None:
    peer.version = "1.1"
    client = make_client()
    await until(lambda: peer.connections >= 2)
    assert "STOMP version '1.1'" in await disconnected(client)


async def test_events_in_order(peer: StompPeer, make_client: Callable[..., VdsmClient]) -> None:
    client = await ready(make_client())
    waiting = asyncio.create_task(client.next_event())
    await asyncio.sleep(0)
    peer.send_event("|virt|VM_status|1", {"1": {"status": "Up"}, "notify_time": 5})
    event = await asyncio.wait_for(waiting, 5)
    assert (event.method, event.params) == (
        "|virt|VM_status|1",
        {"1": {"status": "Up"}, "notify_time": 5},
    )
    for number in range(3):
        peer.send_event(f"|{number}", {})
    assert [(await client.next_event()).method for _ in range(3)] == ["|0", "|1", "|2"]
    assert client.events_lost == 0


async def test_flood_of_events_blocks_nothing_and_drops_the_oldest(
    peer: StompPeer, make_client: Callable[..., VdsmClient]
) -> None:
    client = await ready(make_client(max_queued_events=100))
    for number in range(10_000):
        peer.send_event(f"|{number}", {})
    assert await client.call("Echo", {}) == {}
    assert client.events_lost == 9_900
    assert (await client.next_event()).method == "|9900"


async def test_reconnects_through_restarts(
    peer: StompPeer, make_client: Callable[..., VdsmClient]
) -> None:
    times_connected = []
    client = await ready(make_client(on_connected=lambda: times_connected.append(1)))
    for round_number in range(2, 5):
        await peer.stop()
        await disconnected(client)
        await until(lambda: "refused" in client.reason)
        await peer.start(port=peer.port)
        await ready(client)
        assert len(times_connected) == round_number


async def test_nobody_listens(make_client: Callable[..., VdsmClient]) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        client = make_client(port=unused.getsockname()[1])
        await until(lambda: "refused" in client.reason)
        with pytest.raises(VdsmUnreachable, match=r"127\.0\.0\.1:\d+ can't be reached: .*refused"):
            await client.call("Echo", {})


async def test_tries_every_address_of_a_name(make_client: Callable[..., VdsmClient]) -> None:
    # Where "localhost" is ::1 first, the peer on 127.0.0.1 is found all the same.
    await ready(make_client(host="localhost"))


async def test_unknown_name(make_client: Callable[..., VdsmClient]) -> None:
    client = make_client(host="no-such-host.invalid")
    await until(lambda: "can't be resolved" in client.reason or "in time" in client.reason)


async def test_close_fails_what_is_pending(
    peer: StompPeer, make_client: Callable[..., VdsmClient]
) -> None:
    client = await ready(make_client())
    call = asyncio.create_task(client.call("Silent", {}))
    await until(lambda: len(peer.requests) == 2)
    await client.close()
    with pytest.raises(VdsmConnectionLost, match="closed by ourselves"):
        await call
    assert client.state is ClientState.CLOSED
    with pytest.raises(VdsmUnreachable, match="closed"):
        await client.call("Echo", {})


async def test_cancelled_call_leaves_the_connection_alone(
    peer: StompPeer, make_client: Callable[..., VdsmClient]
) -> None:
    client = await ready(make_client())
    call = asyncio.create_task(client.call("Silent", {}))
    await until(lambda: len(peer.requests) == 2)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await client.call("Echo", {}) == {}
    assert peer.connections == 1


async def test_bug_in_on_connected_is_not_hidden(peer: StompPeer) -> None:
    def bug() -> None:
        raise KeyError("bug")

    client = VdsmClient(
        "127.0.0.1", peer.port, clock=QuickClock(), uniform=lambda: 0.5, on_connected=bug
    )
    client.start()
    await until(lambda: client.state is ClientState.CLOSED)
    with pytest.raises(KeyError):
        await client.close()
