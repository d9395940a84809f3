# SPDX-License-Identifier: Apache-2.0
"""The predecessor's constants, added up."""

from __future__ import annotations

from lab.peers import predecessor
from lab.peers.predecessor import GUEST_CRASH, POWER_CUT, SUMS, Sum, Term


def test_a_sum_is_that_of_its_terms() -> None:
    one = Sum("x", (Term("a", -2, 0, "s"), Term("b", 5, 7, "s")), "")
    assert (one.least_seconds, one.most_seconds) == (3, 7)


def test_a_dead_host_costs_what_sanlock_and_a_loop_take() -> None:
    # facts: host_dead is 140 s with the defaults; 120 to 160 s after the crash.
    assert predecessor.HOST_DEAD == 140
    assert (POWER_CUT.least_seconds, POWER_CUT.most_seconds) == (120, 170)


def test_the_alive_timeout_runs_beside_sanlocks_and_ends_before_it() -> None:
    noticed_by = predecessor.HOST_ALIVE_TIMEOUT + 3 * predecessor.LOOP_DELAY
    assert noticed_by < POWER_CUT.least_seconds


def test_a_dead_guest_costs_four_pollers_at_most() -> None:
    assert (GUEST_CRASH.least_seconds, GUEST_CRASH.most_seconds) == (0, 40)


def test_each_term_says_what_it_is_and_where_it_is_from() -> None:
    for one in SUMS:
        assert one.published
        for term in one.terms:
            assert term.what
            assert term.source
            assert term.least_seconds <= term.most_seconds
