# SPDX-License-Identifier: Apache-2.0
"""Which documents are old: by the engine's generation, else by this host's history."""

from __future__ import annotations

from typing import Optional

import pytest

from ha_agent.broker.push.version import generation_of, why_old
from ha_agent.instant import WallTime
from ha_agent.ovfstore.version import Version, sha256_of
from ha_agent.ovfstore.xml_input import OvfError


def ovf(generation: Optional[int], text: str = "") -> bytes:
    inner = "" if generation is None else f"<Generation> {generation} </Generation>"
    return f"<Envelope><Content>{inner}<Name>{text}</Name></Content></Envelope>".encode()


def past(document: bytes, how: str = "read") -> Version:
    return Version(7, sha256_of(document), WallTime(0.0), "x", how, "HostedEngine", 1024)


@pytest.mark.parametrize(
    ("mine", "current", "pending", "old"),
    [
        (4, 5, None, True),
        (5, 5, None, False),
        (6, 5, None, False),
        (6, 5, 7, True),
        (8, 5, 7, False),
        (4, None, None, False),
        (None, 5, None, False),
    ],
)
def test_the_lower_generation_is_the_older(
    mine: Optional[int], current: Optional[int], pending: Optional[int], old: bool
) -> None:
    known = [ovf(current, "now")] + ([] if pending is None else [ovf(pending, "waits")])
    why = why_old(ovf(mine, "new"), known, [])
    assert bool(why) is old
    if old:
        assert why.startswith(f"its generation is {mine}, and the store has ")


def test_without_a_number_what_was_left_once_is_old() -> None:
    left, now = ovf(None, "left"), ovf(None, "now")
    assert "version 7" in why_old(left, [now], [past(left)])
    assert why_old(left, [now], [past(left, "import")]) == ""
    assert why_old(now, [now], [past(now)]) == ""
    assert why_old(ovf(None, "new"), [now], [past(left)]) == ""
    assert why_old(left, [], []) == ""


def test_with_the_same_number_too_but_not_after_a_person_went_back() -> None:
    left, now = ovf(5, "left"), ovf(5, "now")
    assert "version 7" in why_old(left, [now], [past(left)])
    # A rollback put 4 into use; what the engine has is 5, and newer.
    assert why_old(left, [ovf(4, "back")], [past(left)]) == ""


@pytest.mark.parametrize("text", ["", "x", "-1", "1" * 20, "٣"])
def test_what_is_no_number_is_none(text: str) -> None:
    document = f"<Envelope><Content><Generation>{text}</Generation></Content></Envelope>"
    assert generation_of(document.encode(), where="test") is None


def test_what_is_no_xml_is_refused() -> None:
    with pytest.raises(OvfError):
        why_old(b"<Envelope>", [], [])
