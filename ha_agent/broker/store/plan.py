# SPDX-License-Identifier: Apache-2.0
"""What a put does to which copy, and under which date, from what the copies are worth.

It asks nobody and writes nothing: store/writer.py carries it out.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Optional

from ha_agent.broker.store.check import CopyCheck, StoreVerdict
from ha_agent.broker.store.claim import StoreRefusal
from ha_agent.errors import EnvironmentFault
from ha_agent.instant import WallTime
from ha_agent.ovfstore.locate import StoreCopy, StoreDescription, java_date_text


@dataclass(frozen=True)
class Source:
    """A whole archive: in which copy, and where it ends."""

    copy: StoreCopy
    size_bytes: int


@dataclass(frozen=True)
class Step:
    """One copy to write. `old_date` stays in its description meanwhile.

    `size_bytes` is where its archive ends, when it is changed where it stands; None when it is
    written whole, from `source`, or anew when there is no source at all.
    """

    copy: StoreCopy
    old_date: Optional[str]
    size_bytes: Optional[int]
    source: Optional[Source]


def refuse(verdict: StoreVerdict) -> Optional[StoreRefusal]:
    """Return why these copies can't be written safely, None when they can."""
    if not verdict.copies:
        return StoreRefusal(
            "no_store",
            "the storage domain has no OVF_STORE volume: `ha-agent store create` makes two",
        )
    if len(verdict.copies) == 1:
        return StoreRefusal(
            "one_copy",
            "there is only one OVF_STORE volume, and a write that is cut off would leave no OVF"
            " at all: `ha-agent store create` makes the second",
        )
    if _base(verdict) is None and not all(copy.is_empty for copy in verdict.copies):
        said = "; ".join(copy.problem for copy in verdict.copies)
        return StoreRefusal(
            "no_whole_copy",
            "none of the OVF_STORE's copies is whole, and writing one would destroy what may be"
            f" saved from it ({said}): let the engine update its OVF_STORE first",
        )
    return None


def fault_of_newest(verdict: StoreVerdict) -> Optional[EnvironmentFault]:
    """Return why a copy could not be read that may be newer than all good ones, None without one.

    Such a one is not to be overwritten for a storage's hiccup. One that is no newer is written
    whole: else a sector that can't be read would keep every change out, for ever.
    """
    good = [_calendar(check) for check in verdict.copies if check.is_good]
    for check in verdict.copies:
        if check.fault is not None and _calendar(check) > max(good, default=()):
            return check.fault
    return None


def plan(verdict: StoreVerdict) -> tuple[Step, ...]:
    """Return the steps of a put that `refuse` lets pass, in their order."""
    base = _base(verdict)
    if base is None:
        first, *others = (copy.ranked for copy in reversed(verdict.copies))
        anew = Step(first.copy, _date(first.description), None, None)
        return (anew, *(Step(one.copy, _date(one.description), None, None) for one in others))
    source = Source(base.ranked.copy, _size(base))
    steps = []
    for check in (*(copy for copy in reversed(verdict.copies) if copy is not base), base):
        in_place = check is base or (check.is_good and _same_update(check, base))
        steps.append(
            Step(
                check.ranked.copy,
                _date(check.ranked.description),
                _size(check) if in_place else None,
                None if in_place else source,
            )
        )
    return tuple(steps)


def date_after(wall: WallTime, descriptions: Iterable[Optional[StoreDescription]]) -> str:
    """Return the date of a new copy: now, but later than all that the descriptions have.

    Readers compare dates without their zones (locate.py). Where the engine's zone, or its clock,
    is ahead of ours, the new date is a second after its newest, in its zone.
    """
    text = java_date_text(wall)
    moment = datetime.datetime.fromtimestamp(int(wall.unix_seconds), datetime.timezone.utc)
    for description in descriptions:
        if description is None or description.last_updated is None:
            continue
        theirs = datetime.datetime(*description.last_updated, tzinfo=datetime.timezone.utc)
        if theirs >= moment:
            moment = theirs + datetime.timedelta(seconds=1)
            zone = (description.last_updated_text or "").split()[4]
            text = java_date_text(WallTime(moment.timestamp())).replace(" UTC ", f" {zone} ")
    return text


def _base(verdict: StoreVerdict) -> Optional[CopyCheck]:
    """Return the copy that others can be made from: the best good one, else a whole one."""
    whole = [copy for copy in verdict.copies if copy.is_whole]
    good = [copy for copy in whole if copy.is_good]
    return next(iter(good + whole), None)


def _same_update(one: CopyCheck, other: CopyCheck) -> bool:
    """Tell whether two whole copies are from one update.

    The engine makes the bytes once and dates both copies alike; so do we. Copies with other
    dates hold other versions of other VMs' OVFs, of which the older must not get a new date.
    """
    first, second = one.ranked.description, other.ranked.description
    return (
        first is not None
        and second is not None
        and first.last_updated == second.last_updated
        and one.members == other.members
    )


def _calendar(check: CopyCheck) -> tuple[int, ...]:
    description = check.ranked.description
    return () if description is None else description.last_updated or ()


def _size(check: CopyCheck) -> int:
    description = check.ranked.description
    assert description is not None  # a whole copy has a size
    assert description.size_bytes is not None
    return description.size_bytes


def _date(description: Optional[StoreDescription]) -> Optional[str]:
    return description.last_updated_text if description is not None else None
