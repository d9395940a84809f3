# SPDX-License-Identifier: Apache-2.0
"""docs/peers.md: measured and calculated figures are never mixed up."""

from __future__ import annotations

import dataclasses

from lab.peers.document import NOT_YET, PREDECESSOR, Outcome, comparison, document
from lab.peers.figures import Cost
from lab.peers.our_settings import our_settings
from lab.peers.pacemaker_files import SETTINGS
from lab.peers.predecessor import SUMS

OURS = Cost("ha-agent", "power-cut", 22.04, 14.2, 7.5, True, 1)
THEIRS = Cost("Pacemaker", "power-cut", 19.0, 11.0, 7.5, True, 1)
OUTCOME = Outcome("2026-11-23, here.", 2, [OURS, THEIRS], our_settings(), {"ha-agent": {"x": "1"}})


def _row(lines: list[str], *words: str) -> str:
    (found,) = [line for line in lines if all(word in line for word in words)]
    return found


def test_what_was_measured_is_in_the_table() -> None:
    worse = dataclasses.replace(OURS, page_seconds=30.0)
    lines = comparison([OURS, worse, THEIRS])
    assert "| 2 | **26.0 / 30.0** | 14.2 / 14.2 |" in _row(lines, "its power", "| ha-agent |")
    assert "| 1 | **19.0** |" in _row(lines, "its power", "| Pacemaker |")


def test_what_was_not_measured_says_so() -> None:
    lines = comparison([OURS])
    assert NOT_YET in _row(lines, "its power", "| Pacemaker |")
    assert NOT_YET in _row(lines, "is killed", "| ha-agent |")


def test_the_predecessors_figures_are_called_calculated() -> None:
    for costs in ([], [OURS]):
        rows = [line for line in comparison(costs) if PREDECESSOR in line]
        assert len(rows) == len(SUMS)
        assert all("| calculated |" in row for row in rows)
    assert "128 to 178" in _row(comparison([OURS]), "its power", PREDECESSOR)
    assert "120 to 170, and the boot" in _row(comparison([]), "its power", PREDECESSOR)


def test_the_document_has_all_settings_terms_and_runs() -> None:
    text = document(OUTCOME)
    for setting in (*SETTINGS, *our_settings()):
        assert setting.name in text
        assert setting.value in text
    for one in SUMS:
        assert one.published in text
        assert all(term.what in text and term.source in text for term in one.terms)
    assert "power-cut, ha-agent, all outages in order: 22.0" in text
    assert "**nothing here was measured**" in text


def test_a_round_that_was_missed_is_told() -> None:
    text = document(dataclasses.replace(OUTCOME, missed=["round 2, Pacemaker: no quorum"]))
    assert "- round 2, Pacemaker: no quorum" in text


def test_our_settings_are_the_shipped_defaults() -> None:
    found = {setting.name: setting.value for setting in our_settings()}
    assert found["[lease] lease_expiry_seconds"].startswith("15:")
    assert found["[restart] backoff_seconds"].startswith("0, 1, 5, 15:")
