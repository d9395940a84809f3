# SPDX-License-Identifier: Apache-2.0
"""What a stop is for, and when there is no reason left for it."""

from __future__ import annotations

from typing import Any, Optional

import pytest

from ha_agent.fsm import stop_guards as s
from ha_agent.fsm.memory import Memory, StopReason
from ha_agent.fsm.observation import Health, LeaseCondition, ShutdownView, VmCondition
from ha_agent.fsm.trends import Trend, Trends
from tests.fsm.pictures import NOW, context, peer, seen, stopping

V, L, R = VmCondition, LeaseCondition, StopReason


class TestStops:
    def test_only_the_reasons_without_vm_have_nothing_to_stop(self) -> None:
        nothing = {r for r in R if s.nothing_to_stop(context(seen(), stopping(r)))}
        assert nothing == {R.FAILED_TOO_OFTEN, R.LEASE_ELSEWHERE, R.MIGRATED, R.UNABLE}
        assert s.nothing_to_stop(context(seen()))

    def test_given_up_here_is_one_reason(self) -> None:
        assert [r for r in R if s.gave_up_here(context(seen(), stopping(r)))] == [
            R.FAILED_TOO_OFTEN
        ]

    def over(self, reason: StopReason, condition: LeaseCondition, **fields: Any) -> bool:
        memory = stopping(reason, running_since=NOW - 700.0)
        return s.stop_over(context(seen(V.UP, condition, **fields), memory))

    @pytest.mark.parametrize("reason", StopReason)
    @pytest.mark.parametrize("condition", [L.HELD, L.EXPIRED])
    def test_none_is_over_while_the_lease_is_anothers(
        self, reason: StopReason, condition: LeaseCondition
    ) -> None:
        assert not self.over(reason, condition, health=Health.GOOD)

    @pytest.mark.parametrize("reason", [R.HUNG, R.START_TIMEOUT])
    @pytest.mark.parametrize("health", Health)
    def test_of_a_bad_engine_is_over_when_it_is_good(
        self, reason: StopReason, health: Health
    ) -> None:
        for condition in (L.OURS, L.FREE, L.UNKNOWN):
            assert self.over(reason, condition, health=health) is (health is Health.GOOD)

    @pytest.mark.parametrize("health", Health)
    def test_for_maintenance_is_over_with_it(self, health: Health) -> None:
        assert self.over(R.MAINTENANCE, L.OURS, health=health)
        assert not self.over(R.MAINTENANCE, L.OURS, health=health, local_maintenance=True)

    @pytest.mark.parametrize("health", Health)
    def test_for_a_lost_lease_is_over_when_it_is_ours_again(self, health: Health) -> None:
        assert self.over(R.LEASE_LOST, L.OURS, health=health)
        assert not self.over(R.LEASE_LOST, L.FREE, health=health)
        assert not self.over(R.LEASE_LOST, L.UNKNOWN, health=health)

    @pytest.mark.parametrize(
        "reason", [R.FAILED_TOO_OFTEN, R.LEASE_ELSEWHERE, R.MIGRATED, R.UNABLE]
    )
    def test_where_the_vm_was_gone_there_is_none_to_be_over(self, reason: StopReason) -> None:
        assert not self.over(reason, L.OURS, health=Health.GOOD)

    @pytest.mark.parametrize("condition", [V.UP, V.PAUSED])
    def test_a_stop_of_a_paused_vm_is_over_when_it_runs_on(self, condition: VmCondition) -> None:
        memory = stopping(R.PAUSED, running_since=NOW - 700.0)
        looked = context(seen(condition, L.OURS), memory)
        assert s.stop_over(looked) is (condition is V.UP)

    @pytest.mark.parametrize("health", Health)
    def test_of_an_engine_out_of_reach_is_over_when_it_is_better_off_here(
        self, health: Health
    ) -> None:
        peers = (peer(2),)
        lost = Trends(network=Trend(since=NOW - 200.0))
        memory = stopping(R.CUT_OFF, running_since=NOW - 700.0, trends=lost)
        for there, over in ((peers, False), ((), True)):
            picture = seen(V.UP, L.OURS, health=health, peers=there)
            assert s.stop_over(context(picture, memory)) is over
        assert self.over(R.CUT_OFF, L.OURS, health=health, peers=peers)


class TestShutdownOfTheCluster:
    """In force only with global maintenance, and only while it is ordered."""

    @pytest.mark.parametrize("maintenance", [True, False])
    @pytest.mark.parametrize("ordered", [True, False])
    @pytest.mark.parametrize("ready", [True, False])
    def test_ready_means_ordered_and_in_force_too(
        self, maintenance: bool, ordered: bool, ready: bool
    ) -> None:
        memory = Memory(global_maintenance=maintenance, shutdown=ShutdownView(ordered, ready))
        looked = context(seen(V.UP), memory)
        assert s.shutdown_ready(looked) is (maintenance and ordered and ready)

    @pytest.mark.parametrize("maintenance", [True, False])
    @pytest.mark.parametrize("ordered", [True, False])
    @pytest.mark.parametrize("reason", [R.CLUSTER_SHUTDOWN, R.MAINTENANCE, None])
    def test_the_vm_is_being_stopped_for_it(
        self, maintenance: bool, ordered: bool, reason: Optional[StopReason]
    ) -> None:
        memory = Memory(
            global_maintenance=maintenance,
            shutdown=ShutdownView(ordered, ready=True),
            stop_reason=reason,
        )
        for_it = maintenance and ordered and reason is R.CLUSTER_SHUTDOWN
        assert s.shutting_down(context(seen(V.UP), memory)) is for_it

    @pytest.mark.parametrize("ordered", [True, False])
    @pytest.mark.parametrize("health", Health)
    def test_that_stop_is_over_when_it_is_taken_back_and_the_engine_is_well(
        self, ordered: bool, health: Health
    ) -> None:
        memory = stopping(
            R.CLUSTER_SHUTDOWN,
            running_since=NOW - 700.0,
            global_maintenance=True,
            shutdown=ShutdownView(ordered, ready=True),
        )
        looked = context(seen(V.UP, L.OURS, health=health), memory)
        assert s.stop_over(looked) is (health is Health.GOOD and not ordered)
