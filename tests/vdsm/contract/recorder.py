# SPDX-License-Identifier: Apache-2.0
"""Writes down what a client and a VDSM say to each other, as conversation.py reads it.

A proxy between the two: clients talk to it in the clear, it talks to VDSM as VDSM wants it. One
file a connection, named by the test, written when the connection ends. UUIDs and times become
placeholders and passwords become ***; host names, addresses and paths stay, so whoever sends a
recording on should look at it first.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import re
from collections.abc import AsyncIterator, Collection, Mapping
from pathlib import Path
from typing import Any, Optional

from ha_agent.vdsm.stomp import HEART_BEAT, Frame, StompDecoder, StompError, encode
from tests.vdsm.contract.conversation import escaped
from tests.vdsm.contract.target import Target, context_of

VARIABLE = "HA_AGENT_RECORD_VDSM"
BLANKED = "***"
_NO_POOL = "00000000-0000-0000-0000-000000000000"
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TIME = re.compile(r'("(?:notify_time|statusTime)": "?)\d+')
_LENGTH = re.compile(r"(\ncontent-length:)\d+")
_SECRET_NAME = re.compile(r"passw|passcode|secret|^pwd$", re.I)
_SECRET_ATTRIBUTE = re.compile(r"(\bpassw\w*=(['\"])).*?(?=\2)", re.I | re.DOTALL)
_SECRET_HEADER = re.compile(r"(\n(?:passcode|login):)[^\n]*")
# In what is no JSON nothing says where a password ends.
_SECRET_AND_ALL_AFTER = re.compile(r"(passw|passcode|secret).*", re.I | re.DOTALL)
_DOLLAR = "\x01{"  # stands for a "${" that is no placeholder, until the line is escaped


def blanked(text: str) -> str:
    """Return a frame's text without passwords: headers, members of JSON, attributes of XML."""
    head, empty, body = text.partition("\n\n")
    head = _SECRET_HEADER.sub(rf"\g<1>{BLANKED}", head)
    end = "\0" if body.endswith("\0") else ""
    try:
        value = json.loads(body.removesuffix("\0"))
    except (ValueError, RecursionError):
        return head + empty + _SECRET_AND_ALL_AFTER.sub(rf"\g<1>{BLANKED}", body)
    without = _without_secrets(value)
    return head + empty + (body if without == value else json.dumps(without) + end)


def _without_secrets(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: BLANKED if _SECRET_NAME.search(name) else _without_secrets(member)
            for name, member in value.items()
        }
    if isinstance(value, list):
        return [_without_secrets(member) for member in value]
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith(("{", "[")):
        with contextlib.suppress(ValueError, RecursionError):
            inside = json.loads(value)
            without = _without_secrets(inside)
            return value if without == inside else json.dumps(without)
    return _SECRET_ATTRIBUTE.sub(rf"\g<1>{BLANKED}", value)


class Notes:
    """One connection's lines. The same UUID is the same placeholder throughout."""

    def __init__(self, kept: Collection[str] = ()) -> None:
        """`kept` UUIDs stay as they are."""
        self._kept = {_NO_POOL, *kept}
        self._names: dict[str, str] = {}
        self.lines: list[str] = []

    def take(self, way: str, data: bytes) -> None:
        """Add a frame, or bytes that are none."""
        text = blanked(data.decode("latin-1")).replace("${", _DOLLAR)
        text = _LENGTH.sub(r"\1${length}", text)
        text = _UUID.sub(self._named, _TIME.sub(r"\1${int}", text))
        self.lines.append(f"{way} {escaped(text)}".replace(escaped(_DOLLAR), "\\x24{"))

    def _named(self, match: re.Match[str]) -> str:
        if match[0] in self._kept:
            return match[0]
        name = self._names.setdefault(match[0], f"u{len(self._names) + 1}")
        return f"${{uuid:{name}}}"

    def text(self, about: str) -> str:
        """Return the conversation's text."""
        head = ["# SPDX-License-Identifier: Apache-2.0", f"# source: {about}", "plays: server"]
        return "\n".join([*head, *self.lines]) + "\n"


class Recorder:
    """Listens on a port of its own; a connection to it is one to the target."""

    def __init__(self, target: Target, folder: Path, name: str) -> None:
        self._target = target
        self._folder = folder
        self._name = re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-")
        self._connections = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: Optional[asyncio.AbstractServer] = None

    async def start(self) -> int:
        """Listen; return the port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def close(self) -> None:
        """End all connections; what they said is written."""
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._connections += 1
        path = self._folder / f"{self._name}-{self._connections}.txt"
        ours = self._target
        known = (ours.domain_id, ours.image_id, ours.volume_id, ours.vm_id)
        notes = Notes(known if ours.is_ours else ())
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await self._between(reader, writer, notes)
        writer.transport.abort()
        path.write_text(notes.text(f"recorded, {self._name}"), encoding="utf-8")

    async def _between(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, notes: Notes
    ) -> None:
        tls = self._target.tls
        context = context_of(tls) if tls is not None else None
        to_read, to_write = await asyncio.open_connection(
            self._target.host, self._target.port, ssl=context
        )
        ways = [
            asyncio.ensure_future(_copy(reader, to_write, "->", notes)),
            asyncio.ensure_future(_copy(to_read, writer, "<-", notes)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            if ways[1].done():
                notes.lines.append("== the server closes")
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            to_write.transport.abort()


async def _copy(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: str, notes: Notes
) -> None:
    decoder = StompDecoder()
    while data := await reader.read(65536):
        # Written down first: an answer must not stand before what it answers.
        if data.strip(HEART_BEAT + b"\r") or data.count(b"\0"):
            for said in _frames(decoder, data):
                notes.take(way, said)
        writer.write(data)
        await writer.drain()


def _frames(decoder: StompDecoder, data: bytes) -> list[bytes]:
    try:
        frames: list[Frame] = decoder.feed(data)
    except StompError:
        return [data]  # no frame: as it came
    return [encode(frame) for frame in frames]


@contextlib.asynccontextmanager
async def recorded(
    target: Target, environment: Mapping[str, str], name: str
) -> AsyncIterator[Target]:
    """Yield the target behind a recorder where the variable asks for one, else as it is."""
    if not environment.get(VARIABLE):
        yield target
        return
    folder = Path(environment[VARIABLE])
    folder.mkdir(parents=True, exist_ok=True)
    recorder = Recorder(target, folder, name)
    port = await recorder.start()
    try:
        yield dataclasses.replace(target, host="127.0.0.1", port=port, tls=None)
    finally:
        await recorder.close()
