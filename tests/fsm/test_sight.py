# SPDX-License-Identifier: Apache-2.0
"""Who looks at the page for an owner without network, and what it may say of it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from ha_agent.fsm.machine import Fsm
from ha_agent.fsm.memory import Memory
from ha_agent.fsm.observation import Health, HealthView, LeaseCondition, Observation, VmCondition
from ha_agent.fsm.policy import Policy
from ha_agent.fsm.sight import Sight, follow_sight
from ha_agent.fsm.state import State
from ha_agent.fsm.trends import Trend, Trends
from tests.fsm.pictures import NOW, at, lease, peer, seen

V, L = VmCondition, LeaseCondition
GOOD_NETWORK = Trends(network=Trend(values=(0.2,)))
OWNER = peer(2, vm_up=True, network_lost=True)
LOOKS = Sight(NOW - 60.0)


def picture(health: Health = Health.UNKNOWN, **fields: Any) -> Observation:
    """Host 2 holds the lease and has lost its network."""
    values: dict[str, Any] = {"peers": (OWNER, peer(3)), **fields}
    return seen(values.pop("vm", V.ABSENT), L.HELD, health=health, **values)


def test_a_host_with_network_begins_to_look() -> None:
    assert follow_sight(Sight(), GOOD_NETWORK, picture()) == Sight(NOW)


@pytest.mark.parametrize(
    "network",
    [
        Trend(),
        Trend(values=(1.0,), since=NOW - 60.0),
        Trend(values=(0.2,), since=NOW - 60.0, lingers=True),
    ],
    ids=["untested", "lost", "was lost lately"],
)
def test_a_host_without_network_does_not(network: Trend) -> None:
    assert follow_sight(LOOKS, Trends(network=network), picture(Health.BAD)) == Sight()


@pytest.mark.parametrize(
    "fields",
    [
        {"peers": (peer(2, vm_up=True), peer(3, network_lost=True))},
        {"peers": (dataclasses.replace(OWNER, alive=False),)},
        {"peers": ()},
        {"lease": lease(L.FREE, host_id=2)},
        {"lease": lease(L.EXPIRED, host_id=2)},
        {"lease": lease(L.UNKNOWN, host_id=2)},
        {"lease": lease(L.HELD, host_id=3)},
        {"vm": V.UP},
        {"vm": V.UNKNOWN},
        {"vm": V.MIGRATING_HERE},
    ],
)
def test_nobody_looks_for_any_other_reason(fields: dict[str, Any]) -> None:
    assert follow_sight(LOOKS, GOOD_NETWORK, picture(Health.BAD, **fields)) == Sight()


def test_what_it_says_of_the_page() -> None:
    bad = follow_sight(LOOKS, GOOD_NETWORK, picture(Health.BAD))
    assert bad == Sight(NOW - 60.0, Health.BAD, NOW)
    later = follow_sight(bad, GOOD_NETWORK, at(picture(Health.BAD), NOW + 30.0))
    assert later is bad
    good = follow_sight(bad, GOOD_NETWORK, at(picture(Health.GOOD), NOW + 31.0))
    assert good == Sight(NOW - 60.0, Health.GOOD)


def test_only_an_unbroken_row_of_bad_pages_counts() -> None:
    bad = Sight(NOW - 60.0, Health.BAD, NOW - 50.0)
    unknown = follow_sight(bad, GOOD_NETWORK, picture(Health.UNKNOWN))
    assert unknown == Sight(NOW - 60.0)
    again = follow_sight(unknown, GOOD_NETWORK, at(picture(Health.BAD), NOW + 1.0))
    assert again.bad_since == NOW + 1.0


@pytest.mark.parametrize("health", [Health.GOOD, Health.BAD])
def test_a_page_from_before_it_looked_may_be_of_the_vm_that_was_here(health: Health) -> None:
    old = dataclasses.replace(picture(), health=HealthView(health, taken_at=NOW - 60.1))
    assert follow_sight(LOOKS, GOOD_NETWORK, old) is LOOKS


def test_nothing_new_is_the_same_object() -> None:
    nothing = Sight()
    assert follow_sight(nothing, GOOD_NETWORK, seen()) is nothing


def test_a_step_follows_it_with_this_ticks_network() -> None:
    memory = Memory(trends=GOOD_NETWORK)
    decision = Fsm().step(State.ENGINE_DOWN, memory, picture(Health.BAD), Policy())
    assert decision.memory.sight == Sight(NOW, Health.BAD, NOW)
