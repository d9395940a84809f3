# SPDX-License-Identifier: Apache-2.0
"""The distance outlives the broker, not the boot."""

from __future__ import annotations

from pathlib import Path

import pytest

from ha_agent.broker.sanlock.judge import Distance
from ha_agent.broker.sanlock.memory import NAME, DistanceFile, own_renewals
from ha_agent.broker.sanlock.port import HostSight
from ha_agent.instant import Instant

KEPT = Distance(7, Instant(896.5))


def test_it_is_there_for_the_next_broker_of_this_boot(tmp_path: Path) -> None:
    assert DistanceFile(tmp_path, "boot").load() is None
    DistanceFile(tmp_path, "boot").keep(KEPT)
    assert DistanceFile(tmp_path, "boot").load() == KEPT
    assert DistanceFile(tmp_path, "another").load() is None
    renewals = own_renewals(tmp_path, "boot")
    renewals.saw(HostSight(1, 7, 100, 2, "LIVE"), Instant(1000.0), False)
    assert renewals.sight == Instant(996.5)


@pytest.mark.parametrize(
    "content",
    [
        b"", b"[]", b"{}", b"\xff", b"[" * 100_000,
        b'{"boot_id": "boot", "generation": 7, "distance": "x"}',
        b'{"boot_id": "boot", "generation": 7, "distance": Infinity}',
        b'{"boot_id": "boot", "generation": 7, "distance": NaN}',
    ],
)  # fmt: skip
def test_garbage_is_not_gone_by(tmp_path: Path, content: bytes) -> None:
    (tmp_path / NAME).write_bytes(content)
    assert DistanceFile(tmp_path, "boot").load() is None


def test_a_folder_that_takes_nothing_is_no_fault(tmp_path: Path) -> None:
    DistanceFile(tmp_path / "none", "boot").keep(KEPT)
    assert DistanceFile(tmp_path / "none", "boot").load() is None
