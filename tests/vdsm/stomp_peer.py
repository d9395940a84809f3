# SPDX-License-Identifier: Apache-2.0
"""A small STOMP server that plays VDSM for the client's tests, well or badly.

It answers Host.ping2 with true, `Echo` with its params, `Fail` with error 100, and never
answers `Silent`; every other method is code -32601. Tests make it misbehave by its attributes,
or write raw bytes with `send_raw`.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import Any, Optional

from ha_agent.vdsm import jsonrpc, stomp


class StompPeer:
    """Listens on 127.0.0.1, one client or several one after the other."""

    def __init__(self) -> None:
        self.port = 0
        self.connections = 0
        self.requests: list[jsonrpc.Request] = []
        self.frames: list[stomp.Frame] = []
        self.heart_beats_received = 0
        self.heart_beat = "0,0"  # (sends, wants) as CONNECTED says
        self.version = "1.2"
        self.greets = True
        self.answers_pings = True
        self.recovering_pings = 0  # so many pings are answered with code 99
        self.reply_delay_seconds = 0.0
        self._writer: Optional[asyncio.StreamWriter] = None
        self._server: Optional[asyncio.AbstractServer] = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._reply_to = ""

    async def start(self, context: Optional[ssl.SSLContext] = None, port: int = 0) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port, ssl=context)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        self.drop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def drop(self) -> None:
        """Close the present connection, as a VDSM that is killed does."""
        if self._writer is not None:
            # A TLS transport that has ended already can't be aborted (asyncio, AttributeError).
            with contextlib.suppress(AttributeError):
                self._writer.transport.abort()

    def stop_reading(self) -> None:
        """Read nothing more of the present connection."""
        assert self._writer is not None
        transport = self._writer.transport
        assert isinstance(transport, asyncio.Transport)
        transport.pause_reading()

    def send_raw(self, data: bytes) -> None:
        assert self._writer is not None
        self._writer.write(data)

    def send_event(self, method: str, params: dict[str, Any]) -> None:
        body = jsonrpc.encode_event(jsonrpc.Event(method, params))
        self.send_raw(_message("jms.queue.events", body))

    def reply(self, response: jsonrpc.Response) -> None:
        self.send_raw(_message(self._reply_to, jsonrpc.encode_response(response)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        self._writer = writer
        decoder = stomp.StompDecoder()
        try:
            while True:
                data = await reader.read(65536)
                if not data:
                    return
                self.heart_beats_received += data == stomp.HEART_BEAT
                for frame in decoder.feed(data):
                    await self._take(frame)
        except (ConnectionError, ssl.SSLError):
            return
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _take(self, frame: stomp.Frame) -> None:
        self.frames.append(frame)
        if frame.command == "CONNECT" and self.greets:
            headers = {"version": self.version, "heart-beat": self.heart_beat}
            self.send_raw(stomp.encode(stomp.Frame("CONNECTED", headers)))
        if frame.command != "SEND":
            return
        request = jsonrpc.decode(frame.body)
        assert isinstance(request, jsonrpc.Request)
        self.requests.append(request)
        self._reply_to = frame.headers["reply-to"]
        response = self._answer(request)
        if response is None:
            return
        if self.reply_delay_seconds and request.method != "Host.ping2":
            await asyncio.sleep(self.reply_delay_seconds)
        self.reply(response)

    def _answer(self, request: jsonrpc.Request) -> Optional[jsonrpc.Response]:
        if request.method == "Host.ping2" and self.answers_pings:
            if self.recovering_pings > 0:
                self.recovering_pings -= 1
                error = jsonrpc.RpcErrorInfo(99, "Recovering from crash or Initializing")
                return jsonrpc.Response(request.id, error=error)
            return jsonrpc.Response(request.id, True)
        if request.method == "Echo":
            return jsonrpc.Response(request.id, request.params)
        if request.method == "Fail":
            error = jsonrpc.RpcErrorInfo(100, "General Exception: ('no',)")
            return jsonrpc.Response(request.id, error=error)
        if request.method in ("Silent", "Host.ping2"):
            return None
        error = jsonrpc.RpcErrorInfo(-32601, "The method does not exist or is not available")
        return jsonrpc.Response(request.id, error=error)


def _message(destination: str, body: bytes) -> bytes:
    return stomp.encode(stomp.Frame("MESSAGE", {"destination": destination}, body))
