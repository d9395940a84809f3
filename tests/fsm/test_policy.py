# SPDX-License-Identifier: Apache-2.0
"""The defaults: what operators are promised, and what must hold between the times."""

from __future__ import annotations

from ha_agent.fsm.policy import Hysteresis, Policy, ScoreWeights

POLICY = Policy()


def test_weights_are_the_predecessors() -> None:
    """So that scores of both kinds of hosts can be compared (facts/predecessor-and-peers, 1.2)."""
    assert ScoreWeights() == ScoreWeights(
        base=3400,
        network=1600,
        cpu_load=1000,
        bridge=600,
        memory=400,
        stale_definition=1000,
        retry=50,
        cpu_load_low=0.4,
        cpu_load_high=0.9,
    )
    assert POLICY.weights == ScoreWeights()


def test_times_are_what_the_documents_say() -> None:
    assert POLICY.start_timeout_seconds == 600.0
    assert POLICY.bad_health_grace_seconds == 120.0
    assert POLICY.stop_timeout_seconds == 120.0
    assert POLICY.takeover_step_seconds == 1.0
    assert POLICY.restart_backoff_seconds == (0.0, 1.0, 5.0, 15.0)
    assert POLICY.restart_window_seconds == 600.0
    assert POLICY.unexpected_down_seconds == 120.0
    assert POLICY.lease_elsewhere_pause_seconds == 10.0
    assert POLICY.page_elsewhere_seconds == 300.0
    assert POLICY.vdsm_silent_seconds == 60.0
    assert POLICY.retry_pause_seconds == 2.0


def test_restarts_wait_longer_each_time_and_fit_into_the_window() -> None:
    backoff = POLICY.restart_backoff_seconds
    assert list(backoff) == sorted(backoff)
    assert backoff[0] == 0.0  # the first restart is at once
    assert sum(backoff) < POLICY.restart_window_seconds


def test_a_host_that_gave_up_comes_back_before_its_failures_are_forgotten() -> None:
    assert POLICY.unexpected_down_seconds < POLICY.restart_window_seconds


def test_pauses_are_short_against_the_time_to_start() -> None:
    assert POLICY.lease_elsewhere_pause_seconds * 10 <= POLICY.start_timeout_seconds
    assert POLICY.retry_pause_seconds * 10 <= POLICY.stop_timeout_seconds


def test_a_better_host_is_one_that_the_predecessor_would_have_stopped_the_engine_for() -> None:
    """A lead of 800 (facts/predecessor-and-peers.md 1.2)."""
    assert POLICY.hysteresis == Hysteresis()
    assert Hysteresis().lead_enter == 800
    assert Hysteresis().lead_leave < 800


def test_a_penalty_can_not_be_entered_and_left_by_the_same_samples() -> None:
    rules = Hysteresis()
    assert rules.samples_needed * 2 > rules.samples_kept
    assert rules.network_leave < rules.network_enter
    assert rules.cpu_load_leave < POLICY.weights.cpu_load_low
    assert rules.network_leave >= 1 / 5, "one lost test of five is no reason to stay"
    assert 1 / 3 < rules.network_enter < 2 / 5, "nor one of three to begin with"
