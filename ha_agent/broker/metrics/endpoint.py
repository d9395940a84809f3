# SPDX-License-Identifier: Apache-2.0
"""The HTTP endpoint that Prometheus asks: GET /metrics, one request a connection.

Nobody who asks can cost the broker more than this: at most `MAX_CONNECTIONS` at once (more are
closed at once), each closed at its deadline however far it is, and a request's head bounded. The
figures are taken at most once a second (metrics/parts.py) and made text of in a thread. A scraper
that does not read holds one buffer until its deadline.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable
from typing import Callable, Optional

import h11

from ha_agent.errors import EnvironmentFault
from ha_agent.waiting import within

log = logging.getLogger(__name__)

PATH = b"/metrics"
DEADLINE_SECONDS = 5.0
MAX_CONNECTIONS = 8
_HEAD_BYTES = 8 * 1024
_READ_BYTES = 4 * 1024
# asyncio accepts so many in one turn of the loop, which is the lease's, too: with its 100 a flood
# makes each turn 20 ms long.
_BACKLOG = 4

Render = Callable[[str], Awaitable["tuple[bytes, str]"]]
"""Takes the Accept header; returns the text and its content type."""


class MetricsEndpoint:
    """Serves what `render` makes."""

    def __init__(
        self, address: str, port: int, render: Render, deadline_seconds: float = DEADLINE_SECONDS
    ) -> None:
        self._address = address
        self._port = port
        self._render = render
        self._deadline_seconds = deadline_seconds
        self._server: Optional[asyncio.AbstractServer] = None
        self._open = 0

    async def start(self) -> int:
        """Begin to listen; return the port. Raises EnvironmentFault when that can't be had."""
        try:
            self._server = await asyncio.start_server(
                self._serve, self._address, self._port, limit=_HEAD_BYTES, backlog=_BACKLOG
            )
        except OSError as error:
            raise EnvironmentFault(
                f"metrics: can't listen at {self._address} port {self._port}: {error.strerror}"
            ) from error
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def stop(self) -> None:
        """Listen no more. What is being answered ends at its deadline, or with the loop."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._open >= MAX_CONNECTIONS:
            writer.transport.abort()
            return
        self._open += 1
        try:
            await within(self._deadline_seconds, self._exchange(reader, writer))
        except (OSError, h11.RemoteProtocolError, asyncio.TimeoutError) as error:
            log.debug("metrics: a request was not answered: %s", error or "too slow")
        finally:
            self._open -= 1
            writer.transport.abort()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = h11.Connection(h11.SERVER, max_incomplete_event_size=_HEAD_BYTES)
        request = await _request(wire, reader)
        if request is None:
            return
        body, content_type, status = b"", "text/plain; charset=utf-8", 200
        if request.target.partition(b"?")[0] != PATH:
            status, body = 404, b"there is /metrics\n"
        elif request.method not in (b"GET", b"HEAD"):
            status, body = 405, b"GET only\n"
        else:
            headers = dict(request.headers)
            body, content_type = await self._render(headers.get(b"accept", b"").decode("latin-1"))
        head = h11.Response(
            status_code=status,
            headers=[
                ("Content-Type", content_type),
                ("Content-Length", str(len(body))),
                ("Connection", "close"),
            ],
        )
        parts = [wire.send(head)]
        if request.method != b"HEAD":
            parts.append(wire.send(h11.Data(body)))
        parts.append(wire.send(h11.EndOfMessage()))
        writer.writelines(part for part in parts if part)
        await writer.drain()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _request(wire: h11.Connection, reader: asyncio.StreamReader) -> Optional[h11.Request]:
    """Return the head of the request; None when the other end closed before it. A body, which a
    GET does not have, is not waited for."""
    while True:
        event = wire.next_event()
        if isinstance(event, h11.Request):
            return event
        if event is not h11.NEED_DATA:
            return None
        wire.receive_data(await reader.read(_READ_BYTES))
