# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from bench.failure_doc import NEVER, NOT_YET, document, figures, promise_text
from bench.failure_list import FAILURES, NAMES, SIMULATED
from bench.failures import Measured, Outcome, rows
from ha_agent.sim import scenario
from ha_agent.sim.failure_table import Figure

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "failures.md"
FIGURES = [
    Figure("crash-other-host", "Another host dies", "nothing", None, 0.0),
    Figure("hang-guest", "The guest hangs", "VDSM ends it | by force", 246.94, 266.92),
]
NOTHING = Outcome((), ())


def measured(name: str, qemu: float, page: float, **more: object) -> Measured:
    made = Measured(name, qemu, page, None, 1, True, True)
    return dataclasses.replace(made, **more)  # type: ignore[arg-type]


def ran_on(name: str, silence: float) -> Measured:
    return Measured(name, None, None, silence, 1, False, True)


def by_title(text: str) -> dict[str, list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    split = [[c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return {cells[0]: cells for cells in split}


def cells_of(name: str, outcome: Outcome) -> list[str]:
    (title,) = [failure.title for failure in FAILURES if failure.name == name]
    return by_title(document("Somewhere.", outcome, FIGURES))[title]


def test_without_a_measurement_there_is_no_figure() -> None:
    for name in NAMES:
        cells = cells_of(name, NOTHING)
        assert cells[4:7] == [NOT_YET, "", ""]
    assert "QEMU processes were counted" not in document("Somewhere.", NOTHING, FIGURES)


def test_three_runs_are_told_by_median_and_worst() -> None:
    outcome = Outcome(
        (
            measured("power-cut", 14.0, 25.0),
            measured("power-cut", 15.5, 24.0),
            measured("power-cut", 13.04, 31.0),
        ),
        (),
    )
    cells = cells_of("power-cut", outcome)
    assert cells[3:7] == ["12 to 16", "14.0 / 15.5", "25.0 / 31.0", "another host"]


def test_one_run_has_one_figure() -> None:
    assert figures([3.04]) == "3.0"
    assert figures([2.0, 3.0]) == "2.5 / 3.0"


def test_what_came_too_late_is_said_to_be() -> None:
    cells = cells_of("power-cut", Outcome((measured("power-cut", 16.5, 20.0),), ()))
    assert cells[4] == "16.5 (**later than promised**)"


def test_where_it_came_up_may_differ() -> None:
    one = measured("storage-all", 63.0, 70.0, moved=False)
    outcome = Outcome((one, measured("storage-all", 63.0, 70.0)), ())
    assert cells_of("storage-all", outcome)[6] == "the same host or another host"


def test_a_vm_that_ran_on_is_told_with_its_longest_silence() -> None:
    cells = cells_of("agent-killed", Outcome((ran_on("agent-killed", 0.31),), ()))
    assert cells[3:7] == [
        "it runs on",
        "it ran on",
        "never longer than 0.3 without",
        "the same host",
    ]


def test_a_vm_that_should_have_run_on_and_did_not_is_told_as_such() -> None:
    outcome = Outcome((measured("agent-killed", 13.0, 20.0, silence_seconds=20.0),), ())
    assert cells_of("agent-killed", outcome)[4] == "**it did not run on**: 13.0"


def test_what_status_did_not_say_is_told() -> None:
    outcome = Outcome((measured("power-cut", 14.0, 25.0, was_seen=False),), ())
    assert cells_of("power-cut", outcome)[1].endswith("(**not seen**)")
    seen = Outcome((*outcome.measured, measured("power-cut", 14.0, 25.0)), ())
    assert "not seen" not in cells_of("power-cut", seen)[1]


def test_two_at_once_would_stand_there() -> None:
    outcome = Outcome((measured("power-cut", 14.0, 25.0, most_qemus=2),), ())
    assert "**2 QEMUs** of the engine VM ran" in document("Somewhere.", outcome, FIGURES)
    (most,) = [row for row in rows(outcome) if "at once" in row.what]
    assert most.kept is False


def test_what_was_not_measured_is_told_with_its_reason() -> None:
    outcome = Outcome((), (("power-cut", "no other QEMU has a good page"),))
    text = document("Somewhere.", outcome, FIGURES)
    assert "- power-cut was not measured: no other QEMU has a good page" in text


def test_the_simulators_figures_stand_apart() -> None:
    text = document("Somewhere.", NOTHING, FIGURES)
    simulated = by_title(text.split("## Simulated")[1])
    assert simulated["Another host dies"][2:] == [NEVER, "0.0", "`crash-other-host`"]
    assert simulated["The guest hangs"][1:4] == ["VDSM ends it \\| by force", "246.9", "266.9"]
    assert "The guest hangs" not in text.split("## Simulated")[0]


@pytest.mark.parametrize(("seconds", "kept"), [(15.9, True), (16.1, False)])
def test_the_benchmark_holds_a_start_against_the_promise(seconds: float, kept: bool) -> None:
    found = rows(Outcome((measured("power-cut", seconds, 30.0),), ()))
    assert [row.kept for row in found] == [kept, True]


def test_the_benchmark_holds_it_against_us_when_a_vm_did_not_run_on() -> None:
    found = rows(Outcome((ran_on("agent-killed", 0.3), measured("agent-killed", 13.0, 20.0)), ()))
    assert [row.kept for row in found] == [False, True]
    assert rows(NOTHING) == []


def test_promises_follow_from_the_lease() -> None:
    texts = {failure.name: promise_text(failure) for failure in FAILURES}
    assert texts["qemu-killed"] == "0 to 1"
    assert texts["storage-owner"] == texts["broker-stopped"] == "12 to 16"
    assert texts["storage-all"] == "60 to 76"
    assert texts["engine-hangs"] == "120 to 248"
    assert texts["vdsm-killed"] == "it runs on"


def test_the_document_in_the_tree_is_of_these_failures() -> None:
    found = by_title(DOCUMENT.read_text(encoding="utf-8"))
    for failure in FAILURES:
        cells = found[failure.title]
        assert failure.see in cells[1]
        assert cells[2] == failure.does
        assert cells[3] == promise_text(failure)
        assert cells[7].startswith(failure.do)
    for name in SIMULATED:
        assert f"`{name}`" in DOCUMENT.read_text(encoding="utf-8")


def test_all_names_are_there() -> None:
    assert len(set(NAMES)) == len(NAMES)
    assert set(SIMULATED) <= set(scenario.names())
    for failure in FAILURES:
        assert not failure.guide or (ROOT / f"docs/guides/{failure.guide}.md").exists()
