# SPDX-License-Identifier: Apache-2.0
"""Conversations with VDSM as text: read, compared, played.

    # a comment: where the next lines are from
    plays: server client              what may be tested with it
    -> CONNECT\\naccept-version:1.2\\n\\n\\0          the client's bytes, a frame a line
    <- CONNECTED\\nversion:1.2\\n\\n\\0               the server's
    2-> ...                           another client's connection
    == the server closes

Escapes: \\n \\r \\0 \\\\ \\xNN. Lines that begin with a blank go on with the line before
them, without the blank. Placeholders stand for what differs each time: ${uuid:name} ${int:name}
${text:name} match and bind a value, the same name is the same value; without a name they match
only; ${any} is any JSON value, "${more}": 0 in an object allows further members; ${length} is
the body's length.
Sent by us a placeholder that is bound to nothing yet gets a fresh value.

The server's frames of one connection may come in another order than the lines; events of one
client may not. A length is the decoder's matter: it is held against the body there.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from ha_agent.vdsm.stomp import Frame

EVENTS = "jms.queue.events"
CLOSES = "the server closes"
_LINE = re.compile(r"(?P<peer>\d?)(?P<way>->|<-) (?P<text>.*)", re.DOTALL)
_ESCAPE = re.compile(r"\\(n|r|0|\\|x[0-9a-f]{2})")
_PLACEHOLDER = re.compile(r"\$\{(\w+)(?::(\w+))?\}")
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|\$\{\w+(?::\w+)?\}')
_PLAIN = {"n": "\n", "r": "\r", "0": "\0", "\\": "\\"}
_ESCAPED = {"\n": "\\n", "\r": "\\r", "\0": "\\0", "\\": "\\\\"}
_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_PATTERNS = {"uuid": _UUID, "int": r"-?\d+", "text": r"[^\0]*"}
_BARE = "\0"  # no JSON text of ours begins with it

Bound = dict[str, str]


class Mismatch(Exception):
    """A frame is not what the conversation says."""


@dataclass(frozen=True)
class Line:
    """One line: `template` is the frame's text with placeholders, or CLOSES."""

    number: int
    peer: int
    is_clients: bool
    template: str

    @property
    def closes(self) -> bool:
        return self.template == CLOSES


@dataclass(frozen=True)
class Conversation:
    """What was said, in order; `plays` has "server", "client" or both."""

    where: str
    plays: frozenset[str]
    lines: tuple[Line, ...]


def load(path: Path) -> Conversation:
    """Read a file. Raises ValueError with the line's number."""
    return parse(path.read_text(encoding="utf-8"), path.name)


def parse(text: str, where: str) -> Conversation:
    """Read a conversation's text."""
    plays: frozenset[str] = frozenset()
    lines: list[Line] = []
    for number, raw in _joined(text):
        found = _LINE.fullmatch(raw)
        if raw.startswith("plays:"):
            plays = frozenset(raw[len("plays:") :].split())
        elif raw == f"== {CLOSES}":
            lines.append(Line(number, 1, is_clients=False, template=CLOSES))
        elif found is None:
            raise ValueError(f"{where}, line {number}: {raw[:60]!r}")
        else:
            peer = int(found["peer"] or "1")
            template = _ESCAPE.sub(_unescaped, found["text"])
            lines.append(Line(number, peer, found["way"] == "->", template))
    return Conversation(where, plays, tuple(lines))


def _joined(text: str) -> Iterator[tuple[int, str]]:
    """Yield (number of its first line, whole line), comments and empty lines left out."""
    whole, at = "", 0
    for number, raw in enumerate(text.splitlines(), 1):
        if raw.startswith(" "):
            whole += raw.strip(" ") if raw.strip() else ""
            continue
        if whole:
            yield at, whole
        whole, at = ("" if raw.startswith("#") else raw), number
    if whole:
        yield at, whole


def _unescaped(match: re.Match[str]) -> str:
    code = match[1]
    return chr(int(code[1:], 16)) if code.startswith("x") else _PLAIN[code]


def escaped(text: str) -> str:
    """Return a frame's text as it stands in a line."""
    plain = re.sub(r"[\n\r\0\\]", lambda match: _ESCAPED[match[0]], text)
    return "".join(
        char if char.isprintable() and ord(char) < 0x7F else f"\\x{ord(char):02x}"
        for char in plain
    )


def parts(template: str) -> tuple[str, dict[str, str], str]:
    """Return a frame's command, headers and body, placeholders included."""
    head, _, body = template.replace("\r\n", "\n").partition("\n\n")
    command, *headers = head.split("\n")
    named = {name: value for name, _, value in (line.partition(":") for line in headers)}
    return command, named, body[:-1] if body.endswith("\0") else body


def filled(template: str, bound: Bound) -> bytes:
    """Return a frame's bytes. What was bound to nothing gets a fresh value, which is bound."""

    def value(match: re.Match[str]) -> str:
        kind, name = match[1], match[2] or ""
        if kind == "length":
            return match[0]
        fresh = {"uuid": str(uuid.uuid4()), "int": "2150378905"}.get(kind, "text")
        return bound.setdefault(name, fresh) if name else fresh

    text = _PLACEHOLDER.sub(value, template)
    body = text.partition("\n\n")[2]
    length_bytes = len(body.encode("latin-1").rstrip(b"\0"))
    return text.replace("${length}", str(length_bytes)).encode("latin-1")


def match_frame(template: str, frame: Frame, bound: Bound) -> Bound:
    """Return what the frame binds, with what was bound before. Raises Mismatch."""
    command, headers, body = parts(template)
    bound = dict(bound)
    if frame.command != command or set(frame.headers) != set(headers):
        raise Mismatch(f"{frame.command} {sorted(frame.headers)}, not {command} {sorted(headers)}")
    for name, expected in headers.items():
        if name != "content-length":
            _match_text(expected, frame.headers[name], bound, f"header {name}")
    match_body(body, frame.body, bound)
    return bound


def match_body(template: str, body: bytes, bound: Bound) -> None:
    """Compare a body, as JSON where it is JSON. Raises Mismatch."""
    expected = json_template(template)
    if expected is None:
        _match_text(template, body.decode("latin-1"), bound, "body")
        return
    try:
        actual = json.loads(body)
    except ValueError as error:
        raise Mismatch(f"a body that is no JSON: {body[:60]!r}") from error
    _match_json(expected, actual, bound, "body")


def json_template(template: str) -> Optional[Any]:
    """Return a body's JSON with placeholders in texts, None when it is no JSON."""

    def quoted(match: re.Match[str]) -> str:
        return match[0] if match[0].startswith('"') else json.dumps(_BARE + match[0])

    try:
        return json.loads(_TOKEN.sub(quoted, template))
    except ValueError:
        return None


def _match_json(expected: Any, actual: Any, bound: Bound, where: str) -> None:
    if isinstance(expected, str) and expected.startswith(_BARE):
        if expected != f"{_BARE}${{any}}":
            if isinstance(actual, bool) or not isinstance(actual, int):
                raise Mismatch(f"{where}: {actual!r} is no integer")
            _match_text(expected[len(_BARE) :], str(actual), bound, where)
    elif isinstance(expected, str) and isinstance(actual, str):
        _match_text(expected, actual, bound, where)
    elif isinstance(expected, list) and isinstance(actual, list):
        if len(expected) != len(actual):
            raise Mismatch(f"{where}: {len(actual)} elements, not {len(expected)}")
        for number, (one, other) in enumerate(zip(expected, actual)):
            _match_json(one, other, bound, f"{where}[{number}]")
    elif isinstance(expected, dict) and isinstance(actual, dict):
        _match_object(expected, actual, bound, where)
    elif type(expected) is not type(actual) or expected != actual:
        raise Mismatch(f"{where}: {actual!r}, not {expected!r}")


def _match_object(
    expected: dict[str, Any], actual: dict[str, Any], bound: Bound, where: str
) -> None:
    names = {_PLACEHOLDER.sub(lambda match: bound.get(match[2], match[0]), name): name
             for name in expected if name != "${more}"}  # fmt: skip
    if names.keys() - actual.keys() or ("${more}" not in expected and actual.keys() - names):
        raise Mismatch(f"{where}: members {sorted(actual)}, not {sorted(names)}")
    for name, template in names.items():
        _match_json(expected[template], actual[name], bound, f"{where}.{name}")


def _match_text(template: str, actual: str, bound: Bound, where: str) -> None:
    pattern, at, names = "", 0, []
    for match in _PLACEHOLDER.finditer(template):
        pattern += re.escape(template[at : match.start()])
        name = match[2]
        if name in bound:
            pattern += re.escape(bound[name])
        else:
            pattern += f"({_PATTERNS[match[1]]})"
            names.append(name)
        at = match.end()
    found = re.fullmatch(pattern + re.escape(template[at:]), actual, re.DOTALL)
    if found is None:
        raise Mismatch(f"{where}: {actual!r}, not {template!r}")
    bound.update({name: value for name, value in zip(names, found.groups()) if name})
