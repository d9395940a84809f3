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
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Optional

from ha_agent.vdsm.stomp import HEART_BEAT, Frame, StompDecoder, StompError, encode
from tests.vdsm.contract.conversation import escaped
from tests.vdsm.contract.target import Target, context_of

VARIABLE = "HA_AGENT_RECORD_VDSM"
BLANKED = "***"
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TIME = re.compile(r'("(?:notify_time|statusTime)": "?)\d+')
_LENGTH = re.compile(r"(\ncontent-length:)\d+")
_SECRETS = (
    # A member of a JSON object; one inside a text has its quotation marks escaped.
    re.compile(r'((\\*)"[^"]*(?:passw|passcode|secret)[^"]*?\2"\s*:\s*\2").*?(?=\2")', re.I),
    re.compile(r"(\bpasswd=(\\*['\"])).*?(?=\2)"),
    re.compile(r"(\n(?:passcode|login):)[^\n]*"),
)


class Notes:
    """One connection's lines. The same UUID is the same placeholder throughout."""

    def __init__(self, known: Mapping[str, str]) -> None:
        """`known` UUIDs keep the name that is given here."""
        self._names = dict(known)
        self.lines: list[str] = []

    def take(self, way: str, data: bytes) -> None:
        """Add a frame, or bytes that are none."""
        text = data.decode("latin-1").replace("${", "\\x24{")
        for pattern in _SECRETS:
            text = pattern.sub(rf"\g<1>{BLANKED}", text)
        text = _LENGTH.sub(r"\1${length}", text)
        text = _UUID.sub(self._named, _TIME.sub(r"\1${int}", text))
        self.lines.append(f"{way} {escaped(text)}")

    def _named(self, match: re.Match[str]) -> str:
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
        notes = Notes({})
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
