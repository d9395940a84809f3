# SPDX-License-Identifier: Apache-2.0
"""A penalty comes with several samples and goes with several; one sample does nothing."""

from __future__ import annotations

import dataclasses
from typing import Any, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha_agent.fsm.observation import DefinitionView, HostFacts, VmCondition
from ha_agent.fsm.policy import Hysteresis, Policy
from ha_agent.fsm.trends import Trend, Trends, follow_trends, trend_dues
from tests.fsm.pictures import NOW, seen

RULES = Hysteresis()
POLICY = Policy()
STEP_SECONDS = 10.0
TIMES = ("network_at", "bridge_at", "cpu_at", "memory_at")


class Samples:
    """Samples in a row, 10 s apart."""

    def __init__(self, policy: Policy = POLICY) -> None:
        self.policy = policy
        self.now = NOW
        self.trends = Trends()

    def take(self, *, vm: VmCondition = VmCondition.ABSENT, **facts: Any) -> Trends:
        self.now = self.now + STEP_SECONDS
        values = {**dict.fromkeys(TIMES, self.now), **facts}
        picture = seen(vm, now=self.now, facts=HostFacts(**values))
        self.trends = follow_trends(self.trends, picture, self.policy)
        return self.trends

    def network(self, *shares: Optional[float]) -> Trend:
        for share in shares:
            self.take(network_share_lost=share)
        return self.trends.network

    def cpu(self, *loads: float) -> Trend:
        for load in loads:
            self.take(cpu_load=load)
        return self.trends.cpu_load

    def bridge(self, *ups: Optional[bool]) -> Trend:
        for up in ups:
            self.take(bridge_up=up)
        return self.trends.bridge

    def free(self, *free_mib: int) -> Trend:
        for mib in free_mib:
            self.take(memory_free_mib=mib)
        return self.trends.memory


class TestEntering:
    def test_takes_three_of_five_samples(self) -> None:
        samples = Samples()
        assert samples.network(0.6, 0.6).since is None
        assert samples.network(0.6).since == samples.now

    def test_better_ones_may_lie_between(self) -> None:
        samples = Samples()
        assert samples.network(0.6, 0.0, 0.6, 0.0).since is None
        assert samples.network(0.6).since is not None

    def test_not_when_they_are_too_far_apart(self) -> None:
        assert Samples().network(0.6, 0.0, 0.0, 0.6, 0.0, 0.0, 0.6).since is None

    @pytest.mark.parametrize("before", [0, 1, 2, 3, 4, 8])
    def test_one_lost_test_of_the_network_never_costs_points(self, before: int) -> None:
        """The broker gives the share of the last five, so it is seen in five samples; as the
        first of all it is even all that there is."""
        lost = [0] * before + [1] + [0] * 10
        shares = [
            sum(lost[max(0, n - 4) : n + 1]) / len(lost[max(0, n - 4) : n + 1])
            for n in range(len(lost))
        ]
        samples = Samples()
        for share in shares:
            assert samples.network(share).since is None

    def test_the_same_sample_counts_once(self) -> None:
        facts = HostFacts(0.9, False, 0.9, 0, NOW, NOW, NOW, NOW)
        trends = Trends()
        for seconds in range(5):
            picture = seen(now=NOW + float(seconds), facts=facts)
            trends = follow_trends(trends, picture, POLICY)
        assert {len(trend.values) for trend in vars(trends).values()} == {1}

    def test_nor_does_it_count_twice_once_there_is_a_penalty(self) -> None:
        samples = Samples()
        assert samples.network(0.6, 0.6, 0.6).since is not None
        # The same time, though not the same object.
        facts = HostFacts(network_share_lost=0.6, network_at=NOW + 3 * STEP_SECONDS)
        trends = follow_trends(samples.trends, seen(now=samples.now, facts=facts), POLICY)
        assert trends is samples.trends

    def test_a_value_without_a_time_is_no_sample(self) -> None:
        samples = Samples()
        for _ in range(5):
            samples.take(network_share_lost=1.0, cpu_load=1.0, cpu_at=None, network_at=None)
        assert samples.trends == Trends()
        before = samples.take(network_share_lost=0.0, cpu_load=0.0)
        assert (
            samples.take(network_share_lost=1.0, cpu_load=1.0, cpu_at=None, network_at=None)
            is before
        )

    def test_nothing_measured_is_no_sample(self) -> None:
        assert Samples().bridge(False, None, False, None, None, False).since is not None
        assert Samples().network(None, None, None).values == ()

    def test_hundredths_are_enough(self) -> None:
        samples = Samples()
        before = samples.network(*[0.6] * 5)
        assert samples.network(0.6049, 0.5951) is before

    def test_a_bridge_that_is_down(self) -> None:
        trend = Samples().bridge(False, False, False)
        assert (trend.since is not None, trend.counted, trend.lingers) == (True, 1.0, False)

    @pytest.mark.parametrize(("load", "costs"), [(0.4, False), (0.41, True)])
    def test_cpu_load_counts_above_its_low_mark(self, load: float, costs: bool) -> None:
        assert (Samples().cpu(load, load, load).since is not None) is costs

    @pytest.mark.parametrize(("free_mib", "costs"), [(4096, False), (4095, True)])
    def test_memory_counts_where_the_vm_would_not_fit(self, free_mib: int, costs: bool) -> None:
        trend = Samples().free(free_mib, free_mib, free_mib)
        assert (trend.since is not None) is costs
        assert not costs or trend.counted == 1.0

    def test_one_sample_is_enough_where_the_policy_says_so(self) -> None:
        rules = dataclasses.replace(RULES, samples_needed=1)
        assert Samples(Policy(hysteresis=rules)).network(0.5).since is not None


class TestLeaving:
    def entered(self, **rules: Any) -> Samples:
        samples = Samples(Policy(hysteresis=dataclasses.replace(RULES, **rules)))
        assert samples.network(0.6, 0.6, 0.6).since is not None
        return samples

    def test_takes_three_of_five_samples(self) -> None:
        samples = self.entered(residency_seconds=0.0)
        assert samples.network(0.0, 0.2).since is not None
        assert samples.network(0.0).since is None

    def test_what_lies_between_the_thresholds_is_no_reason(self) -> None:
        samples = self.entered(residency_seconds=0.0)
        trend = samples.network(*[0.25] * 20)
        assert (trend.since is not None, trend.counted, trend.lingers) == (True, 0.6, True)

    def test_takes_the_residency_at_least(self) -> None:
        samples = self.entered(residency_seconds=60.0)
        assert samples.network(0.0, 0.0, 0.0, 0.0, 0.0).since is not None
        assert samples.network(0.0).since is None

    def test_time_alone_ends_it_once_the_samples_are_good(self) -> None:
        samples = self.entered(residency_seconds=600.0)
        trend = samples.network(*[0.0] * 8)
        assert trend.since is not None
        [end] = trend_dues(samples.trends, samples.policy)
        assert end == trend.since + 600.0
        for then, left in ((end - 0.01, False), (end, True)):
            trends = follow_trends(samples.trends, seen(now=then), samples.policy)
            assert (trends.network.since is None) is left

    def test_a_bridge_that_is_up_again(self) -> None:
        samples = Samples()
        assert samples.bridge(*[False] * 8, True, True, True).since is None

    def test_nothing_measured_ends_no_penalty(self) -> None:
        samples = Samples()
        samples.take(network_share_lost=0.6, bridge_up=False, cpu_load=0.6, memory_free_mib=0)
        samples.take(network_share_lost=0.6, bridge_up=False, cpu_load=0.6, memory_free_mib=0)
        before = samples.take(
            network_share_lost=0.6, bridge_up=False, cpu_load=0.6, memory_free_mib=0
        )
        assert all(trend.since is not None for trend in vars(before).values())
        for _ in range(20):
            assert samples.take() is before

    def test_cpu_load_has_to_fall_below_the_mark_where_it_counts(self) -> None:
        samples = Samples()
        samples.cpu(*[0.6] * 10)
        assert samples.cpu(*[0.4] * 10).since is not None
        assert samples.cpu(0.35, 0.35).since is not None
        assert samples.cpu(0.35).since is None

    def test_free_memory_has_to_have_a_margin(self) -> None:
        samples = Samples()
        samples.free(*[4000] * 8)
        assert samples.free(*[4400] * 10).since is not None
        assert samples.free(4506, 4506, 4506).since is None

    def test_a_vm_that_is_here_has_its_memory(self) -> None:
        samples = Samples()
        samples.free(0, 0, 0)
        samples.take(vm=VmCondition.UP, memory_free_mib=0)
        assert samples.trends.memory == Trend()
        assert samples.free(0, 0).since is None, "the samples count anew when it is gone"


class TestWhatIsCounted:
    def test_stays_while_the_value_moves_a_little(self) -> None:
        samples = Samples()
        samples.cpu(0.6, 0.6, 0.6)
        for load in (0.65, 0.55, 0.69, 0.51) * 5:
            assert samples.cpu(load).counted == 0.6

    def test_follows_when_the_value_has_moved_by_a_step(self) -> None:
        samples = Samples()
        samples.cpu(0.6, 0.6, 0.6)
        assert samples.cpu(0.9, 0.9).counted == 0.6
        assert samples.cpu(0.9).counted == 0.9

    def test_a_step_is_enough_by_the_hundredth(self) -> None:
        samples = Samples()
        samples.cpu(0.6, 0.6, 0.6)
        step = RULES.step
        assert samples.cpu(*[0.6 + step - 0.01] * 5).counted == 0.6
        assert samples.cpu(*[0.6 + step] * 5).counted == 0.6 + step

    def test_begins_with_the_median_and_with_what_is_beyond_the_threshold(self) -> None:
        assert Samples().network(0.5, 0.6, 0.7).counted == 0.6
        rules = dataclasses.replace(RULES, samples_needed=2)
        trend = Samples(Policy(hysteresis=rules)).network(*[RULES.network_enter] * 3, 0.7, 0.6)
        assert trend.counted == 0.6

    def test_lingers_from_the_threshold_itself(self) -> None:
        samples = Samples()
        samples.cpu(*[0.6] * 5)
        assert not samples.cpu(*[0.41] * 5).lingers
        assert samples.cpu(*[0.4] * 5).lingers

    def test_one_wild_sample_moves_nothing(self) -> None:
        samples = Samples()
        samples.cpu(*[0.6] * 5)
        assert samples.cpu(1.0).counted == 0.6
        assert samples.cpu(*[0.6] * 4, 0.0).counted == 0.6


class TestRest:
    def test_equal_samples_leave_all_as_it_is(self) -> None:
        """The very same object, so that nobody has to decide on it."""
        samples = Samples()
        for _ in range(5):
            samples.take(network_share_lost=0.0, bridge_up=True, cpu_load=0.1)
        before = samples.trends
        for load in (0.1, 0.2, 0.35, 0.0):
            samples.take(network_share_lost=0.2, bridge_up=True, cpu_load=load)
            assert samples.trends is before

    @given(
        st.lists(st.tuples(st.floats(0.0, 1.0), st.booleans(), st.floats(0.0, 1.0)), max_size=30)
    )
    def test_a_penalty_has_had_its_samples(self, row: list[tuple[float, bool, float]]) -> None:
        samples = Samples()
        for share, up, load in row:
            before = samples.trends
            after = samples.take(network_share_lost=share, bridge_up=up, cpu_load=load)
            for name, enter, leave in (
                ("network", RULES.network_enter, RULES.network_leave),
                ("bridge", 0.5, 0.5),
                ("cpu_load", POLICY.weights.cpu_load_low, RULES.cpu_load_leave),
            ):
                was: Trend = getattr(before, name)
                now: Trend = getattr(after, name)
                assert len(now.values) <= RULES.samples_kept
                if was.since is None and now.since is not None:
                    assert sum(value > enter for value in now.values) >= RULES.samples_needed
                    assert now.counted > enter
                if was.since is not None and now.since is None:
                    assert sum(value <= leave for value in now.values) >= RULES.samples_needed
                    assert samples.now - was.since >= RULES.residency_seconds


def test_a_definition_of_another_size_is_judged_anew() -> None:
    samples = Samples()
    samples.free(*[5000] * 5)
    small = DefinitionView(available=True, memory_mib=8192)
    trends = samples.trends
    for number in range(1, 4):
        then = samples.now + 10.0 * number
        facts = HostFacts(memory_free_mib=5000, memory_at=then)
        picture = seen(now=then, facts=facts, definition=small)
        trends = follow_trends(trends, picture, POLICY)
    assert trends.memory.since is not None


@pytest.mark.parametrize(
    ("network", "lost", "good"),
    [
        (Trend(), False, False),
        (Trend(values=(0.2,)), False, True),
        (Trend(values=(1.0,), since=NOW), True, False),
        (Trend(values=(0.2,), since=NOW, lingers=True), False, False),
    ],
    ids=["untested", "good", "lost", "better now"],
)
def test_the_network_is_lost_good_or_neither(network: Trend, lost: bool, good: bool) -> None:
    trends = Trends(network=network)
    assert (trends.network_lost, trends.network_good) == (lost, good)
