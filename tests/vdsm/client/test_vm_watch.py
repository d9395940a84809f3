# SPDX-License-Identifier: Apache-2.0
"""Events and answers in every order: what is news is looked at, what is not costs nothing."""

from __future__ import annotations

from typing import Any, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha_agent.vdsm.client.vm_watch import VmWatch
from ha_agent.vdsm.jsonrpc import Event
from ha_agent.vdsm.vm_status import VmStats, VmStatus

VM = "22222222-2222-2222-2222-222222222222"
OTHER = "33333333-3333-3333-3333-333333333333"
BOOT = 2**31


def event(status: str = "Up", at: Any = BOOT, vm_id: str = VM, kind: str = "VM_status") -> Event:
    params = {vm_id: {"status": status}}
    if at is not None:
        params["notify_time"] = at
    return Event(f"|virt|{kind}|{vm_id}", params)


def stats(at: Optional[int], status: VmStatus = VmStatus.UP) -> VmStats:
    return VmStats(VM, status, status.value, vdsm_clock_ms=at)


def answered(at: Optional[int]) -> VmWatch:
    watch, is_old = VmWatch(VM).answer(stats(at), 0)
    assert not is_old
    return watch


@pytest.mark.parametrize(
    ("heard", "is_news"),
    [
        (event("Down", BOOT + 1), True),
        (event("Up", BOOT + 1), True),  # it may have ended and begun again meanwhile
        (event("Down", BOOT), True),  # equal times tell nothing
        (event("Down", str(BOOT + 1)), True),
        (event("Down", str(BOOT - 1)), False),
        (event("Down", BOOT - 1), False),
        (event("Down", None), True),
        (event("Down", "soon"), True),
        (event("Down", BOOT + 1, OTHER), False),
        (event("Down", BOOT + 1, kind="VM_migration_status"), False),
        (Event(f"|virt|VM_status|{VM}", ["odd"]), True),
        (Event("|net|host_conn|no_id", {}), False),
    ],
)
def test_what_is_news_after_an_answer(heard: Event, is_news: bool) -> None:
    assert answered(BOOT).event(heard)[1] is is_news


def test_an_event_before_any_answer_is_news() -> None:
    """As one that comes before the answer to VM.create."""
    assert VmWatch(VM).event(event("WaitForLaunch"))[1]


def test_the_same_event_again_is_no_news() -> None:
    watch, first = answered(BOOT).event(event("Down", BOOT + 5))
    assert first
    assert watch.event(event("Down", BOOT + 5)) == (watch, False)
    assert watch.event(event("Down", BOOT + 6))[1]


def test_an_event_of_an_earlier_life_is_news_of_nothing_once_the_new_one_was_seen() -> None:
    watch = answered(BOOT + 100)
    assert watch.event(event("Down", BOOT + 50)) == (watch, False)


def test_times_of_another_boot_are_not_compared() -> None:
    watch = answered(BOOT + 10**9)
    assert not watch.event(event("Down", BOOT + 5))[1]
    assert watch.connected().event(event("Down", BOOT + 5))[1]


def test_no_such_vm_forgets_the_time_of_the_vm_before() -> None:
    watch, is_old = answered(BOOT + 100).answer(None, 1)
    assert not is_old
    assert watch.event(event("WaitForLaunch", BOOT + 50))[1]


def test_of_two_answers_under_way_together_the_older_one_is_overtaken() -> None:
    watch, first_old = VmWatch(VM).answer(stats(BOOT + 10, VmStatus.DOWN), 0)
    assert not first_old
    assert watch.answer(stats(BOOT + 5), 0) == (watch, True)
    assert watch.answer(stats(BOOT + 10), 0)[1] is False
    assert watch.answer(stats(None), 0)[1] is False
    assert watch.answer(stats(BOOT + 5), watch.answers)[1] is False, "asked for after the other"


times = st.none() | st.integers(BOOT, BOOT + 20)


@given(st.lists(st.tuples(st.booleans(), times, st.sampled_from(["Up", "Down"]))))
def test_an_event_that_no_answer_has_told_is_always_news_once(
    heard: list[tuple[bool, Optional[int], str]],
) -> None:
    """Of all that comes after the newest answer: the first event of its kind is looked at."""
    watch = VmWatch(VM)
    for is_answer, at, status in heard:
        if is_answer:
            watch, _old = watch.answer(stats(at), watch.answers)
            continue
        before = watch
        watch, is_news = watch.event(event(status, at))
        if at is None or before.clock_ms is None or at >= before.clock_ms:
            told = before.told
            same = told is not None and (told.vdsm_clock_ms, told.status_text) == (at, status)
            assert is_news is not (same and at is not None)
