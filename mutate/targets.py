# SPDX-License-Identifier: Apache-2.0
"""What is mutated, and which tests have to notice.

Tests run group by group, those that find most in the least time first; the first that fails
ends a mutant. Left out are those that compare the table with a text made from it, or with the
names of its guards: they notice every change and prove nothing of what it does. So are those
that start processes of their own, which don't see the mutant.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# Those of test_machine.py that hypothesis draws pictures for: most of what it takes.
_DRAWN = "TestEveryDecision or TestNothingSticks"

# By name: paths of tests, which may be folders, then options of pytest. What is not there is
# left out.
GROUPS: dict[str, tuple[str, ...]] = {
    "guards": ("tests/fsm/test_guards.py",),
    "stop-guards": ("tests/fsm/test_stop_guards.py",),
    "cut-off": ("tests/fsm/test_cut_off.py",),
    "sight": ("tests/fsm/test_sight.py",),
    "row": ("tests/fsm/test_row.py",),
    "score": ("tests/fsm/test_score.py",),
    "takeover": ("tests/fsm/test_takeover.py",),
    "trends": ("tests/fsm/test_trends.py",),
    "due": ("tests/fsm/test_due.py",),
    "better-host": ("tests/fsm/test_better_host.py",),
    "follow": ("tests/fsm/test_follow.py",),
    "start-fate": ("tests/fsm/test_start_fate.py",),
    "unanswered": ("tests/scenarios/test_start_unanswered.py",),
    "context": ("tests/fsm/test_context.py",),
    "machine": ("tests/fsm/test_machine.py", "-k", f"not ({_DRAWN})"),
    "machine-drawn": ("tests/fsm/test_machine.py", "-k", _DRAWN),
    "table": ("tests/fsm/test_table.py",),
    "fsm": ("tests/fsm",),
    "cycle": ("tests/test_cycle.py", "tests/test_observe.py"),
    "lease": ("tests/broker/lease/test_rules.py",),
    "lease-rhythm": ("tests/broker/lease/test_rhythm.py",),
    "lease-cycle": ("tests/broker/lease/test_cycle.py",),
    "lease-view": ("tests/broker/lease/test_view.py",),
    "lease-seeds": ("tests/broker/test_lease_sim.py", "tests/broker/lease/test_file.py"),
    "scenarios": ("tests/scenarios",),
    # Not all of tests/sim: what a mutant that survives costs has to have a bound.
    "simulator": ("tests/sim/test_scenarios.py", "-k", "qe-"),
    "seeds": ("tests/sim/test_campaign.py", "-k", "thirty_seeds"),
}
LEFT_OUT = (
    "tests/fsm/test_diagram.py",
    "tests/fsm/test_table.py::TestCases::test_each_case_means_one_row_and_names_its_guards",
)

_AFTER_FSM = ("cycle", "fsm", "scenarios", "simulator", "seeds")
_AFTER_LEASE = ("lease-seeds", "scenarios", "simulator", "seeds")


@dataclass(frozen=True)
class Target:
    """One module, and the groups of tests that run for its mutants, in this order."""

    path: str
    groups: tuple[str, ...]

    @property
    def module(self) -> str:
        return self.path[: -len(".py")].replace("/", ".")


TARGETS = (
    Target("ha_agent/fsm/table.py", ("table", "machine", *_AFTER_FSM)),
    Target("ha_agent/fsm/guards.py", ("guards", "table", "machine", *_AFTER_FSM)),
    Target("ha_agent/fsm/stop_guards.py", ("stop-guards", "table", *_AFTER_FSM)),
    Target("ha_agent/fsm/cut_off.py", ("cut-off", "table", *_AFTER_FSM)),
    Target("ha_agent/fsm/sight.py", ("sight", "due", *_AFTER_FSM)),
    Target("ha_agent/fsm/context.py", ("context", "guards", "table", *_AFTER_FSM)),
    Target("ha_agent/fsm/row.py", ("row", "table", *_AFTER_FSM)),
    Target("ha_agent/fsm/takeover.py", ("takeover", "guards", *_AFTER_FSM)),
    Target("ha_agent/fsm/score.py", ("score", *_AFTER_FSM)),
    Target("ha_agent/fsm/machine.py", ("machine", "table", "machine-drawn", *_AFTER_FSM)),
    Target("ha_agent/fsm/trends.py", ("trends", "machine", "score", *_AFTER_FSM)),
    Target("ha_agent/fsm/due.py", ("due", "machine", *_AFTER_FSM)),
    Target("ha_agent/fsm/better_host.py", ("better-host", "machine", *_AFTER_FSM)),
    Target("ha_agent/fsm/follow.py", ("follow", "machine", *_AFTER_FSM)),
    Target("ha_agent/fsm/start_fate.py", ("start-fate", "unanswered", "machine", *_AFTER_FSM)),
    Target("ha_agent/broker/lease/rules.py", ("lease", "lease-cycle", *_AFTER_LEASE)),
    Target("ha_agent/broker/lease/cycle.py", ("lease-cycle", *_AFTER_LEASE)),
    Target("ha_agent/broker/lease/view.py", ("lease-view", "lease-cycle", *_AFTER_LEASE)),
    Target("ha_agent/broker/lease/rhythm.py", ("lease-rhythm", "lease-cycle", *_AFTER_LEASE)),
)


def arguments_of(group: str) -> list[str]:
    """Return pytest's arguments for a group; empty where none of its tests is there."""
    words = GROUPS[group]
    paths = list(takewhile(lambda word: not word.startswith("-"), words))
    there = [path for path in paths if (ROOT / path).exists()]
    options = (*words[len(paths) :], *(f"--deselect={one}" for one in LEFT_OUT))
    return [*there, *options] if there else []


def targets(without: Collection[str] = ()) -> list[Target]:
    """Return the targets that are there, with those of their groups that are and are wanted."""
    left = [group for group in GROUPS if arguments_of(group) and group not in without]
    return [
        Target(target.path, tuple(group for group in target.groups if group in left))
        for target in TARGETS
        if (ROOT / target.path).exists()
    ]
