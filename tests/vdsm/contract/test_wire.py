# SPDX-License-Identifier: Apache-2.0
"""The contract on the wire: greeting, routing, requests of every form (facts/vdsm.md 1.2, 1.3).

Frames by hand, so that not our client but VDSM is tested. What would end a real VDSM's service
to its other clients is done to the embedded one only.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from ha_agent.vdsm.stomp import Frame, encode
from tests.vdsm.contract.talk import Wire, on_the_wire, request, unique
from tests.vdsm.contract.target import Target
from tests.vdsm.embedded import Refused

REQUESTS = "jms.topic.vdsm_requests"
UNREADABLE = "jms.topic.vdsm_responses"


def send(wire: Wire, body: Any, reply_to: str = "", to: str = REQUESTS) -> None:
    headers = {"destination": to, **({"reply-to": reply_to} if reply_to else {})}
    wire.send("SEND", headers, body if isinstance(body, bytes) else json.dumps(body).encode())


@pytest.mark.parametrize(
    ("asked", "answered"),
    [("0,24000", "24000,0"), ("500,300", "1000,1000"), ("5000,0", "0,5000"), ("0,0", "0,0")],
)
async def test_the_greeting(wire: Wire, asked: str, answered: str) -> None:
    wire.send("CONNECT", {"accept-version": "1.2", "heart-beat": asked})
    frame = await wire.frame()
    assert frame.command == "CONNECTED"
    assert dict(frame.headers) == {"version": "1.2", "heart-beat": answered}


async def test_a_list_of_versions_is_refused_and_the_connection_stays(wire: Wire) -> None:
    wire.send("CONNECT", {"accept-version": "1.0,1.1,1.2", "heart-beat": "0,0"})
    frame = await wire.frame()
    assert (frame.command, frame.body) == ("ERROR", b"Version unsupported")
    wire.send("CONNECT", {"accept-version": "1.2"})
    assert (await wire.frame()).command == "CONNECTED"


async def test_calls_need_no_greeting(wire: Wire) -> None:
    wire.subscribe("s1", wire.reply_to)
    assert await wire.call("Host.ping2") is True


async def test_subscriptions_are_checked(wire: Wire) -> None:
    wire.subscribe("s1", wire.reply_to)
    wire.subscribe("s1", unique())
    frame = await wire.frame()
    assert (frame.command, frame.body) == ("ERROR", b"Subscription id already exists")
    for headers in ({"id": "s2"}, {"destination": "r1"}):
        wire.send("SUBSCRIBE", headers)
        frame = await wire.frame()
        assert frame.body == b"Missing destination or subscription id header"
    send(wire, request("Host.ping2"), wire.reply_to, to=f"nowhere.{unique()}")
    assert (await wire.frame()).body == b"Subscription not available"
    assert await wire.call("Host.ping2") is True


@pytest.mark.parametrize("to", [REQUESTS, "jms.topic.vdsm_irs_requests", f"{REQUESTS}.below"])
async def test_a_reply_names_its_subscription(wire: Wire, to: str) -> None:
    wire.subscribe("s1", wire.reply_to)
    send(wire, request("Host.ping2", name="contract-1"), wire.reply_to, to=to)
    frame = await wire.frame()
    assert frame.command == "MESSAGE"
    expected = {"destination": wire.reply_to, "subscription": "s1"}
    assert {**frame.headers, **expected} == dict(frame.headers)
    assert frame.headers["content-type"] == "application/json"
    assert int(frame.headers["content-length"]) == len(frame.body)
    assert json.loads(frame.body) == {"jsonrpc": "2.0", "id": "contract-1", "result": True}


async def test_a_reply_goes_to_every_subscriber_on_any_connection(
    target: Target, wire: Wire
) -> None:
    async with on_the_wire(target) as bystander:
        bystander.subscribe("b1", wire.reply_to)
        bystander.subscribe("b2", bystander.reply_to)
        # Answered: so the subscriptions before it are in force.
        assert await bystander.call("Host.ping2") is True
        wire.subscribe("s1", wire.reply_to)
        asked = request("Host.ping2")
        send(wire, asked, wire.reply_to)
        for one in (wire, bystander):
            assert (await one.message())["id"] == asked["id"]


async def test_a_request_without_a_reply_destination_has_no_reply(wire: Wire) -> None:
    wire.subscribe("s1", wire.reply_to)
    send(wire, request("Host.ping2"))
    send(wire, request("Host.ping2"), unique())
    asked = request("Host.ping2")
    send(wire, asked, wire.reply_to)
    assert (await wire.message())["id"] == asked["id"]


async def test_unsubscribe(wire: Wire) -> None:
    wire.subscribe("s1", wire.reply_to)
    wire.send("UNSUBSCRIBE", {"id": "s1"})
    send(wire, request("Host.ping2"), wire.reply_to)
    wire.subscribe("s2", other := unique())
    asked = request("Host.ping2")
    send(wire, asked, other)
    assert (await wire.message())["id"] == asked["id"]


async def test_params_by_position(wire: Wire) -> None:
    wire.subscribe("s1", wire.reply_to)
    asked = {**request("VM.getStats"), "params": [unique()]}
    send(wire, asked, wire.reply_to)
    assert (await wire.message())["error"]["code"] == 1


async def test_a_batch_of_one_is_answered_bare(wire: Wire) -> None:
    wire.subscribe("s1", wire.reply_to)
    asked = request("Host.ping2")
    send(wire, [asked], wire.reply_to)
    assert await wire.message() == {"jsonrpc": "2.0", "id": asked["id"], "result": True}


async def test_an_id_may_be_a_number(wire: Wire) -> None:
    wire.subscribe("s1", wire.reply_to)
    number = int(unique()[:8], 16)
    send(wire, request("Host.ping2", name=number), wire.reply_to)
    assert (await wire.message())["id"] == number


async def test_many_requests_at_once_are_all_answered(wire: Wire) -> None:
    wire.subscribe("s1", wire.reply_to)
    asked = [request("Host.ping2" if at % 2 else "Host.getVMList") for at in range(60)]
    for one in asked:
        send(wire, one, wire.reply_to)
    answered = [(await wire.message())["id"] for _ in asked]
    assert sorted(answered) == sorted(one["id"] for one in asked)


async def test_an_unknown_verb_and_a_missing_argument(wire: Wire) -> None:
    wire.subscribe("s1", wire.reply_to)
    with pytest.raises(Refused) as refused:
        await wire.call("Volume.getPath", volumeID=unique())
    assert refused.value.code == -32601
    with pytest.raises(Refused) as refused:
        await wire.call("VM.getStats")
    assert refused.value.code == -32603


@pytest.mark.parametrize(
    ("body", "code"), [(b"{", -32700), (b'{"id": "1"}', -32600), (b'"text"', -32600)]
)
async def test_an_unreadable_request_is_answered_to_everybody(
    ours: Target, wire: Wire, body: bytes, code: int
) -> None:
    wire.subscribe("s1", wire.reply_to)
    wire.subscribe("s2", UNREADABLE)
    send(wire, body, wire.reply_to)
    answer = await wire.message()
    assert (answer["id"], answer["error"]["code"]) == (None, code)
    assert await wire.call("Host.ping2") is True


async def test_a_batch_of_two_has_no_reply_and_does_no_harm(ours: Target, wire: Wire) -> None:
    wire.subscribe("s1", wire.reply_to)
    send(wire, [request("Host.ping2"), request("Host.ping2")], wire.reply_to)
    assert await wire.call("Host.ping2") is True
    assert wire.frames == []


async def test_a_notification_does_not_make_it_deaf(
    ours: Target, target: Target, wire: Wire
) -> None:
    wire.subscribe("s1", wire.reply_to)
    send(wire, {"jsonrpc": "2.0", "method": "Host.ping2", "params": {}}, wire.reply_to)
    assert await wire.call("Host.ping2") is True
    async with on_the_wire(target) as other:
        other.subscribe("s1", other.reply_to)
        assert await other.call("Host.ping2") is True


async def test_line_ends_and_escapes(wire: Wire) -> None:
    destination = f"a:b\\c {unique()}"
    head = f"SUBSCRIBE\r\ndestination:{destination}\r\nid:s1\r\n\r\n\0"
    wire.send_bytes(head.replace("\\", "\\\\").replace("a:b", "a\\cb").encode())
    asked = request("Host.ping2")
    send(wire, asked, destination)
    frame = await wire.frame()
    assert (frame.headers["destination"], json.loads(frame.body)["id"]) == (
        destination,
        asked["id"],
    )


async def test_a_frame_in_pieces(wire: Wire) -> None:
    wire.subscribe("s1", wire.reply_to)
    asked = request("Host.ping2")
    headers = {"destination": REQUESTS, "reply-to": wire.reply_to}
    for byte in encode(Frame("SEND", headers, json.dumps(asked).encode())):
        wire.send_bytes(bytes((byte,)))
        await wire.writer.drain()
    assert (await wire.message())["id"] == asked["id"]


async def test_disconnect_with_a_receipt(wire: Wire) -> None:
    wire.send("CONNECT", {"accept-version": "1.2"})
    await wire.frame()
    wire.send("DISCONNECT", {"receipt": "77"})
    frame = await wire.frame()
    assert (frame.command, dict(frame.headers)) == ("RECEIPT", {"receipt-id": "77"})


@pytest.mark.parametrize(
    "data",
    [
        b"STOMP\naccept-version:1.2\n\n\0",
        b"\nCONNECT\naccept-version:1.2\n\n\0",
        b"SUBSCRIBE\nid:a\ndestination:b\n\n\0BEGIN\ntransaction:1\n\n\0",
        b"CONNECT\naccept-version:1.2\n\n\0DISCONNECT\n\n\0",
    ],
)
async def test_what_ends_a_connection(wire: Wire, data: bytes) -> None:
    wire.send_bytes(data)
    assert b"MESSAGE" not in await wire.is_ended()
