# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from ha_agent.broker.storage.lane_tally import LaneTally


def test_adds_up_answers_and_what_the_worker_did() -> None:
    tally = LaneTally()
    tally.answer(0.5, (1, 4096, 2, 512))
    tally.answer(0.25, None)  # a kernel that does not tell
    tally.answer(0.25, (1, 4096, 0, 0))
    assert (tally.answered, tally.spent_seconds) == (3, 1.0)
    assert (tally.reads, tally.read_bytes) == (2, 8192)
    assert (tally.writes, tally.written_bytes) == (2, 512)
