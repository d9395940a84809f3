# SPDX-License-Identifier: Apache-2.0
"""What a picture says of itself; above all, that what was not seen claims nothing."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from ha_agent.fsm.observation import (
    Health,
    HealthView,
    LeaseCondition,
    Observation,
    Outcome,
    OutcomeCode,
    VmCondition,
)
from tests.fsm.pictures import NOW, peer


class TestNothingSeen:
    """An observation of nothing leads to nothing: unknown is neither good nor bad."""

    picture = Observation(NOW, 1)

    def test_everything_is_unknown(self) -> None:
        assert self.picture.vm.condition is VmCondition.UNKNOWN
        assert self.picture.lease.condition is LeaseCondition.UNKNOWN
        assert self.picture.health.health is Health.UNKNOWN
        assert self.picture.global_maintenance is None
        assert self.picture.published_score is None
        assert set(dataclasses.astuple(self.picture.facts)) == {None}

    def test_nothing_is_wished_or_there(self) -> None:
        assert not self.picture.local_maintenance
        assert not self.picture.stop_requested
        assert not self.picture.definition.available
        assert self.picture.lease.available_since is None
        assert self.picture.peers == ()
        assert self.picture.outcomes == ()


class TestPeer:
    def test_is_able_when_nothing_is_against_it(self) -> None:
        assert peer().able
        assert peer(score=1).able
        assert peer(vm_up=True).able

    @pytest.mark.parametrize(
        "fault", [{"alive": False}, {"score": 0}, {"maintenance": True}, {"stopped": True}]
    )
    def test_is_not_able_for_each_single_fault(self, fault: dict[str, Any]) -> None:
        assert not peer(**fault).able


class TestHealthOfAVm:
    @pytest.mark.parametrize("health", [Health.GOOD, Health.BAD])
    @pytest.mark.parametrize("age_seconds", [0.0, 5.0])
    def test_a_sample_since_the_vm_runs_counts(self, health: Health, age_seconds: float) -> None:
        view = HealthView(health, "page", taken_at=NOW)
        assert view.of_vm_since(NOW - age_seconds) == view

    def test_a_sample_from_before_says_nothing(self) -> None:
        view = HealthView(Health.GOOD, "page", taken_at=NOW)
        assert view.of_vm_since(NOW + 0.1) == HealthView()

    def test_nothing_is_said_of_a_vm_that_does_not_run(self) -> None:
        assert HealthView(Health.GOOD, taken_at=NOW).of_vm_since(None) == HealthView()

    def test_a_sample_without_its_instant_says_nothing(self) -> None:
        assert HealthView(Health.BAD).of_vm_since(NOW) == HealthView()


@pytest.mark.parametrize("code", OutcomeCode)
def test_only_ok_is_ok(code: OutcomeCode) -> None:
    assert Outcome(1, code).ok is (code is OutcomeCode.OK)


def test_a_picture_does_not_change_under_a_decision() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Observation(NOW, 1).host_id = 2  # type: ignore[misc]
