# SPDX-License-Identifier: Apache-2.0
"""The records of sanlock's lockspace, against bytes that sanlock itself wrote."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha_agent.broker.sanlock.lockspace_codec import decode, sector_bytes_of, sector_bytes_to_join
from ha_agent.broker.sanlock.place import NotInitialised
from ha_agent.errors import BadInput
from tests.sanlock_daemon import SanlockDaemon, needs_sanlock

# Host id 1 of a lockspace, held: written by sanlock 3.8.5, I/O timeout 2 s.
HELD = bytes.fromhex(
    "10202112040003001000000000020000000000000000000001000000000000000100000000000000"
    "010000000000000000000000000000004c53"
).ljust(104, b"\0") + b"h1".ljust(48, b"\0") + bytes.fromhex(
    "748f0000000000000000000000000000d74dd7c400000200"
)  # fmt: skip
SECTOR = HELD.ljust(512, b"\0")


def test_a_held_host_id_is_read() -> None:
    lease = decode(SECTOR, 1)
    assert lease.problem == ""
    assert (lease.lockspace, lease.daemon, lease.generation) == ("LS", "h1", 1)
    assert (lease.timestamp, lease.io_timeout_seconds, lease.sector_bytes) == (0x8F74, 2, 512)
    assert not lease.is_free


@given(st.integers(0, 167), st.integers(1, 255))
def test_one_changed_byte_is_found(at: int, by: int) -> None:
    damaged = bytearray(SECTOR)
    damaged[at] ^= by
    lease = decode(bytes(damaged), 1)
    assert lease.problem
    assert not lease.is_free


@given(st.binary(max_size=1024))
def test_any_bytes_are_read(data: bytes) -> None:
    assert decode(data, 7).problem
    assert sector_bytes_of(data) == 512


@pytest.mark.sanlock
@needs_sanlock
@pytest.mark.parametrize(("sector_bytes", "hosts"), [(512, 2000), (4096, 250)])
def test_what_sanlock_initialises(tmp_path: Path, sector_bytes: int, hosts: int) -> None:
    path = tmp_path / "ids"
    path.touch()
    with SanlockDaemon(tmp_path, "alpha") as daemon:
        daemon.client("init", "-s", f"LS:0:{path}:0", "-Z", str(sector_bytes), "-A", "1M")
    data = path.read_bytes()
    assert sector_bytes_of(data) == sector_bytes
    for host_id in (1, hosts):
        lease = decode(data[(host_id - 1) * sector_bytes :][:sector_bytes], host_id)
        assert lease.is_free
        assert lease.lockspace == "LS"


def test_one_hosts_bad_record_keeps_nobody_else_from_joining() -> None:
    sound = SECTOR
    assert sector_bytes_to_join(b"x" * 512 + sound, "LS", "/x") == 512
    with pytest.raises(BadInput, match="/x: it is the lockspace 'LS', expected 'ha-agent'"):
        sector_bytes_to_join(sound, "ha-agent", "/x")
    with pytest.raises(BadInput, match="/x: not a lockspace of sanlock: it begins b'xxx"):
        sector_bytes_to_join(b"x" * 4096, "LS", "/x")
    for nothing in (b"", bytes(4096)):
        with pytest.raises(NotInitialised, match="/x: all zeros"):
            sector_bytes_to_join(nothing, "LS", "/x")
