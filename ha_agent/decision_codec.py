# SPDX-License-Identifier: Apache-2.0
"""One decision of the agent as a value that can be kept in a file, and back. Pure.

A record is one MessagePack map:

    {"format": 1, "program": "1.2.3", "host_id": 2, "at": 1700000000.0,
     "state": …, "memory": {…}, "observation": {…}, "policy": {…},
     "decision": {"state": …, "row": {…} or nil, "effect": {…} or nil,
                  "score": {…}, "better_host": …, "memory": {…}}}

Dataclasses are maps by field name, enums their value, Instants seconds of the boot-time clock,
tuples lists. An edge of the table is told by {"why", "target", "effect"}: the guards are code,
and `ha-agent replay` asks today's.

Records outlive versions of this program, so a field that is not known is left out and a missing
one gets its default, each with a note; anything else that does not fit is a BadInput that names
it. What was decided stays plain (Decided.plain), to be compared and not to be used.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional, TypeVar, Union, get_args, get_origin, get_type_hints

import msgpack

from ha_agent.errors import BadInput
from ha_agent.fsm.machine import Decision, Step
from ha_agent.fsm.memory import Memory
from ha_agent.fsm.observation import Observation
from ha_agent.fsm.policy import Policy
from ha_agent.fsm.row import Row
from ha_agent.fsm.state import State
from ha_agent.instant import Instant, WallTime

FORMAT = 1
# A picture of 2000 hosts is some 400 KiB; nothing honest comes near this.
MAX_RECORD_BYTES = 1 << 20

# The year 5138.
_MAX_SECONDS = 1e11

T = TypeVar("T")


@dataclass(frozen=True)
class Record:
    """One decision as it was kept.

    `decided` is what was decided then, in plain values (see the module's docstring). `notes` say
    what of the record this version does not know, or misses.
    """

    program: str
    host_id: int
    at: WallTime
    state: State
    memory: Memory
    observation: Observation
    policy: Policy
    decided: Mapping[str, Any]
    notes: tuple[str, ...] = ()


def encode(step: Step, at: WallTime, program: str) -> bytes:
    """Return a step as a record. Raises BadInput when it is too long to be kept."""
    value = {
        "format": FORMAT,
        "program": program,
        "host_id": step.observation.host_id,
        "at": at.unix_seconds,
        "state": step.state.value,
        "memory": plain(step.memory),
        "observation": plain(step.observation),
        "policy": plain(step.policy),
        "decision": plain_decision(step.decision),
    }
    data: bytes = msgpack.packb(value, unicode_errors="replace")
    if len(data) > MAX_RECORD_BYTES:
        raise BadInput(f"a decision of {len(data)} bytes is too long to be kept")
    return data


def decode(data: bytes, *, where: str) -> Record:
    """Return the record that `encode` made. Raises BadInput."""
    try:
        value = msgpack.unpackb(data, strict_map_key=True)
    except (ValueError, RecursionError, msgpack.UnpackException) as error:
        raise BadInput(f"no decision: {error}", where=where) from None
    if not isinstance(value, dict):
        raise BadInput(f"expected a map, got {type(value).__name__}", where=where)
    if value.get("format") != FORMAT:
        found = f"{value.get('format')!r:.20}"
        raise BadInput(f"format {found}; this version reads format {FORMAT}", where=where)
    notes: list[str] = []
    at, decided = value.get("at"), value.get("decision")
    if not isinstance(at, (int, float)) or not 0 <= at <= _MAX_SECONDS:
        raise BadInput(f"{at!r:.60} is no time of the calendar", where=f"{where}.at")
    if not isinstance(decided, dict) or not isinstance(decided.get("memory"), dict):
        raise BadInput("expected a map with a map", where=f"{where}.decision")

    def part(name: str, hint: Any) -> Any:
        return _read(hint, value.get(name), f"{where}.{name}", notes)

    return Record(
        program=part("program", str),
        host_id=part("host_id", int),
        at=WallTime(part("at", float)),
        state=part("state", State),
        memory=part("memory", Memory),
        observation=part("observation", Observation),
        policy=part("policy", Policy),
        decided=decided,
        notes=tuple(notes),
    )


def plain(value: Any) -> Any:
    """Return a value as maps, lists and plain values."""
    if isinstance(value, Instant):
        return value.boottime_seconds
    if isinstance(value, enum.Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(plain(item) for item in value)
    return value


def plain_decision(decision: Decision) -> dict[str, Any]:
    """Return what was decided, without what led to it."""
    return {
        "state": decision.state.value,
        "row": plain_row(decision.row),
        "effect": plain(decision.effect),
        "score": plain(decision.score),
        "better_host": decision.better_host,
        "memory": plain(decision.memory),
    }


def plain_row(row: Optional[Row]) -> Optional[dict[str, Any]]:
    """Return what tells an edge from all others, over versions of this program."""
    if row is None:
        return None
    return {
        "why": row.why,
        "target": None if row.target is None else row.target.value,
        "effect": None if row.effect is None else row.effect.value,
    }


@functools.cache
def _hints(kind: type[Any]) -> dict[str, Any]:
    return get_type_hints(kind)


def _read(hint: Any, value: Any, where: str, notes: list[str]) -> Any:
    origin = get_origin(hint)
    if origin is Union:
        if value is None:
            return None
        hint = next(kind for kind in get_args(hint) if kind is not type(None))
        origin = get_origin(hint)
    if origin is tuple:
        return _read_tuple(get_args(hint), value, where, notes)
    if origin is frozenset:
        return frozenset(_read_tuple((get_args(hint)[0], ...), value, where, notes))
    if origin is not None:
        return _read_map(get_args(hint), value, where, notes)
    if hint is Instant or hint is float:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not math.isfinite(value):
            raise BadInput(f"expected a number, got {value!r:.60}", where=where)
        return Instant(float(value)) if hint is Instant else float(value)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        try:
            return hint(value)
        except ValueError:
            raise BadInput(f"{value!r:.60} is no {hint.__name__}", where=where) from None
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _read_dataclass(hint, value, where, notes)
    if isinstance(value, bool) is not (hint is bool) or not isinstance(value, hint):
        raise BadInput(f"expected {hint.__name__}, got {value!r:.60}", where=where)
    return value


def _read_dataclass(kind: type[T], data: Any, where: str, notes: list[str]) -> T:
    if not isinstance(data, dict):
        raise BadInput(f"expected a map, got {type(data).__name__}", where=where)
    hints: dict[str, Any] = _hints(kind)  # type: ignore[arg-type]
    fields = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    values = {}
    for name, field in fields.items():
        if name in data:
            values[name] = _read(hints[name], data[name], f"{where}.{name}", notes)
        elif field.default is dataclasses.MISSING and (
            field.default_factory is dataclasses.MISSING
        ):
            raise BadInput("is missing", where=f"{where}.{name}")
        else:
            notes.append(f"{where}.{name} was not known then; its default is taken")
    for name in data:
        if name not in fields:
            notes.append(f"{where}.{name!s:.60} is not known to this version and left out")
    return kind(**values)


def _read_tuple(
    kinds: tuple[Any, ...], value: Any, where: str, notes: list[str]
) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise BadInput(f"expected a list, got {type(value).__name__}", where=where)
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        kinds = (kinds[0],) * len(value)
    if len(kinds) != len(value):
        raise BadInput(f"expected {len(kinds)} values, got {len(value)}", where=where)
    return tuple(
        _read(kind, part, f"{where}[{i}]", notes)
        for i, (kind, part) in enumerate(zip(kinds, value))
    )


def _read_map(kinds: tuple[Any, ...], value: Any, where: str, notes: list[str]) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise BadInput(f"expected a map, got {type(value).__name__}", where=where)
    return {
        _read(kinds[0], key, f"{where}.keys", notes): _read(
            kinds[1], part, f"{where}.{key!s:.60}", notes
        )
        for key, part in value.items()
    }
