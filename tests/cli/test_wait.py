# SPDX-License-Identifier: Apache-2.0
"""What the waiting commands share, where their own tests do not go."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from ha_agent.broker.snapshot import HostEntry, Snapshot, to_wire
from ha_agent.instant import Instant
from tests.fake_broker import FakeBroker, ha_agent

PICTURE = Snapshot(
    version=4,
    host_id=1,
    host_name="h1",
    vm_uuid="vm",
    made_at=Instant(1000.0),
    hosts=(HostEntry(1, "h\x1b1", alive=True, engine_status={"vm": "up"}),),
    global_maintenance=False,
)


def test_it_waits_for_news_after_what_it_has_seen(folder: Path, broker: FakeBroker) -> None:
    questions: list[Any] = []

    def status(params: Any) -> Any:
        questions.append(params)
        empty = replace(PICTURE, hosts=())
        return None, to_wire(empty if len(questions) == 1 else PICTURE)

    broker.answers = {"cluster.order": (None, {}), "status": status}
    done = ha_agent(folder, "cluster", "resume")
    assert done.returncode == 0, done.stderr
    assert [q["since_version"] for q in questions] == [-1, 4]
    assert "h?1" in done.stdout


def test_silence_is_told_and_bounded(folder: Path, broker: FakeBroker) -> None:
    broker.answers = {"cluster.order": (None, {})}
    done = ha_agent(folder, "cluster", "resume", "--timeout", "0.3", "--within", "0.5")
    assert done.returncode == 1
    assert done.stdout.count("the broker does not answer") == 1
    assert "not done within 0.5 s" in done.stderr


def test_an_answer_of_another_shape_ends_it(folder: Path, broker: FakeBroker) -> None:
    broker.answers = {"cluster.order": (None, {}), "status": (None, 7)}
    done = ha_agent(folder, "cluster", "resume")
    assert done.returncode == 1
    assert "broker.status" in done.stderr
