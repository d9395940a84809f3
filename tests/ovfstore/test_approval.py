# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import contextlib
import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha_agent.errors import BadInput
from ha_agent.ovfstore.approval import Approval, format_approval, identity_of, parse_approval

SOUND = Approval("0123456789ab", ("nic_none", "too_big"), "uid 0", "2026-11-22T09:47:31Z")

printable = st.text(max_size=30).filter(str.isprintable)


@given(st.builds(Approval, printable, st.lists(printable).map(tuple), printable, printable))
def test_what_is_written_is_read(approval: Approval) -> None:
    assert parse_approval(format_approval(approval), where="x") == approval


def test_a_document_is_called_by_its_hash() -> None:
    assert identity_of(b"ovf") == hashlib.sha256(b"ovf").hexdigest()[:12]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"identity": None}, "identity"),
        ({"identity": 12}, "identity"),
        ({"identity": "a" * 300}, "identity"),
        ({"identity": "a\x1b[2J"}, "identity"),
        ({"codes": None}, "codes"),
        ({"codes": "too_big"}, "codes"),
        ({"codes": [1]}, "codes"),
        ({"codes": ["a"] * 1000}, "codes"),
        ({"who": []}, "who"),
        ({"when": "\ud800"}, "when"),
    ],
)
def test_a_wrong_field_is_named(change: dict[str, Any], message: str) -> None:
    fields = {**json.loads(format_approval(SOUND)), **change}
    with pytest.raises(BadInput, match=f"x: {message}"):
        parse_approval(json.dumps(fields).encode(), where="x")


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"\xff", b"[" * 50_000, b"{}", b" " * 100_000, b"\0"]
)
def test_what_is_no_approval_approves_nothing(data: bytes) -> None:
    with pytest.raises(BadInput, match="x: "):
        parse_approval(data, where="x")


@given(st.binary() | st.recursive(st.none() | st.text() | st.floats(), st.lists).map(repr))
def test_nothing_but_bad_input_comes_of_garbage(data: Any) -> None:
    with contextlib.suppress(BadInput):
        parse_approval(data if isinstance(data, bytes) else data.encode("utf-8"), where="x")
