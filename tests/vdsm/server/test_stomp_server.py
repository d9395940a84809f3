# SPDX-License-Identifier: Apache-2.0
"""Routing, bounds and heart-beats of the embedded VDSM's STOMP side, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import uuid
from collections.abc import AsyncIterator
from typing import Any, Optional

import pytest

from ha_agent.clock import SystemClock
from ha_agent.vdsm import jsonrpc
from ha_agent.vdsm.server import stomp_server, stomp_session
from ha_agent.vdsm.server.stomp_server import EVENTS, StompServer
from ha_agent.vdsm.stomp import Frame, encode
from tests.vdsm.embedded import Client, until


class Echo:
    """Answers a request with its method; "slow" never ends, "wait" ends when it is let, "mute" is
    not answered, and neither is a notification."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.may_end = asyncio.Event()

    async def __call__(self, body: bytes) -> tuple[Optional[bytes], bool]:
        try:
            [message] = jsonrpc.decode_batch(body)
        except jsonrpc.JsonRpcError:
            return b'{"id": null}', False
        assert not isinstance(message, jsonrpc.Response)
        self.seen.append(message.method)
        if message.method == "slow":
            await asyncio.Event().wait()
        if message.method == "wait":
            await self.may_end.wait()
        if message.method == "mute" or isinstance(message, jsonrpc.Event):
            return None, True
        return message.method.encode(), True


@pytest.fixture
async def echo() -> Echo:
    return Echo()


@pytest.fixture
async def server(echo: Echo) -> AsyncIterator[StompServer]:
    made = StompServer(echo)
    await made.start("127.0.0.1", 0)
    yield made
    await made.close()


@contextlib.asynccontextmanager
async def raw(server: StompServer, *frames: Frame) -> AsyncIterator[Client]:
    client = Client(*await asyncio.open_connection("127.0.0.1", server.port))
    for frame in frames:
        client.writer.write(encode(frame))
    try:
        yield client
    finally:
        client.close()


def subscribe(name: str, destination: str) -> Frame:
    return Frame("SUBSCRIBE", {"id": name, "destination": destination})


def send(method: str, reply_to: str, to: str = "jms.topic.vdsm_requests", **members: Any) -> Frame:
    """A request of its own id, or of the one that is given."""
    body = {"jsonrpc": "2.0", "method": method, "id": str(uuid.uuid4()), **members}
    return Frame("SEND", {"destination": to, "reply-to": reply_to}, json.dumps(body).encode())


@pytest.mark.parametrize(
    ("client", "answer"),
    [
        *(("500,300", "1000,1000"), ("0,24000", "24000,0"), ("5000,0", "0,5000"), ("0,0", "0,0")),
        # What is no number is none: VDSM ends no connection for it.
        *(("x,300", "1000,0"), ("nonsense", "0,0"), ("", "0,0"), ("1,2,3", "0,1000")),
    ],
)
async def test_heart_beats_are_negotiated_as_vdsm_does(
    server: StompServer, client: str, answer: str
) -> None:
    connect = Frame("CONNECT", {"accept-version": "1.2", "heart-beat": client})
    async with raw(server, connect) as peer:
        frame = await peer.frame()
        assert frame.command == "CONNECTED"
        assert dict(frame.headers) == {"version": "1.2", "heart-beat": answer}


async def test_another_version_is_an_error_and_the_connection_stays(server: StompServer) -> None:
    connect = Frame("CONNECT", {"accept-version": "1.0,1.1,1.2"})
    async with raw(server, connect, subscribe("a", "r1"), send("x", "r1")) as peer:
        error = await peer.frame()
        assert (error.command, error.body) == ("ERROR", b"Version unsupported")
        assert (await peer.frame()).body == b"x"


async def test_the_server_beats_and_cuts_a_silent_client(server: StompServer) -> None:
    connect = Frame("CONNECT", {"accept-version": "1.2", "heart-beat": "1000,1000"})
    clock = SystemClock()
    async with raw(server, connect) as peer:
        await peer.frame()
        began_at = clock.now()
        beats = b""
        while data := await asyncio.wait_for(peer.reader.read(100), 5):
            beats += data
        assert 1.0 < clock.now() - began_at < 3.0
        assert set(beats) == {ord("\n")}


async def test_a_reply_goes_to_every_subscriber_of_its_destination(server: StompServer) -> None:
    async with (
        raw(server, subscribe("a", "r1")) as one,
        raw(server, subscribe("b", "r1"), subscribe("c", "r2")) as two,
    ):
        two.writer.write(encode(send("hello", "r1")))
        frame = await one.frame()
        assert (frame.headers["subscription"], frame.body) == ("a", b"hello")
        assert frame.headers["content-type"] == "application/json"
        assert (await two.frame()).headers["subscription"] == "b"


async def test_a_request_without_a_listener_is_executed(server: StompServer, echo: Echo) -> None:
    frames = (send("one", "nobody"), subscribe("a", "r1"), send("two", "r1"))
    async with raw(server, *frames) as peer:
        assert (await peer.frame()).body == b"two"
        assert echo.seen == ["one", "two"]


async def test_an_unreadable_request_is_answered_on_the_common_topic(server: StompServer) -> None:
    topic = subscribe("a", "jms.topic.vdsm_responses")
    bad = Frame("SEND", {"destination": "jms.topic.vdsm_requests", "reply-to": "r1"}, b"{bad")
    async with raw(server, topic, subscribe("b", "r1"), bad) as peer:
        frame = await peer.frame()
        assert (frame.headers["subscription"], json.loads(frame.body)) == ("a", {"id": None})


async def test_unsubscribe(server: StompServer) -> None:
    unsubscribe = Frame("UNSUBSCRIBE", {"id": "a"})
    # As VDSM: one of an id that is not there is nothing, one without an id is an error.
    frames = (subscribe("a", "r1"), unsubscribe, send("x", "r1"), unsubscribe)
    async with raw(server, *frames, Frame("UNSUBSCRIBE")) as peer:
        error = await peer.frame()
        assert (error.command, error.body) == ("ERROR", b"Missing id header")


@pytest.mark.parametrize(
    ("frame", "text"),
    [
        (subscribe("a", "r2"), b"Subscription id already exists"),
        (Frame("SUBSCRIBE", {"id": "b"}), b"Missing destination or subscription id header"),
        (send("x", "r1", to="nowhere"), b"Subscription not available"),
        (Frame("UNSUBSCRIBE"), b"Missing id header"),
    ],
)
async def test_errors_leave_the_connection_open(
    server: StompServer, frame: Frame, text: bytes
) -> None:
    below = send("y", "r1", to="jms.topic.vdsm_irs_requests.x")
    async with raw(server, subscribe("a", "r1"), frame, below) as peer:
        error = await peer.frame()
        assert (error.command, error.body) == ("ERROR", text)
        assert (await peer.frame()).body == b"y"


async def test_disconnect_with_and_without_receipt(server: StompServer) -> None:
    async with raw(server, Frame("DISCONNECT", {"receipt": "77"})) as peer:
        frame = await peer.frame()
        assert (frame.command, frame.headers["receipt-id"]) == ("RECEIPT", "77")
    for frame in (Frame("DISCONNECT"), Frame("NACK", {"id": "1"})):
        async with raw(server, subscribe("a", "r1"), frame) as peer:
            with pytest.raises(EOFError):  # without a word, as VDSM does
                await peer.frame()


@pytest.mark.parametrize(
    "data",
    [
        b"SEND\ndestination:jms.topic.vdsm_requests\ncontent-length:104857600\n\n",
        b"SEND\nno header line at all\n\n\0",
        b"SEND\n" + b"a:b\n" * 100 + b"\n\0",
    ],
)
async def test_what_is_no_frame_ends_the_connection_with_a_reason(
    server: StompServer, data: bytes
) -> None:
    async with raw(server) as peer:
        peer.writer.write(data)
        assert (await peer.frame()).command == "ERROR"
        with pytest.raises(EOFError):
            await peer.frame()
    async with raw(server, subscribe("a", "r1"), send("others live", "r1")) as peer:
        assert (await peer.frame()).body == b"others live"


@pytest.mark.parametrize(
    "data",
    [
        b"STOMP\naccept-version:1.2\n\n\0",
        b"\nCONNECT\naccept-version:1.2\n\n\0",
        b"GET / HTTP/1.1\r\n\r\n",
        b"NACK\nid:1\n\n\0",
    ],
)
async def test_what_does_not_begin_a_frame_is_reset(server: StompServer, data: bytes) -> None:
    async with raw(server) as peer:
        # Byte by byte: it is the first eleven that count, whenever they come.
        for number in range(len(data)):
            peer.writer.write(data[number : number + 1])
        with pytest.raises(ConnectionResetError):
            await peer.frame()


async def test_one_id_of_two_clients_leads_one_reply_astray(
    server: StompServer, echo: Echo
) -> None:
    async with (
        raw(server, subscribe("c", "jms.topic.vdsm_responses")) as common,
        raw(server, subscribe("a", "r1"), send("wait", "r1", id="1")) as one,
        raw(server, subscribe("b", "r2")) as two,
    ):
        await until(lambda: bool(echo.seen))
        two.writer.write(encode(send("wait", "r2", id="1")))
        await until(lambda: len(echo.seen) == 2)
        echo.may_end.set()
        assert (await two.frame()).headers["subscription"] == "b"
        assert (await common.frame()).headers["subscription"] == "c"
        one.writer.write(encode(send("next", "r1")))
        assert (await one.frame()).body == b"next"


async def test_a_notification_leads_the_next_event_astray_and_makes_nobody_deaf(
    server: StompServer, echo: Echo
) -> None:
    notification = Frame(
        "SEND",
        {"destination": "jms.topic.vdsm_requests", "reply-to": "r1"},
        b'{"jsonrpc": "2.0", "method": "told"}',
    )
    async with (
        raw(server, subscribe("a", "r1"), subscribe("e", EVENTS)) as one,
        raw(server, subscribe("b", EVENTS), send("x", "nobody")) as two,
    ):
        one.writer.write(encode(notification))
        await until(lambda: set(echo.seen) == {"x", "told"})
        server.publish_event(b"first")
        server.publish_event(b"second")
        frame = await one.frame()
        assert (frame.headers["subscription"], frame.body) == ("a", b"first")
        assert ((await one.frame()).body, (await two.frame()).body) == (b"second", b"second")
        two.writer.write(encode(subscribe("r", "r2")) + encode(send("next", "r2")))
        assert (await two.frame()).body == b"next"


async def test_a_message_goes_to_the_subscribers_of_its_destination_and_of_its_parents(
    server: StompServer,
) -> None:
    async with (
        raw(server, subscribe("a", "some.where"), send("x", "nobody")) as one,
        raw(server, subscribe("q", "jms.topic.vdsm_requests"), subscribe("r", "r1")) as two,
    ):
        two.writer.write(encode(send("hello", "r9", to="some.where.else")))
        frame = await one.frame()
        assert (frame.command, frame.headers["subscription"]) == ("MESSAGE", "a")
        assert frame.headers["destination"] == "some.where.else"
        # Nobody has a copy of a request.
        one.writer.write(encode(send("secret", "r1")))
        assert (await two.frame()).body == b"secret"


async def test_a_subscription_ends_with_its_connection(server: StompServer) -> None:
    async with raw(server, subscribe("a", "r1"), send("x", "r1")) as peer:
        await peer.frame()
    async with raw(server, subscribe("a", "r2"), send("x", "r2")) as peer:
        await peer.frame()
        while True:
            peer.writer.write(encode(send("x", "r2", to="r1")))
            frame = await peer.frame()
            if frame.command == "ERROR":
                return


async def test_more_connections_than_there_may_be_are_refused_until_one_ends(
    server: StompServer,
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        peers = [
            await stack.enter_async_context(
                raw(server, subscribe("a", f"r{n}"), send("x", f"r{n}"))
            )
            for n in range(stomp_server.MAX_CONNECTIONS)
        ]
        for peer in peers:
            assert (await peer.frame()).body == b"x"
        async with raw(server) as refused:
            with pytest.raises((EOFError, ConnectionError)):
                await refused.frame()
        peers[0].close()
        while True:
            async with raw(server, subscribe("a", "more"), send("y", "more")) as peer:
                with contextlib.suppress(EOFError, ConnectionError):
                    assert (await peer.frame()).body == b"y"
                    return


async def test_all_clients_together_hold_a_bounded_output(server: StompServer) -> None:
    big = b"x" * (1 << 20)
    count = stomp_server.MAX_ALL_OUTPUT_BYTES // stomp_server.MAX_OUTPUT_BYTES + 3
    async with contextlib.AsyncExitStack() as stack:
        deaf = [
            await stack.enter_async_context(
                raw(server, subscribe("a", "events"), subscribe("r", f"r{n}"), send("x", f"r{n}"))
            )
            for n in range(count)
        ]
        for peer in deaf:
            await peer.frame()
        for _ in range(stomp_server.MAX_OUTPUT_BYTES // len(big) - 2):
            server.publish("events", big)
        assert server.output_bytes <= stomp_server.MAX_ALL_OUTPUT_BYTES
        good = subscribe("a", "good")
        async with raw(server, good, send("y", "good")) as peer:
            assert (await peer.frame()).body == b"y"


async def test_who_is_ending_with_much_unread_counts_and_is_cut_off_too(
    server: StompServer,
) -> None:
    big = b"x" * (1 << 20)
    count = stomp_server.MAX_ALL_OUTPUT_BYTES // stomp_server.MAX_OUTPUT_BYTES + 1
    async with contextlib.AsyncExitStack() as stack:
        for turn in ("first", "second"):
            for n in range(count):
                name = f"{turn}{n}"
                frames = (subscribe("a", turn), subscribe("r", name), send("x", name))
                peer = await stack.enter_async_context(raw(server, *frames))
                await peer.frame()
                if turn == "first":
                    for _ in range(24):
                        server.publish(turn, big)
                    peer.writer.write(encode(Frame("DISCONNECT")))
            await asyncio.sleep(0.05)  # they are ending now, and what waits for them is flushed
        for _ in range(24):
            server.publish("second", big)
        assert server.output_bytes <= stomp_server.MAX_ALL_OUTPUT_BYTES
        async with raw(server, subscribe("a", "good"), send("y", "good")) as good:
            assert (await good.frame()).body == b"y"


async def test_requests_of_many_bytes_wait_for_each_other(server: StompServer, echo: Echo) -> None:
    size = stomp_session.MAX_FRAME_BYTES - 200
    frames = [send("wait", "r1", params={"pad": "x" * size}) for _ in range(3)]
    async with (
        raw(server, subscribe("a", "r1"), *frames, send("last", "r1")) as peer,
        raw(server, subscribe("b", "r2")) as other,
    ):
        await until(lambda: echo.seen == ["wait", "wait"])
        other.writer.write(encode(send("quick", "r2")))
        assert (await other.frame()).body == b"quick"
        assert echo.seen == ["wait", "wait", "quick"]
        echo.may_end.set()
        assert {(await peer.frame()).body for _ in range(4)} == {b"wait", b"last"}


async def test_a_client_that_does_not_read_is_cut_off_and_blocks_nobody(
    server: StompServer,
) -> None:
    async with (
        raw(server, subscribe("a", "events"), subscribe("r", "r1"), send("x", "r1")) as deaf,
        raw(server, subscribe("b", "events"), subscribe("r", "r2"), send("y", "r2")) as good,
    ):
        await deaf.frame()
        await good.frame()
        big = b"x" * (1 << 20)
        rounds = stomp_server.MAX_OUTPUT_BYTES // len(big) + 20
        for _ in range(rounds):
            server.publish("events", big)
            assert len((await good.frame()).body) == len(big)
        server.publish("events", b"last")
        assert (await good.frame()).body == b"last"
        received = 0
        with contextlib.suppress(ConnectionError):
            while data := await deaf.reader.read(1 << 20):
                received += len(data)
        assert received < rounds * len(big)


async def test_slow_requests_do_not_hold_up_others(server: StompServer) -> None:
    frames = [send("slow", "r1") for _ in range(stomp_server.MAX_REQUESTS - 1)]
    async with raw(server, subscribe("a", "r1"), *frames, send("quick", "r1")) as peer:
        assert (await peer.frame()).body == b"quick"
    # One that fills all its slots is read no further; another client is.
    async with (
        raw(server, *frames, *frames),
        raw(server, subscribe("a", "r1"), send("quick", "r1")) as peer,
    ):
        assert (await peer.frame()).body == b"quick"


async def test_a_request_without_reply_makes_nobody_deaf(server: StompServer) -> None:
    frames: list[Any] = [subscribe("a", "r1"), send("mute", "r1"), send("next", "r1")]
    async with raw(server, *frames) as peer:
        assert (await peer.frame()).body == b"next"


@pytest.mark.skipif(not socket.has_ipv6, reason="needs IPv6")
async def test_two_colons_are_all_addresses_of_both_kinds(echo: Echo) -> None:
    server = StompServer(echo)
    try:
        await server.start("::", 0)
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")
    try:
        for address in ("127.0.0.1", "::1"):
            client = Client(*await asyncio.open_connection(address, server.port))
            client.writer.write(encode(subscribe("a", "r1")) + encode(send("x", "r1")))
            assert (await client.frame()).body == b"x"
            client.close()
    finally:
        await server.close()


async def test_an_address_of_somebody_else_is_an_error(echo: Echo) -> None:
    server = StompServer(echo)
    with pytest.raises(OSError, match="assign requested address"):
        await server.start("192.0.2.1", 0)
    await server.close()
