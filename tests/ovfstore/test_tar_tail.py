# SPDX-License-Identifier: Apache-2.0
"""From the end backwards, the same is found as by the walk through the whole archive."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha_agent.errors import BadInput
from ha_agent.instant import WallTime
from ha_agent.ovfstore import tar_change, tar_tail
from ha_agent.ovfstore.tar_header import Member, encode_header
from ha_agent.ovfstore.tar_volume import (
    build_archive,
    encode_member,
    list_members,
    member_content,
    read_members,
)

DOMAIN = "1f71b5f9-5cfa-459c-8ec2-ee48c9731f60"
DATE = "Sun Nov 22 05:16:23 UTC 2026"
WRITTEN_AT = WallTime(1795324583.0)
VM, APPROVAL = "e.ovf", "e.ovf.approval"
OVF = b"<" + b"e" * 20_000 + b">"
OTHERS = [(f"a{n}", b"<" + b"a" * (17_000 + 300 * n) + b">") for n in range(10)]
# 3 MB: some chunks, and members that lie across two of them.
MANY = [(f"b{n}", b"<" + b"b" * (29_000 + n) + b">") for n in range(100)]
END = bytes(1024)


@dataclass
class Storage:
    data: bytes
    looked_at: list[tuple[int, int]] = field(default_factory=list)

    def view_at(self, offset: int, length_bytes: int) -> memoryview:
        assert offset % 4096 == 0
        self.looked_at.append((offset, length_bytes))
        return memoryview(self.data)[offset : offset + length_bytes]

    def read_at(self, offset: int, length_bytes: int) -> bytes:
        return self.data[offset : offset + length_bytes]


def archive(*members: tuple[str, bytes]) -> bytes:
    return build_archive(DOMAIN, members, last_updated_text=DATE, written_at=WRITTEN_AT)


def backwards(
    data: bytes, size_bytes: int, names: tuple[str, ...] = (VM,)
) -> Optional[dict[str, bytes]]:
    storage = Storage(data)
    found = tar_tail.find_last(storage.view_at, storage.read_at, size_bytes, names)
    if found is None:
        return None
    return {
        name: member_content(storage.read_at, member, where="VOL")
        for name, member in found.items()
    }


def forwards(data: bytes, size_bytes: int, names: tuple[str, ...] = (VM,)) -> dict[str, bytes]:
    return read_members(
        Storage(data).read_at, len(data), names, where="VOL", described_size_bytes=size_bytes
    )


def put(data: bytes, changes: dict[str, Optional[bytes]]) -> bytes:
    """The archive after a change."""
    members = list_members(Storage(data).read_at, len(data), where="VOL")
    info = member_content(Storage(data).read_at, members[0], where="VOL")
    change = tar_change.plan_change(
        members, info, changes, last_updated_text=DATE, written_at=WRITTEN_AT, where="VOL"
    )
    changed = bytearray(data)
    if change.tail:
        changed[change.cut_bytes :] = change.tail
    for offset, patch in change.patches:
        changed[offset : offset + len(patch)] = patch
    return bytes(changed)


STARTS = {
    "first": archive(("e", OVF), *OTHERS),
    "middle": archive(*OTHERS[:5], ("e", OVF), *OTHERS[5:]),
    "last": archive(*OTHERS, ("e", OVF)),
    "twice": archive(("e", b"<older/>"), *OTHERS, ("e", OVF), *OTHERS[:2]),
    "twice_together": archive(*OTHERS, ("e", b"<older/>"), ("e", OVF)),
    "alone": archive(("e", OVF)),
    "middle_of_many": archive(*MANY[:50], ("e", OVF), *MANY[50:]),
    "our_put": put(archive(*MANY[:50], ("e", OVF), *MANY[50:]), {VM: OVF}),
}


@pytest.mark.parametrize("behind", [0, 1, 5000, 200_000])
@pytest.mark.parametrize("start", STARTS)
def test_found_with_whatever_is_behind_the_end(start: str, behind: int) -> None:
    data = STARTS[start]
    older = archive(*MANY[:20], ("e", b"<an older one/>"), *MANY[20:40])[:behind]
    assert backwards(data + older, len(data)) == {VM: OVF}


def test_what_our_put_wrote_is_found_at_once_in_an_archive_of_any_size() -> None:
    data = put(STARTS["middle_of_many"], {APPROVAL: b"{}", VM: OVF})
    storage = Storage(data)
    found = tar_tail.find_last(storage.view_at, storage.read_at, len(data), (VM, APPROVAL))
    assert found is not None
    assert list(found) == [VM, APPROVAL]
    assert sum(length for _, length in storage.looked_at) < 70_000 < len(data) / 40


def test_no_approval_does_not_cost_reading_it_all() -> None:
    data = put(STARTS["middle_of_many"], {APPROVAL: None, VM: OVF})
    storage = Storage(data)
    found = tar_tail.find_last(storage.view_at, storage.read_at, len(data), (VM, APPROVAL))
    assert found is not None
    assert list(found) == [VM]
    assert sum(length for _, length in storage.looked_at) < 70_000


@pytest.mark.parametrize("size", [1, 511, 512, 45_000, 2_500_000])
def test_a_put_has_the_approval_directly_before_the_ovf(size: int) -> None:
    document, data = b"x" * size, archive(*OTHERS)
    for changes in ({APPROVAL: b"{}", VM: OVF}, {APPROVAL: b"{ }", VM: document}):
        data = put(data, dict(changes))
        assert backwards(data, len(data), (VM, APPROVAL)) == changes
        last = [m.name for m in list_members(Storage(data).read_at, len(data), where="VOL")][-2:]
        assert last == [APPROVAL, VM]


def test_an_approval_counts_directly_before_the_ovf_and_behind_it() -> None:
    e, approval, other = [
        encode_member(name, name.encode(), WRITTEN_AT) for name in (VM, APPROVAL, "a.ovf")
    ]
    head = encode_member("info.json", b"{}", WRITTEN_AT)
    both = {VM: VM.encode(), APPROVAL: APPROVAL.encode()}
    only = {VM: VM.encode()}
    for members, wanted in (
        ((approval, e), both),
        ((e, approval), both),
        ((e, other, approval), both),
        ((approval, other, e), only),
        ((approval, e, other), both),
        ((e, approval, e), both),
        ((approval, e, e), only),
        ((approval,), {APPROVAL: APPROVAL.encode()}),
        ((), {}),
    ):
        data = b"".join((head, *members, END))
        assert backwards(data, len(data), (VM, APPROVAL)) == wanted
        listed = list_members(Storage(data).read_at, len(data), where="VOL")
        chosen = tar_tail.choose(reversed(listed), (VM, APPROVAL))
        assert chosen is not None
        assert {name: name.encode() for name in chosen} == wanted


@given(
    start=st.sampled_from(sorted(STARTS)),
    steps=st.lists(
        st.tuples(
            st.sampled_from([VM, APPROVAL, "a3.ovf", "b50.ovf", "new.ovf"]),
            st.none() | st.integers(0, 3000) | st.integers(60_000, 70_000),
        ),
        max_size=6,
    ),
    names=st.permutations([VM, "a3.ovf", "b50.ovf", "new.ovf", "none.ovf"]),
)
def test_after_any_changes_both_ways_find_the_same(
    start: str, steps: list[tuple[str, Optional[int]]], names: list[str]
) -> None:
    data = STARTS[start]
    for number, (name, size) in enumerate(steps):
        data = put(data, {name: None if size is None else bytes([65 + number]) * size})
    for name in names:
        assert backwards(data, len(data), (name,)) == forwards(data, len(data), (name,))


@given(
    start=st.sampled_from(sorted(STARTS)),
    cut=st.floats(0, 1),
    ours=st.booleans(),
)
def test_a_torn_archive_shows_no_more_than_a_whole_document(
    start: str, cut: float, ours: bool
) -> None:
    """The beginning of a newer archive over an older one; Size is that of either."""
    old = STARTS[start]
    new = archive(*MANY[:3], ("e", b"<" + b"n" * 19_000 + b">"), *OTHERS)
    at = int(cut * len(new)) // 512 * 512
    torn = new[:at] + old[at:]
    size_bytes = min(len(new if ours else old), len(torn))
    found = backwards(torn, size_bytes)
    if found is not None:
        assert found[VM] in (OVF, b"<older/>", b"<" + b"n" * 19_000 + b">")
    try:
        whole = forwards(torn, size_bytes)
    except BadInput:
        return
    assert found in (whole, None)


def test_what_is_wrong_is_left_to_the_whole_walk() -> None:
    good = STARTS["middle"]
    members = list_members(Storage(good).read_at, len(good), where="VOL")
    headless = good[members[1].header_offset_bytes :]
    wrong: dict[str, tuple[bytes, int]] = {
        "cut off": (good[:-600], len(good)),
        "no second block": (good[:-512] + b"x" * 512, len(good)),
        "Size is too small": (good, len(good) - 512),
        "Size is too great": (good + bytes(512), len(good) + 512),
        "Size is within a block": (good, len(good) - 1),
        "Size is nothing": (good, 0),
        "Size is beyond the volume": (good, 1 << 40),
        "zeros": (bytes(50_000), 49_664),
        "does not begin with info.json": (headless, len(headless)),
        "no beginning": (bytes(512) + good[512:], len(good)),
    }
    for member in (*members[7:], members[0]):
        at = member.header_offset_bytes
        for offset in (0, 124, 130, 148, 156, 257, 345):
            damaged = bytearray(good)
            damaged[at + offset] ^= 0x41
            wrong[f"{member.name} at {offset}"] = (bytes(damaged), len(good))
    for member in members[7:-1]:
        for size in (1, member.size_bytes - 512, member.size_bytes + 512, 1 << 30):
            damaged = bytearray(good)
            at = member.header_offset_bytes
            damaged[at : at + 512] = encode_header(member.name, size, WRITTEN_AT)
            wrong[f"{member.name} of {size} bytes"] = (bytes(damaged), len(good))
    for what, (data, size_bytes) in wrong.items():
        assert backwards(data, size_bytes) is None, what
        with pytest.raises(BadInput):
            forwards(data, size_bytes)


@pytest.mark.parametrize("leads_to", ["nowhere", "the next member", "its own end"])
def test_a_header_within_another_members_data(leads_to: str) -> None:
    """No XML holds one; in an archive made by hand the whole walk tells what is data."""
    tail = bytes(5000)
    size = {"nowhere": 7, "the next member": len(tail) - 512, "its own end": 512}[leads_to]
    fake = encode_header(VM, size, WRITTEN_AT)
    data = archive(("e", OVF), *OTHERS[:3], ("evil", b"<" * 1024 + fake + tail))
    assert backwards(data, len(data)) is None
    assert forwards(data, len(data)) == {VM: OVF}
    nested = archive(("e", OVF), *OTHERS, ("tar", archive(("e", b"<inner/>"))))
    assert backwards(nested, len(nested)) is None
    assert forwards(nested, len(nested)) == {VM: OVF}


def test_the_name_alone_within_data_is_nothing() -> None:
    for evil in (VM.encode() + bytes(2000), VM.encode().ljust(257, b"\0") + b"ustar" * 300):
        data = archive(("e", OVF), *OTHERS[:3], ("evil", b"<" * 1024 + evil))
        assert backwards(data, len(data)) == {VM: OVF}


def test_more_members_than_any_archive_has_are_given_up() -> None:
    header = encode_header("x", 0, WRITTEN_AT)
    data = header * 262_142 + END
    storage = Storage(data)
    assert tar_tail.find_last(storage.view_at, storage.read_at, len(data), (VM,)) is None
    assert sum(length for _, length in storage.looked_at) < len(data) / 4


@given(st.binary(max_size=3000), st.integers(0, 6))
def test_garbage_is_given_up(data: bytes, blocks: int) -> None:
    padded = data + bytes(-len(data) % 512 + blocks * 512)
    assert backwards(padded, len(padded)) is None


def test_members_are_chosen_from_behind() -> None:
    def member(name: str, at: int) -> Member:
        return Member(name, at, at + 512, 1)

    listed = [member("e", 3072), member("e", 2048), member("x", 1024), member("info.json", 0)]
    assert tar_tail.choose(listed, ["e", "x"]) == {"e": listed[0]}
    assert tar_tail.choose(listed, ["x"]) == {"x": listed[2]}
    assert tar_tail.choose(listed, ["none"]) == {}
    assert tar_tail.choose(listed[:3], ["none"]) is None
