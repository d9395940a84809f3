# SPDX-License-Identifier: Apache-2.0
"""The client against a small STOMP server that plays VDSM well and badly."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections.abc import AsyncIterator
from typing import Any, Callable, Optional

import pytest
import pytest_asyncio

from ha_agent.clock import SystemClock
from ha_agent.errors import DeadlineExceeded
from ha_agent.log import RepeatFilter
from ha_agent.vdsm import jsonrpc, stomp
from ha_agent.vdsm.client.client import ClientState, VdsmClient
from ha_agent.vdsm.errors import (
    VdsmCallFailed,
    VdsmConnectionLost,
    VdsmError,
    VdsmNoAnswer,
    VdsmUnreachable,
)
from ha_agent.waiting import within
from tests.vdsm.stomp_peer import StompPeer


class QuickClock(SystemClock):
    """Real time, but waits of the client's own choice are a twentieth as long, and kept."""

    def __init__(self) -> None:
        self.sleeps_seconds: list[float] = []

    async def sleep(self, duration_seconds: float) -> None:
        self.sleeps_seconds.append(duration_seconds)
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
        settings = {"clock": QuickClock(), "uniform": lambda: 0.5, **options}
        clients.append(VdsmClient(host, port or peer.port, **settings))
        clients[-1].start()
        return clients[-1]

    yield make
    for client in clients:
        await client.close()


async def until(condition: Callable[[], bool]) -> None:
    async def poll() -> None:
        while not condition():  # noqa: ASYNC110 - it watches plain values
            await asyncio.sleep(0.005)

    await within(30, poll())


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


async def test_a_vdsm_that_went_deaf_is_noticed_by_its_missing_answers(
    peer: StompPeer, make_client: Callable[..., VdsmClient]
) -> None:
    peer.heart_beat = "100,0"
    client = await ready(make_client(call_deadline_seconds=0.05))
    peer.answers_pings = False
    others = [asyncio.create_task(client.call("Silent", {}, deadline_seconds=30))]
    await until(lambda: len(peer.requests) == 2)
    with pytest.raises(VdsmNoAnswer) as caught:
        await client.call("Silent", {})
    assert caught.value.may_have_executed
    reason = (
        "it keeps the connection but answers no call: VDSM Silent: no answer within 0.05 s, "
        "then VDSM Host.ping2: no answer within 0.05 s"
    )
    with pytest.raises(VdsmConnectionLost, match=reason):
        await others[0]
    said = "takes the connection but answers no call: VDSM Host.ping2"
    await until(lambda: said in client.reason)
    peer.answers_pings = True
    await ready(client)


async def test_one_slow_verb_is_no_reason_to_give_the_connection_up(
    peer: StompPeer, make_client: Callable[..., VdsmClient]
) -> None:
    client = await ready(make_client())
    many = [client.call("Silent", {}, deadline_seconds=0.02) for _ in range(50)]
    results = await asyncio.gather(*many, return_exceptions=True)
    assert {type(result) for result in results} == {VdsmNoAnswer}
    await until(lambda: peer.requests[-1].method == "Host.ping2")
    assert await client.call("Echo", {"n": 1}) == {"n": 1}
    pings = [request for request in peer.requests if request.method == "Host.ping2"]
    assert len(pings) < 25, "one is asked at a time, for all that had no answer"
    assert peer.connections == 1


async def test_an_answer_that_comes_too_late_is_one_too(
    peer: StompPeer, make_client: Callable[..., VdsmClient]
) -> None:
    client = await ready(make_client(call_deadline_seconds=0.2))
    peer.answers_pings = False
    with pytest.raises(VdsmNoAnswer):
        await client.call("Silent", {}, deadline_seconds=0.02)
    await until(lambda: len(peer.requests) == 3)
    slow = peer.requests[1]
    assert (slow.method, peer.requests[2].method) == ("Silent", "Host.ping2")
    peer.reply(jsonrpc.Response(slow.id, True))
    await asyncio.sleep(0.3)  # the ping had no answer by now
    assert await client.call("Echo", {}) == {}
    assert (client.state, peer.connections) == (ClientState.READY, 1)


async def test_callers_that_give_up_by_themselves_do_not_hide_that_it_is_deaf(
    peer: StompPeer, make_client: Callable[..., VdsmClient]
) -> None:
    client = await ready(make_client(call_deadline_seconds=0.05))
    peer.answers_pings = False
    with pytest.raises(asyncio.TimeoutError):
        await within(0.06, client.call("Silent", {}, deadline_seconds=30))
    await until(lambda: peer.connections == 2)


async def test_a_peer_that_drops_every_connection_is_not_asked_again_and_again(
    peer: StompPeer, make_client: Callable[..., VdsmClient]
) -> None:
    clock = QuickClock()
    client = make_client(clock=clock, on_connected=lambda: peer.drop())
    await until(lambda: len(clock.sleeps_seconds) >= 8)
    await client.close()
    pauses = clock.sleeps_seconds[:8]
    assert pauses == [0.1875, 0.375, 0.75, 1.5, 3.0, 3.75, 3.75, 3.75]
    assert peer.connections <= len(clock.sleeps_seconds) + 1


async def test_ten_thousand_calls_at_a_break(
    peer: StompPeer, make_client: Callable[..., VdsmClient]
) -> None:
    client = await ready(make_client())
    many = [asyncio.create_task(client.call("Silent", {"n": n})) for n in range(10_000)]
    await until(lambda: len(peer.requests) > 100)
    peer.drop()
    results = await asyncio.gather(*many, return_exceptions=True)
    assert {type(result) for result in results} <= {VdsmConnectionLost, VdsmUnreachable}
    await ready(client)
    assert await client.call("Echo", {}) == {}


async def test_bytes_in_pieces_and_breaks_at_any_byte(
    peer: StompPeer, make_client: Callable[..., VdsmClient]
) -> None:
    dice = random.Random(6)
    open_ends: set[asyncio.StreamWriter] = set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(dice.choice((1, 7, 100, 65536))):
                if dice.random() < 0.002:
                    return
                writer.write(data)
                await writer.drain()

    async def between(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_ends.add(writer)
        peer_reader, peer_writer = await asyncio.open_connection("127.0.0.1", peer.port)
        ways = {
            asyncio.ensure_future(pump(reader, peer_writer)),
            asyncio.ensure_future(pump(peer_reader, writer)),
        }
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for end in (writer, peer_writer):
            end.transport.abort()
        await asyncio.wait(ways)
        open_ends.remove(writer)

    server = await asyncio.start_server(between, "127.0.0.1", 0)
    client = make_client(port=server.sockets[0].getsockname()[1])
    surely_not: set[int] = set()
    outcomes: set[str] = set()

    async def user(first: int) -> None:
        for number in range(first, first + 30):
            body = {"n": number, "x": "x" * dice.choice((1, 1000, 50_000))}
            await ready(client)
            try:
                assert await client.call("Echo", body) == body
                outcomes.add("answered")
            except VdsmError as error:
                outcomes.add(type(error).__name__)
                if not error.may_have_executed:
                    surely_not.add(number)

    await asyncio.gather(*(user(1000 * n) for n in range(8)))
    executed = {
        request.params["n"]
        for request in peer.requests
        if request.method == "Echo" and isinstance(request.params, dict)
    }
    assert not executed & surely_not
    assert {"answered", "VdsmConnectionLost"} <= outcomes
    await client.close()
    server.close()
    await until(lambda: not open_ends)


async def test_an_address_that_does_not_take_connections(
    make_client: Callable[..., VdsmClient],
) -> None:
    # Its queue is full, so further connections get no answer, as from a host that is away.
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        waiting = []
        for _ in range(4):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(address)
            waiting.append(one)
        client = make_client(port=address[1], connect_deadline_seconds=0.2)
        await until(lambda: "127.0.0.1: no connection within 0.2 s" in client.reason)
        for one in waiting:
            one.close()


async def test_dead_peer_is_noticed_within_two_intervals(
    peer: StompPeer, make_client: Callable[..., VdsmClient]
) -> None:
    peer.heart_beat = "100,0"
    client = await ready(make_client(heart_beat_ms=(100, 100)))
    with pytest.raises(VdsmConnectionLost, match=r"no heart-beat for 0\.15 s"):
        await client.call("Silent", {})


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
    event = await within(5, waiting)
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


async def test_the_log_s_last_word_is_how_it_is(
    peer: StompPeer, make_client: Callable[..., VdsmClient], caplog: pytest.LogCaptureFixture
) -> None:
    """As often as it is lost and back, be it after as many seconds as the last time."""
    caplog.set_level("INFO")
    with caplog.filtering(RepeatFilter(SystemClock())):
        client = await ready(make_client())
        told = [f"connected to VDSM at {client.peer}"]
        for _ in range(3):
            peer.drop()
            await disconnected(client)
            told.append(f"no connection to VDSM at {client.peer}: {client.reason}")
            await ready(client)
            told.append(f"{told[0]}, after 0 s without it")
    assert [text.partition(" (")[0] for text in caplog.messages] == told


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
