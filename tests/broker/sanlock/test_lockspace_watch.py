# SPDX-License-Identifier: Apache-2.0
"""Who lives, by our own clock."""

from __future__ import annotations

import struct

from ha_agent.broker.sanlock.lockspace_codec import _crc32c
from ha_agent.broker.sanlock.lockspace_watch import LockspaceWatch
from ha_agent.instant import Instant


def record(host_id: int, timestamp: int = 0, generation: int = 1, io: int = 2) -> bytes:
    """Return one sector as sanlock writes it."""
    body = struct.pack("<IIIIQQQQQ48s48sQQ", 0x12212010, 0x30004, 16, 512, 0, host_id, host_id,
                       generation, 0, b"LS", b"h%d" % host_id, timestamp, 0)  # fmt: skip
    return (body + struct.pack("<IHH", _crc32c(body), 0, io)).ljust(512, b"\0")


class Seen:
    """A watch, and what it was shown last; looks take no time unless told."""

    def __init__(self, io_timeout_seconds: int, watchdog_seconds: float) -> None:
        self.watch = LockspaceWatch(io_timeout_seconds, watchdog_seconds)
        self.data = b""

    def look(self, data: bytes, now: float, took_seconds: float = 0.0) -> None:
        self.data = data
        self.watch.look(data, Instant(now), Instant(now + took_seconds))

    def states(self, now: float) -> list[str]:
        self.look(self.data, now)
        return [judged.state for judged in self.watch.judge()]


def test_the_states_of_a_host_id() -> None:
    seen = Seen(2, 10.0)  # dead after 26 s, renewals are late after 8 s
    seen.look(record(1) + record(2, 100) + record(3, 7), 0.0)
    assert seen.states(0.0) == ["free", "unknown", "unknown"]
    seen.look(record(1) + record(2, 104) + record(3, 7), 4.0)
    assert seen.states(4.0) == ["free", "live", "unknown"]
    assert seen.states(11.9) == ["free", "live", "fail"]
    assert seen.states(12.0) == ["free", "fail", "fail"]
    assert seen.states(25.9) == ["free", "fail", "fail"]
    assert seen.states(29.9) == ["free", "fail", "dead"]
    assert seen.states(30.0) == ["free", "dead", "dead"]
    assert [one.is_proven_unused for one in seen.watch.judge()] == [True] * 3
    seen.look(record(1) + record(2, 130) + record(3, 7), 30.0)
    assert seen.states(30.0) == ["free", "live", "dead"]


def test_a_record_that_names_a_longer_timeout_has_its_own() -> None:
    seen = Seen(2, 60.0)
    seen.look(record(1, 5, io=10), 0.0)
    assert seen.states(139.9) == ["fail"]
    assert seen.states(140.0) == ["dead"]


def test_a_shorter_look_keeps_what_the_longer_one_saw() -> None:
    seen = Seen(2, 10.0)
    seen.look(record(1, 1) + record(2, 1), 0.0)
    seen.look(record(1, 2), 4.0)
    assert seen.watch.is_known
    assert seen.states(4.0) == ["live", "unknown"]


def test_a_damaged_record_may_be_of_a_host_with_the_longest_timeout() -> None:
    """Ours is configured as 2 s; the host that wrote it, or whose lease it is, may have 10."""
    seen = Seen(2, 60.0)
    seen.look(record(1) + b"x" * 512, 0.0)
    assert seen.states(139.9) == ["free", "fail"]
    assert seen.states(140.0) == ["free", "dead"]


def test_a_look_that_took_long_proves_nothing_about_its_own_time() -> None:
    seen = Seen(2, 10.0)
    seen.look(record(1, 5), 0.0, took_seconds=20.0)
    assert seen.states(26.0) == ["unknown"]
    assert seen.states(45.9) == ["fail"]
    # Begun in time, and ended late: what it has read may be as old as its begin.
    seen.look(record(1, 5), 45.9, took_seconds=30.0)
    assert [judged.state for judged in seen.watch.judge()] == ["fail"]
    assert seen.states(46.0) == ["dead"]
