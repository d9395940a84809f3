# SPDX-License-Identifier: Apache-2.0
"""The predecessor's reader, from the facts alone: nothing of ours is used here.

It decodes the slots of all hosts as one text, and cuts that by characters. What it meets after
that in one slot may end the whole program: `Fatal` is for that.

Source: facts/ovf-and-volumes.md 4.3; its lib/metadata.py, lib/util.py (engine_status_score).
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping
from typing import Any

SLOT = 4096


class Fatal(Exception):
    """The agent on every host of the predecessor ends with this."""


def read_volume(data: bytes) -> tuple[dict[str, bool], dict[int, dict[str, Any]]]:
    """Return the global flags, and what each host says. Raises Fatal."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Fatal(str(error)) from None
    slots = [text[at : at + SLOT] for at in range(0, len(text), SLOT)]
    flags = read_global(slots[0]) if slots and slots[0][:1] != "\0" else {}
    used = {n: slot for n, slot in enumerate(slots) if n > 0 and slot[:1] != "\0"}
    hosts = {number: read_slot(number, slot) for number, slot in used.items()}
    for host in hosts.values():
        engine_rank(host["engine-status"])
    return flags, hosts


def read_global(slot: str) -> dict[str, bool]:
    """Return the flags; an empty or odd line ends the reader."""
    flags = {}
    for line in slot.rstrip("\0").split("\n"):
        parts = line.split("=")
        if len(parts) != 2:
            raise Fatal(f"global line {line!r}")
        if parts[0] == "maintenance":
            first = parts[1].lower()[:1]
            if first not in ("t", "y", "1", "f", "n", "0"):
                raise Fatal(f"global value {parts[1]!r}")
            flags["maintenance"] = first in ("t", "y", "1")
    return flags


def read_slot(number: int, slot: str) -> dict[str, Any]:
    """Return what a host says. Raises Fatal."""
    text = slot[:512].rstrip("\0")
    digits = re.match(r"\d+", text)
    if digits is None:
        raise Fatal(f"slot {number}: no version")
    if int(digits.group()) > 1:
        raise Fatal(f"slot {number}: Metadata version {digits.group()} too new for this agent")
    tokens = text.split("|")
    if len(tokens) < 7:
        raise Fatal(f"slot {number}: {len(tokens)} tokens")
    if int(tokens[1]) < 1 or int(tokens[3]) != number:
        raise Fatal(f"slot {number}: {tokens[:4]}")
    said: dict[str, Any] = {
        "host-id": number,
        "host-ts": int(tokens[2]),
        "score": int(tokens[4]),
        "engine-status": json.loads(tokens[5]),
        "hostname": tokens[6],
        "extra": slot[512:].rstrip("\0"),
    }
    if len(tokens) >= 8:
        said["maintenance"] = int(tokens[7]) > 0
    if len(tokens) >= 9:
        said["stopped"] = int(tokens[8]) > 0
    if len(tokens) >= 10:
        blank = "|".join([*tokens[:9], "00000000", *tokens[10:]])
        if tokens[9] != f"{zlib.crc32(blank.encode()) & 0xFFFFFFFF:08x}":
            raise Fatal(f"slot {number}: CRC")
    return said


def engine_rank(status: Mapping[str, Any]) -> int:
    """Return how good an engine is: 0 unknown, 1 down, 2 paused, 3 bad, 4 good. Raises Fatal."""
    try:
        if status["vm"] == "unknown":
            return 0
        if status["vm"] in ("down", "down_unexpected", "down_missing"):
            return 1
        if status["vm"] == "up" and status["detail"] == "Paused":
            return 2
        return {"bad": 3, "good": 4}[status["health"]]
    except (KeyError, TypeError) as error:
        raise Fatal(f"engine status {status!r}: {error!r}") from None
