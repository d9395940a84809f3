# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha_agent.broker.sanlock.place import (
    LEADER_BYTES,
    Leader,
    NotInitialised,
    decode_leader,
    host_id_fault,
)
from ha_agent.errors import BadInput


def record(magic: int = 0x06152010, timestamp: int = 37067) -> bytes:
    """As sanlock 3.8.5 wrote it; test_lease_contract.py has it read from a real one."""
    fields = (magic, 0x0006000C, 0x10, 512, 2000, 2000, 1, 3, 2, b"ha-agent", b"vm", timestamp)
    return struct.pack("<IIIIQQQQQ48s48sQ", *fields).ljust(LEADER_BYTES, b"\0")


def test_a_held_and_a_released_resource() -> None:
    assert decode_leader(record(), "x") == Leader(512, 1, 3, 2, "ha-agent", "vm", True)
    assert not decode_leader(record(timestamp=0), "x").held


def test_what_is_not_a_resource_is_named() -> None:
    for nothing in (b"", bytes(LEADER_BYTES)):
        with pytest.raises(NotInitialised, match="/x: all zeros"):
            decode_leader(nothing, "/x")
    with pytest.raises(BadInput, match="not a resource of sanlock"):
        decode_leader(record(magic=0x12212010), "/x")
    with pytest.raises(BadInput, match="100 bytes"):
        decode_leader(record()[:100], "/x")


@given(st.binary(max_size=LEADER_BYTES))
def test_bytes_that_sanlock_did_not_write_are_refused(data: bytes) -> None:
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
