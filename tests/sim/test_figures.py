# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from ha_agent.errors import BadInput
from ha_agent.sim import figures
from ha_agent.sim.campaign import SeedRun, Summary
from ha_agent.sim.figures import LOG_BEGINS, LOG_ENDS, Speed
from ha_agent.sim.seeds import spec_of
from ha_agent.sim.spec import Violation


def test_a_speed_is_shown_by_tick_and_by_host_that_is_looked_at() -> None:
    speed = Speed(hosts=4, simulated_seconds=100.0, real_seconds=0.5, ticks=1000, steps=9)
    assert speed.times_real_time == 200
    assert speed.tick_microseconds == 500
    assert speed.looked_at_microseconds == 125


def test_a_run_is_measured() -> None:
    speed = figures.measure(spec_of(1, hosts=2, hours=0.01, quiet=True))
    assert (speed.hosts, speed.simulated_seconds) == (2, 36.0)
    assert speed.ticks > 10
    assert speed.real_seconds > 0


def test_larger_clusters_are_rows() -> None:
    rows = figures.size_rows([(2, 20.0), (5, 10.0)])
    assert [what for what, _ in rows] == ["2 hosts, 20 s", "5 hosts, 10 s"]
    assert figures.table(rows).count("\n") == 2


def test_an_entry_goes_to_the_top_of_the_log_and_the_rest_stays() -> None:
    summary = Summary()
    violation = Violation(5.0, "one-vm", "on h1, h2")
    summary.add(SeedRun(7, 3, 10, 3600.0, 0.5, 1000, 2, 30.0, (violation,)))
    entry = figures.log_entry("Mon", "abc123", "one seed", [("a", "1")], summary)
    assert "### Mon, commit abc123: one seed" in entry
    assert "| a | 1 |" in entry
    assert "- seed 7: one-vm at 5.0 s: on h1, h2" in entry
    document = f"# Words\n\n{LOG_BEGINS}\n\nolder\n\n{LOG_ENDS}\nmore words\n"
    once = figures.with_entry(document, entry)
    assert once.startswith("# Words\n")
    assert once.endswith(f"{LOG_ENDS}\nmore words\n")
    assert once.index("one seed") < once.index("older")
    twice = figures.with_entry(once, "second\n")
    assert twice.index("second") < twice.index("one seed") < twice.index("older")


def test_a_document_without_marks_is_refused() -> None:
    with pytest.raises(BadInput):
        figures.with_entry("# Words\n", "entry")
