# SPDX-License-Identifier: Apache-2.0
"""Who lives, by our own clock."""

from __future__ import annotations

import struct

from ha_agent.broker.lockspace_codec import _crc32c
from ha_agent.broker.lockspace_watch import LockspaceWatch
from ha_agent.instant import Instant


def record(host_id: int, timestamp: int = 0, generation: int = 1, io: int = 2) -> bytes:
    """Return one sector as sanlock writes it."""
    body = struct.pack("<IIIIQQQQQ48s48sQQ", 0x12212010, 0x30004, 16, 512, 0, host_id, host_id,
                       generation, 0, b"LS", b"h%d" % host_id, timestamp, 0)  # fmt: skip
    return (body + struct.pack("<IHH", _crc32c(body), 0, io)).ljust(512, b"\0")


def states(watch: LockspaceWatch, now: float) -> list[str]:
    return [judged.state for judged in watch.judge(Instant(now))]


def test_the_states_of_a_host_id() -> None:
    watch = LockspaceWatch(2, 10.0)  # dead after 26 s, renewals are late after 8 s
    watch.look(record(1) + record(2, 100) + b"x" * 512, Instant(0.0))
    assert states(watch, 0.0) == ["free", "unknown", "unknown"]
    watch.look(record(1) + record(2, 104) + b"x" * 512, Instant(4.0))
    assert states(watch, 4.0) == ["free", "live", "unknown"]
    assert states(watch, 11.9) == ["free", "live", "fail"]
    assert states(watch, 12.0) == ["free", "fail", "fail"]
    assert states(watch, 25.9) == ["free", "fail", "fail"]
    assert states(watch, 29.9) == ["free", "fail", "dead"]
    assert states(watch, 30.0) == ["free", "dead", "dead"]
    assert [one.is_proven_unused for one in watch.judge(Instant(30.0))] == [True] * 3
    watch.look(record(1) + record(2, 130) + b"x" * 512, Instant(30.0))
    assert states(watch, 30.0) == ["free", "live", "dead"]


def test_a_record_that_names_a_longer_timeout_has_its_own() -> None:
    watch = LockspaceWatch(2, 60.0)
    watch.look(record(1, 5, io=10), Instant(0.0))
    assert states(watch, 139.9) == ["fail"]
    assert states(watch, 140.0) == ["dead"]


def test_a_shorter_look_keeps_what_the_longer_one_saw() -> None:
    watch = LockspaceWatch(2, 10.0)
    watch.look(record(1, 1) + record(2, 1), Instant(0.0))
    watch.look(record(1, 2), Instant(4.0))
    assert watch.is_known
    assert states(watch, 4.0) == ["live", "unknown"]
