# SPDX-License-Identifier: Apache-2.0
"""When an owner without network gives its engine away, and each reason for which it does not."""

from __future__ import annotations

import dataclasses
from typing import Any, Optional

import pytest

from ha_agent.fsm.context import Context
from ha_agent.fsm.cut_off import (
    better_off_here,
    blind_hosts,
    cut_off,
    hand_over_at,
    not_handed_over_lately,
    note_hand_over,
)
from ha_agent.fsm.memory import Memory
from ha_agent.fsm.observation import Health, LeaseCondition, PeerView, VmCondition
from ha_agent.fsm.state import State
from ha_agent.fsm.trends import Trend, Trends
from ha_agent.instant import Instant
from tests.fsm.pictures import NOW, context, peer, seen

GRACE_SECONDS = 120
LOST = Memory(trends=Trends(network=Trend(values=(1.0,), since=NOW - 200.0)))


def blind(host_id: int = 2, seconds: int = GRACE_SECONDS, **fields: Any) -> PeerView:
    """Return a host that has not reached the engine for so long."""
    values = {"page": Health.BAD, "page_bad_seconds": seconds, "page_told_at": NOW - 3.0}
    return peer(host_id, **{**values, **fields})


def looked(*peers: PeerView, memory: Memory = LOST) -> Context:
    health = Health.GOOD
    return context(
        seen(VmCondition.UP, LeaseCondition.OURS, health=health, peers=peers), memory, score=1800
    )


def test_a_host_with_network_that_could_run_it_has_not_reached_it_for_the_grace_time() -> None:
    assert cut_off(looked(blind(), peer(3)))
    assert not cut_off(looked(blind(seconds=GRACE_SECONDS - 1), peer(3)))


@pytest.mark.parametrize(
    "network",
    [Trend(), Trend(values=(0.2,)), Trend(values=(0.2,), since=NOW - 99.0, lingers=True)],
    ids=["untested", "good", "good again"],
)
def test_not_while_this_host_has_network(network: Trend) -> None:
    memory = dataclasses.replace(LOST, trends=Trends(network=network))
    assert not cut_off(looked(blind(), memory=memory))
    assert blind_hosts(looked(blind(), memory=memory)) == []
    assert better_off_here(looked(blind(), memory=memory))


@pytest.mark.parametrize("able", [{}, {"score": 0}, {"maintenance": True}, {"network_lost": True}])
def test_not_while_any_live_host_reaches_the_engine(able: dict[str, Any]) -> None:
    sees_it = peer(3, page=Health.GOOD, **able)
    assert not cut_off(looked(blind(), sees_it))
    assert better_off_here(looked(blind(), sees_it))


def test_what_a_dead_host_saw_last_is_no_matter() -> None:
    assert cut_off(looked(blind(), peer(3, page=Health.GOOD, alive=False)))


@pytest.mark.parametrize(
    "fault",
    [
        {"alive": False},
        {"score": 0},
        {"maintenance": True},
        {"stopped": True},
        {"network_lost": True},
        {"predecessor": True},
    ],
)
def test_not_for_a_host_that_is_silent_or_no_better(fault: dict[str, Any]) -> None:
    assert not cut_off(looked(blind(**fault)))
    assert better_off_here(looked(blind(**fault)))


def test_not_for_hosts_that_say_nothing_of_the_page() -> None:
    assert not cut_off(looked(peer(2), peer(3)))
    assert not cut_off(looked(blind(page=Health.UNKNOWN, seconds=0)))


def test_a_hand_over_goes_on_though_a_report_is_missing_for_a_moment() -> None:
    assert not better_off_here(looked(peer(2)))


class TestWhen:
    def at(
        self, *peers: PeerView, state: State = State.ENGINE_UP, memory: Memory = LOST
    ) -> Optional[Instant]:
        return hand_over_at(state, looked(*peers, memory=memory))

    def test_the_first_whose_grace_is_over(self) -> None:
        slower = blind(3, 10, page_told_at=NOW - 1.0)
        assert self.at(slower) == NOW - 1.0 + 110.0
        assert self.at(slower, blind(2, 40)) == NOW - 3.0 + 80.0

    def test_nobody_says_so(self) -> None:
        assert self.at(peer(2)) is None
        assert self.at(blind(page_told_at=None)) is None

    def test_only_a_healthy_one(self) -> None:
        assert self.at(blind(), state=State.ENGINE_UP_BAD_HEALTH) is None

    def test_one_that_came_back_stays_for_the_restart_window(self) -> None:
        memory = note_hand_over(looked(blind()), LOST)
        assert memory == dataclasses.replace(LOST, handed_over_at=NOW)
        assert self.at(blind(), memory=memory) == NOW + 600.0
        older = dataclasses.replace(LOST, handed_over_at=NOW - 599.0)
        assert self.at(blind(seconds=0), memory=older) == NOW - 3.0 + 120.0

    @pytest.mark.parametrize(
        ("before", "free"), [(None, True), (NOW - 599.9, False), (NOW - 600.0, True)]
    )
    def test_lately_is_the_restart_window(self, before: Optional[Instant], free: bool) -> None:
        memory = dataclasses.replace(LOST, handed_over_at=before)
        assert not_handed_over_lately(looked(memory=memory)) is free
