# SPDX-License-Identifier: Apache-2.0
"""Which copy is written when, how, and under which date."""

from __future__ import annotations

from dataclasses import replace
from typing import Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha_agent.broker.store import plan as store_plan
from ha_agent.broker.store.check import CopyCheck, StoreVerdict
from ha_agent.errors import EnvironmentFault
from ha_agent.instant import WallTime
from ha_agent.ovfstore.locate import (
    StoreCopy,
    StoreDescription,
    format_description,
    java_date_text,
    order_copies,
    parse_description,
)

DAY = 86400.0
NOON = WallTime(1795262400.0)
MEMBERS = (("info.json", 138), ("a.ovf", 5))


def copy(
    name: str,
    *,
    at: Optional[float] = 0.0,
    updated: bool = True,
    members: Optional[tuple[tuple[str, int], ...]] = MEMBERS,
    problem: str = "",
) -> CopyCheck:
    """Return a copy dated `at` seconds from noon (None: never), whole with `members`."""
    text = None if at is None else java_date_text(NOON + at)
    description = format_description(
        storage_domain_uuid="sd",
        updated=updated,
        last_updated_text=text,
        size_bytes=4096 if updated else None,
    )
    ranked = order_copies([StoreCopy("image", name, description)])[0]
    if not updated:
        return CopyCheck(ranked, problem=ranked.reason)
    return CopyCheck(ranked, members, b"x", None, problem)


def steps(*copies: CopyCheck) -> list[tuple[str, str]]:
    """Return what is done to each copy: in place, from which one, or anew."""
    planned = store_plan.plan(StoreVerdict(copies, ()))
    return [
        (
            step.copy.volume_uuid,
            "in place"
            if step.size_bytes is not None
            else f"from {step.source.copy.volume_uuid}"
            if step.source
            else "anew",
        )
        for step in planned
    ]


def test_the_best_copy_is_written_last_and_both_where_they_stand() -> None:
    assert steps(copy("a"), copy("b")) == [("b", "in place"), ("a", "in place")]


def test_a_copy_of_another_update_is_made_from_the_best() -> None:
    assert steps(copy("a"), copy("b", at=-DAY)) == [("b", "from a"), ("a", "in place")]
    # The same date alone does not make it the same update.
    other = copy("b", members=(*MEMBERS, ("b.ovf", 1)))
    assert steps(copy("a"), other) == [("b", "from a"), ("a", "in place")]


def test_a_copy_that_is_not_good_is_made_from_the_best_good_one() -> None:
    without = copy("a", problem="no member")
    assert steps(without, copy("b", at=-DAY)) == [("a", "from b"), ("b", "in place")]
    torn = copy("b", updated=False)
    assert steps(copy("a"), torn) == [("b", "from a"), ("a", "in place")]
    damaged = copy("a", members=None, problem="torn")
    assert steps(damaged, copy("b", at=-DAY)) == [("a", "from b"), ("b", "in place")]


def test_other_vms_are_kept_when_no_copy_has_ours() -> None:
    one, two = copy("a", problem="no member"), copy("b", problem="no member")
    assert steps(one, two) == [("b", "from a"), ("a", "in place")]


def test_a_copy_that_can_not_be_read_matters_when_it_may_be_the_newest() -> None:
    fault = EnvironmentFault("EIO")

    def failing(at: float) -> CopyCheck:
        return replace(copy("z", at=at), members=None, document=None, problem="EIO", fault=fault)

    def newest(*copies: CopyCheck) -> Optional[EnvironmentFault]:
        return store_plan.fault_of_newest(StoreVerdict(copies, ()))

    assert newest(failing(DAY), copy("a")) is fault
    assert newest(failing(0.0), copy("a")) is None
    assert newest(copy("a"), failing(-DAY)) is None
    assert newest(copy("a", problem="no member"), failing(-DAY)) is fault
    assert newest(copy("a"), copy("b", at=-DAY)) is None


def test_a_new_store_is_written_anew() -> None:
    one, two = copy("a", at=None, updated=False), copy("b", at=None, updated=False)
    assert store_plan.refuse(StoreVerdict((one, two), ())) is None
    assert steps(one, two) == [("b", "anew"), ("a", "anew")]


def test_the_old_date_stays_in_the_description_meanwhile() -> None:
    planned = store_plan.plan(StoreVerdict((copy("a"), copy("b", at=-DAY, updated=False)), ()))
    assert [step.old_date for step in planned] == [
        java_date_text(NOON + -DAY),
        java_date_text(NOON),
    ]


@pytest.mark.parametrize(
    ("copies", "code"),
    [
        ((), "no_store"),
        ((copy("a"),), "one_copy"),
        ((copy("a", updated=False), copy("b", at=None, updated=False)), "no_whole_copy"),
        ((copy("a", members=None, problem="torn"),) * 2, "no_whole_copy"),
        ((copy("a"), copy("b", updated=False)), None),
        ((copy("a", at=None, updated=False),) * 2, None),
    ],
)
def test_what_cannot_be_written_safely_is_refused(
    copies: tuple[CopyCheck, ...], code: Optional[str]
) -> None:
    refusal = store_plan.refuse(StoreVerdict(copies, ()))
    assert (refusal.code if refusal else None) == code


def test_the_date_is_now() -> None:
    older = copy("a", at=-DAY).ranked.description
    assert store_plan.date_after(NOON, [older, None, StoreDescription(False)]) == java_date_text(
        NOON
    )


def test_the_date_follows_an_engine_that_is_ahead_in_its_zone() -> None:
    text = "Sat Nov 28 23:59:59 IST 2026"
    ahead = parse_description(
        format_description(
            storage_domain_uuid="sd", updated=True, last_updated_text=text, size_bytes=1
        ),
        where="",
    )
    assert store_plan.date_after(NOON, [ahead]) == "Sun Nov 29 00:00:00 IST 2026"


# From the year 2000 to 2090.
dates = st.integers(946684800, 3786912000).map(lambda seconds: WallTime(float(seconds)))


@given(dates, st.lists(dates, max_size=4))
def test_the_date_is_later_than_all(now: WallTime, others: list[WallTime]) -> None:
    def described(text: str) -> StoreDescription:
        return parse_description(
            format_description(
                storage_domain_uuid="sd", updated=True, last_updated_text=text, size_bytes=1
            ),
            where="",
        )

    theirs = [described(java_date_text(other).replace("UTC", "CEST")) for other in others]
    new = described(store_plan.date_after(now, theirs)).last_updated
    assert new is not None
    for their in theirs:
        assert their.last_updated is not None
        assert new > their.last_updated
