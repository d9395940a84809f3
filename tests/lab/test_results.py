# SPDX-License-Identifier: Apache-2.0
"""What a run has found is there when it goes on."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from demo.guest import Counters
from lab.budgets import Budgets
from lab.case import Result
from lab.observer import Seen
from lab.ports import LabError
from lab.qemu_watch import Run
from lab.results import Part, Results, last_run

SEEN = Seen(
    page_seconds=21.04,
    gone_seconds=0.0,
    starts=1,
    most_vms=2,
    worst=(Run(7, "host1", 1.5), Run(8, "host2", 1.25, 4.0)),
    before=Counters(boots=1, heartbeat=10),
    after=None,
    faults=("the heartbeat went back",),
)
GOOD = Result("page-hangs", "…", "file", SEEN, Budgets().takeover(), 42.0, (), 61.0)
BAD = dataclasses.replace(GOOD, problems=("2 VMs could run at once",))
LOST = Result("boot-all", "…", "block", None, None, 0.0, ("the lab: x",), 0.0)
PART = Part("file", "2026-11-23, here.", 13.5, {"host1: ha-agent.service": 1.3})
SLOW = Part("file", "Later.", 20.0, {"host1: ha-agent.service": 1.1})


def test_all_that_was_written_is_read_again(tmp_path: Path) -> None:
    results = Results(tmp_path / "run")
    results.begin({"full": True})
    for item in (GOOD, LOST):
        results.add_result(item)
    results.add_part(PART)
    results.add_part(SLOW)
    found = results.load()
    assert found.wanted == {"full": True}
    assert found.results == (GOOD, LOST)
    assert found.parts == (PART, SLOW)
    assert found.boot_seconds == 20.0
    assert found.exposure == {"host1: ha-agent.service (file)": 1.3}


def test_the_last_of_a_case_counts_and_the_first_stays_told(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.begin({})
    for item in (BAD, LOST, GOOD):
        results.add_result(item)
    found = results.load()
    assert found.results == (GOOD, LOST)
    assert found.redone == (BAD,)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "what was asked for"),
        ('{"wanted": {}}\n{"result": {"name": 1}}\n', "line 2"),
        ("{}\n", "line 1"),
        ("garbage\n", "line 1"),
        ("[]\n", "line 1"),
    ],
)
def test_another_file_is_refused_by_its_line(tmp_path: Path, text: str, says: str) -> None:
    results = Results(tmp_path)
    results.path.write_text(text)
    with pytest.raises(LabError, match=says):
        results.load()


def test_a_line_that_was_not_ended_is_not_there(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.begin({})
    with results.path.open("a") as file:
        file.write('{"result": {"na')
    assert results.load().results == ()


def test_the_last_run_is_the_newest_with_results(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="no run"):
        last_run(tmp_path)
    for name in ("2026-11-22T1000", "2026-11-23T0900"):
        Results(tmp_path / name).begin({})
    (tmp_path / "2026-11-24T0000").mkdir()
    assert last_run(tmp_path).folder.name == "2026-11-23T0900"
