# SPDX-License-Identifier: Apache-2.0
"""Routing, bounds and heart-beats of the embedded VDSM's STOMP side, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any, Optional

import pytest

from ha_agent.clock import SystemClock
from ha_agent.vdsm import stomp_server
from ha_agent.vdsm.stomp import Frame, encode
from ha_agent.vdsm.stomp_server import StompServer
from tests.vdsm.embedded import Client


class Echo:
    """Answers a request with its own body; "slow" never ends, "mute" and "bad" say it."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []

    async def __call__(self, body: bytes) -> tuple[Optional[bytes], bool]:
        self.seen.append(body)
        if body == b"slow":
            await asyncio.Event().wait()
        if body == b"mute":
            return None, True
        return (body, True) if body != b"bad" else (b'{"id": null}', False)


@pytest.fixture
def echo() -> Echo:
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


def send(body: bytes, reply_to: str, to: str = "jms.topic.vdsm_requests") -> Frame:
    return Frame("SEND", {"destination": to, "reply-to": reply_to}, body)


@pytest.mark.parametrize(
    ("client", "answer"),
    [("500,300", "1000,1000"), ("0,24000", "24000,0"), ("5000,0", "0,5000"), ("0,0", "0,0")],
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
    async with raw(server, connect, subscribe("a", "r1"), send(b"x", "r1")) as peer:
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
        two.writer.write(encode(send(b"hello", "r1")))
        frame = await one.frame()
        assert (frame.headers["subscription"], frame.body) == ("a", b"hello")
        assert frame.headers["content-type"] == "application/json"
        assert (await two.frame()).headers["subscription"] == "b"


async def test_a_request_without_a_listener_is_executed(server: StompServer, echo: Echo) -> None:
    frames = (send(b"one", "nobody"), subscribe("a", "r1"), send(b"two", "r1"))
    async with raw(server, *frames) as peer:
        assert (await peer.frame()).body == b"two"
        assert echo.seen == [b"one", b"two"]


async def test_an_unreadable_request_is_answered_on_the_common_topic(server: StompServer) -> None:
    topic = subscribe("a", "jms.topic.vdsm_responses")
    async with raw(server, topic, subscribe("b", "r1"), send(b"bad", "r1")) as peer:
        frame = await peer.frame()
        assert (frame.headers["subscription"], json.loads(frame.body)) == ("a", {"id": None})


async def test_unsubscribe(server: StompServer) -> None:
    unsubscribe = Frame("UNSUBSCRIBE", {"id": "a"})
    frames = (subscribe("a", "r1"), unsubscribe, send(b"x", "r1"), unsubscribe)
    async with raw(server, *frames) as peer:
        error = await peer.frame()
        assert (error.command, error.body) == ("ERROR", b"Subscription not available")


@pytest.mark.parametrize(
    ("frame", "text"),
    [
        (subscribe("a", "r2"), b"Subscription id already exists"),
        (Frame("SUBSCRIBE", {"id": "b"}), b"Missing destination or subscription id header"),
        (send(b"x", "r1", to="nowhere"), b"Subscription not available"),
    ],
)
async def test_errors_leave_the_connection_open(
    server: StompServer, frame: Frame, text: bytes
) -> None:
    below = send(b"y", "r1", to="jms.topic.vdsm_irs_requests.x")
    async with raw(server, subscribe("a", "r1"), frame, below) as peer:
        error = await peer.frame()
        assert (error.command, error.body) == ("ERROR", text)
        assert (await peer.frame()).body == b"y"


async def test_disconnect_with_and_without_receipt(server: StompServer) -> None:
    async with raw(server, Frame("DISCONNECT", {"receipt": "77"})) as peer:
        frame = await peer.frame()
        assert (frame.command, frame.headers["receipt-id"]) == ("RECEIPT", "77")
    async with raw(server, Frame("DISCONNECT")) as peer:
        assert (await peer.frame()).command == "ERROR"
        with pytest.raises(EOFError):
            await peer.frame()


@pytest.mark.parametrize(
    "data",
    [
        b"STOMP\naccept-version:1.2\n\n\0",
        b"\nCONNECT\naccept-version:1.2\n\n\0",
        b"GET / HTTP/1.1\r\n\r\n",
        b"SUBSCRIBE\nid:a\ndestination:b\n\n\0NACK\nid:1\n\n\0",
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
    async with raw(server, subscribe("a", "r1"), send(b"others live", "r1")) as peer:
        assert (await peer.frame()).body == b"others live"


async def test_a_client_that_does_not_read_is_cut_off_and_blocks_nobody(
    server: StompServer,
) -> None:
    async with (
        raw(server, subscribe("a", "events"), subscribe("r", "r1"), send(b"x", "r1")) as deaf,
        raw(server, subscribe("b", "events"), subscribe("r", "r2"), send(b"y", "r2")) as good,
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
    frames = [send(b"slow", "r1") for _ in range(stomp_server.MAX_REQUESTS - 1)]
    async with raw(server, subscribe("a", "r1"), *frames, send(b"quick", "r1")) as peer:
        assert (await peer.frame()).body == b"quick"
    # One that fills all its slots is read no further; another client is.
    async with (
        raw(server, *frames, *frames),
        raw(server, subscribe("a", "r1"), send(b"quick", "r1")) as peer,
    ):
        assert (await peer.frame()).body == b"quick"


async def test_a_request_without_reply_makes_nobody_deaf(server: StompServer) -> None:
    frames: list[Any] = [subscribe("a", "r1"), send(b"mute", "r1"), send(b"next", "r1")]
    async with raw(server, *frames) as peer:
        assert (await peer.frame()).body == b"next"
