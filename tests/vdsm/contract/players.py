# SPDX-License-Identifier: Apache-2.0
"""Plays one side of a conversation, and holds what the other says against it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any, Optional

from ha_agent.vdsm.stomp import Frame, StompDecoder, encode
from ha_agent.waiting import within
from tests.vdsm.contract.conversation import (
    EVENTS,
    Bound,
    Conversation,
    Line,
    Mismatch,
    filled,
    json_template,
    match_body,
    match_frame,
    parts,
)
from tests.vdsm.contract.talk import PATIENCE_SECONDS, Wire, on_the_wire
from tests.vdsm.contract.target import Target


async def play_client(conversation: Conversation, target: Target) -> None:
    """Send the client's side to a target and compare its answers. Raises Mismatch."""
    async with contextlib.AsyncExitStack() as stack:
        wires: dict[int, Wire] = {}
        bound: Bound = {}
        for line in conversation.lines:
            if line.peer not in wires:
                wires[line.peer] = await stack.enter_async_context(on_the_wire(target))
            wire = wires[line.peer]
            if line.is_clients:
                wire.send_bytes(filled(line.template, bound))
            elif line.closes:
                await wire.is_ended()
            else:
                bound = await _expect(conversation, line, wire, bound)
        for wire in wires.values():
            if wire.frames:
                raise Mismatch(f"{conversation.where}: said without being asked: {wire.frames}")


async def _expect(conversation: Conversation, line: Line, wire: Wire, bound: Bound) -> Bound:
    """Find the line's frame among those that came, else among those that come."""
    others: list[Frame] = []
    whys: list[str] = []
    while True:
        try:
            frame = await wire.frame(PATIENCE_SECONDS)
        except (EOFError, asyncio.TimeoutError) as error:
            why = "; ".join(whys) or "nothing came"
            raise Mismatch(f"{conversation.where}, line {line.number}: {why}") from error
        try:
            bound = match_frame(line.template, frame, bound)
        except Mismatch as mismatch:
            whys.append(str(mismatch))
            others.append(frame)
            # Events of one client keep their order, and an ERROR is never overtaken.
            if frame.headers.get("destination") == EVENTS or frame.command == "ERROR":
                raise Mismatch(f"{conversation.where}, line {line.number}: {mismatch}") from None
            continue
        wire.frames[:0] = others
        return bound


class ServerPlayer:
    """Plays the server's side to our client, once. What the client says beyond the lines,
    subscriptions and pings, is answered as VDSM would.

    Ids, reply destinations and subscriptions are the client's own: where the lines have one as it
    stands, the client's takes its place in what is sent.
    """

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self._bound: Bound = {}
        self._instead: dict[str, str] = {}
        self._reply_to = ""
        self._decoder = StompDecoder()
        self._frames: list[Frame] = []
        self._server: Optional[asyncio.AbstractServer] = None
        self._task: Optional[asyncio.Task[None]] = None
        self.played: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def start(self) -> int:
        """Listen; return the port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def close(self) -> None:
        """Stop, whatever was played."""
        assert self._server is not None
        self._server.close()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._task is not None:
            writer.transport.abort()  # once is enough: a client that lost it connects again
            return
        self._task = asyncio.current_task()
        try:
            for line in self._conversation.lines:
                await self._play(line, reader, writer)
            self.played.set_result(None)
            while True:
                self._answer_unasked(await self._frame(reader), writer)
        except (Mismatch, EOFError, OSError, asyncio.TimeoutError) as error:
            if not self.played.done():
                self.played.set_exception(error)
        finally:
            writer.transport.abort()

    async def _play(
        self, line: Line, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if line.closes:
            writer.close()
        elif line.is_clients:
            while not self._matches(line, frame := await self._frame(reader)):
                self._answer_unasked(frame, writer)
        else:
            writer.write(self._translated(filled(line.template, self._bound)))

    async def _frame(self, reader: asyncio.StreamReader) -> Frame:
        while not self._frames:
            data = await within(PATIENCE_SECONDS, reader.read(65536))
            if not data:
                raise EOFError("our client went away")
            self._frames += self._decoder.feed(data)
        return self._frames.pop(0)

    def _matches(self, line: Line, frame: Frame) -> bool:
        """Tell whether the frame is the line's; raise Mismatch for one that can't be later."""
        command, headers, body = parts(line.template)
        if frame.command != command or (
            command == "SUBSCRIBE" and frame.headers["destination"] == EVENTS
        ):
            return False
        if command == "CONNECT":
            for name in ("accept-version", "heart-beat"):
                if frame.headers.get(name) != headers[name]:
                    raise Mismatch(f"{name}: {frame.headers.get(name)!r}, not {headers[name]!r}")
        elif command == "SUBSCRIBE":
            self._is(headers["destination"], frame.headers["destination"])
            self._is(headers["id"], frame.headers["id"])
        elif command == "SEND":
            return self._matches_call(headers, body, frame)
        return True

    def _matches_call(self, headers: dict[str, str], body: str, frame: Frame) -> bool:
        asked: Any = json.loads(frame.body)
        wanted: Any = json_template(body)
        if asked["method"] == "Host.ping2" != wanted["method"]:
            return False
        if frame.headers["destination"] != headers["destination"]:
            raise Mismatch(f"sent to {frame.headers['destination']}")
        match_body(
            json.dumps({**wanted, "id": "${text}"}), json.dumps(asked).encode(), self._bound
        )
        self._is(str(wanted["id"]), asked["id"])
        self._is(headers["reply-to"], frame.headers["reply-to"])
        return True

    def _is(self, written: str, actual: str) -> None:
        """Note that what the lines call so is this client's."""
        if written.startswith("${"):
            self._bound[written[2:-1].partition(":")[2]] = actual
        else:
            self._instead[written] = actual

    def _translated(self, data: bytes) -> bytes:
        [frame] = StompDecoder().feed(data)
        headers = {
            name: self._instead.get(value, value)
            if name in ("destination", "subscription")
            else value
            for name, value in frame.headers.items()
        }
        body = frame.body
        if frame.command == "MESSAGE":
            message: dict[str, Any] = json.loads(body)
            if "id" in message:
                message["id"] = self._instead.get(str(message["id"]), message["id"])
                body = json.dumps(message).encode()
        return encode(Frame(frame.command, headers, body))

    def _answer_unasked(self, frame: Frame, writer: asyncio.StreamWriter) -> None:
        if frame.command == "SUBSCRIBE":
            return
        asked = json.loads(frame.body) if frame.command == "SEND" else {}
        if asked.get("method") != "Host.ping2":
            raise Mismatch(f"not in the conversation: {frame}")
        reply = {"jsonrpc": "2.0", "id": asked["id"], "result": True}
        headers = {"destination": frame.headers["reply-to"], "subscription": "s"}
        writer.write(encode(Frame("MESSAGE", headers, json.dumps(reply).encode())))
