# SPDX-License-Identifier: Apache-2.0
"""Many seeds: a short form of what `make sim` runs, and how campaigns are summed up."""

from __future__ import annotations

from dataclasses import replace

from ha_agent.fsm.policy import Policy, ScoreWeights
from ha_agent.sim.campaign import SeedRun, Summary, Wanted, run_seed, run_seeds, shrunk
from ha_agent.sim.failure import report
from ha_agent.sim.faults import parse
from ha_agent.sim.runner import run
from ha_agent.sim.spec import Result, Spec, Violation

SHORT = Wanted(hosts=3, hours=0.05)


def test_thirty_seeds_of_three_hosts_hold_all_rules() -> None:
    summary = run_seeds(SHORT, range(1, 31), jobs=1)
    texts = [report(run(SHORT.spec(failed.seed))) for failed in summary.failed[:2]]
    assert not summary.failed, "\n\n".join(texts)
    assert summary.runs == 30
    assert summary.ticks > 30 * 100


def test_the_order_of_seeds_does_not_matter() -> None:
    seen: list[int] = []
    forth = run_seeds(SHORT, [3, 5], 1, lambda summary: seen.append(summary.runs))
    back = run_seeds(SHORT, [5, 3], 2)
    assert seen == [1, 2]
    assert (forth.ticks, forth.faults, forth.outage_seconds) == (
        back.ticks,
        back.faults,
        back.outage_seconds,
    )


def test_no_seed_is_passed_over_on_several_cores() -> None:
    tiny = Wanted(hosts=1, hours=0.001)
    assert run_seeds(tiny, range(1, 24), 2).runs == 23


def test_a_seed_gives_the_same_run_each_time() -> None:
    one, again = run_seed(SHORT, 9), run_seed(SHORT, 9)
    assert replace(one, real_seconds=0.0) == replace(again, real_seconds=0.0)


def test_a_summary_says_which_rule_broke() -> None:
    summary = Summary()
    broken = (Violation(5.0, "one-vm", "on h1, h2"),)
    good = SeedRun(1, 3, 10, 3600.0, 0.5, 1000, 2, 30.0, ())
    summary.add(replace(good, seed=7, violations=broken))
    summary.add(good)
    rows = dict(summary.rows())
    assert rows["seeds run"] == "2"
    assert rows["host-hours simulated"] == "6.0"
    assert rows["seeds that broke a rule"] == "1 (one-vm 1)"
    assert rows["times real time, on one core"] == "7200"
    assert [run.seed for run in summary.failed] == [7]


def test_a_failing_run_is_shrunk_to_one_that_fails_alike() -> None:
    lines = (
        "at 5 h3 storage-eio for 4",
        "at 9 h2 vdsm-silent for 3",
        "at 12 h1 cpu-load 0.9 for 9",
    )
    spec = Spec(
        seconds=60,
        hosts=3,
        engine_on=2,
        faults=tuple(parse(line, "test") for line in lines),
        policy=replace(Policy(), weights=ScoreWeights(base=5000)),
    )
    small = shrunk(run(spec), runs_max=40)
    assert isinstance(small, Result)
    assert small.violations[0].checker == "score-range"
    assert small.spec.faults == ()
    assert (small.spec.hosts, small.spec.seconds < 10) == (1, True)
