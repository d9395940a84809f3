# SPDX-License-Identifier: Apache-2.0
"""docs/push.md against the code: its bytes, its error codes, its verbs and its counters."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from ha_agent.broker.api.error_codes import COMMON
from ha_agent.broker.push.api import SAME_AS_ON_SOCKET, VERBS
from ha_agent.broker.push.entry import PushCounters
from ha_agent.broker.rpc.codec import (
    Message,
    Notification,
    Request,
    Response,
    RpcDecoder,
    RpcError,
    encode,
)

TEXT = (Path(__file__).parents[2] / "docs" / "push.md").read_text()
EXAMPLES: list[Message] = [
    Request(1, "version"),
    Response(1, result={"version": "1.0.0", "push_version": 1}),
    Request(2, "ovf.put", {"document": b"<Envelope/>"}),
    Response(2, error=RpcError("old_version", "definition 0123456789ab is an old one")),
    Notification("closing", {"code": "denied", "message": "not the engine"}),
]


def test_its_bytes_are_what_we_send_and_take() -> None:
    blocks = re.findall(r"```hex\n(.*?)```", TEXT, re.DOTALL)
    shown = [
        b"".join(
            bytes.fromhex(re.match(r"(?:[0-9a-f]{2} ?)+", line).group())  # type: ignore[union-attr]
            for line in block.splitlines()
        )
        for block in blocks
    ]
    assert shown == [encode(message) for message in EXAMPLES]
    assert RpcDecoder().feed(b"".join(shown)) == EXAMPLES


def test_it_has_every_verb_and_every_error() -> None:
    verbs = {*(verb.name for verb in VERBS), *SAME_AS_ON_SOCKET}
    errors = {*COMMON, *(code for verb in VERBS for code in verb.errors)}
    rows = set(re.findall(r"^\| `([a-z_.]+)` \|", TEXT, re.MULTILINE))
    assert rows == verbs | errors


def test_it_names_every_counter() -> None:
    counted = TEXT.partition("## What is counted")[2]
    for field in dataclasses.fields(PushCounters):
        assert f"`{field.name}`" in counted
