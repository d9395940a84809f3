# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
from typing import Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha_agent.fsm.observation import LeaseCondition, Observation, PeerView
from ha_agent.fsm.policy import Policy
from ha_agent.fsm.takeover import able_hosts, contenders, peers_with_vm, rank, turn_at
from ha_agent.instant import Instant
from tests.fsm.pictures import NOW, US, lease, observations, peer, seen

L = LeaseCondition
POLICY = Policy(takeover_step_seconds=2.0)


def available(condition: LeaseCondition, *peers: PeerView, since: Instant = NOW) -> Observation:
    """The lease became available at `since`; host 2 held it."""
    view = dataclasses.replace(lease(condition, host_id=2), available_since=since)
    return seen(peers=peers, lease=view)


class TestContenders:
    def test_are_the_able_peers(self) -> None:
        peers = (peer(3), peer(4, alive=False), peer(5, score=0), peer(6, maintenance=True))
        assert contenders(available(L.FREE, *peers, peer(7, stopped=True))) == [peer(3)]

    def test_the_holder_of_an_expired_lease_is_none(self) -> None:
        """It is dead, or its broker is: its block may still look alive for some seconds."""
        assert contenders(available(L.EXPIRED, peer(2), peer(3))) == [peer(3)]

    @pytest.mark.parametrize("condition", [L.FREE, L.HELD, L.OURS, L.UNKNOWN])
    def test_any_other_holder_may_be_one(self, condition: LeaseCondition) -> None:
        assert contenders(available(condition, peer(2), peer(3))) == [peer(2), peer(3)]

    def test_one_whose_block_is_older_than_a_lease_lasts_is_none(self) -> None:
        """The owner whose storage hangs, after another host took its lease and gave it up."""
        picture = available(L.FREE, peer(1, fresh=False), peer(3, network_lost=True))
        assert contenders(picture) == [peer(3, network_lost=True)]
        assert turn_at(picture, 5000, POLICY, None, network_lost=True) == NOW

    def test_an_expired_lease_without_holder_excludes_nobody(self) -> None:
        view = dataclasses.replace(lease(L.EXPIRED), host_id=None)
        assert contenders(seen(peers=(peer(2),), lease=view)) == [peer(2)]


class TestWhoHasTheVm:
    HAS = peer(3, vm_up=True)
    HAD = peer(3, vm_up=True, fresh=False)

    @pytest.mark.parametrize("condition", list(L))
    def test_a_live_host_that_says_so(self, condition: LeaseCondition) -> None:
        peers = (self.HAS, peer(4), peer(5, vm_up=True, alive=False))
        assert peers_with_vm(available(condition, *peers)) == [self.HAS]

    @pytest.mark.parametrize("condition", [L.FREE, L.EXPIRED])
    def test_never_who_held_the_lease_last(self, condition: LeaseCondition) -> None:
        assert peers_with_vm(available(condition, peer(2, vm_up=True))) == []

    @pytest.mark.parametrize("condition", [L.FREE, L.EXPIRED])
    def test_never_by_a_block_that_is_older_than_a_lease_lasts(
        self, condition: LeaseCondition
    ) -> None:
        """Its lease was taken by another host, which was refused the VM lease and gave it up."""
        assert peers_with_vm(available(condition, self.HAD)) == []

    @pytest.mark.parametrize("condition", [L.FREE, L.EXPIRED])
    def test_the_predecessors_block_is_all_that_tells(self, condition: LeaseCondition) -> None:
        """It renews no lease, whoever held that last."""
        others = (peer(2, vm_up=True), self.HAD)
        told = [dataclasses.replace(one, predecessor=True) for one in others]
        assert peers_with_vm(available(condition, *told)) == told


class TestPredecessors:
    """Hosts of the predecessor's version: they can run the VM, but never take our lease."""

    PEERS = (peer(2, predecessor=True), peer(3), peer(4, predecessor=True, score=0))

    def test_count_where_another_host_is_wanted(self) -> None:
        assert able_hosts(available(L.FREE, *self.PEERS)) == [self.PEERS[0], peer(3)]

    def test_one_whose_lease_expired_as_it_went_back_is_not_dead(self) -> None:
        other = peer(2, predecessor=True)
        assert able_hosts(seen(peers=(other,), lease=lease(L.EXPIRED, host_id=2))) == [other]

    def test_are_nobodys_contenders(self) -> None:
        assert contenders(available(L.FREE, *self.PEERS)) == [peer(3)]

    def test_cost_no_step_of_waiting(self) -> None:
        picture = available(L.FREE, peer(2, score=3400, predecessor=True))
        assert turn_at(picture, 100, POLICY, None) == NOW


class TestRank:
    def test_alone_is_first(self) -> None:
        assert rank(US, 1, ()) == 0

    def test_counts_the_better_ones(self) -> None:
        peers = (peer(2, score=3400), peer(3, score=2000), peer(4, score=1))
        assert [rank(US, score, peers) for score in (3401, 3399, 1999, 0)] == [0, 1, 2, 3]

    def test_ties_go_to_the_lower_host_id(self) -> None:
        assert rank(2, 3400, (peer(1), peer(3))) == 1

    def test_a_better_score_beats_a_lower_host_id(self) -> None:
        assert rank(9, 3400, (peer(1, score=3399),)) == 0

    @given(st.lists(st.integers(0, 3400), min_size=1, max_size=8))
    def test_no_two_hosts_have_the_same(self, scores: list[int]) -> None:
        """As long as all see the same blocks, no two go at the same time."""
        hosts = [peer(host_id, score=score) for host_id, score in enumerate(scores, start=1)]
        ranks = [
            rank(host.host_id, host.score, [other for other in hosts if other is not host])
            for host in hosts
        ]
        assert sorted(ranks) == list(range(len(hosts)))
        assert scores[ranks.index(0)] == max(scores)


class TestTurn:
    @pytest.mark.parametrize("condition", [L.FREE, L.EXPIRED])
    def test_the_best_goes_at_once(self, condition: LeaseCondition) -> None:
        assert turn_at(available(condition, peer(3)), 3400, POLICY, None) == NOW

    def test_each_next_one_waits_a_step_more(self) -> None:
        peers = (peer(3, score=3000), peer(4, score=2000))
        turns = [
            turn_at(available(L.FREE, *peers), score, POLICY, None) for score in (3001, 2500, 5)
        ]
        assert turns == [NOW, NOW + 2.0, NOW + 4.0]

    def test_counts_from_when_the_lease_became_available(self) -> None:
        picture = available(L.FREE, peer(3), since=NOW - 30.0)
        assert turn_at(picture, 100, POLICY, None) == NOW - 28.0

    @pytest.mark.parametrize(("ready_at", "turn"), [(-30.0, 2.0), (1.0, 3.0), (50.0, 52.0)])
    def test_counts_from_when_this_host_was_ready_at_the_earliest(
        self, ready_at: float, turn: float
    ) -> None:
        """When a global maintenance ends, all hosts see a lease that has been free for long."""
        picture = available(L.FREE, peer(3))
        assert turn_at(picture, 100, POLICY, NOW + ready_at) == NOW + turn

    @pytest.mark.parametrize(
        ("others", "seconds"),
        [
            ((), 0.0),
            ((peer(3, score=1),), 120.0),
            ((peer(3), peer(4)), 120.0),
            ((peer(3, network_lost=True), peer(4, network_lost=True)), 4.0),
            ((peer(3, network_lost=True), peer(4)), 120.0),
            ((peer(3, score=0), peer(4, alive=False)), 0.0),
            ((peer(3, predecessor=True),), 0.0),
        ],
    )
    def test_without_network_comes_after_those_that_have_one(
        self, others: tuple[PeerView, ...], seconds: float
    ) -> None:
        """Whatever the scores are, and not for ever."""
        picture = available(L.FREE, *others)
        turn = turn_at(picture, 2000, POLICY, None, network_lost=True)
        assert turn == NOW + seconds

    def test_never_comes_while_the_lease_is_not_to_be_had(self) -> None:
        assert turn_at(seen(lease_is=L.HELD), 3400, POLICY, None) is None
        assert turn_at(seen(lease_is=L.OURS), 3400, POLICY, None) is None

    @pytest.mark.parametrize(
        ("published", "delay_seconds"), [(None, 2.0), (3400, 0.0), (2999, 2.0), (0, 2.0)]
    )
    def test_our_score_counts_as_the_others_can_read_it(
        self, published: Optional[int], delay_seconds: float
    ) -> None:
        """Two hosts whose scores fall together would each wait for the other otherwise."""
        picture = available(L.FREE, peer(3, score=3000))
        picture = dataclasses.replace(picture, published_score=published)
        assert turn_at(picture, 100, POLICY, None) == NOW + delay_seconds

    @given(observations, st.integers(1, 3400))
    def test_comes_at_most_a_step_a_peer_late(self, picture: Observation, score: int) -> None:
        turn = turn_at(picture, score, POLICY, None)
        since = picture.lease.available_since
        assert (turn is None) is (since is None)
        if turn is not None and since is not None:
            assert 0.0 <= turn - since <= 2.0 * len(picture.peers) + 1e-6
