# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Optional

import pytest

from ha_agent.fsm.better_host import Lead, follow_lead, lead_dues
from ha_agent.fsm.observation import PeerView
from ha_agent.fsm.policy import Hysteresis
from tests.fsm.pictures import NOW, peer, seen

RULES = Hysteresis()


class Watch:
    """What is known of the lead, as the seconds pass. Our score is 2000."""

    def __init__(self) -> None:
        self.lead = Lead()

    def at(self, seconds: float, *peers: PeerView, healthy: bool = True) -> Lead:
        picture = seen(now=NOW + seconds, peers=peers)
        self.lead = follow_lead(self.lead, healthy, 2000, picture, RULES)
        return self.lead


def ahead(points: int, host_id: int = 2) -> PeerView:
    return peer(host_id, score=2000 + points)


def named() -> Watch:
    watch = Watch()
    watch.at(0.0, ahead(800))
    assert watch.at(60.0, ahead(800)).better_host == 2
    return watch


class TestNaming:
    @pytest.mark.parametrize(("points", "host_id"), [(799, None), (800, 2)])
    def test_takes_the_predecessors_lead_for_a_while(
        self, points: int, host_id: Optional[int]
    ) -> None:
        watch = Watch()
        assert watch.at(0.0, ahead(points)).better_host is None
        assert watch.at(59.9, ahead(points)).better_host is None
        assert watch.at(60.0, ahead(points)).better_host == host_id

    def test_a_lead_that_is_lost_meanwhile_begins_anew(self) -> None:
        watch = Watch()
        watch.at(0.0, ahead(800))
        watch.at(30.0, ahead(700))
        watch.at(40.0, ahead(800))
        assert watch.at(99.0, ahead(800)).better_host is None
        assert watch.at(100.0, ahead(800)).better_host == 2

    def test_one_that_dies_meanwhile_leads_no_longer(self) -> None:
        watch = Watch()
        watch.at(0.0, ahead(800))
        assert watch.at(30.0, ahead(800, 3), peer(2, score=2800, alive=False)) == Lead(
            3, NOW + 30.0
        )

    def test_the_best_is_named_and_of_equals_the_lower_id(self) -> None:
        watch = Watch()
        peers = (ahead(900, 4), ahead(1000, 3), ahead(1000, 5))
        watch.at(0.0, *peers)
        assert watch.at(60.0, *peers).better_host == 3

    def test_a_host_that_overtakes_the_leader_does_not_start_the_time_again(self) -> None:
        watch = Watch()
        watch.at(0.0, ahead(900, 3))
        watch.at(30.0, ahead(900, 3), ahead(1000, 2))
        assert watch.at(60.0, ahead(900, 3), ahead(1000, 2)).better_host == 3

    @pytest.mark.parametrize(
        "fields",
        [{"alive": False}, {"maintenance": True}, {"stopped": True}],
        ids=lambda fields: next(iter(fields)),
    )
    def test_not_a_host_that_could_not_run_the_vm(self, fields: dict[str, bool]) -> None:
        watch = Watch()
        other = peer(2, **{"score": 3400, **fields})
        watch.at(0.0, other)
        assert watch.at(100.0, other).better_host is None

    def test_a_host_of_the_predecessors_version_may_be_better(self) -> None:
        watch = Watch()
        old = peer(2, score=3400, predecessor=True)
        watch.at(0.0, old)
        assert watch.at(60.0, old).better_host == 2

    def test_nobody_while_no_healthy_engine_runs_here(self) -> None:
        watch = Watch()
        watch.at(0.0, ahead(800), healthy=False)
        assert watch.at(100.0, ahead(800), healthy=False) == Lead()


class TestEnding:
    def test_a_small_lead_is_still_one(self) -> None:
        assert named().at(500.0, ahead(400)).better_host == 2

    def test_below_that_it_ends_after_its_while(self) -> None:
        watch = named()
        assert watch.at(119.0, ahead(399)).better_host == 2
        assert watch.at(120.0, ahead(399)) == Lead()

    def test_a_better_one_yet_does_not_change_the_name(self) -> None:
        assert named().at(500.0, ahead(500), ahead(1400, 3)).better_host == 2

    def test_a_host_that_died_is_named_no_longer(self) -> None:
        assert named().at(61.0, peer(2, score=3400, alive=False)) == Lead()

    def test_another_leader_has_to_last_as_well(self) -> None:
        watch = named()
        assert watch.at(200.0, ahead(900, 3)) == Lead(3, NOW + 200.0)
        assert watch.at(260.0, ahead(900, 3)).better_host == 3

    def test_with_the_engine_it_ends_at_once(self) -> None:
        assert named().at(61.0, ahead(800), healthy=False) == Lead()


def test_equal_pictures_leave_the_same_object() -> None:
    watch = named()
    before = watch.lead
    assert watch.at(500.0, ahead(800)) is before
    nobody = Watch()
    before = nobody.lead
    assert nobody.at(1.0, ahead(0)) is before


def test_dues_are_when_it_has_lasted() -> None:
    assert list(lead_dues(Lead(), RULES)) == []
    assert list(lead_dues(Lead(2, NOW), RULES)) == [NOW + 60.0]
