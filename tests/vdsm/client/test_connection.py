# SPDX-License-Identifier: Apache-2.0
"""One connection over a socket pair, with the other end in the test's own hands."""

from __future__ import annotations

import asyncio
import socket
import uuid
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from ha_agent.clock import SystemClock
from ha_agent.errors import DeadlineExceeded
from ha_agent.vdsm import jsonrpc, stomp
from ha_agent.vdsm.client.connection import Connection
from ha_agent.vdsm.errors import VdsmConnectionLost, VdsmNoAnswer, VdsmUnreachable

CLOCK = SystemClock()


class Wire:
    """The connection and VDSM's end of it."""

    connection: Connection

    def __init__(self, far_end: socket.socket) -> None:
        self.far_end = far_end
        self.events: list[jsonrpc.Event] = []
        self.event_came = asyncio.Event()
        self._decoder = stomp.StompDecoder()
        self._frames: list[stomp.Frame] = []

    def take_event(self, event: jsonrpc.Event) -> None:
        self.events.append(event)
        self.event_came.set()

    async def receive(self) -> stomp.Frame:
        while not self._frames:
            data = await asyncio.get_running_loop().sock_recv(self.far_end, 65536)
            assert data
            self._frames += self._decoder.feed(data)
        return self._frames.pop(0)

    def send(self, command: str, headers: dict[str, str], body: bytes = b"") -> None:
        self.far_end.sendall(stomp.encode(stomp.Frame(command, headers, body)))

    async def greet(self, heart_beat: str = "0,0") -> str:
        """Play the greeting and return the reply destination."""
        greeting = asyncio.create_task(self.connection.greet(5))
        assert (await self.receive()).command == "CONNECT"
        self.send("CONNECTED", {"version": "1.2", "heart-beat": heart_beat})
        await greeting
        replies, events = await self.receive(), await self.receive()
        assert events.headers["destination"] == "jms.queue.events"
        return replies.headers["destination"]


@pytest_asyncio.fixture
async def wire() -> AsyncIterator[Wire]:
    near_end, far_end = socket.socketpair()
    far_end.setblocking(False)
    wire = Wire(far_end)
    _transport, wire.connection = await asyncio.get_running_loop().create_connection(
        lambda: Connection(
            "peer:1", clock=CLOCK, heart_beat_ms=(100, 100), on_event=wire.take_event
        ),
        sock=near_end,
    )
    yield wire
    wire.connection.end("end of the test")
    far_end.close()


async def test_a_request_and_replies_to_nobody(wire: Wire) -> None:
    reply_to = await wire.greet()
    call = asyncio.create_task(wire.connection.call("VM.getStats", {"vmID": "1"}, 5))
    frame = await wire.receive()
    assert frame.headers["reply-to"] == reply_to
    request = jsonrpc.decode(frame.body)
    assert isinstance(request, jsonrpc.Request)
    assert (request.method, request.params) == ("VM.getStats", {"vmID": "1"})
    for stray in (jsonrpc.Response("other", 1), jsonrpc.Response(None, 2)):
        wire.send("MESSAGE", {}, jsonrpc.encode_response(stray))
    answer = jsonrpc.encode_response(jsonrpc.Response(request.id, "mine"))
    twice = stomp.encode(stomp.Frame("MESSAGE", {"destination": reply_to}, answer)) * 2
    wire.far_end.sendall(twice)
    assert await call == "mine"
    wire.send("MESSAGE", {}, jsonrpc.encode_event(jsonrpc.Event("|x", {})))
    await wire.event_came.wait()
    assert wire.connection.unmatched_replies == 3


async def test_ids_are_like_no_others(wire: Wire) -> None:
    await wire.greet()
    other = Connection("peer:1", clock=CLOCK, heart_beat_ms=(0, 0), on_event=wire.take_event)
    calls, seen = [], set()
    near_end, far_end = socket.socketpair()
    with near_end, far_end:
        await asyncio.get_running_loop().create_connection(lambda: other, sock=near_end)
        far = Wire(far_end)
        far_end.setblocking(False)
        for connection, end in ((wire.connection, wire), (other, far)):
            for _ in range(3):
                calls.append(asyncio.create_task(connection.call("VM.getStats", {}, 5)))
                request = jsonrpc.decode((await end.receive()).body)
                assert isinstance(request, jsonrpc.Request)
                assert isinstance(request.id, str)
                uuid.UUID(request.id[:36])
                seen.add(request.id)
            connection.end("end of the test")
    await asyncio.wait(calls)
    assert all(isinstance(call.exception(), VdsmConnectionLost) for call in calls)
    assert len(seen) == 6


async def test_each_call_has_its_own_deadline(wire: Wire) -> None:
    await wire.greet()

    async def call(deadline_seconds: float) -> None:
        with pytest.raises(VdsmNoAnswer, match=f"within {deadline_seconds:g} s"):
            await wire.connection.call("Silent", {}, deadline_seconds)

    patient = asyncio.create_task(wire.connection.call("VM.getStats", {}, 30))
    await asyncio.gather(*(call(deadline) for deadline in (0.05, 0.02, 0.04, 0.01)))
    # A timer that is set for 30 s does not hold this one up.
    await call(0.02)
    assert not patient.done()
    wire.connection.end("end of the test")
    with pytest.raises(VdsmConnectionLost):
        await patient


async def test_event_that_went_astray_is_an_event(wire: Wire) -> None:
    reply_to = await wire.greet()
    event = jsonrpc.Event("|virt|VM_status|1", {"1": {}})
    wire.send("MESSAGE", {"destination": reply_to}, jsonrpc.encode_event(event))
    await wire.event_came.wait()
    assert wire.events == [event]


async def test_greeting_that_does_not_come(wire: Wire) -> None:
    with pytest.raises(DeadlineExceeded, match="STOMP greeting"):
        await wire.connection.greet(0.02)


async def test_a_cancellation_that_comes_with_the_greeting_is_not_lost(wire: Wire) -> None:
    greeting = asyncio.create_task(wire.connection.greet(5))
    assert (await wire.receive()).command == "CONNECT"
    headers = {"version": "1.2", "heart-beat": "0,0"}
    frame = stomp.encode(stomp.Frame("CONNECTED", headers))
    wire.connection.get_buffer(-1)[: len(frame)] = frame
    wire.connection.buffer_updated(len(frame))
    greeting.cancel()
    await asyncio.wait({greeting}, timeout=5.0)
    assert greeting.cancelled()


async def test_end_before_the_greeting(wire: Wire) -> None:
    wire.far_end.close()
    await asyncio.wait([wire.connection.ended], timeout=5)
    with pytest.raises(VdsmConnectionLost, match="closed by VDSM") as caught:
        await wire.connection.greet(5)
    assert not caught.value.may_have_executed


async def test_nothing_is_sent_after_the_end(wire: Wire) -> None:
    await wire.greet()
    wire.connection.end("enough")
    wire.connection.end("a second reason")
    with pytest.raises(VdsmUnreachable, match="enough"):
        await wire.connection.call("VM.create", {}, 5)


async def test_own_standstill_is_not_taken_for_the_peers(wire: Wire) -> None:
    await wire.greet("100,100")
    for _ in range(3):
        wire.far_end.sendall(stomp.HEART_BEAT)
        CLOCK.block(0.2)  # this whole process stands still for longer than the limit of 0.15 s
        await asyncio.sleep(0.01)
    assert not wire.connection.ended.done()


async def test_silence_ends_it(wire: Wire) -> None:
    await wire.greet("100,100")
    await asyncio.wait([wire.connection.ended], timeout=5)
    assert wire.connection.ended.result() == "no heart-beat for 0.15 s"


async def test_peer_that_reads_nothing_does_not_fill_the_memory(wire: Wire) -> None:
    await wire.greet()
    big = {"vmParams": {"xml": "x" * 1_000_000}}
    calls = [asyncio.create_task(wire.connection.call("VM.create", big, 5)) for _ in range(20)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(result, (VdsmConnectionLost, VdsmUnreachable)) for result in results)
    assert wire.connection.ended.result() == "it reads nothing of what we send"


BIG = {"xml": "x" * 4_000_000}


async def stalled(wire: Wire) -> asyncio.Task[object]:
    """Return a call that fills what the kernel takes, and more."""
    first = asyncio.create_task(wire.connection.call("VM.create", BIG, 30))
    await asyncio.sleep(0)
    return first


async def test_what_was_not_sent_at_the_break_was_surely_not_executed(wire: Wire) -> None:
    await wire.greet()
    first = await stalled(wire)
    second = asyncio.create_task(wire.connection.call("VM.destroy", {}, 30))
    await asyncio.sleep(0)
    wire.far_end.close()
    for call, may_have_executed in ((first, True), (second, False)):
        with pytest.raises(VdsmConnectionLost) as caught:
            await call
        assert caught.value.may_have_executed is may_have_executed
        assert ("nothing of the request was sent" in str(caught.value)) is not may_have_executed


async def test_what_waits_is_sent_in_turn_but_not_after_its_caller_left(wire: Wire) -> None:
    await wire.greet()
    first = await stalled(wire)
    with pytest.raises(VdsmNoAnswer) as caught:
        await wire.connection.call("VM.destroy", {}, 0.02)
    assert not caught.value.may_have_executed
    cancelled = asyncio.create_task(wire.connection.call("VM.shutdown", {}, 30))
    calls = [asyncio.create_task(wire.connection.call(f"Verb.{n}", {}, 30)) for n in range(100)]
    await asyncio.sleep(0)
    cancelled.cancel()
    methods = []
    for _ in range(101):
        request = jsonrpc.decode((await wire.receive()).body)
        assert isinstance(request, jsonrpc.Request)
        methods.append(request.method)
        wire.send(
            "MESSAGE", {}, jsonrpc.encode_response(jsonrpc.Response(request.id, methods[-1]))
        )
    assert methods == ["VM.create", *(f"Verb.{n}" for n in range(100))]
    assert await asyncio.gather(first, *calls) == methods


async def test_tls_where_none_was_expected(wire: Wire) -> None:
    greeting = asyncio.create_task(wire.connection.greet(5))
    assert (await wire.receive()).command == "CONNECT"
    wire.far_end.sendall(bytes.fromhex("15030300020246"))  # a fatal alert: protocol version
    with pytest.raises(VdsmConnectionLost, match=r"it speaks TLS.*set \[vdsm\] ssl = true"):
        await greeting
