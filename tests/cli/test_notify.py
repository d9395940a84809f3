# SPDX-License-Identifier: Apache-2.0
"""`ha-agent incidents` and `ha-agent notify test` as processes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ha_agent.broker.incidents.incident import IncidentEntry
from ha_agent.broker.snapshot import to_wire
from ha_agent.cli.notify import incidents_text
from ha_agent.errors import BadInput
from tests.fake_broker import FakeBroker, error_in, ha_agent

OPEN = IncidentEntry(
    "1-7", "engine-down", "critical", "The engine VM is down", "nobody has it", (), 1.7e9
)
OVER = IncidentEntry(
    "1-6", "storage", "critical", "Storage\x1b[2J", "EIO", ("alpha",), 1.7e9, 1.7e9 + 240
)
CHANNEL = {"name": "mail", "waiting": 2, "last_detail": "refused"}


def answer(**more: Any) -> dict[str, Any]:
    made = {
        "open": [to_wire(OPEN)],
        "recent": [to_wire(OVER)],
        "leads": True,
        "channels": [CHANNEL],
    }
    return {**made, **more}


def test_incidents_as_text_and_as_json(folder: Path, broker: FakeBroker) -> None:
    broker.answers["incidents"] = (None, answer())
    done = ha_agent(folder, "incidents")
    assert done.returncode == 0
    assert "critical: The engine VM is down" in done.stdout
    assert "resolved after 4 min 0 s: Storage" in done.stdout
    assert "mail: 2 to tell; last: refused" in done.stdout
    assert "\x1b" not in done.stdout
    assert json.loads(ha_agent(folder, "incidents", "--json").stdout) == answer()


def test_that_nothing_is_wrong_and_nobody_is_told_is_said() -> None:
    text = incidents_text(answer(open=[], recent=[], channels=[]))
    assert "There is no open incident." in text
    assert "Nobody is told" in text
    assert "Another host" in incidents_text(answer(leads=False))


@pytest.mark.parametrize("more", [{"open": None}, {"recent": [7]}, {"channels": [7]}])
def test_an_answer_of_another_shape(more: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        incidents_text(answer(**more))


def test_notify_test_tells_of_each_channel(folder: Path, broker: FakeBroker) -> None:
    channels = [
        {"name": "mail", "ok": True, "detail": "taken"},
        {"name": "hook", "ok": False, "detail": "absent"},
    ]
    broker.answers["notify.test"] = (None, {"channels": channels})
    done = ha_agent(folder, "notify", "test")
    assert (done.returncode, done.stdout) == (1, "mail: sent: taken\nhook: FAILED: absent\n")
    broker.answers["notify.test"] = (None, {"channels": channels[:1]})
    assert ha_agent(folder, "notify", "test").returncode == 0
    broker.answers["notify.test"] = (None, {"channels": []})
    done = ha_agent(folder, "notify", "test", "--json")
    assert done.returncode == 1
    assert "mail_to" in error_in(done.stdout)["message"]
