# SPDX-License-Identifier: Apache-2.0
"""Plans of changes, carried out in memory and read by three readers."""

from __future__ import annotations

import io
import json
import tarfile
from typing import Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha_agent.errors import BadInput
from ha_agent.instant import WallTime
from ha_agent.ovfstore import tar_change
from ha_agent.ovfstore.tar_volume import build_archive, encode_member, list_members, read_members

DOMAIN = "1f71b5f9-5cfa-459c-8ec2-ee48c9731f60"
DATE = "Sun Nov 22 05:16:23 UTC 2026"
NEW_DATE = "Mon Nov 23 05:16:23 CEST 2026"
WRITTEN_AT = WallTime(1795324583.0)
VM, APPROVAL = "e.ovf", "e.ovf.approval"


def archive(*members: tuple[str, bytes]) -> bytes:
    return build_archive(DOMAIN, members, last_updated_text=DATE, written_at=WRITTEN_AT)


def plan(data: bytes, changes: dict[str, Optional[bytes]]) -> tar_change.Change:
    members = list_members(lambda start, length: data[start : start + length], len(data), where="")
    info = members[0]
    return tar_change.plan_change(
        members,
        data[info.data_offset_bytes : info.data_offset_bytes + info.size_bytes],
        changes,
        last_updated_text=NEW_DATE,
        written_at=WRITTEN_AT,
        where="VOL",
    )


def changed(data: bytes, changes: dict[str, Optional[bytes]]) -> bytes:
    change = plan(data, changes)
    new = bytearray(data)
    new[change.cut_bytes : change.cut_bytes + len(change.tail)] = change.tail
    for offset, patch in change.patches:
        new[offset : offset + len(patch)] = patch
    return bytes(new[: change.size_bytes])


def copied(data: bytes, changes: dict[str, Optional[bytes]]) -> bytes:
    members = list_members(lambda start, length: data[start : start + length], len(data), where="")
    info = members[0]
    copy = tar_change.plan_copy(
        members,
        data[info.data_offset_bytes : info.data_offset_bytes + info.size_bytes],
        changes,
        last_updated_text=NEW_DATE,
        written_at=WRITTEN_AT,
        where="VOL",
    )
    new = copy.head + b"".join(data[start:end] for start, end in copy.ranges) + copy.tail
    assert len(new) == copy.size_bytes
    return new


def names(data: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return tar.getnames()


def content(data: bytes, name: str) -> Optional[bytes]:
    """What both readers find, at the described size."""
    found = read_members(
        lambda start, length: data[start : start + length],
        len(data),
        [name],
        where="VOL",
        described_size_bytes=len(data),
    ).get(name)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        matching = [info for info in tar if info.name == name]
        assert len(matching) == (found is not None)
        if matching:
            member = tar.extractfile(matching[0])
            assert member is not None
            assert member.read() == found
    return found


def test_a_member_in_the_middle_dies_where_it_is() -> None:
    old = archive(("a", b"A" * 600), ("e", b"old" * 900), ("b", b"B"))
    new = changed(old, {VM: b"new"})
    assert names(new) == ["info.json", "a.ovf", "e.ovf.old", "b.ovf", "metadata.json", "e.ovf"]
    assert content(new, VM) == b"new"
    assert content(new, "b.ovf") == b"B"


def test_the_last_member_is_replaced_where_it_is() -> None:
    first = changed(archive(("e", b"old")), {VM: b"1" * 5000})
    second = changed(first, {VM: b"2"})
    assert names(second) == ["info.json", "e.ovf.old", "metadata.json", "e.ovf"]
    assert len(second) == len(first) - 9 * 512
    assert changed(second, {VM: b"1" * 5000}) == first


def test_the_approval_beside_it_goes_and_comes() -> None:
    first = changed(archive(("e", b"old")), {VM: b"1", APPROVAL: b"{}"})
    assert names(first)[-2:] == [VM, APPROVAL]
    second = changed(first, {VM: b"2", APPROVAL: None})
    assert names(second) == ["info.json", "e.ovf.old", "metadata.json", "e.ovf"]
    third = changed(first, {APPROVAL: None})
    assert names(third) == ["info.json", "e.ovf.old", "metadata.json", "e.ovf"]
    assert content(third, VM) == b"1"


def test_of_two_members_only_one_is_left() -> None:
    new = changed(archive(("e", b"1"), ("x", b""), ("e", b"2")), {VM: b"3"})
    assert names(new).count(VM) == 1
    assert names(new).count("e.ovf.old") == 2
    assert content(new, VM) == b"3"


def test_taking_out_writes_headers_only() -> None:
    old = archive(("e", b"1" * 9000), ("x", b""))
    change = plan(old, {VM: None})
    assert change.tail == b""
    assert change.size_bytes == len(old)
    assert {len(patch) for _, patch in change.patches} == {512}
    assert content(changed(old, {VM: None}), VM) is None


def test_what_is_written_does_not_grow_with_the_archive() -> None:
    small, large = archive(("e", b"1")), archive(*((f"{n}", b"x" * 900) for n in range(500)))
    written = []
    for data in (small, large):
        change = plan(data, {VM: b"n" * 20000})
        written.append(len(change.tail) + sum(len(patch) for _, patch in change.patches))
    assert max(written) < 20000 + 512 * 7


def test_info_json_gets_the_date_in_its_place() -> None:
    old = archive(("e", b"1"))
    for new in (changed(old, {VM: b"2"}), copied(old, {VM: b"2"})):
        info = content(new, "info.json")
        assert info is not None
        value = {"Last Updated": NEW_DATE, "Storage Domains": [{"uuid": DOMAIN}]}
        assert json.loads(info) == value
    shorter = changed(changed(old, {VM: b"2"}), {VM: b"2"})
    assert len(shorter) == len(changed(old, {VM: b"2"}))


def test_an_info_json_that_is_full_or_none_is_refused() -> None:
    tight = encode_member("info.json", b"{}" + b" " * 510, WRITTEN_AT) + bytes(1024)
    assert b"Nov 23" in changed(tight, {VM: b"2"})
    odd = encode_member("info.json", b"[]", WRITTEN_AT) + bytes(1024)
    with pytest.raises(BadInput, match=r"VOL: info.json is not a JSON object"):
        plan(odd, {VM: b"2"})
    none = encode_member("info.json", b"[" * 100_000, WRITTEN_AT) + bytes(1024)
    with pytest.raises(BadInput, match=r"VOL: info.json is not JSON"):
        plan(none, {VM: b"2"})
    empty = encode_member("info.json", b"", WRITTEN_AT) + bytes(1024)
    with pytest.raises(BadInput, match="not JSON"):
        plan(empty, {VM: b"2"})
    full = json.dumps({"Storage Domains": "x" * 480}, separators=(",", ":")).encode()
    with pytest.raises(BadInput, match="has no room"):
        plan(encode_member("info.json", full, WRITTEN_AT) + bytes(1024), {VM: b"2"})


def test_a_copy_leaves_the_dead_behind() -> None:
    old = archive(("e", b"1"), ("x", b"X"), ("x", b"Y"))
    dead = changed(changed(old, {APPROVAL: b"a"}), {VM: b"2"})
    new = copied(dead, {APPROVAL: None})
    assert names(new) == ["info.json", "x.ovf", "metadata.json", "e.ovf"]
    assert content(new, "x.ovf") == b"Y"
    assert content(new, VM) == b"2"
    assert len(copied(new, {})) == len(new)


def test_a_new_archive() -> None:
    new = tar_change.new_archive(
        DOMAIN, {VM: b"1", APPROVAL: None}, last_updated_text=DATE, written_at=WRITTEN_AT
    )
    assert names(new) == ["info.json", "metadata.json", "e.ovf"]
    info = content(archive(), "info.json")
    assert content(new, "info.json") == info
    assert content(new, "metadata.json") == content(archive(), "metadata.json")


@pytest.mark.parametrize(
    "name",
    ["", "info.json", "metadata.json", "a.ovf.old", "a/b.ovf", "a\0", "x" * 97, "\ud800" * 97],
)
def test_names_that_may_not_be_changed(name: str) -> None:
    with pytest.raises(BadInput, match=r"^VOL: "):
        plan(archive(), {name: b""})
    with pytest.raises(BadInput, match=r"^VOL: "):
        copied(archive(), {name: b""})


def test_a_member_over_the_limit_is_refused() -> None:
    with pytest.raises(BadInput, match="is over 8388608"):
        plan(archive(), {VM: bytes(8388609)})


NAMES = st.sampled_from(["a", "b", "e"])
CONTENTS = st.one_of(st.binary(max_size=1500), st.just(bytes(1536)))


@given(
    st.lists(st.tuples(NAMES, CONTENTS), max_size=6),
    st.lists(
        st.dictionaries(
            st.sampled_from([VM, "a.ovf", APPROVAL]), st.one_of(st.none(), CONTENTS), max_size=3
        ),
        min_size=1,
        max_size=4,
    ),
)
def test_any_changes_one_after_the_other(
    members: list[tuple[str, bytes]], rounds: list[dict[str, Optional[bytes]]]
) -> None:
    data = archive(*members)
    expected: dict[str, Optional[bytes]] = {f"{name}.ovf": value for name, value in members}
    for changes in rounds:
        copy = copied(data, changes)
        data = changed(data, changes)
        expected.update(changes)
        for name, value in changes.items():
            assert content(data, name) == value
            assert content(copy, name) == value
        found = read_members(
            lambda start, length, data=data: data[start : start + length],  # type: ignore[misc]
            len(data),
            list(expected),
            where="VOL",
            described_size_bytes=len(data),
        )
        assert found == {name: value for name, value in expected.items() if value is not None}
