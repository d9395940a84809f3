# SPDX-License-Identifier: Apache-2.0
"""What the storage worker does for check and repair; the rest is in test_lockspaces.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from ha_agent.broker.lease import file as lease_file
from ha_agent.broker.sanlock import lockspace_ops
from ha_agent.broker.sanlock import ops as sanlock_ops
from ha_agent.broker.sanlock.lockspace_codec import LOCKSPACE_BYTES
from ha_agent.errors import EnvironmentFault
from ha_agent.instant import Instant
from tests.loop_device import loop_device


def test_no_more_is_read_than_the_lockspace(tmp_path: Path) -> None:
    path = tmp_path / "place"
    path.write_bytes(b"a" * (LOCKSPACE_BYTES + 512))
    assert len(lockspace_ops.lockspace_read(str(path), 4096)) == 4096
    assert len(lockspace_ops.lockspace_read(str(path), 9 * LOCKSPACE_BYTES)) == LOCKSPACE_BYTES


@pytest.mark.root
@pytest.mark.parametrize("sector_bytes", [512, 4096])
def test_a_lockspace_on_a_block_device(tmp_path: Path, sector_bytes: int) -> None:
    image = tmp_path / "image"
    image.write_bytes(b"a" * LOCKSPACE_BYTES + b"b" * LOCKSPACE_BYTES)
    with loop_device(image, sector_bytes) as device:
        # 250 host ids of 512 bytes end amid a block of ours.
        assert lockspace_ops.lockspace_read(device, 250 * 512) == b"a" * 250 * 512
        assert lockspace_ops.lockspace_read(device, 9 * LOCKSPACE_BYTES) == b"a" * LOCKSPACE_BYTES
        leader = lockspace_ops.lockspace_leader(device, LOCKSPACE_BYTES)
        assert set(leader) == {ord("b")}
        assert sanlock_ops.sector_bytes_of(device) == sector_bytes
        assert lockspace_ops.host_ids_locked(device, [1, 2]) == []


def test_held_host_ids_are_seen_and_not_taken(tmp_path: Path) -> None:
    path = str(tmp_path / "lease")
    lease_file.lease_initialise(path)
    assert lockspace_ops.host_ids_locked(path, [1, 2]) == []
    assert lease_file.lease_hold_host_id(path, 2, "beta", "x")["held"]
    assert lockspace_ops.host_ids_locked(path, [1, 2, 3]) == [2]


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        lockspace_ops.host_ids_locked(str(tmp_path / "none"), [1])


class SlowClock:
    """Each look at it is so much later."""

    def __init__(self, step_seconds: float) -> None:
        self.step_seconds = step_seconds
        self.seconds = 0.0

    def now(self) -> Instant:
        self.seconds += self.step_seconds
        return Instant(self.seconds)


def test_a_comparison_on_slow_storage_is_none(tmp_path: Path) -> None:
    """While it hung a host may have joined: what was compared may not be there any more."""
    path = tmp_path / "place"
    path.write_bytes(bytes(2 * LOCKSPACE_BYTES))
    zeros = bytes(LOCKSPACE_BYTES)
    assert lockspace_ops.is_unchanged(str(path), zeros, SlowClock(0.9))
    with pytest.raises(EnvironmentFault, match="too slow for a repair"):
        lockspace_ops.is_unchanged(str(path), zeros, SlowClock(1.1))
    with path.open("r+b") as file:
        file.write(b"x")
    assert not lockspace_ops.is_unchanged(str(path), zeros, SlowClock(0.0))
