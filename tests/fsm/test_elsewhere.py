# SPDX-License-Identifier: Apache-2.0
"""A page that is good where no VM is: whose it is, and until when."""

from __future__ import annotations

from dataclasses import replace
from typing import Optional

import pytest

from ha_agent.fsm.context import Context
from ha_agent.fsm.elsewhere import believe_page, no_engine_elsewhere, page_elsewhere, page_wanted
from ha_agent.fsm.memory import Memory
from ha_agent.fsm.observation import Health, HealthView, VmCondition
from ha_agent.fsm.policy import Policy
from ha_agent.fsm.sight import Sight
from ha_agent.instant import Instant
from tests.fsm.pictures import NOW, seen

REFUSED = Memory(state_since=NOW - 20.0, elsewhere_until=NOW + 280.0)
GOOD = seen(health=Health.GOOD)


def test_a_good_page_of_a_host_that_was_refused() -> None:
    assert page_elsewhere(REFUSED, GOOD)
    assert not no_engine_elsewhere(Context(REFUSED, GOOD, Policy(), 3400))


@pytest.mark.parametrize("word", [Health.BAD, Health.UNKNOWN])
def test_a_page_that_is_not_good(word: Health) -> None:
    assert not page_elsewhere(REFUSED, seen(health=word))


@pytest.mark.parametrize("until", [None, NOW - 1.0, NOW], ids=["never", "long ago", "now"])
def test_a_refusal_is_not_believed_for_ever(until: Optional[Instant]) -> None:
    memory = replace(REFUSED, elsewhere_until=until)
    assert not page_elsewhere(memory, GOOD)
    assert no_engine_elsewhere(Context(memory, GOOD, Policy(), 3400))
    assert not page_wanted(memory, GOOD)


@pytest.mark.parametrize("taken_at", [None, NOW - 20.1])
def test_a_page_from_before_may_be_of_the_vm_that_was_here(taken_at: Optional[Instant]) -> None:
    picture = replace(GOOD, health=replace(HealthView(Health.GOOD), taken_at=taken_at))
    assert not page_elsewhere(REFUSED, picture)


def test_it_is_wanted_for_an_owner_without_network() -> None:
    assert page_wanted(Memory(sight=Sight(NOW - 1.0)), seen())
    assert not page_wanted(Memory(sight=Sight()), seen())


def test_it_lasts_from_the_last_refusal_on() -> None:
    memory = believe_page(Context(REFUSED, GOOD, Policy(), 3400), REFUSED)
    assert memory == replace(REFUSED, elsewhere_until=NOW + 300.0)


@pytest.mark.parametrize(
    ("condition", "wanted"),
    [
        (VmCondition.ABSENT, False),
        (VmCondition.DOWN, False),
        (VmCondition.MIGRATING_HERE, False),
        (VmCondition.UNKNOWN, True),
        (VmCondition.UP, True),
    ],
)
def test_who_asks_for_the_page(condition: VmCondition, wanted: bool) -> None:
    assert page_wanted(Memory(), seen(condition)) is wanted
    assert page_wanted(REFUSED, seen(condition))
