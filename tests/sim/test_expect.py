# SPDX-License-Identifier: Apache-2.0
"""Expectations over runs that are written down here event by event."""

from __future__ import annotations

import pytest

from ha_agent.errors import BadInput
from ha_agent.sim import events as e
from ha_agent.sim import expect
from ha_agent.sim.spec import Outage, Result, Spec


@pytest.fixture
def history() -> expect.History:
    """The engine is up on h1, crashes at 30 and again at 55, and is up on h2 from 80 on."""
    told: list[e.Event] = [
        e.VmStarted(0, 1, "agent"),
        e.HealthChanged(0, True),
        e.Decided(0.2, 1, "EngineUp", 3400),
        e.Decided(0.3, 2, "EngineDown", 3000),
        e.HealthChanged(30, False),
        e.VmEnded(30, 1, "guest", True),
        e.VmStarted(31, 1, "agent"),
        e.Decided(31, 1, "EngineStarting", 3350),
        e.Decided(32, 1, "EngineStarting", 3350),
        e.HealthChanged(50, True),
        e.Decided(50, 1, "EngineUp", 3350),
        e.HealthChanged(55, False),
        e.VmEnded(55, 1, "guard", True),
        e.StartRefused(57, 2, "agent", by_vm_lease=True),
        e.VmStarted(60, 2, "agent"),
        e.HealthChanged(80, True),
        e.VmStarted(90, 3, "migration"),
        e.VmEnded(90, 2, "migration", True),
    ]
    found = expect.History()
    for event in told:
        found.saw(event)
    return found


RESULT = Result(
    spec=Spec(seconds=100),
    log=("  30.00 h1 the VM ended", "  31.00 h1 started"),
    violations=(),
    outages=(Outage(30, 50), Outage(55, 80)),
)

HOLDS = (
    "engine up on h1 within 20 after 30",
    "engine up on h1 at 52",
    "engine up on h1 from 0 to 30",
    "engine up on h2 from 80 to 90",
    "engine up from 80 to end",
    "engine up on h3 at end",
    "engine down from 30 to 50",
    "engine down at 60",
    "engine down within 5 after 50",
    "never started on h3",
    "never started after 61",
    "started on h1 once",
    "started on h2 once",
    "started at least 2 times",
    "started 2 times",
    "started once after 40",
    "tried on h2 2 times",
    "never tried on h3",
    "never stopped on h2",
    "stopped by guard",
    "stopped by guard on h1",
    "state h1 EngineUp at 20",
    "state h1 EngineStarting from 31 to 50",
    "state h1 EngineStarting within 5 after 30",
    "state h2 EngineDown throughout",
    "state h2 EngineUp never",
    "score h1 3350 at end",
    "score h1 at least 3350 throughout",
    "score h2 at most 3000 throughout",
    "score h2 3400 never",
    "outage at most 25",
    'log "h1 started"',
    'no log "h2"',
)

BROKEN = (
    "engine up on h2 within 20 after 30",
    "engine up on h1 within 5 after 30",
    "engine up on h1 at 30",
    "engine up on h2 at end",
    "engine up throughout",
    "engine up from 40 to 52",
    "engine down at 20",
    "engine down from 45 to 55",
    "never started on h1",
    "never started after 50",
    "started on h1 2 times",
    "started on h2 at least 2 times",
    "never tried on h2",
    "never stopped",
    "stopped by guard on h2",
    "stopped by shutdown",
    "state h1 EngineDown at 20",
    "state h1 EngineStarting never",
    "state h3 EngineDown at end",
    "score h1 3400 throughout",
    "score h2 at least 3001 at 50",
    "score h1 at most 3000 within 100 after 0",
    "outage at most 24.9",
    "no outage",
    'log "h2"',
    'no log "h1 started"',
)


@pytest.mark.parametrize("text", HOLDS)
def test_it_holds(history: expect.History, text: str) -> None:
    assert expect.parse(f"expect {text}", "here:1").broken(RESULT, history) == ""


@pytest.mark.parametrize("text", BROKEN)
def test_it_does_not_hold_and_says_where(history: expect.History, text: str) -> None:
    broken = expect.parse(f"expect {text}", "here:1").broken(RESULT, history)
    assert broken.startswith(f"here:1: {text}: ")


def test_what_was_seen_instead_is_said(history: expect.History) -> None:
    broken = expect.parse("expect engine up on h1 at 60", "c:9").broken(RESULT, history)
    assert broken == ("c:9: engine up on h1 at 60: it was so from 0.0 to 30.0, 50.0 to 55.0")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "engine up",
        "engine up on h1",
        "never",
        "started on h1",
        "outage",
        "state EngineUp at 3",
    ],
)
def test_what_is_no_expectation_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match=r"^commands:7: .*no expectation"):
        expect.parse(f"expect {text}", "commands:7")
