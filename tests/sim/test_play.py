# SPDX-License-Identifier: Apache-2.0
"""A scenario of one's own is run and judged."""

from __future__ import annotations

from pathlib import Path

import pytest

from ha_agent.sim import scenario
from ha_agent.sim.play import play


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "README").write_text("QEMU ends once: it is started again.\n")
    (tmp_path / "commands").write_text("engine on h1\nseconds 90\nat 30 cluster guest-crash\n")
    return tmp_path


def test_what_does_not_hold_is_said_and_what_does_is_not(folder: Path) -> None:
    with (folder / "commands").open("a") as commands:
        commands.write("expect started on h1 once\nexpect no outage\n")
    played = play(scenario.load(str(folder)))
    assert len(played.broken) == 1
    assert played.broken[0].startswith(f"{folder}/commands:5: no outage: ")


def test_the_same_scenario_gives_the_same_log(folder: Path) -> None:
    played = play(scenario.load(str(folder)))
    played.scenario.update(played.result.log)
    again = play(scenario.load(str(folder)))
    assert again.difference == ""
    assert again.result.digest == played.result.digest
