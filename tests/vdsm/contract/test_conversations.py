# SPDX-License-Identifier: Apache-2.0
"""Conversations that were had with a real VDSM, played to our server and to our client."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any

import pytest

from ha_agent.clock import SystemClock
from ha_agent.vdsm.client.client import VdsmClient
from ha_agent.vdsm.errors import VdsmCallFailed, VdsmConnectionLost
from ha_agent.vdsm.jsonrpc import Event
from ha_agent.waiting import within
from tests.vdsm.contract.conversation import EVENTS, Conversation, load, parts
from tests.vdsm.contract.players import ServerPlayer, play_client
from tests.vdsm.contract.talk import PATIENCE_SECONDS
from tests.vdsm.contract.target import Target

FOLDER = Path(__file__).parents[2] / "data" / "vdsm" / "conversations"
ALL = [load(path) for path in sorted(FOLDER.glob("*.txt"))]


def played_by(side: str) -> list[Any]:
    return [pytest.param(one, id=one.where) for one in ALL if side in one.plays]


@pytest.mark.parametrize("conversation", played_by("server"))
async def test_the_server_says_what_vdsm_said(target: Target, conversation: Conversation) -> None:
    await play_client(conversation, target)


def said(conversation: Conversation, *, by_client: bool, destination: str = "") -> list[Any]:
    """Return the bodies of one side's messages, as objects."""
    found = []
    for line in conversation.lines:
        command, headers, body = parts(line.template)
        if line.is_clients is by_client and command in ("SEND", "MESSAGE"):
            is_event = headers["destination"] == EVENTS
            if by_client or is_event == (destination == EVENTS):
                found.append(json.loads(body))
    return found


async def outcome(client: VdsmClient, asked: Any) -> tuple[str, Any]:
    try:
        return "result", await client.call(asked["method"], asked["params"])
    except VdsmCallFailed as failed:
        return "error", {"code": failed.code, "message": failed.message}
    except VdsmConnectionLost as lost:
        return "lost", lost.may_have_executed


@pytest.mark.parametrize("conversation", played_by("client"))
async def test_our_client_takes_what_vdsm_said(conversation: Conversation) -> None:
    player = ServerPlayer(conversation)
    ready = asyncio.Event()
    beats = parts(conversation.lines[0].template)[1]["heart-beat"].split(",")
    client = VdsmClient(
        "127.0.0.1",
        await player.start(),
        clock=SystemClock(),
        uniform=lambda: 0.0,
        on_connected=ready.set,
        heart_beat_ms=(int(beats[0]), int(beats[1])),
    )
    asked = said(conversation, by_client=True)
    answers = {one["id"]: one for one in said(conversation, by_client=False)}
    client.start()
    try:
        if asked:
            await within(PATIENCE_SECONDS, ready.wait())
        told = await within(
            PATIENCE_SECONDS, asyncio.gather(*(outcome(client, one) for one in asked))
        )
        for call, (kind, value) in zip(asked, told):
            answer = answers.get(call["id"], {"lost": True})
            if "${text}" in json.dumps(answer):
                answer["error"]["message"] = value["message"] = ""
            assert answer[kind] == value
        for event in said(conversation, by_client=False, destination=EVENTS):
            got = await within(PATIENCE_SECONDS, client.next_event())
            assert got == Event(event["method"], event["params"])
        await within(PATIENCE_SECONDS, player.played)
    finally:
        await client.close()
        await player.close()
        with contextlib.suppress(asyncio.CancelledError):
            if player.played.done():
                player.played.exception()


def test_each_side_has_conversations() -> None:
    assert len(played_by("server")) >= 6
    assert len(played_by("client")) >= 4
