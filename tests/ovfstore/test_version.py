# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha_agent.errors import BadInput
from ha_agent.instant import WallTime
from ha_agent.ovfstore.version import (
    HOWS,
    Version,
    check_document,
    format_version,
    parse_version,
    printable,
    sha256_of,
)

SOUND = Version(17, sha256_of(b"ovf"), WallTime(1795340851.5), "volume x", "read", "he", 4096)

texts = st.text(max_size=40).map(printable)


@given(
    st.builds(
        Version,
        number=st.integers(0, 2**63 - 1),
        sha256=st.binary().map(sha256_of),
        accepted_at=st.floats(0, 8e9).map(WallTime),
        source=texts,
        how=st.sampled_from(HOWS),
        vm_name=texts,
        memory_mib=st.integers(0, 2**63 - 1),
        last_updated=texts,
        approved=st.lists(texts).map(tuple),
    )
)
def test_what_is_written_is_read(version: Version) -> None:
    assert parse_version(format_version(version), where="x") == version


def test_the_identity_is_written_for_people() -> None:
    assert json.loads(format_version(SOUND))["identity"] == SOUND.identity == SOUND.sha256[:12]


def test_another_document_is_none_of_the_version() -> None:
    check_document(b"ovf", SOUND, where="x")
    with pytest.raises(BadInput, match="x: its SHA-256 is"):
        check_document(b"ovf ", SOUND, where="x")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("number", value) for value in (None, True, -1, "1", 1.0, 2**63)],
        *[("sha256", value) for value in (None, "", "A" * 64, "a" * 63, 7)],
        *[("accepted_at", value) for value in (None, True, "1", -1, 1e300, 10**400)],
        *[("accepted_at", value) for value in (float("nan"), float("inf"))],
        *[("how", value) for value in (None, "", "magic", ["read"])],
        *[("source", value) for value in (None, 1, "a\nb", "\x9b2J", "\ud800", "a" * 5000)],
        *[("vm_name", value) for value in (None, 7, "\0")],
        *[("memory_mib", value) for value in (None, 1.5, -5)],
        *[("last_updated", value) for value in (None, 0)],
        *[("approved", value) for value in (None, "code", [1], [None], ["a\0"])],
    ],
)
def test_a_wrong_field_is_named(field: str, value: Any) -> None:
    fields = {**json.loads(format_version(SOUND)), field: value}
    with pytest.raises(BadInput, match=f"x: {field} is") as caught:
        parse_version(json.dumps(fields).encode(), where="x")
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"\xff", b"[" * 60_000, b" " * 100_000])
def test_what_is_no_note_is_refused(data: bytes) -> None:
    with pytest.raises(BadInput, match="x: "):
        parse_version(data, where="x")


@given(st.text(max_size=10_000))
def test_a_printable_text_is_short_and_has_nothing_to_hide(text: str) -> None:
    made = printable(text)
    assert made.isprintable()
    assert len(made) == min(len(text), 4096)
    assert all(a == b or not a.isprintable() for a, b in zip(text, made))


@given(st.binary())
def test_nothing_but_bad_input_comes_of_garbage(data: bytes) -> None:
    with contextlib.suppress(BadInput):
        parse_version(data, where="x")
