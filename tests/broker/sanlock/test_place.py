# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import struct
from typing import Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha_agent.broker.sanlock.place import (
    LEADER_BYTES,
    OWNER_BLOCK_BYTES,
    Leader,
    NotInitialised,
    decode_leader,
    host_id_fault,
    owner_block_offset,
)
from ha_agent.errors import BadInput


def record(
    magic: int = 0x06152010,
    timestamp: int = 37067,
    *,
    sector_bytes: int = 512,
    owner_id: int = 1,
    writer_id: int = 1,
) -> bytes:
    """As sanlock 3.8.5 wrote it; test_lease_contract.py has it read from a real one."""
    fields = (magic, 0x0006000C, 0x10, sector_bytes, 2000, 2000, owner_id, 3, 2, b"ha-agent")
    packed = struct.pack("<IIIIQQQQQ48s48sQ16xQ", *fields, b"vm", timestamp, writer_id)
    return packed.ljust(LEADER_BYTES, b"\0")


def owner_block(flags: int) -> bytes:
    """As of host 1, which took epoch 3 and released it: what a race of two real ones left."""
    packed = struct.pack("<6QII", 4001, 4001, 1, 1, 84276, 3, 0x1234, flags)
    return packed.ljust(OWNER_BLOCK_BYTES, b"\0")


def test_a_held_and_a_released_resource() -> None:
    assert decode_leader(record(), "x") == Leader(512, 1, 3, 2, "ha-agent", "vm", True)
    assert not decode_leader(record(timestamp=0), "x").held


def test_a_record_that_another_host_wrote_is_held_until_its_owner_says_released() -> None:
    """What it says itself stays as it is: sanlock's "paxos_release skip write"."""
    data = record(writer_id=2)
    assert owner_block_offset(data) == 2 * 512
    assert decode_leader(data, "x").held
    assert decode_leader(data + owner_block(0), "x").held
    assert decode_leader(data + owner_block(1)[:20], "x").held
    released = decode_leader(data + owner_block(1), "x")
    assert released == Leader(512, 1, 3, 2, "ha-agent", "vm", False)


@pytest.mark.parametrize(
    ("data", "offset"),
    [
        (record(), None),
        (record(writer_id=2, timestamp=0), None),
        (record(writer_id=2, magic=0x12212010), None),
        (record(writer_id=2)[:300], None),
        (record(owner_id=2000), 2001 * 512),
        (record(owner_id=2001), None),
        (record(owner_id=0), None),
        (record(owner_id=250, sector_bytes=4096), 251 * 4096),
        (record(owner_id=251, sector_bytes=4096), None),
        (record(owner_id=2, sector_bytes=0), None),
    ],
)
def test_the_owners_block_is_read_only_where_sanlock_reads_it(
    data: bytes, offset: Optional[int]
) -> None:
    assert owner_block_offset(data) == offset


def test_what_is_not_a_resource_is_named() -> None:
    for nothing in (b"", bytes(LEADER_BYTES)):
        with pytest.raises(NotInitialised, match="/x: all zeros"):
            decode_leader(nothing, "/x")
    with pytest.raises(BadInput, match="not a resource of sanlock"):
        decode_leader(record(magic=0x12212010), "/x")
    with pytest.raises(BadInput, match="100 bytes"):
        decode_leader(record()[:100], "/x")


@given(st.binary(max_size=LEADER_BYTES + OWNER_BLOCK_BYTES))
def test_bytes_that_sanlock_did_not_write_are_refused(data: bytes) -> None:
    assert owner_block_offset(data) is None
    with pytest.raises(BadInput, match=r"^/x"):
        decode_leader(data, "/x")


@pytest.mark.parametrize(
    ("host_id", "sector_bytes", "fault"),
    [
        (2000, 512, ""),
        (2001, 512, "above 2000"),
        (250, 4096, ""),
        (
            251,
            4096,
            "above 250, the highest that fits a lockspace of sanlock with sectors of 4096",
        ),
        (1, 1024, "not known"),
    ],
)
def test_host_ids_fit_the_sector_size(host_id: int, sector_bytes: int, fault: str) -> None:
    found = host_id_fault(host_id, sector_bytes)
    assert fault in found
    assert bool(fault) == bool(found)
