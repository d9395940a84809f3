# SPDX-License-Identifier: Apache-2.0
"""The verbs' part of docs/api.md, made from their declarations. It does no I/O.

`scripts/make_api_doc.py docs/api.md` writes it between the two marks; a test fails when the
document is not what the declarations say. What stands outside of the marks is written by people.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator
from typing import Any, Union, get_args, get_origin, get_type_hints

from ha_agent.broker.api.catalogue import CATALOGUE
from ha_agent.broker.api.error_codes import COMMON, ERROR_CODES
from ha_agent.broker.api.verb import Argument, Field, Kind, Verb
from ha_agent.instant import Instant

BEGIN = "<!-- made by scripts/make_api_doc.py: begin -->"
END = "<!-- made by scripts/make_api_doc.py: end -->"

_PLAIN = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    bytes: "bytes",
    Instant: "instant",
}


def replace_section(text: str) -> str:
    """Return the document with the section made anew. Raises ValueError without the marks."""
    before, begin, rest = text.partition(BEGIN)
    _old, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the document has no {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{section()}\n{END}{after}"


def section() -> str:
    """Return all verbs, error codes and shapes as Markdown."""
    lines: list[str] = []
    for title, verbs in CATALOGUE:
        lines += [f"## {title}", ""]
        for verb in verbs:
            lines += [*_verb(verb), ""]
    lines += ["## Error codes", "", "| code | meaning |", "|---|---|"]
    lines += [f"| `{code}` | {_cell(text)} |" for code, text in sorted(ERROR_CODES.items())]
    common = ", ".join(f"`{code}`" for code in COMMON)
    lines += ["", f"Any call may be answered with {common}; others are named with their verb.", ""]
    lines += ["## Shapes", "", "Maps that stand for one of these have all of its fields."]
    for shape in _shapes():
        lines += ["", *_shape(shape)]
    return "\n".join(lines) + "\n"


def _verb(verb: Verb) -> Iterator[str]:
    yield f"### `{verb.name}`"
    yield ""
    yield verb.what
    yield ""
    deadline = verb.deadline or "[broker] call_deadline_seconds"
    if verb.deadline_seconds is not None:
        deadline = f"{verb.deadline_seconds:g} s"
    yield f"- who: {verb.who.value}"
    yield f"- deadline: {deadline}"
    yield f"- answer: {_result(verb)}"
    if verb.streams:
        yield f"- then: notifications `{verb.streams}` until the connection ends"
    if verb.errors:
        codes = ", ".join(f"`{code}`" for code in verb.errors)
        yield f"- errors of its own: {codes}"
    if verb.arguments:
        yield ""
        yield "| argument | type | default | what |"
        yield "|---|---|---|---|"
        yield from (_argument(argument) for argument in verb.arguments)
    if isinstance(verb.result, tuple):
        yield ""
        yield "| field of the answer | type | what |"
        yield "|---|---|---|"
        yield from (_field(field) for field in verb.result)


def _argument(argument: Argument) -> str:
    kind = _typed(argument.kind, argument.shape)
    notes = [", ".join(argument.choices), argument.unit]
    if argument.kind in (Kind.WHOLE, Kind.NUMBER):
        notes.append(argument.bounds())
    elif argument.most is not None:
        notes.append(f"at most {argument.most:g} long")
    kind = "; ".join([kind, *(note for note in notes if note)])
    default = "must be given" if argument.required else f"`{_default(argument.default)}`"
    return f"| `{argument.name}` | {_cell(kind)} | {default} | {_cell(argument.what)} |"


def _default(value: Any) -> str:
    words = {None: "nil", True: "true", False: "false"}
    if value is None or isinstance(value, bool):
        return words[value]
    return f'"{value}"' if isinstance(value, str) else f"{value}"


def _field(field: Field) -> str:
    kind = _typed(field.kind, field.shape) + (" or nil" if field.optional else "")
    kind = f"{kind}; {field.unit}" if field.unit else kind
    return f"| `{field.name}` | {_cell(kind)} | {_cell(field.what)} |"


def _result(verb: Verb) -> str:
    if isinstance(verb.result, tuple):
        return "a map"
    return verb.result.value if isinstance(verb.result, Kind) else _link(verb.result)


def _typed(kind: Kind, shape: Union[type[Any], None]) -> str:
    if shape is None:
        return kind.value
    return f"{_link(shape)}s" if kind is Kind.LIST else _link(shape)


def _link(shape: type[Any]) -> str:
    return f"[{shape.__name__}](#{shape.__name__.lower()})"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _shapes() -> list[type[Any]]:
    """Return each dataclass that a verb names, and those in them, by name."""
    found: dict[str, type[Any]] = {}
    for _title, verbs in CATALOGUE:
        for verb in verbs:
            _collect(_named(verb), found)
    return [found[name] for name in sorted(found)]


def _named(verb: Verb) -> Iterator[type[Any]]:
    parts: Iterable[Union[Argument, Field]] = verb.arguments
    if isinstance(verb.result, tuple):
        parts = (*parts, *verb.result)
    elif not isinstance(verb.result, Kind):
        yield verb.result
    yield from (part.shape for part in parts if part.shape is not None)


def _collect(shapes: Iterable[type[Any]], found: dict[str, type[Any]]) -> None:
    for shape in shapes:
        if shape.__name__ in found:
            continue
        found[shape.__name__] = shape
        for hint in get_type_hints(shape).values():
            _collect(_inside(hint), found)


def _inside(hint: Any) -> Iterator[type[Any]]:
    """Return the dataclasses in a type."""
    if dataclasses.is_dataclass(hint) and isinstance(hint, type) and hint is not Instant:
        yield hint
    for part in get_args(hint):
        yield from _inside(part)


def _shape(shape: type[Any]) -> Iterator[str]:
    yield f"### {shape.__name__}"
    yield ""
    yield re.sub(r"\s+", " ", shape.__doc__ or "").strip()
    yield ""
    yield "| field | type |"
    yield "|---|---|"
    hints = get_type_hints(shape)
    for field in dataclasses.fields(shape):
        yield f"| `{field.name}` | {_hint(hints[field.name])} |"


def _hint(hint: Any) -> str:
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Union:
        [kind] = [part for part in inner if part is not type(None)]
        return f"{_hint(kind)} or nil"
    if origin is tuple:
        return f"list of {_hint(inner[0])}"
    if origin is not None:
        return "map of text to text"
    return _PLAIN.get(hint) or _link(hint)
