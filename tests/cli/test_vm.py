# SPDX-License-Identifier: Apache-2.0
"""`ha-agent vm` as a process, against a broker whose answers the test writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.fake_broker import FakeBroker, ha_agent


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (("start",), ("vm.start", {"paused": False})),
        (("start", "--paused"), ("vm.start", {"paused": True})),
        (("resume",), ("vm.resume", {})),
        (("stop",), ("vm.stop", {"force": False})),
        (("stop", "--force"), ("vm.stop", {"force": True})),
    ],
)
def test_what_is_asked_and_what_came_of_it(
    folder: Path, broker: FakeBroker, words: tuple[str, ...], asked: tuple[str, Any]
) -> None:
    broker.answers = {asked[0]: (None, {"detail": "the engine VM is\x1b[2J stopped"})}
    done = ha_agent(folder, "vm", *words)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    assert broker.asked == [asked]


def test_a_refusal_is_a_sentence_and_an_exit_code(folder: Path, broker: FakeBroker) -> None:
    why = "the agents would start the engine VM again at once; set global maintenance first"
    broker.answers = {"vm.stop": ({"code": "refused", "message": why}, None)}
    done = ha_agent(folder, "vm", "stop")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"ha-agent: {why}\n"
