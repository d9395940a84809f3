# SPDX-License-Identifier: Apache-2.0
"""`ha-agent maintenance` as a process, against a broker whose answers the test writes."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ha_agent.broker.snapshot import HostEntry, OrderEntry, Report, Snapshot, to_wire
from ha_agent.cli.maintenance import duration
from ha_agent.instant import Instant
from tests.fake_broker import FakeBroker, ha_agent

NOW = Instant(1000.0)
UP = {"vm": "up", "health": "good"}
ORDER = OrderEntry(7, "maintenance", "root", 1, "h1", 0.0, until_unix_seconds=86400.0)
PICTURE = Snapshot(
    version=1,
    host_id=1,
    host_name="h1",
    vm_uuid="vm",
    made_at=NOW,
    hosts=(
        HostEntry(1, "h1", alive=True, engine_status=UP),
        HostEntry(2, "h2", alive=True, score=3400),
    ),
    global_maintenance=False,
    agent=Report(state="EngineUp", engine_status=UP, made_at=NOW),
)
SET = "maintenance.set"


def asked(broker: FakeBroker) -> list[dict[str, Any]]:
    return [params for method, params in broker.asked if method == SET]


@pytest.mark.parametrize(
    ("words", "params"),
    [
        (("none",), [("local", False, {}), ("global", False, {})]),
        (("global", "--off"), [("global", False, {})]),
        (("local", "--off", "--reason", "done"), [("local", False, {"reason": "done"})]),
        (("global",), [("global", True, {})]),
        (
            ("global", "--for", "1h30m", "--reason", "new switch"),
            [("global", True, {"reason": "new switch", "for_seconds": 5400.0})],
        ),
    ],
)
def test_what_is_asked(
    folder: Path, broker: FakeBroker, words: tuple[str, ...], params: list[Any]
) -> None:
    broker.answers[SET] = (None, {})
    assert ha_agent(folder, "maintenance", *words).returncode == 0
    wanted = [{"scope": scope, "enabled": on, **more} for scope, on, more in params]
    assert asked(broker) == wanted


def test_until_when_is_told(folder: Path, broker: FakeBroker) -> None:
    broker.answers[SET] = (None, {"order": to_wire(ORDER)})
    done = ha_agent(folder, "maintenance", "global", "--for", "1d")
    assert done.stdout.startswith("global maintenance is on until 1970-01-0")


def test_what_comes_on_the_owner_is_told(folder: Path, broker: FakeBroker) -> None:
    broker.answers = {SET: (None, {"until": ""}), "status": (None, to_wire(PICTURE))}
    done = ha_agent(folder, "maintenance", "local")
    assert done.stdout.splitlines() == [
        "local maintenance is on",
        "the engine VM is stopped here in order, and started elsewhere: h2 is next",
    ]
    alone = replace(PICTURE, hosts=PICTURE.hosts[:1])
    broker.answers["status"] = (None, to_wire(alone))
    assert "no other host can take" in ha_agent(folder, "maintenance", "local").stdout


def test_a_status_that_fails_does_not_make_it_fail(folder: Path, broker: FakeBroker) -> None:
    broker.answers = {SET: (None, {}), "status": (None, None)}
    done = ha_agent(folder, "maintenance", "local")
    assert (done.returncode, done.stdout) == (0, "local maintenance is on\n")


def test_with_wait_it_is_followed_to_its_end(folder: Path, broker: FakeBroker) -> None:
    stopping = replace(PICTURE.agent, state="EngineStop")
    there = replace(PICTURE.agent, state="LocalMaintenance")
    pictures = [replace(PICTURE, agent=agent) for agent in (PICTURE.agent, stopping, there)]
    answers = iter([to_wire(picture) for picture in pictures])
    broker.answers = {SET: (None, {}), "status": lambda _params: (None, next(answers))}
    done = ha_agent(folder, "maintenance", "local", "--wait")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1:] == [
        "the engine VM is stopped here in order, and started elsewhere: h2 is next",
        "the engine VM is stopping here; another host starts it then",
        "this host is in local maintenance; the engine VM is not here",
    ]


@pytest.mark.parametrize(
    "words",
    [
        ("loacl",),
        ("none", "--for", "2h"),
        ("global", "--off", "--for", "2h"),
        ("global", "--wait"),
        ("local", "--off", "--wait"),
        ("local", "--for", "soon"),
    ],
)
def test_what_makes_no_sense_asks_for_nothing(
    folder: Path, broker: FakeBroker, words: tuple[str, ...]
) -> None:
    done = ha_agent(folder, "maintenance", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert "usage:" in done.stderr
    assert broker.asked == []


def test_a_refusal_is_exit_code_1(folder: Path, broker: FakeBroker) -> None:
    refusal = {"code": "storage", "message": "not set: slot 0 reads back", "details": {}}
    broker.answers[SET] = (refusal, None)
    done = ha_agent(folder, "maintenance", "global")
    assert (done.returncode, done.stdout) == (1, "")
    assert "slot 0 reads back" in done.stderr


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90.0), ("30m", 1800.0), ("2h", 7200.0), ("1d", 86400.0), ("1h30m", 5400.0)],
)
def test_durations(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "2", "h", "2 h", "-1h", "1.5h", "2w", "0s", "400d", "\u0661h"]
)
def test_durations_that_are_none(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        duration(text)
