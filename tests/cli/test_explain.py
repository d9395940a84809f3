# SPDX-License-Identifier: Apache-2.0
"""explain, events and replay as processes."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ha_agent.broker.event_log import FILE_NAME
from ha_agent.broker.snapshot import EventEntry, to_wire
from ha_agent.clock import SystemClock
from ha_agent.decision_codec import encode
from ha_agent.decision_file import DecisionRing
from ha_agent.explain import document
from ha_agent.fsm.machine import Fsm, Step
from ha_agent.fsm.memory import Memory
from ha_agent.fsm.observation import LeaseCondition
from ha_agent.fsm.policy import Policy
from ha_agent.fsm.state import State
from ha_agent.instant import WallTime
from tests.fake_broker import FakeBroker, error_in, ha_agent
from tests.fsm.pictures import NOW, lease, peer, seen
from tests.test_explain import PLAIN, WALL

TODAY = SystemClock().wall().unix_seconds
EVENTS = [
    EventEntry("lease", f"event {i}.", at_unix_seconds=TODAY - 100.0 * (100 - i), number=i)
    for i in range(1, 100)
]
JUST_FREE = replace(lease(LeaseCondition.EXPIRED), available_since=NOW - 1.5)


def answer(events: list[EventEntry]) -> Any:
    last = events[-1].number if events else 0
    return (None, {"last": last, "events": to_wire(events)})


def test_explain_as_text_and_as_json(folder: Path, broker: FakeBroker) -> None:
    made = document(PLAIN, (), WALL)
    broker.answers["explain"] = (None, made)
    text = ha_agent(folder, "explain")
    assert (text.returncode, text.stderr) == (0, "")
    assert "Its score is 2400." in text.stdout
    as_json = ha_agent(folder, "explain", "--json")
    assert json.loads(as_json.stdout) == made


def test_explain_without_a_broker_says_so(folder: Path) -> None:
    assert "ha-agent events" in ha_agent(folder, "explain").stderr
    done = ha_agent(folder, "explain", "--json")
    assert done.returncode == 1
    assert "is ha-broker running?" in error_in(done.stdout)["message"]


def test_an_explanation_of_another_shape_is_an_error(folder: Path, broker: FakeBroker) -> None:
    broker.answers["explain"] = (None, {"troubles": []})
    done = ha_agent(folder, "explain")
    assert done.returncode == 1
    assert "broker.explain" in done.stderr


def test_events_the_last_all_and_since(folder: Path, broker: FakeBroker) -> None:
    # As of now: the module was imported minutes ago, when all tests are run.
    passed_seconds = SystemClock().wall().unix_seconds - TODAY
    events = [replace(e, at_unix_seconds=e.at_unix_seconds + passed_seconds) for e in EVENTS]
    broker.answers["events"] = answer(events)
    assert len(ha_agent(folder, "events").stdout.splitlines()) == 50
    assert len(ha_agent(folder, "events", "--all").stdout.splitlines()) == 99
    lines = ha_agent(folder, "events", "--since", "9m").stdout.splitlines()
    assert [line.partition("  ")[2] for line in lines] == [f"event {i}." for i in range(95, 100)]
    assert lines[-1].startswith(WallTime(events[-1].at_unix_seconds).local())
    as_json = ha_agent(folder, "events", "--since", "9m", "--json").stdout.splitlines()
    assert [json.loads(line)["number"] for line in as_json] == list(range(95, 100))


def test_events_follow_over_a_restart_of_the_broker(folder: Path, broker: FakeBroker) -> None:
    answers = [answer(EVENTS[:2]), answer(EVENTS[2:3]), answer([]), (None, {"last": "x"})]
    broker.answers["events"] = lambda params: answers.pop(0)
    done = ha_agent(folder, "events", "--follow")
    assert done.stdout.count("event") == 3
    assert done.returncode == 1
    asked = [params.get("since") for method, params in broker.asked if method == "events"]
    assert asked == [0, 2, 3, 0]


def test_events_of_a_broker_that_is_down_come_from_the_file(folder: Path) -> None:
    (folder / "state").mkdir()
    lines = [json.dumps(to_wire(event)) for event in EVENTS[:3]]
    (folder / "state" / FILE_NAME).write_text("\n".join([*lines, '{"torn']))
    done = ha_agent(folder, "events")
    assert done.returncode == 0
    assert "is ha-broker running?" in done.stderr
    assert "what it left on this host; 1 line of it could not be read" in done.stderr
    assert len(done.stdout.splitlines()) == 3


@pytest.mark.parametrize("text", ["soon", "-5s", "1.5h", ""])
def test_a_time_must_be_one(folder: Path, text: str) -> None:
    assert ha_agent(folder, "events", f"--since={text}").returncode == 2


def test_events_of_another_shape_are_an_error(folder: Path, broker: FakeBroker) -> None:
    broker.answers["events"] = (None, {"last": 1, "events": [{}]})
    done = ha_agent(folder, "events")
    assert done.returncode == 1
    assert "broker.events" in done.stderr


def ring(folder: Path, *, step_seconds: float = 1.0, count: int = 3) -> Path:
    """Record a host that takes the lease 1.5 s after its expiry, as the second in the ranks."""
    path = folder / "decisions"
    policy = replace(Policy(), takeover_step_seconds=step_seconds)
    memory = Memory(state_since=NOW - 100.0, global_maintenance=False)
    picture = seen(lease=JUST_FREE, peers=(peer(3, score=3500),))
    decision = Fsm().step(State.ENGINE_DOWN, memory, picture, policy)
    step = Step(State.ENGINE_DOWN, memory, picture, policy, decision)
    writer = DecisionRing(path)
    for i in range(count):
        writer.append(encode(step, WallTime(1_700_000_000.0 + i), "1.0"))
    writer.close()
    return path


def test_replay_of_what_is_decided_the_same(folder: Path) -> None:
    path = ring(folder)
    done = ha_agent(folder, "replay", str(path))
    assert (done.returncode, done.stdout) == (
        0,
        "3 decisions looked at; this version decides the same\n",
    )
    as_json = ha_agent(folder, "replay", str(path / "0.ring"), "--json")
    assert json.loads(as_json.stdout) == {"records": 3, "differences": [], "notes": []}


def test_replay_by_todays_policy_shows_the_first_difference_or_all(folder: Path) -> None:
    path = ring(folder)
    with (folder / "ha-agent.conf").open("a") as file:
        file.write("\n[restart]\nbackoff_seconds = 1\n")
    done = ha_agent(folder, "replay", str(path), "--policy", "current")
    assert done.returncode == 0, done.stdout
    slow = ring(folder / "slow", step_seconds=10.0)
    done = ha_agent(folder, "replay", str(slow), "--policy", "current")
    assert done.returncode == 1
    assert done.stdout.count("What differs:") == 1
    assert "-> EngineStart" in done.stdout
    done = ha_agent(folder, "replay", str(slow), "--policy", "current", "--all", "--json")
    assert len(json.loads(done.stdout)["differences"]) == 3


def test_replay_of_a_torn_ring_says_so(folder: Path) -> None:
    path = ring(folder) / "0.ring"
    path.write_bytes(path.read_bytes()[:-3])
    done = ha_agent(folder, "replay", str(path))
    assert done.returncode == 0
    assert "not written to its end" in done.stdout


def test_a_damaged_ring_is_not_said_to_be_the_same(folder: Path) -> None:
    path = ring(folder) / "0.ring"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    done = ha_agent(folder, "replay", str(path))
    assert done.returncode == 2
    assert "damaged (its checksum is wrong); what follows is not read" in done.stdout
    assert "1 decision looked at; this version decides the same" in done.stdout
    empty = folder / "empty"
    empty.write_bytes(data[:16])
    done = ha_agent(folder, "replay", str(empty))
    assert (done.returncode, done.stdout) == (0, "0 decisions looked at\n")
    done = ha_agent(folder, "replay", str(folder / "ha-agent.conf"))
    assert done.stderr.count("ha-agent.conf") == 1


def test_replay_of_what_is_no_record(folder: Path) -> None:
    done = ha_agent(folder, "replay", str(folder / "none"), "--json")
    assert done.returncode == 2
    assert error_in(done.stdout)["code"] == "records"
    assert ha_agent(folder, "replay", str(folder / "ha-agent.conf")).returncode == 2
    writer = DecisionRing(folder / "odd")
    writer.append(b"\x80")
    writer.close()
    done = ha_agent(folder, "replay", str(folder / "odd"))
    assert done.returncode == 2
    assert "record 1" in done.stdout


def test_replay_from_a_pipe(folder: Path) -> None:
    path = ring(folder) / "0.ring"
    with path.open("rb") as file:
        done = subprocess.run(
            [sys.executable, "-m", "ha_agent.cli", "replay", "-"],
            stdin=file,
            capture_output=True,
            timeout=30,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"3 decisions")
