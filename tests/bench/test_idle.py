# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import time

from bench.idle import cpu_seconds, memory_bytes


def test_processor_time_of_a_process_that_works_grows() -> None:
    before = cpu_seconds({"me": os.getpid()})["me"]
    ends_at = time.thread_time() + 0.05
    while time.thread_time() < ends_at:
        pass
    assert cpu_seconds({"me": os.getpid()})["me"] - before >= 0.04


def test_alone_is_no_less_than_the_proportional_share() -> None:
    pss, alone = memory_bytes([os.getpid()])
    assert 1e6 < pss <= alone


def test_files_count_once_for_several_processes() -> None:
    once = memory_bytes([os.getpid()])
    twice = memory_bytes([os.getpid(), os.getpid()])
    assert twice[0] > 1.9 * once[0]
    assert twice[1] < 2 * once[1]
