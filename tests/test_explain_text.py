# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ha_agent.broker.snapshot import EventEntry, Report, StorageEntry, WaitEntry
from ha_agent.errors import BadInput
from ha_agent.explain import document
from ha_agent.explain_text import event_line, explain_text, state_words
from ha_agent.fsm.state import State
from ha_agent.instant import WallTime
from tests.test_explain import GAMMA, NOW, PLAIN, WALL, hosts

WHEN = WallTime(1_699_999_000.0)


def text(*events: EventEntry, **parts: Any) -> str:
    return explain_text(document(replace(PLAIN, **parts), events, WALL))


def test_a_whole_explanation() -> None:
    event = EventEntry("host", "gamma (id 3) appeared.", at_unix_seconds=WHEN.unix_seconds)
    silent = {"alive": False, "changed_at": NOW - 40.0}
    assert (
        text(event, hosts=hosts(gamma=silent))
        == f"""\
The engine VM HostedEngine runs on alpha (id 1), and the engine is healthy. alpha (id 1) holds
the lease; if it is not renewed any more, it expires in 13 s.

This host, beta (id 2): engine VM is not here; watching the lease (EngineDown).
It has been so for 1 min 40 s, because: first look done.
It is waiting for nothing: alpha holds the lease.
It is waiting for a pause; that ends in 7.0 s at the latest.

Its score is 2400. Points were taken off:
  1000  stale definition: EIO

What this host's broker has measured:
  network, 3.0 s ago: 2 of the last 5 pings to 10.0.0.1 lost; the last one: ping: no answer within
    5 s

These hosts can run the engine VM, the best one first:
  alpha (id 1): its score is 3400
  beta (id 2), this host: its score is 2400
These hosts can't:
  gamma (id 3): it is silent: its status block last changed 40 s ago

What happened last (all of it: ha-agent events):
  {WHEN.local()}  gamma (id 3) appeared.
"""
    )


def test_trouble_comes_first() -> None:
    lines = text(
        storage=StorageEntry(read_at=NOW - 40.0, problem="no answer within 5 s")
    ).splitlines()
    assert lines[0].startswith("! Shared storage is in trouble.")
    assert lines[1].startswith("  ")


def test_an_agent_that_never_reported() -> None:
    made = text(agent=Report())
    assert made.startswith("! The agent of this host has not reported")
    assert "This host, beta (id 2): nothing is known of its agent." in made
    assert "Its score" not in made


def test_no_penalty_no_host_no_event() -> None:
    made = text(agent=replace(PLAIN.agent, penalties=(), waits=()), hosts=())
    assert "Its score is 2400; nothing was taken off." in made
    assert "No host has written a status block yet." in made
    assert "What happened last" not in made
    only = replace(GAMMA, score=0, state="LocalMaintenance", maintenance=True)
    made = text(hosts=(only,))
    assert "\nNo host can run the engine VM." in made
    assert "it is in local maintenance - " in made
    assert "(LocalMaintenance)" in made


def test_a_wait_that_is_over_is_due_now() -> None:
    agent = replace(PLAIN.agent, waits=(WaitEntry("its turn", NOW - 1.0),))
    assert "It is waiting for its turn; that is due now." in text(agent=agent)


def test_long_lines_are_folded_and_terminals_not_steered() -> None:
    agent = replace(PLAIN.agent, reason="why " * 100 + "\x1b[2J")
    made = text(agent=agent)
    assert max(len(line) for line in made.splitlines()) <= 98
    assert "\x1b" not in made


def test_states_are_told_in_words() -> None:
    assert state_words("EngineUp") == f"{State.ENGINE_UP.meaning} (EngineUp)"
    assert state_words("EngineMaybeAway") == "EngineMaybeAway"
    assert state_words("") == "no state is known"


def test_an_event_is_one_line() -> None:
    event = EventEntry("lease", "two\nlines \x07", at_unix_seconds=WHEN.unix_seconds)
    assert event_line(event) == f"{WHEN.local()}  two lines ?"


@pytest.mark.parametrize("answer", [{}, {"troubles": 7}, {"troubles": [], "engine": [1]}])
def test_another_shape_is_bad_input(answer: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=r"broker\.explain"):
        explain_text(answer)
