# SPDX-License-Identifier: Apache-2.0
"""The command as a process, against no broker, a hung one, and one that answers nonsense."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ha_agent.broker.snapshot import DefinitionEntry, HostEntry, LeaseEntry, Snapshot, to_wire
from ha_agent.instant import Instant
from tests.fake_broker import FakeBroker, error_in, ha_agent

PICTURE = Snapshot(
    version=3,
    host_id=1,
    host_name="alpha",
    vm_uuid="00000000-0000-4000-8000-000000000001",
    made_at=Instant(100.0),
    lease=LeaseEntry(state="held", host_id=1, host_name="alpha", epoch=2),
    hosts=(HostEntry(1, "alpha", alive=True, score=3400, changed_at=Instant(99.0)),),
    global_maintenance=False,
    definition=DefinitionEntry(available=True, identity="abc", vm_name="HostedEngine"),
)


def test_status_as_text_and_as_json(folder: Path, broker: FakeBroker) -> None:
    broker.answers["status"] = (None, to_wire(PICTURE))
    text = ha_agent(folder, "status")
    assert (text.returncode, text.stderr) == (0, "")
    assert "alpha" in text.stdout
    as_json = ha_agent(folder, "status", "--json")
    assert as_json.returncode == 0
    assert json.loads(as_json.stdout)["1"]["score"] == 3400


def test_without_a_broker(folder: Path) -> None:
    text = ha_agent(folder, "status")
    assert (text.returncode, text.stdout) == (1, "")
    assert "is ha-broker running?" in text.stderr
    as_json = ha_agent(folder, "status", "--json")
    assert as_json.returncode == 1
    assert "is ha-broker running?" in error_in(as_json.stdout)["message"]


def test_a_broker_that_hangs_costs_the_timeout_only(folder: Path, broker: FakeBroker) -> None:
    text = ha_agent(folder, "status", "--timeout", "0.2")
    assert (text.returncode, text.stdout) == (1, "")
    assert "no answer within 0.2 s" in text.stderr
    as_json = ha_agent(folder, "status", "--json", "--timeout", "0.2")
    assert "no answer within" in error_in(as_json.stdout)["message"]
    assert broker.asked


@pytest.mark.parametrize("answer", [None, 7, [], {}, {"version": "x"}])
def test_an_answer_of_another_shape_is_an_error(
    folder: Path, broker: FakeBroker, answer: Any
) -> None:
    broker.answers = {"status": (None, answer), "refresh": (None, answer)}
    done = ha_agent(folder, "status", "--json")
    assert done.returncode == 1
    assert "broker.status" in error_in(done.stdout)["message"]
    assert ha_agent(folder, "refresh").returncode == 1


def test_a_refusal_is_told_with_its_code(folder: Path, broker: FakeBroker) -> None:
    refusal = {"code": "denied", "message": "user 5 may only look", "details": {}}
    broker.answers = {"maintenance.set": (refusal, None), "status": (refusal, None)}
    done = ha_agent(folder, "maintenance", "local")
    assert (done.returncode, done.stdout) == (1, "")
    assert "user 5 may only look" in done.stderr
    assert error_in(ha_agent(folder, "status", "--json").stdout)["code"] == "denied"


@pytest.mark.parametrize(
    "words",
    [(), ("stauts",), ("maintenance", "loacl"), ("status", "--timeout", "0"), ("status", "x")],
)
def test_typing_mistakes(folder: Path, words: tuple[str, ...]) -> None:
    done = ha_agent(folder, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert "usage:" in done.stderr


def test_json_is_json_also_when_the_command_line_is_wrong(folder: Path) -> None:
    done = ha_agent(folder, "status", "--json", "--timeout", "soon")
    assert done.returncode == 2
    assert error_in(done.stdout)["code"] == "usage"


def test_json_is_json_also_with_a_broken_configuration(folder: Path) -> None:
    (folder / "ha-agent.conf").write_text("[hsot]\nid = 1\n")
    done = ha_agent(folder, "status", "--json")
    assert done.returncode == 2
    assert "ha-agent.conf:1" in error_in(done.stdout)["message"]


def test_a_reader_that_goes_away_is_no_traceback(folder: Path) -> None:
    command = f"{sys.executable} -m ha_agent.cli --config {folder}/ha-agent.conf config show"
    done = subprocess.run(
        f"{command} | head -n 0", shell=True, capture_output=True, timeout=30, check=False
    )
    assert done.stderr == b""


def test_config_show_has_every_value_with_its_origin(folder: Path) -> None:
    done = ha_agent(folder, "config", "show")
    assert done.returncode == 0
    assert "ha-agent.conf:2" in done.stdout


def test_can_do_tells_by_text_and_exit_code(folder: Path, broker: FakeBroker) -> None:
    verdict = {"allowed": False, "code": "engine_disk", "sentence": "it is the engine VM's disk"}
    broker.answers["can_do"] = (None, verdict)
    done = ha_agent(folder, "can-do", "disk.remove", "disk=0001")
    assert (done.returncode, done.stdout) == (1, "no (engine_disk): it is the engine VM's disk\n")
    assert broker.asked == [("can_do", {"action": "disk.remove", "object": {"disk": "0001"}})]
    broker.answers["can_do"] = (None, {"allowed": True, "code": "unrelated", "sentence": "fine"})
    done = ha_agent(folder, "can-do", "disk.remove", "disk=0001", "--json")
    assert (done.returncode, json.loads(done.stdout)["allowed"]) == (0, True)
    assert ha_agent(folder, "can-do", "disk.remove", "0001").returncode == 2
