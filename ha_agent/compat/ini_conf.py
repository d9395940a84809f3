# SPDX-License-Identifier: Apache-2.0
"""The predecessor's broker.conf and agent.conf. Pure: text in, values with their lines out.

Their programs read them with Python's configparser, and wrote them with it, comments lost:

    [section]
    key = value          or key: value; a key's case does not count
      more               further in than the key: goes on with its value
    # comment            or ; at the beginning of a line

    "%%" is a percent sign. Any other "%" is configparser's way to say another key's value; we
    know of no such file, and refuse it rather than take it for something else, as [DEFAULT].

Strict: a line of another form, a section or a key that is there twice is a BadInput with file
and line. What the keys mean, legacy_keys.py says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Callable, Optional

from ha_agent.errors import BadInput

MAX_BYTES = 64 * 1024
_SECTION = re.compile(r"\[([^\[\]]+)\]")
_PAIR = re.compile(r"([^=:]*[^=:\s])\s*[=:](.*)")


@dataclass(frozen=True)
class IniValue:
    """A value, and its lines, counted from 1; a value of several lines has them in its text."""

    text: str
    line: int
    last_line: int


@dataclass(frozen=True)
class IniConf:
    """The file's pairs by section and key; `sections` has the last line of each."""

    where: str
    values: Mapping[tuple[str, str], IniValue]
    sections: Mapping[str, int]


def parse(text: str, where: str) -> IniConf:
    """Read the file's text. Raises BadInput with `where` and the line."""
    values: dict[tuple[str, str], IniValue] = {}
    sections: dict[str, int] = {}
    section: Optional[str] = None
    current: Optional[tuple[str, str]] = None
    indent = 0

    def fault(what: str) -> BadInput:
        return BadInput(what, where=where, offset=number, unit="line")

    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip()
        if not line or line[0] in "#;":
            continue
        if not line.replace("\t", " ").isprintable():
            raise fault("has a control character in it")
        depth = len(raw) - len(raw.lstrip())
        if current is not None and depth > indent:
            known = values[current]
            values[current] = IniValue(f"{known.text}\n{_plain(line, fault)}", known.line, number)
        elif line.startswith("["):
            match = _SECTION.fullmatch(line)
            if match is None:
                raise fault(f"{line[:60]!r} is no [section]")
            section, current = match[1].strip(), None
            if section in sections or section == "DEFAULT":
                told = "is for all sections, which is not read" if section == "DEFAULT" else ""
                raise fault(f"[{section[:60]}] {told or 'is there already'}")
        else:
            pair = _PAIR.fullmatch(line)
            if pair is None:
                raise fault(f"{line[:60]!r} is neither [section] nor key = value")
            if section is None:
                raise fault(f"{line[:60]!r} stands before any [section]")
            current, indent = (section, pair[1].lower()), depth
            if current in values:
                raise fault(f"{current[1]} is there already, in line {values[current].line}")
            values[current] = IniValue(_plain(pair[2].strip(), fault), number, number)
        if section is not None:
            sections[section] = number
    return IniConf(where, values, sections)


def _plain(text: str, fault: Callable[[str], BadInput]) -> str:
    parts = text.split("%%")
    if any("%" in part for part in parts):
        raise fault("a '%' that is not '%%' refers to another key, which is not read")
    return "%".join(parts)
