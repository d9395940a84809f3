# SPDX-License-Identifier: Apache-2.0
"""Changed messages of VDSM's wire: JSON that stays JSON, frames that stay frames.

libFuzzer changes bytes, and most of what it makes of a message ends at the parser's first check.
Here a value in a message becomes another one, moves or doubles, names come twice, and a frame
keeps its length and its NUL.
"""

from __future__ import annotations

import copy
import json
import random
from typing import Any, Union

from ha_agent.vdsm.stomp import COMMANDS, Frame, StompDecoder, StompError, encode


class _Raw:
    """A text that is written as it stands, also when no JSON library would write it."""

    def __init__(self, text: str) -> None:
        self.text = text


_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 0.5, "", "Up", "1", "-1", "nan", "inf", "1e400",
    "9" * 30, "\0", "\ud800", "\u0663", "x" * 90, [], {}, [[]], [{}], {"": {}}, "2.0",
    "finished", _Raw("1e999"), _Raw("-1e999"), _Raw("9" * 41), _Raw("9" * 40), _Raw("NaN"),
    _Raw("-0"),
    _Raw("[" * 63 + "]" * 63), _Raw("[" * 70 + "]" * 70), _Raw("1.0"), _Raw('{"a":1,"a":[]}'),
    _Raw('{"id":1,"id":2}'), _Raw("0." + "3" * 400), _Raw('"\\ud83d"'), _Raw("1e-400"),
)  # fmt: skip
_NAMES = (
    "jsonrpc", "id", "method", "params", "result", "error", "code", "message", "vmId", "status",
    "exitReason", "exitCode", "notify_time", "statusTime", "", "\0", "vm",
)  # fmt: skip
_HEADERS = (
    "destination", "subscription", "id", "reply-to", "heart-beat", "version", "accept-version",
    "receipt", "receipt-id", "ack", "message",
)  # fmt: skip
_HEADER_VALUES = (
    "", "r1", "s1", "1.2", "1.0,1.1,1.2", "0,0", "1,1", "9999999999999,1", "-1,0", "a,b", "\n",
    "\r", ":", "\\", "\u6f22", "jms.queue.events", "jms.topic.vdsm_requests", "x" * 500,
)  # fmt: skip


def mutate_json(data: bytes, seed: int) -> bytes:
    """Return `data` with one to three values changed; as it is when it is not JSON."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return data
    dice = random.Random(seed)
    for _ in range(dice.randint(1, 3)):
        value = _changed(value, dice)
    return _written(value).encode("utf-8", "surrogatepass")


def mutate_frames(data: bytes, seed: int) -> bytes:
    """Return `data` with its frames' headers and bodies changed; as it is when it has none."""
    try:
        frames = StompDecoder().feed(data)
    except StompError:
        return data
    dice = random.Random(seed)
    for _ in range(dice.randint(1, 3)):
        if not frames:
            return data
        at = dice.randrange(len(frames))
        frame, what = frames[at], dice.randrange(6)
        headers = dict(frame.headers)
        if what == 0:
            headers[dice.choice(_HEADERS)] = dice.choice(_HEADER_VALUES)
        elif what == 1 and headers:
            del headers[dice.choice(list(headers))]
        elif what == 2:
            frames.insert(at, dice.choice(frames))
            continue
        elif what == 3:
            frames[at] = Frame(dice.choice(sorted(COMMANDS)), headers, frame.body)
            continue
        else:
            body = mutate_json(frame.body, dice.randrange(2**30))
            frames[at] = Frame(frame.command, headers, body)
            continue
        frames[at] = Frame(frame.command, headers, frame.body)
    return b"".join(encode(frame) for frame in frames)


def _places(value: Any) -> list[tuple[Any, Union[int, str]]]:
    """Return (container, key) of all values inside."""
    found: list[tuple[Any, Union[int, str]]] = []
    waiting = [value]
    while waiting:
        container = waiting.pop()
        if isinstance(container, dict):
            inside: list[tuple[Union[int, str], Any]] = list(container.items())
        elif isinstance(container, list):
            inside = list(enumerate(container))
        else:
            continue
        found += [(container, key) for key, _ in inside]
        waiting += [member for _, member in inside]
    return found


def _changed(value: Any, dice: random.Random) -> Any:
    places = _places(value)
    if not places:
        return _any(dice)
    container, key = dice.choice(places)
    what = dice.randrange(5)
    if what == 0:
        del container[key]
    elif what == 1:
        other, where = dice.choice(places)
        # Copied through text, so that nothing is ever put into itself.
        text = _Raw(_written(other.get(where) if isinstance(other, dict) else other[-1:]))
        container[key] = text
    elif what == 2 and isinstance(container, dict):
        container[dice.choice(_NAMES)] = _any(dice)
    elif what == 3 and isinstance(container, list):
        container.append(_any(dice))
    else:
        container[key] = _any(dice)
    return value


def _any(dice: random.Random) -> Any:
    # A copy: what is put into a message may be changed there.
    return copy.deepcopy(dice.choice(_VALUES))


def _written(value: Any) -> str:
    if isinstance(value, _Raw):
        return value.text
    if isinstance(value, dict):
        members = (f"{json.dumps(name)}: {_written(member)}" for name, member in value.items())
        return "{" + ", ".join(members) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_written, value)) + "]"
    return json.dumps(value)
