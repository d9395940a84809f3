# SPDX-License-Identifier: Apache-2.0
"""Each penalty by itself, with value and cause; who has no points at all; the minimum of 1."""

from __future__ import annotations

from typing import Any, Optional

import pytest
from hypothesis import given

from ha_agent.fsm.memory import Memory
from ha_agent.fsm.observation import (
    DefinitionView,
    HostFacts,
    Observation,
    PeerView,
    VmCondition,
    VmExit,
)
from ha_agent.fsm.policy import Policy, ScoreWeights
from ha_agent.fsm.score import Penalty, Score, score
from ha_agent.fsm.state import State
from ha_agent.fsm.trends import Trend, Trends, follow_trends
from tests.fsm.pictures import NOW, failed, observations, peer, seen, states_with_memory

POLICY = Policy()
ZERO = {
    State.START: "the agent has not looked at everything yet",
    State.UNKNOWN_LOCAL_VM: "VDSM does not answer",
    State.LOCAL_MAINTENANCE: "local maintenance",
    State.LOCAL_MAINTENANCE_MIGRATE_VM: "local maintenance",
    State.ENGINE_UNEXPECTEDLY_DOWN: "the engine VM failed here too often",
    State.AGENT_STOPPED: "the agent is stopped",
}
OTHERS = [state for state in State if state not in ZERO]


def of(
    picture: Observation,
    failures: int = 0,
    state: State = State.ENGINE_DOWN,
    trends: Optional[Trends] = None,
) -> Score:
    return score(state, failed(failures, trends=trends or Trends()), picture, POLICY)


def measured(**facts: Any) -> Trends:
    """Return the trends after three such samples; no facts: nothing was measured."""
    trends = Trends()
    for number in range(3):
        now = NOW + 10.0 * number
        times: Any = dict.fromkeys(("network_at", "bridge_at", "cpu_at", "memory_at"), now)
        picture = seen(now=now, facts=HostFacts(**facts, **times))
        trends = follow_trends(trends, picture, POLICY)
    return trends


def loss(
    picture: Observation, failures: int = 0, trends: Optional[Trends] = None
) -> Optional[Penalty]:
    """Return the only penalty, having checked that the points agree with it."""
    result = of(picture, failures, trends=trends)
    if not result.penalties:
        assert result.points == 3400
        return None
    [penalty] = result.penalties
    assert result.points == 3400 - penalty.points
    return penalty


class TestNoPoints:
    @pytest.mark.parametrize(("state", "cause"), ZERO.items())
    def test_states_that_must_not_be_chosen(self, state: State, cause: str) -> None:
        picture = seen(peers=(peer(),))
        assert of(picture, state=state) == Score(0, (Penalty("unable", 3400, cause),))

    @pytest.mark.parametrize("peers", [(), (peer(score=0),), (peer(maintenance=True),)])
    def test_a_last_host_is_never_without_points(self, peers: tuple[PeerView, ...]) -> None:
        """The VM failed here too often, and nobody else is able: it goes on trying."""
        result = of(seen(peers=peers), 5, state=State.ENGINE_UNEXPECTEDLY_DOWN)
        assert result.points == 3400 - 250

    @pytest.mark.parametrize("state", OTHERS)
    def test_no_other_state_costs_points(self, state: State) -> None:
        assert of(seen(), state=state) == Score(3400)

    @pytest.mark.parametrize("state", OTHERS)
    def test_local_maintenance_in_any_state(self, state: State) -> None:
        result = of(seen(local_maintenance=True), state=state)
        assert result == Score(0, (Penalty("unable", 3400, "local maintenance"),))

    @pytest.mark.parametrize(
        ("problem", "cause"),
        [
            ("", "no definition of the engine VM"),
            ("torn", "no definition of the engine VM: torn"),
        ],
    )
    def test_without_a_definition(self, problem: str, cause: str) -> None:
        result = of(seen(definition=DefinitionView(problem=problem)))
        assert result == Score(0, (Penalty("unable", 3400, cause),))

    def test_the_state_is_the_first_cause_to_be_named(self) -> None:
        picture = seen(local_maintenance=True, definition=DefinitionView())
        result = of(picture, state=State.UNKNOWN_LOCAL_VM)
        assert [penalty.cause for penalty in result.penalties] == ["VDSM does not answer"]
        result = of(picture)
        assert [penalty.cause for penalty in result.penalties] == ["local maintenance"]


class TestNetwork:
    @pytest.mark.parametrize(
        ("share", "points", "cause"),
        [
            (0.4, 640, "40% of the network samples lost"),
            (0.75, 1200, "75% of the network samples lost"),
            (1.0, 1600, "100% of the network samples lost"),
        ],
    )
    def test_costs_its_share(self, share: float, points: int, cause: str) -> None:
        assert loss(seen(), trends=measured(network_share_lost=share)) == Penalty(
            "network", points, cause
        )

    @pytest.mark.parametrize("share", [None, 0.0, 0.2, 0.33])
    def test_nothing_lost_or_measured_costs_nothing(self, share: Optional[float]) -> None:
        assert loss(seen(), trends=measured(network_share_lost=share)) is None


class TestBridge:
    def test_costs_when_it_is_down(self) -> None:
        expected = Penalty("bridge", 600, "the management bridge is down")
        assert loss(seen(), trends=measured(bridge_up=False)) == expected

    @pytest.mark.parametrize("up", [None, True])
    def test_up_or_not_measured_costs_nothing(self, up: Optional[bool]) -> None:
        assert loss(seen(), trends=measured(bridge_up=up)) is None


class TestCpuLoad:
    @pytest.mark.parametrize(
        ("load", "points"),
        [(0.41, 20), (0.5, 200), (0.65, 500), (0.9, 1000), (0.95, 1000), (1.0, 1000)],
    )
    def test_costs_from_40_to_90_percent(self, load: float, points: int) -> None:
        expected = Penalty("CPU load", points, f"{load:.0%} of all CPUs in use")
        assert loss(seen(), trends=measured(cpu_load=load)) == expected

    @pytest.mark.parametrize("load", [None, 0.0, 0.39, 0.4, 0.4001])
    def test_a_usual_load_costs_nothing(self, load: Optional[float]) -> None:
        assert loss(seen(), trends=measured(cpu_load=load)) is None


class TestMemory:
    @pytest.mark.parametrize("condition", [VmCondition.ABSENT, VmCondition.DOWN])
    def test_costs_when_the_vm_would_not_fit(self, condition: VmCondition) -> None:
        expected = Penalty("memory", 400, "4095 MiB free, the engine VM needs 4096")
        assert loss(seen(condition), trends=measured(memory_free_mib=4095)) == expected

    @pytest.mark.parametrize("free_mib", [None, 4096, 9000])
    def test_enough_or_not_measured_costs_nothing(self, free_mib: Optional[int]) -> None:
        assert loss(seen(), trends=measured(memory_free_mib=free_mib)) is None


class TestHeld:
    """A penalty whose samples are better says what it waits for, and keeps its points."""

    @pytest.mark.parametrize(
        ("trends", "name", "points", "words"),
        [
            (
                Trends(network=Trend((0.2,), NOW, NOW, 0.6, True)),
                "network",
                960,
                ("60% of the network samples lost; better now", "at most 20% in 3 of 5 samples"),
            ),
            (
                Trends(bridge=Trend((0.5,), NOW, NOW, 1.0, True)),
                "bridge",
                600,
                ("the management bridge was down; better now", "was up in 3 of 5"),
            ),
            (
                Trends(cpu_load=Trend((0.35,), NOW, NOW, 0.65, True)),
                "CPU load",
                500,
                ("65% of all CPUs in use; better now", "at most 35%", "for 60 s at least"),
            ),
            (
                Trends(memory=Trend((-400.0,), NOW, NOW, 96.0, True)),
                "memory",
                400,
                ("4000 MiB free, the engine VM needs 4096; better now", "well above that"),
            ),
        ],
        ids=["network", "bridge", "cpu", "memory"],
    )
    def test_is_said(self, trends: Trends, name: str, points: int, words: tuple[str, ...]) -> None:
        penalty = loss(seen(), trends=trends)
        assert penalty is not None
        assert (penalty.name, penalty.points) == (name, points)
        for word in words:
            assert word in penalty.cause


class TestDefinition:
    @pytest.mark.parametrize(
        ("problem", "cause"),
        [("", "the store could not be read lately"), ("EIO at 512", "EIO at 512")],
    )
    def test_a_stale_one_costs(self, problem: str, cause: str) -> None:
        view = DefinitionView(available=True, stale=True, problem=problem)
        expected = Penalty("stale definition", 1000, cause)
        assert loss(seen(definition=view)) == expected


class TestRetries:
    @pytest.mark.parametrize(
        ("failures", "points", "cause"),
        [
            (1, 50, "1 failure of the engine VM here lately"),
            (4, 200, "4 failures of the engine VM here lately"),
        ],
    )
    def test_each_failure_costs(self, failures: int, points: int, cause: str) -> None:
        assert loss(seen(), failures) == Penalty("retries", points, cause)


@pytest.mark.parametrize(
    ("weights", "trends"),
    [
        (ScoreWeights(retry=0), Trends()),
        # Entered above another low mark than the one that the weights have now.
        (ScoreWeights(retry=0), Trends(cpu_load=Trend((0.35,), NOW, NOW, 0.35))),
        (ScoreWeights(retry=0, bridge=0), Trends(bridge=Trend((1.0,), NOW, NOW, 1.0))),
    ],
    ids=["retries", "CPU load below its low mark", "bridge"],
)
def test_what_costs_nothing_is_no_penalty(weights: ScoreWeights, trends: Trends) -> None:
    memory = failed(2, trends=trends)
    assert score(State.ENGINE_DOWN, memory, seen(), Policy(weights=weights)) == Score(3400)


ALL_AT_ONCE = seen(definition=DefinitionView(available=True, stale=True, memory_mib=4096))
ALL_MEASURED = measured(network_share_lost=1.0, bridge_up=False, cpu_load=1.0, memory_free_mib=1)


class TestTogether:
    def test_penalties_add_up_and_keep_their_names(self) -> None:
        trends = measured(network_share_lost=0.5, bridge_up=False, cpu_load=0.65)
        result = of(seen(), failures=2, trends=trends)
        assert [(p.name, p.points) for p in result.penalties] == [
            ("network", 800),
            ("bridge", 600),
            ("CPU load", 500),
            ("retries", 100),
        ]
        assert result.points == 3400 - 2000

    def test_a_bad_host_is_still_better_than_none(self) -> None:
        result = of(ALL_AT_ONCE, failures=4, trends=ALL_MEASURED)
        assert sum(penalty.points for penalty in result.penalties) == 4800
        assert len(result.penalties) == 6
        assert result.points == 1

    def test_the_minimum_also_holds_where_nothing_is_left_exactly(self) -> None:
        weights = ScoreWeights(base=600)
        memory = Memory(trends=measured(bridge_up=False))
        result = score(State.ENGINE_DOWN, memory, seen(), Policy(weights=weights))
        assert result.points == 1

    def test_weights_are_the_policys(self) -> None:
        weights = ScoreWeights(
            base=100, network=7, cpu_load=6, bridge=5, memory=4, stale_definition=3, retry=2
        )
        memory = failed(1, trends=ALL_MEASURED)
        result = score(State.ENGINE_DOWN, memory, ALL_AT_ONCE, Policy(weights=weights))
        assert [penalty.points for penalty in result.penalties] == [7, 5, 6, 4, 3, 2]
        assert result.points == 73

    @given(states_with_memory(), observations)
    def test_every_lost_point_is_named(
        self, stand: tuple[State, Memory], picture: Observation
    ) -> None:
        state, memory = stand
        result = score(state, memory, picture, POLICY)
        lost = sum(penalty.points for penalty in result.penalties)
        unable = [penalty.name for penalty in result.penalties] == ["unable"]
        assert result.points == (0 if unable else max(1, 3400 - lost))
        assert all(penalty.name and penalty.cause for penalty in result.penalties)
        assert all(penalty.points >= 0 for penalty in result.penalties)
        if not unable:
            assert state is State.ENGINE_UNEXPECTEDLY_DOWN or state not in ZERO
            assert picture.definition.available


def test_how_the_vm_ended_is_no_matter_of_the_score() -> None:
    """A crash counts through the failures, once; the record that it leaves costs nothing."""
    for ended in VmExit:
        assert of(seen(VmCondition.DOWN, exit=ended)) == Score(3400)
