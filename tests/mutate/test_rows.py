# SPDX-License-Identifier: Apache-2.0
"""Mutations of a table of three rows."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings

from ha_agent.fsm import guards, stop_guards
from ha_agent.fsm.context import Context
from ha_agent.fsm.machine import prepare
from ha_agent.fsm.memory import Memory
from ha_agent.fsm.observation import Observation
from ha_agent.fsm.policy import Policy
from ha_agent.fsm.state import State
from mutate.mutants import mutants
from mutate.rows import ONE_OF, sources_of
from tests.fsm.pictures import observations, states_with_memory

SOURCE = """
from types import SimpleNamespace

S = SimpleNamespace(A="A", B="B", C="C")
E = SimpleNamespace(START="start", STOP="stop")
g = SimpleNamespace(up=1, down=2, negate=lambda guard: -guard)

def Row(sources, target, when, why, effect=None, fallback=False, notes=()):
    return SimpleNamespace(**locals())

_HEAD = (
    Row((S.A, S.B), S.C, (g.up, g.negate(g.down)), "first"),
    Row((S.C,), S.A, (g.down,), "second", effect=E.START, notes=(1, 2)),
)
_TAIL = (Row((S.B,), None, (g.up,), "third", effect=E.STOP, fallback=True),)
TABLE = (*_HEAD, *_TAIL)
"""


def table(source: str) -> tuple[Any, ...]:
    namespace: dict[str, Any] = {}
    exec(source, namespace)
    return tuple(namespace["TABLE"])


def mutated(why: str) -> dict[str, tuple[Any, ...]]:
    """Return, by what was changed of the row with this `why`, the tables that come of it."""
    return {
        mutant.key.split(":", 2)[2]: table(mutant.source())
        for mutant in mutants("ha_agent/x.py", SOURCE)
        if mutant.key.split(":")[1] == f"row '{why}'"
    }


def row(why: str, tables: tuple[Any, ...]) -> Any:
    [found] = [one for one in tables if one.why == why]
    return found


def test_guards_are_dropped_and_negated_one_by_one() -> None:
    found = {what: row("first", rows).when for what, rows in mutated("first").items()}
    assert found["guard g.up dropped"] == (-2,)
    assert found["guard g.negate(g.down) dropped"] == (1,)
    assert found["guard g.up negated"] == (-1, -2)
    assert found["guard g.negate(g.down) negated"] == (1, 2)


def test_targets_are_replaced_by_another_state_and_by_none() -> None:
    found = mutated("second")
    assert row("second", found["target S.A becomes None"]).target is None
    assert [what for what in found if what.startswith("target S.A becomes S.")] == []
    assert row("third", mutated("third")["target None becomes S.C"]).target == "C"


def test_effects_are_replaced_by_another_and_by_none() -> None:
    found = mutated("second")
    assert row("second", found["effect E.START becomes E.STOP"]).effect == "stop"
    assert row("second", found["effect E.START becomes None"]).effect is None
    assert not [what for what in mutated("first") if what.startswith("effect")]


def test_a_start_from_the_fallback_becomes_one_from_the_definition() -> None:
    found = mutated("third")
    assert row("third", found["fallback becomes False"]).fallback is False
    assert "fallback becomes False" not in mutated("first")


def test_notes_are_dropped_one_by_one() -> None:
    found = mutated("second")
    assert row("second", found["note 1 dropped"]).notes == (2,)
    assert row("second", found["note 2 dropped"]).notes == (1,)


def test_a_row_goes_behind_the_next_that_shares_a_state_with_it() -> None:
    [moved] = [rows for what, rows in mutated("first").items() if what.startswith("moved")]
    assert [one.why for one in moved] == ["second", "third", "first"]
    assert not [what for what in (*mutated("second"), *mutated("third")) if "moved" in what]


@pytest.mark.parametrize(
    ("first", "third", "meet"),
    [
        ("g.up", "g.down", True),
        ("g.up", "g.negate(g.up)", False),
        ("g.negate(g.down)", "g.down", False),
        ("g.vm_running", "g.vm_gone", False),
        ("g.vm_running", "g.lease_ours", True),
    ],
)
def test_rows_that_never_meet_stay_where_they_are(first: str, third: str, meet: bool) -> None:
    source = SOURCE.replace("down=2,", "down=2, vm_running=3, vm_gone=4, lease_ours=5,")
    source = source.replace("(g.up, g.negate(g.down))", f"({first},)")
    source = source.replace('None, (g.up,), "third"', f'None, ({third},), "third"')
    moved = [m.key for m in mutants("ha_agent/x.py", source) if "moved behind" in m.key]
    assert bool(moved) is meet


def test_each_mutant_changes_one_thing_only() -> None:
    plain = table(SOURCE)
    for mutant in mutants("ha_agent/x.py", SOURCE):
        rows = table(mutant.source())
        if "moved" not in mutant.key and "row '" in mutant.key:
            assert sum(one != other for one, other in zip(rows, plain)) == 1


def test_sources_are_what_the_table_says_when_it_runs() -> None:
    assert sources_of(SOURCE, "x") == [{"A", "B"}, {"C"}, {"B"}]


def test_rows_that_the_source_does_not_show_are_told() -> None:
    with pytest.raises(ValueError, match="TABLE has 6 rows, and its source 3"):
        mutants("ha_agent/x.py", SOURCE + "TABLE = TABLE + TABLE\n")


@settings(max_examples=200, deadline=None)
@given(states_with_memory(), observations)
def test_guards_that_are_taken_for_exclusive_are_so(
    stand: tuple[State, Memory], picture: Observation
) -> None:
    context, _score = prepare(*stand, picture, Policy())
    for line in ONE_OF:
        holding = [name for name in line if holds(name, context)]
        assert len(holding) <= 1, holding


def holds(name: str, context: Context) -> bool:
    plain = name[len("not ") :] if name.startswith("not ") else name
    guard = getattr(guards, plain, None) or getattr(stop_guards, plain)
    return bool(guard(context)) is (plain == name)
