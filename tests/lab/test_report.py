# SPDX-License-Identifier: Apache-2.0
"""The table, the document, and what makes a run fail."""

from __future__ import annotations

import dataclasses

from demo.guest import Counters
from lab.budgets import Budgets
from lab.case import Result
from lab.observer import Seen
from lab.report import Outcome, document, line, parse_exposure, table
from lab.results import Found, Part

SEEN = Seen(
    page_seconds=21.04,
    gone_seconds=15.26,
    starts=1,
    most_vms=1,
    worst=(),
    before=Counters(boots=1, heartbeat=10),
    after=Counters(boots=2, heartbeat=20),
    faults=(),
)
GOOD = Result(
    "power-cut",
    "the owner loses its power",
    "file",
    SEEN,
    Budgets().takeover(),
    42.0,
    (),
    61.0,
)
BAD = dataclasses.replace(GOOD, name="broker-stopped", problems=("2 VMs could run at once",))
LOST = dataclasses.replace(GOOD, name="boot-all", seen=None, budget=None, problems=("the lab: x",))
PART = Part("file", "2026-11-23, here.", 8.0, {"host1: ha-agent.service": 1.6})


def outcome(*results: Result, level: float = 1.6, redone: tuple[Result, ...] = ()) -> Outcome:
    part = dataclasses.replace(PART, exposure={"host1: ha-agent.service": level})
    return Outcome("run --full", Found({}, (part,), results, redone))


def test_a_case_is_a_line_with_all_that_was_seen() -> None:
    text = line(GOOD)
    assert "21.0 (42.0)" in text
    assert "15.3 (18.0)" in text
    assert "1 VMs at most" in text
    assert "data kept: passed" in text
    assert "FAILED: 2 VMs could run at once" in line(BAD)


def test_a_case_that_never_began_has_empty_cells() -> None:
    text = table([GOOD, LOST])
    head, good, lost = text.splitlines()
    assert head.index("verdict") == good.index("passed") == lost.index("FAILED")


def test_data_that_is_lost_or_unknown_is_told() -> None:
    lost = dataclasses.replace(SEEN, faults=("the heartbeat went back",))
    unknown = dataclasses.replace(SEEN, before=None)
    assert "data lost" in line(dataclasses.replace(GOOD, seen=lost))
    assert "data unknown" in line(dataclasses.replace(GOOD, seen=unknown))


def test_a_run_passes_only_with_every_case_and_sandbox() -> None:
    assert outcome(GOOD).passed
    assert not outcome(GOOD, BAD).passed
    assert not outcome().passed
    assert not outcome(GOOD, level=2.1).passed
    assert not dataclasses.replace(outcome(GOOD), missing=("boot-all (file)",)).passed


def test_the_document_has_the_run_and_what_failed() -> None:
    text = document(outcome(GOOD, BAD, redone=(LOST,)))
    assert "- 2026-11-23, here. file storage.\n" in text
    assert "(at most 8.0 s)" in text
    assert "| power-cut | file | the owner loses its power | 21.0 (42.0) |" in text
    assert "lease 15 + turn and start" in text
    assert "- **broker-stopped** (file): 2 VMs could run at once" in text
    assert "| host1: ha-agent.service (file) | 1.6 |" in text
    first = text.index("## What failed at first")
    assert text.index("- **boot-all** (file): the lab: x") > first


def test_what_was_not_come_to_is_told() -> None:
    missing = dataclasses.replace(outcome(GOOD), missing=("boot-all (block)",))
    assert "## What was not done\n\n- boot-all (block)\n" in document(missing)


def test_drawn_faults_are_summed_up_with_their_seed() -> None:
    drawn = [dataclasses.replace(GOOD, name=f"random-{number:03d}") for number in range(1, 4)]
    text = document(dataclasses.replace(outcome(*drawn), seed=7))
    assert "Seed 7, 3 draws" in text
    assert "--random --seed 7 --count 3" in text
    assert "3 passed, 0 failed" in text


def test_systemds_word_on_a_unit_is_read() -> None:
    told = "→ Overall exposure level for ha-broker.service: 1.8 OK 🙂\n"
    assert parse_exposure(told) == ("ha-broker.service", 1.8)
    assert parse_exposure("no such unit") is None
