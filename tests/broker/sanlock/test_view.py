# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from ha_agent.broker.sanlock.judge import SanlockJudgement
from ha_agent.broker.sanlock.place import Leader
from ha_agent.broker.sanlock.port import HostSight, Look
from ha_agent.broker.sanlock.times import SanlockTimes
from ha_agent.broker.sanlock.view import (
    OwnedEpoch,
    io_timeout_mismatch,
    owned_entry,
    watched_entry,
)
from ha_agent.broker.snapshot import LeaseEntry
from ha_agent.instant import Instant

TIMES = SanlockTimes(2, 10)


def name(host_id: int) -> str:
    return f"host{host_id}"


def entry(state: str, *, may_be_ours: bool = False, obstacle: str = "") -> LeaseEntry:
    leader = Leader(512, 1, 3, 7, "ha-agent", "vm", state == "held")
    judged = SanlockJudgement(state, leader, Instant(5.0), flag="DEAD")
    return watched_entry(
        judged, name, may_be_ours=may_be_ours, obstacle=obstacle, last_success=None, error=""
    )


def test_ours_ends_at_the_fence_and_expires_for_others_after_it() -> None:
    view = owned_entry(OwnedEpoch(7, Instant(100.0)), TIMES, 2, name, None, "")
    assert (view.ours, view.host_name, view.epoch) == (True, "host2", 7)
    assert view.fence_at == Instant(100.0)
    assert view.expires_at == Instant(114.0)


@pytest.mark.parametrize("state", ["free", "expired"])
def test_what_may_not_be_taken_is_not_told_as_free(state: str) -> None:
    assert entry(state).state == state
    assert entry(state).available_since == Instant(5.0)
    not_now = entry(state, obstacle="the lockspace is not joined yet")
    assert (not_now.state, not_now.detail) == ("unknown", "the lockspace is not joined yet")
    assert not_now.available_since is None


def test_what_is_about_to_be_adopted_is_not_told_as_another_hosts() -> None:
    assert entry("held").state == "held"
    assert entry("held", may_be_ours=True).state == "unknown"


def test_the_holder_and_the_daemons_word() -> None:
    view = entry("held")
    assert (view.host_id, view.host_name, view.epoch) == (1, "host1", 7)
    assert view.detail == "sanlock says DEAD"


def test_live_hosts_with_another_io_timeout_are_named() -> None:
    hosts = {
        1: HostSight(1, 1, 10, 2, "LIVE"),
        2: HostSight(2, 1, 10, 10, "LIVE"),
        3: HostSight(3, 1, 10, 5, "DEAD"),
        4: HostSight(4, 1, 10, 0, "LIVE"),
    }
    told = io_timeout_mismatch(Look(True, hosts), TIMES)
    assert "(2 s here; host 2 10 s)" in told
    assert io_timeout_mismatch(Look(True, {1: hosts[1]}), TIMES) == ""
