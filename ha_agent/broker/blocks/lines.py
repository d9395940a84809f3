# SPDX-License-Identifier: Apache-2.0
"""The lines for people in a slot of the status volume: "key=value", one a line. Pure.

They are ASCII. The predecessor decodes the slots of all hosts as one text, where a character of
two bytes shifts all that comes after it by one (facts/ovf-and-volumes.md 4.3), so a host that
wrote one would be the end of every old agent. Other characters are written as `&#233;`, and "&#"
itself as `&#38;#`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_ESCAPED = re.compile(r"&#([0-9]{2,7});")


def key_value_lines(values: Mapping[str, str]) -> list[str]:
    """Return a map as lines for people, one line a key whatever stands in its value.

    Readers split a line at a *single* '=' (oVirt's system tests do), so one inside a value
    becomes ':', and a line break becomes a blank. What is not ASCII is escaped; `line_values`
    gives it back.
    """
    return [f"{_one_line(key)}={_one_line(value)}" for key, value in values.items()]


def line_values(extra: str) -> dict[str, str]:
    """Return the "key=value" lines for people as a map. Of a repeated key the first counts."""
    values: dict[str, str] = {}
    for line in extra.split("\n"):
        key, found, value = line.partition("=")
        if found:
            values.setdefault(key, _ESCAPED.sub(_character, value) if "&#" in value else value)
    return values


def _character(match: re.Match[str]) -> str:
    code = int(match[1])
    sound = 0x20 <= code < 0xD800 or 0xE000 <= code <= 0x10FFFF
    return chr(code) if sound else "\ufffd"


def _one_line(text: str) -> str:
    if not text.isprintable():
        text = re.sub(r"[\x00-\x1f\x7f]+", " ", text)
    text = text.replace("&#", "&#38;#")
    if not text.isascii():
        sound = text.encode("utf-8", "replace").decode("utf-8")
        text = sound.encode("ascii", "xmlcharrefreplace").decode("ascii")
    return text.replace("=", ":")
