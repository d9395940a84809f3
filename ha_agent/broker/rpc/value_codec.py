# SPDX-License-Identifier: Apache-2.0
"""The broker's values, frozen dataclasses, as maps, lists and plain values, and back. Pure.

Instants are this host's boot-time clock, as floats on the wire. Unknown keys, from a newer broker,
are left out; a missing or wrong one is a BadInput that names it.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any, Optional, TypeVar, Union, get_args, get_origin, get_type_hints

from ha_agent.errors import BadInput
from ha_agent.instant import Instant

T = TypeVar("T")

# Almost all of a picture is these; it is told a thousand times a second when many ask.
_PLAIN = frozenset((str, int, float, bool, type(None)))


def to_wire(value: Any) -> Any:
    """Return a dataclass as maps, lists and plain values."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is Instant:
        return value.boottime_seconds
    if kind is tuple or kind is list:
        return [item if type(item) in _PLAIN else to_wire(item) for item in value]
    names = _field_names(kind)  # type: ignore[arg-type]  # a type can be hashed
    if names is not None:
        parts = [(name, getattr(value, name)) for name in names]
        return {name: p if type(p) in _PLAIN else to_wire(p) for name, p in parts}
    if isinstance(value, Mapping):
        return {str(key): to_wire(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [to_wire(item) for item in value]
    return value


@functools.cache
def _field_names(kind: type[Any]) -> Optional[tuple[str, ...]]:
    """The names of a dataclass's fields; None of what is no dataclass."""
    if not dataclasses.is_dataclass(kind):
        return None
    return tuple(f.name for f in dataclasses.fields(kind))


def from_wire(kind: type[T], data: Any, *, where: str) -> T:
    """Return the dataclass `kind` read from what `to_wire` made; BadInput names what is wrong."""
    if not isinstance(data, Mapping):
        raise BadInput(f"expected a map, got {type(data).__name__}", where=where)
    values: dict[str, Any] = {}
    for name, hint, required in _fields(kind):  # type: ignore[arg-type]  # a type can be hashed
        if name in data:
            value = data[name]
            # Most are these, and an agent takes a picture each second or two.
            plain = type(value) is hint and hint in _AS_THEY_ARE
            values[name] = value if plain else _read(hint, value, f"{where}.{name}")
        elif required:
            raise BadInput("is missing", where=f"{where}.{name}")
    return kind(**values)


_AS_THEY_ARE = frozenset((str, int, bool))


@functools.cache
def _fields(kind: type[Any]) -> tuple[tuple[str, Any, bool], ...]:
    """Name and type of each field, and whether it has to be there."""
    hints = get_type_hints(kind)
    missing = dataclasses.MISSING
    return tuple(
        (f.name, hints[f.name], f.default is missing and f.default_factory is missing)
        for f in dataclasses.fields(kind)
    )


def _read(hint: Any, value: Any, where: str) -> Any:
    if get_origin(hint) is Union:
        if value is None:
            return None
        hint = next(kind for kind in get_args(hint) if kind is not type(None))
    origin = get_origin(hint)
    if hint is Instant or hint is float:
        # A time that is not finite would never be too old: no comparison with it holds.
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not math.isfinite(value):
            raise BadInput(f"expected a number, got {value!r:.60}", where=where)
        return Instant(float(value)) if hint is Instant else float(value)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise BadInput(f"expected a list, got {type(value).__name__}", where=where)
        item = get_args(hint)[0]
        return tuple(_read(item, part, f"{where}[{i}]") for i, part in enumerate(value))
    if origin is not None:
        if not isinstance(value, Mapping):
            raise BadInput(f"expected a map, got {type(value).__name__}", where=where)
        return {str(key): str(part) for key, part in value.items()}
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return from_wire(hint, value, where=where)
    if isinstance(value, bool) is not (hint is bool) or not isinstance(value, hint):
        raise BadInput(f"expected {hint.__name__}, got {value!r:.60}", where=where)
    return value
