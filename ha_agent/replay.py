# SPDX-License-Identifier: Apache-2.0
"""Decisions of the past, stepped through today's state machine: records in, differences out.
Pure.

A record (decision_codec.py) holds exactly what went into one `Fsm.step`; so a step of today
either decides the same, or this version of the program, or another policy, decides otherwise.
For a difference the guards of both edges are asked anew, so that a reader sees why:

    2026-11-22 14:03:11, host 2, program 1.2.0 (/var/lib/ha-agent/decisions/0.ring, record 57)
      Before: engine VM is not here; watching the lease (EngineDown)
      Then:   -> EngineStart, asking to take lease: nobody holds the lease and it is our turn
      Now:    nothing changes
      What differs:
        state: EngineStart then, EngineDown now
      What the edge of then asks, and whether it holds now:
        yes  the lease is free or expired
        NO   it is this host's turn to take the lease

Of the memory that a step leaves only what both versions know is compared: a field that was
added since is no difference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Optional

from ha_agent.decision_codec import Record, plain_decision, plain_row
from ha_agent.fsm.context import Context
from ha_agent.fsm.guards import effect_possible
from ha_agent.fsm.machine import Fsm, prepare
from ha_agent.fsm.policy import Policy
from ha_agent.fsm.row import Row
from ha_agent.fsm.state import State
from ha_agent.fsm.table import TABLE

_LONGEST = 160


@dataclass(frozen=True)
class Difference:
    """What differs, by its path such as "memory.failures", with both values in plain form."""

    what: str
    then: Any
    now: Any


@dataclass(frozen=True)
class GuardAnswer:
    """A question that an edge asks, and whether it holds for the record now."""

    question: str
    holds: bool


@dataclass(frozen=True)
class Replayed:
    """One record stepped again. `where` names the record; the guards are there for a difference
    only: of the edge that fired then (none when this version has no such edge), and of the one
    that fires now."""

    record: Record
    where: str
    now: Mapping[str, Any]
    differences: tuple[Difference, ...] = ()
    guards_then: tuple[GuardAnswer, ...] = ()
    guards_now: tuple[GuardAnswer, ...] = ()


def replay(fsm: Fsm, record: Record, where: str, policy: Optional[Policy] = None) -> Replayed:
    """Step a record through `fsm`, by its own policy or by another one."""
    if policy is not None:
        record = replace(record, policy=policy)
    decision = fsm.step(record.state, record.memory, record.observation, record.policy)
    now = plain_decision(decision)
    found = tuple(_differences("", record.decided, now))
    if not found:
        return Replayed(record, where, now)
    context, _ = prepare(record.state, record.memory, record.observation, record.policy)
    return Replayed(
        record,
        where,
        now,
        found,
        _answers(_edge(record.decided.get("row"), record.state), context),
        _answers(decision.row, context),
    )


def _differences(path: str, then: Any, now: Any) -> list[Difference]:
    """Compare plain values; of maps what both have."""
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        found: list[Difference] = []
        for name in then:
            if name in now:
                inner = f"{path}.{name}" if path else str(name)
                found += _differences(inner, then[name], now[name])
        return found
    return [] if then == now else [Difference(path, then, now)]


def _edge(told: Any, state: State) -> Optional[Row]:
    """Find the edge that a record tells of in today's table."""
    for row in TABLE:
        if state in row.sources and plain_row(row) == told:
            return row
    return None


def _answers(row: Optional[Row], context: Context) -> tuple[GuardAnswer, ...]:
    if row is None:
        return ()
    answers = [GuardAnswer((g.__doc__ or g.__name__).strip(), g(context)) for g in row.when]
    if row.effect is not None:
        possible = effect_possible(context, row.effect)
        answers.append(GuardAnswer((effect_possible.__doc__ or "").strip(), possible))
    return tuple(answers)


def as_json(replayed: Replayed) -> dict[str, Any]:
    """Return a difference as a value for JSON."""
    record = replayed.record
    return {
        "at": record.at.iso(),
        "where": replayed.where,
        "host_id": record.host_id,
        "program": record.program,
        "state": record.state.value,
        "then": {name: record.decided.get(name) for name in ("state", "row", "effect")},
        "now": {name: replayed.now[name] for name in ("state", "row", "effect")},
        "differences": [
            {"what": one.what, "then": one.then, "now": one.now} for one in replayed.differences
        ],
        "guards_then": {one.question: one.holds for one in replayed.guards_then},
        "guards_now": {one.question: one.holds for one in replayed.guards_now},
        "notes": list(record.notes),
    }


def as_text(replayed: Replayed) -> str:
    """Return a difference as text, as in the module's docstring."""
    record = replayed.record
    lines = [
        f"{record.at.local()}, host {record.host_id}, program {record.program} ({replayed.where})",
        f"  Before: {record.state.meaning} ({record.state.value})",
        f"  Then:   {_decided(record.decided, record.state)}",
        f"  Now:    {_decided(replayed.now, record.state)}",
        "  What differs:",
    ]
    lines += [
        f"    {one.what}: {_short(one.then)} then, {_short(one.now)} now"
        for one in replayed.differences
    ]
    told = record.decided.get("row")
    if replayed.guards_then:
        lines.append("  What the edge of then asks, and whether it holds now:")
        lines += _asked(replayed.guards_then)
    elif told is not None:
        lines.append("  This version has no such edge as fired then.")
    if replayed.guards_now and replayed.now["row"] != told:
        lines.append("  What the edge of now asks:")
        lines += _asked(replayed.guards_now)
    lines += [f"  Note: {note}" for note in record.notes]
    return "\n".join(lines) + "\n"


def _asked(answers: tuple[GuardAnswer, ...]) -> list[str]:
    return [f"    {'yes' if one.holds else 'NO '}  {one.question}" for one in answers]


def _decided(decided: Mapping[str, Any], before: State) -> str:
    row, effect = decided.get("row"), decided.get("effect")
    if not isinstance(row, Mapping):
        return "nothing changes"
    state = decided.get("state")
    arrow = "stays" if state == before.value else f"-> {state}"
    asked = f", asking to {effect.get('kind')}" if isinstance(effect, Mapping) else ""
    return f"{arrow}{asked}: {row.get('why')}"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."
