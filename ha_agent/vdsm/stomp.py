# SPDX-License-Identifier: Apache-2.0
"""STOMP 1.2 frames, as much of them as VDSM speaks: bytes in, frames out, and back. No I/O.

A frame on the wire (https://stomp.github.io/stomp-specification-1.2.html):

    COMMAND EOL                      one of `COMMANDS`
    *(name ":" value EOL)            escaped: \\\\ is a backslash, \\c ":", \\n LF, \\r CR
    EOL
    body NUL                         `content-length` bytes, or up to the first NUL without it
    *EOL                             between frames: heart-beats, skipped here

EOL is LF, or CRLF when reading. When a header comes twice the first one counts. VDSM escapes
in every frame, also in CONNECT and CONNECTED where the specification does not; we do as VDSM
does, and the headers of those two never need it.

Bytes come from outside, so everything is bounded. What can't be a frame is a `StompError` as
early as it is known: a declared length above the bound is refused before its body is read.
After an error a decoder gives the same error for ever, since nothing says where the next frame
would begin: the caller closes the connection. This module knows no sockets, no clocks and no
sessions; when bytes last came is the caller's matter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Optional

from ha_agent.errors import BadInput

HEART_BEAT = b"\n"

MAX_FRAME_BYTES = 16 * 1024 * 1024
MAX_HEADER_BYTES = 16 * 1024
MAX_HEADERS = 64

_SESSION_COMMANDS = ("CONNECT", "STOMP", "DISCONNECT", "SUBSCRIBE", "UNSUBSCRIBE", "SEND")
_UNUSED_COMMANDS = ("ACK", "NACK", "BEGIN", "COMMIT", "ABORT")  # STOMP has them, VDSM does not
CLIENT_COMMANDS = frozenset((*_SESSION_COMMANDS, *_UNUSED_COMMANDS))
SERVER_COMMANDS = frozenset(("CONNECTED", "MESSAGE", "RECEIPT", "ERROR"))
COMMANDS = CLIENT_COMMANDS | SERVER_COMMANDS

_LONGEST_COMMAND_BYTES = max(len(command) for command in COMMANDS)
_HEAD_END = re.compile(rb"\n\r?\n")
_HEAD_END_BYTES = 3
_LINE_ENDS = re.compile(rb"[\r\n]+")
_LONE_CR = re.compile(rb"\r(?!\n)")
_ESCAPES = {"\\": "\\\\", ":": "\\c", "\n": "\\n", "\r": "\\r"}
_UNESCAPES = {escaped: plain for plain, escaped in _ESCAPES.items()}
_TO_ESCAPE = re.compile(r"[\\:\n\r]")
_ESCAPED = re.compile(r"\\.?", re.DOTALL)
_DECIMAL = re.compile(r"[0-9]{1,18}")


class StompError(BadInput):
    """Bytes that are no STOMP frame, or one beyond our bounds; or a frame that can't be sent."""


@dataclass(frozen=True)
class Frame:
    """One frame: `headers` unescaped, `body` without its NUL."""

    command: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


def encode(frame: Frame) -> bytes:
    """Return the frame's bytes. `content-length` is set from the body whenever there is one.

    Raises StompError for an unknown command, an empty header name, or a NUL in a header, which
    VDSM would take for the end of the frame.
    """
    return with_body(encode_head(frame.command, frame.headers), frame.body)


def encode_head(command: str, headers: Mapping[str, str]) -> bytes:
    """Return what frames that differ in their body alone begin with, for `with_body`.

    Raises StompError as `encode` does.
    """
    if command not in COMMANDS:
        raise StompError(f"unknown command {command!r}")
    lines = [command]
    for name, value in headers.items():
        if not name:
            raise StompError("empty header name")
        if "\0" in name or "\0" in value:
            raise StompError(f"NUL in header {name!r}")
        if name != "content-length":
            lines.append(f"{_escape(name)}:{_escape(value)}")
    return "\n".join(lines).encode()


def with_body(head: bytes, body: bytes) -> bytes:
    """Return the frame of this head, which is `encode_head`'s."""
    if not body:
        return head + b"\n\n\0"
    return b"%b\ncontent-length:%d\n\n%b\0" % (head, len(body), body)


def parse_heart_beat(value: str) -> tuple[int, int]:
    """Read a `heart-beat` header, "sends,wants" in milliseconds as its sender sees it.

    Raises StompError when it is not two decimal numbers.
    """
    parts = value.split(",")
    if len(parts) != 2 or not all(_DECIMAL.fullmatch(part.strip()) for part in parts):
        raise StompError(f"heart-beat {value[:40]!r} is not two numbers of milliseconds")
    return int(parts[0]), int(parts[1])


def negotiate(client: tuple[int, int], server: tuple[int, int]) -> tuple[int, int]:
    """Return the agreed (send_ms, expect_ms) as the client sees it; 0 means none.

    Both arguments are (sends_ms, wants_ms) from their own `heart-beat` header. A direction beats
    at the slower of both values, and not at all when either side says 0. A server calls this
    with its own value first and gets its own view.
    """
    client_sends, client_wants = client
    server_sends, server_wants = server
    send_ms = max(client_sends, server_wants) if client_sends and server_wants else 0
    expect_ms = max(client_wants, server_sends) if client_wants and server_sends else 0
    return send_ms, expect_ms


class _Head(NamedTuple):
    """A frame whose headers are read and whose body is still to come."""

    command: str
    headers: dict[str, str]
    body_bytes: Optional[int]


class StompDecoder:
    """Turns a stream of bytes, cut anywhere, into frames. Holds at most one frame's bytes.

    `where` names the peer in errors. `max_frame_bytes` bounds a body, `max_header_bytes` the
    command and header lines together, `max_headers` their number.
    """

    def __init__(
        self,
        *,
        max_frame_bytes: int = MAX_FRAME_BYTES,
        max_header_bytes: int = MAX_HEADER_BYTES,
        max_headers: int = MAX_HEADERS,
        where: str = "",
    ) -> None:
        self._max_frame_bytes = max_frame_bytes
        self._max_header_bytes = max_header_bytes
        self._max_headers = max_headers
        self._where = where
        self._buffer = bytearray()
        self._searched_bytes = 0  # of the buffer, known to hold no end of what is being read
        self._head: Optional[_Head] = None
        self._error: Optional[StompError] = None

    def feed(self, data: bytes) -> list[Frame]:
        """Take the next bytes and return the frames that they complete, possibly none.

        Raises StompError (see the module). Frames complete before the bad bytes of the same
        call are not returned: the connection is over anyway.
        """
        if self._error is not None:
            raise self._error
        self._buffer += data
        frames: list[Frame] = []
        try:
            while self._buffer:
                frame = self._next_frame()
                if frame is None:
                    break
                frames.append(frame)
            return frames
        except StompError as error:
            self._error = error
            self._buffer.clear()
            raise

    def _next_frame(self) -> Optional[Frame]:
        if self._head is None:
            self._head = self._next_head()
        head = self._head
        if head is None:
            return None
        body = self._next_body(head)
        if body is None:
            return None
        self._head = None
        return Frame(head.command, head.headers, body)

    def _next_head(self) -> Optional[_Head]:
        if self._buffer.startswith((b"\n", b"\r")):
            self._skip_heart_beats()
        end = _HEAD_END.search(self._buffer, max(0, self._searched_bytes - _HEAD_END_BYTES))
        length_bytes = end.end() if end else len(self._buffer)
        if length_bytes > self._max_header_bytes:
            raise self._bad(f"headers longer than {self._max_header_bytes} bytes")
        if end is None:
            self._searched_bytes = len(self._buffer)
            self._check_command_so_far()
            return None
        head = self._buffer[: end.start()]
        self._consume(end.end())
        return self._parse_head(head)

    def _skip_heart_beats(self) -> None:
        """Drop line ends before a frame. A CR waits for what follows it: only CRLF is one."""
        # By patterns without groups: a flood of beats must take neither time nor memory.
        found = _LINE_ENDS.match(self._buffer)
        end = found.end() if found else 0
        # A match holds on to the buffer, which can't be shortened meanwhile.
        found = None
        if end:
            lone = _LONE_CR.search(self._buffer, 0, end)
            end, lone = (lone.start() if lone else end), None
            self._consume(end)

    def _check_command_so_far(self) -> None:
        """Refuse garbage before its first line ends, which for garbage may be never."""
        first = self._buffer[: _LONGEST_COMMAND_BYTES + 2].decode("ascii", "replace")
        line, newline, _ = first.partition("\n")
        begun = _without_cr(line)
        if newline:
            self._check_command(begun)
        elif not any(command.startswith(begun) for command in COMMANDS):
            raise self._bad(f"unknown command {begun!r}...")

    def _parse_head(self, head: bytearray) -> _Head:
        lines = self._head_text(head).split("\n")
        if b"\r" in head:
            lines = [_without_cr(line) for line in lines]
        command = lines[0]
        self._check_command(command)
        if len(lines) - 1 > self._max_headers:
            raise self._bad(f"{command}: more than {self._max_headers} headers")
        has_escapes = b"\\" in head
        headers: dict[str, str] = {}
        for number, line in enumerate(lines[1:], 1):
            name, colon, value = line.partition(":")
            if not colon or not name:
                what = f"{command}, header {number}"
                raise self._bad(f"{what}: {line[:40]!r} is not name:value")
            if has_escapes:
                what = f"{command}, header {number}"
                name, value = self._unescape(name, what), self._unescape(value, what)
            headers.setdefault(name, value)
        return _Head(command, headers, self._body_bytes(command, headers))

    def _head_text(self, head: bytearray) -> str:
        """Decode command and headers at once, and find out only for an error which it was in."""
        bad_at = head.find(b"\0")
        problem = "NUL in a header"
        try:
            text = head.decode("utf-8")
        except UnicodeDecodeError as error:
            bad_at, problem = error.start, "not UTF-8"
            text = head.decode("utf-8", "replace")
        if bad_at >= 0:
            command = _without_cr(text.partition("\n")[0])
            self._check_command(command)
            raise self._bad(f"{command}, header {head.count(10, 0, bad_at)}: {problem}")
        return text

    def _check_command(self, command: str) -> None:
        if command not in COMMANDS:
            raise self._bad(f"unknown command {command[:40]!r}")

    def _unescape(self, text: str, what: str) -> str:
        def plain(match: re.Match[str]) -> str:
            try:
                return _UNESCAPES[match.group()]
            except KeyError:
                raise self._bad(f"{what}: unknown escape {match.group()!r}") from None

        return _ESCAPED.sub(plain, text)

    def _body_bytes(self, command: str, headers: dict[str, str]) -> Optional[int]:
        value = headers.get("content-length")
        if value is None:
            return None
        if not _DECIMAL.fullmatch(value):
            raise self._bad(f"{command}: content-length {value[:40]!r} is not a number of bytes")
        if int(value) > self._max_frame_bytes:
            raise self._too_long(command, f"content-length {value}")
        return int(value)

    def _next_body(self, head: _Head) -> Optional[bytes]:
        """Return the body once its NUL is here; without a length, look for the first NUL."""
        end = head.body_bytes
        if end is None:
            end = self._buffer.find(b"\0", self._searched_bytes)
            length_bytes = end if end >= 0 else len(self._buffer)
            if length_bytes > self._max_frame_bytes:
                raise self._too_long(head.command, "a body")
            if end < 0:
                self._searched_bytes = len(self._buffer)
                return None
        elif len(self._buffer) <= end:
            return None
        elif self._buffer[end] != 0:
            raise self._bad(
                f"{head.command}: content-length {end} is wrong, the body does not end there"
            )
        body = bytes(self._buffer[:end])
        self._consume(end + 1)
        return body

    def _consume(self, count_bytes: int) -> None:
        del self._buffer[:count_bytes]
        self._searched_bytes = 0

    def _too_long(self, command: str, what: str) -> StompError:
        return self._bad(f"{command}: {what} is over the limit of {self._max_frame_bytes} bytes")

    def _bad(self, what: str) -> StompError:
        return StompError(what, where=self._where)


def _without_cr(line: str) -> str:
    return line[:-1] if line.endswith("\r") else line


def _escape(text: str) -> str:
    if not _TO_ESCAPE.search(text):
        return text
    return _TO_ESCAPE.sub(lambda match: _ESCAPES[match.group()], text)
