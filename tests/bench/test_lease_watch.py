# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses

from bench.lease_watch import WriteLog
from ha_agent.broker.lease.rules import LeaseRecord, encode

TAKEN = LeaseRecord("held", 2, "alpha", "i-2", "vm", epoch=7, counter=10, note="taken")
RENEWED = TAKEN.renewed()
OTHERS = dataclasses.replace(RENEWED, host_id=3, host_name="beta", epoch=8, counter=12)


def log_of(*looks: tuple[float, LeaseRecord]) -> WriteLog:
    log = WriteLog()
    for at, record in looks:
        log.look(at, encode(record))
    return log


def test_a_write_is_not_before_the_last_look_that_showed_the_old_record() -> None:
    log = log_of((1.0, TAKEN), (2.0, TAKEN), (3.0, RENEWED), (4.0, RENEWED))
    assert [(write.not_before, write.record) for write in log.writes] == [(2.0, RENEWED)]


def test_the_first_record_tells_nothing_of_when_it_was_written() -> None:
    assert log_of((1.0, TAKEN), (2.0, TAKEN)).last_by(2) is None


def test_the_last_write_of_a_host_stays_when_another_has_taken_over() -> None:
    log = log_of((1.0, TAKEN), (2.0, RENEWED), (3.0, RENEWED), (20.0, OTHERS))
    mine, theirs = log.last_by(2), log.last_by(3)
    assert mine is not None
    assert mine.not_before == 1.0
    assert theirs is not None
    assert theirs.not_before == 3.0
    assert log.last_by(1) is None
    assert log.first_by(3, since=2.0) == theirs
    assert log.first_by(3, since=4.0) is None


def test_a_torn_block_is_left_out_and_the_next_whole_one_counts_from_before_it() -> None:
    log = log_of((1.0, TAKEN))
    log.look(2.0, encode(RENEWED)[:100].ljust(4096, b"\0"))
    log.look(3.0, encode(RENEWED))
    assert [write.not_before for write in log.writes] == [1.0]
