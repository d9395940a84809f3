# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses

import pytest

from ha_agent.broker.lease.rhythm import QUICK_SECONDS, RenewalRhythm
from ha_agent.broker.lease.rules import HELD, LeaseRecord
from ha_agent.instant import Instant

RECORD = LeaseRecord(HELD, 1, "alpha", "instance", "vm", epoch=1, counter=0, note="")
LOOK_SECONDS = 0.01


def follow(
    renewals: list[float], until_seconds: float, interval_seconds: float = 3.0
) -> tuple[list[float], dict[int, float]]:
    """Look as the rhythm says at an owner that renews at these times; return the times of the
    looks, and when each renewal was seen first."""
    rhythm = RenewalRhythm(interval_seconds)
    now = Instant(0.0)
    looks: list[float] = []
    seen: dict[int, float] = {}
    while now.boottime_seconds < until_seconds:
        sent = now
        counter = sum(1 for at in renewals if at <= sent.boottime_seconds)
        now = now + LOOK_SECONDS
        rhythm.looked(dataclasses.replace(RECORD, counter=counter), sent, now)
        looks.append(sent.boottime_seconds)
        seen.setdefault(counter, now.boottime_seconds)
        now = now + rhythm.pause_seconds(now)
    return looks, seen


@pytest.mark.parametrize("phase", [0.0, 0.7, 1.5, 2.9])
@pytest.mark.parametrize("period", [3.0, 3.01, 3.05])
def test_each_renewal_is_seen_soon_and_few_looks_are_spent(phase: float, period: float) -> None:
    renewals = [phase + period * n for n in range(1, 40)]
    looks, seen = follow(renewals, 39 * period)
    late = [seen[n] - at for n, at in enumerate(renewals, start=1) if n in seen and n > 1]
    assert max(late) <= QUICK_SECONDS + 2 * LOOK_SECONDS
    assert len(looks) / 39 < 4.5  # one look each QUICK_SECONDS would be 14


def test_a_renewal_that_comes_early_is_followed_from_its_new_time() -> None:
    renewals = [3.0 * n for n in range(1, 10)] + [28.4 + 3.0 * n for n in range(0, 10)]
    _looks, seen = follow(renewals, 55.0)
    late = [seen[n] - at for n, at in enumerate(renewals, start=1) if n in seen]
    # The one that came early was not expected then; all after it are seen soon again.
    assert max(late[11:]) <= QUICK_SECONDS + 2 * LOOK_SECONDS


def test_an_owner_that_died_is_looked_at_all_the_time() -> None:
    renewals = [3.0, 6.0, 9.0]
    looks, _seen = follow(renewals, 24.0)
    after = [look for look in looks if look > 13.0]
    assert max(b - a for a, b in zip(after, after[1:])) <= QUICK_SECONDS + 2 * LOOK_SECONDS


def test_short_leases_have_short_steps() -> None:
    renewals = [0.3 * n for n in range(1, 50)]
    _looks, seen = follow(renewals, 14.0, interval_seconds=0.3)
    late = [seen[n] - at for n, at in enumerate(renewals, start=1) if n in seen and n > 2]
    assert max(late) <= 0.06


class TestEdges:
    """The figures themselves, each at its edge."""

    @staticmethod
    def renewed(interval_seconds: float, gap_seconds: float) -> RenewalRhythm:
        """Return a rhythm whose renewal was seen this long after the look before was sent,
        which was at 100."""
        rhythm = RenewalRhythm(interval_seconds)
        rhythm.looked(RECORD, Instant(100.0), Instant(100.0))
        at = Instant(100.0) + gap_seconds
        rhythm.looked(dataclasses.replace(RECORD, counter=1), at, at)
        return rhythm

    @pytest.mark.parametrize(
        ("interval_seconds", "pause_seconds"), [(30.0, 0.2), (3.0, 0.2), (1.25, 0.125)]
    )
    def test_the_step_while_no_rhythm_is_known(
        self, interval_seconds: float, pause_seconds: float
    ) -> None:
        rhythm = RenewalRhythm(interval_seconds)
        assert rhythm.pause_seconds(Instant(7.0)) == pytest.approx(pause_seconds)

    @pytest.mark.parametrize(
        ("interval_seconds", "early_seconds"), [(30.0, 0.05), (6.0, 0.05), (1.2, 0.02)]
    )
    def test_the_next_look_is_a_little_early(
        self, interval_seconds: float, early_seconds: float
    ) -> None:
        rhythm = self.renewed(interval_seconds, 0.0)
        pause_seconds = rhythm.pause_seconds(Instant(100.0))
        assert pause_seconds == pytest.approx(interval_seconds - early_seconds)

    def test_a_renewal_three_steps_after_the_look_before_is_still_exact(self) -> None:
        # 1.25 s makes steps of 0.125 s, which floats hold to the last bit.
        exact, not_exact = self.renewed(1.25, 0.375), self.renewed(1.25, 0.376)
        assert exact.pause_seconds(Instant(100.5)) > 0.5
        assert not_exact.pause_seconds(Instant(100.5)) == 0.125
