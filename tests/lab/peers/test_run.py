# SPDX-License-Identifier: Apache-2.0
"""The command's options, its order of faults, and a line of progress."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import pytest

from lab.peers.figures import FAULTS, GUEST_CRASH, POWER_CUT, Cost
from lab.peers.run import FAULTS_OF, SIDES, TIMES, add_arguments, cost_line, run, where
from lab.plan import LabPlan


def _parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(list(words))


def test_ten_runs_of_all_sides_are_the_default() -> None:
    assert (_parse().runs, _parse().side) == (TIMES, [])
    assert _parse("--runs", "2", "--side", "ours").side == ["ours"]


def test_every_side_has_faults_and_a_power_cut_is_its_last_one() -> None:
    # A host that lost its power stays off, so nothing comes after it.
    assert set(SIDES.values()) == set(FAULTS_OF)
    for faults in FAULTS_OF.values():
        assert set(faults) <= set(FAULTS)
        assert faults[-1] == POWER_CUT


def test_no_run_at_all_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--runs"):
        run(LabPlan("", tmp_path / "lab"), _parse("--runs", "0"), lambda _text: None)
    assert list(tmp_path.iterdir()) == []


def test_a_cost_is_a_line() -> None:
    line = cost_line(Cost("ha-agent", GUEST_CRASH, 6.22, 0.12, 6.08, False, 1))
    assert line == (
        "ha-agent: guest-crash: page away 6.2 s, QEMU after 0.1 s, boot 6.1 s, same host, "
        "1 VM at most"
    )


def test_where_it_was_measured_has_the_machine_and_the_runs() -> None:
    text = where(3, {"TCG", "KVM"})
    assert "3 runs asked for" in text
    assert os.uname().release in text
    assert "QEMU by KVM and TCG" in text
    assert "QEMU by unknown" in where(3, ())
