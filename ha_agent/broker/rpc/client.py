# SPDX-License-Identifier: Apache-2.0
"""The asyncio client of the operators' socket, for processes that call often: the agent.

It must not retry: a call whose answer was lost may have taken effect, and only the caller knows
whether it may be made twice. It connects when it has no connection, so after a broker's restart
the next call simply works. Commands use `call_once` (rpc/call.py; no asyncio in it).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from typing import Any, Optional

from ha_agent.broker.rpc import codec as rpc_codec
from ha_agent.broker.rpc.call import (
    DEFAULT_DEADLINE_SECONDS,
    ENDED,
    BrokerUnreachable,
    RpcCallFailed,
    call_once,
    reason_of,
    response_in,
    result_of,
)
from ha_agent.broker.rpc.codec import Request, Response
from ha_agent.errors import DeadlineExceeded
from ha_agent.waiting import within

__all__ = ["BrokerUnreachable", "RpcCallFailed", "RpcClient", "call_once"]

_READ_BYTES = 64 * 1024
_CONNECT_RETRY_SECONDS = 0.01


class RpcClient:
    """Calls methods of the broker at `path`, any number at once over one connection.

    Belongs to one event loop. `call_deadline_seconds` holds for a call that names none; it
    covers connecting, too, which has at most `connect_deadline_seconds` of it.
    """

    def __init__(
        self,
        path: str,
        *,
        connect_deadline_seconds: float = DEFAULT_DEADLINE_SECONDS,
        call_deadline_seconds: float = DEFAULT_DEADLINE_SECONDS,
        max_message_bytes: int = rpc_codec.DEFAULT_MAX_MESSAGE_BYTES,
    ) -> None:
        self.path = path
        self._connect_deadline_seconds = connect_deadline_seconds
        self._call_deadline_seconds = call_deadline_seconds
        self._max_message_bytes = max_message_bytes
        self._connection: Optional[_Connection] = None
        self._connecting: Optional[asyncio.Lock] = None

    async def call(
        self,
        method: str,
        params: Optional[Mapping[str, Any]] = None,
        *,
        deadline_seconds: Optional[float] = None,
    ) -> Any:
        """Call `method` and return its result.

        Raises BrokerUnreachable, RpcCallFailed, DeadlineExceeded, or RpcCodecError when
        `params` can't be sent. After DeadlineExceeded the call may still take effect.
        """
        limit_seconds = (
            self._call_deadline_seconds if deadline_seconds is None else deadline_seconds
        )
        work = asyncio.ensure_future(self._call(method, params or {}))
        # A caller that is cancelled while this fails leaves nobody to fetch the failure.
        work.add_done_callback(_fetch_failure)
        try:
            return await within(limit_seconds, work)
        except asyncio.TimeoutError:
            raise DeadlineExceeded(f"{method} at {self.path}", limit_seconds) from None

    async def close(self) -> None:
        """Close the connection. Calls that wait fail with BrokerUnreachable."""
        if self._connection is not None:
            await self._connection.close()
            self._connection = None

    async def _call(self, method: str, params: Mapping[str, Any]) -> Any:
        connection = await self._connected()
        return result_of(await connection.call(method, params))

    async def _connected(self) -> _Connection:
        # Made here: in Python 3.9 a lock binds to the loop that is current when it is made.
        if self._connecting is None:
            self._connecting = asyncio.Lock()
        async with self._connecting:
            if self._connection is None or self._connection.is_lost:
                if self._connection is not None:
                    await self._connection.close()
                    self._connection = None
                self._connection = await self._connect()
            return self._connection

    async def _connect(self) -> _Connection:
        try:
            connecting = _connect_unix(self.path)
            sock = await within(self._connect_deadline_seconds, connecting, socket.socket.close)
            reader, writer = await asyncio.open_unix_connection(sock=sock)
        except asyncio.TimeoutError:
            raise DeadlineExceeded(
                f"connecting to the broker at {self.path}", self._connect_deadline_seconds
            ) from None
        except OSError as error:
            raise BrokerUnreachable(self.path, reason_of(error)) from error
        return _Connection(self.path, reader, writer, self._max_message_bytes)


def _fetch_failure(work: asyncio.Future[Any]) -> None:
    if not work.cancelled():
        work.exception()


async def _connect_unix(path: str) -> socket.socket:
    """Connect to `path`; while the server's queue is full, try again."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        while True:
            try:
                # Not loop.sock_connect(): a full queue is EAGAIN, which it takes for "in
                # progress" and then for success. connect() to a UNIX socket never blocks.
                sock.connect(path)
                return sock
            except BlockingIOError:
                await asyncio.sleep(_CONNECT_RETRY_SECONDS)
    except BaseException:  # cancelled, too: nobody else would close it
        sock.close()
        raise


class _Connection:
    """One connection: writes requests, and a task that hands each answer to its caller."""

    def __init__(
        self,
        path: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        max_message_bytes: int,
    ) -> None:
        self._path = path
        self._reader = reader
        self._writer = writer
        self._decoder = rpc_codec.RpcDecoder(max_message_bytes)
        self._next_msgid = 0
        self._waiting: dict[int, asyncio.Future[Response]] = {}
        # drain() of Python 3.9 can't be waited for by two tasks at once.
        self._write_lock = asyncio.Lock()
        self._lost: Optional[BrokerUnreachable] = None
        self._reading = asyncio.get_running_loop().create_task(self._read())

    @property
    def is_lost(self) -> bool:
        """Whether no call can be made any more."""
        return self._lost is not None or self._reading.done()

    async def call(self, method: str, params: Mapping[str, Any]) -> Response:
        """Send a request and wait for its response."""
        if self._lost is not None:
            raise self._lost
        msgid = self._free_msgid()
        data = rpc_codec.encode(Request(msgid, method, params))
        answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._waiting[msgid] = answer
        try:
            async with self._write_lock:
                self._writer.write(data)
                await self._writer.drain()
            return await answer
        except OSError as error:
            raise self._lost or BrokerUnreachable(self._path, reason_of(error)) from error
        finally:
            # An answer that comes after the deadline finds nobody and is dropped.
            self._waiting.pop(msgid, None)
            answer.cancel()

    async def close(self) -> None:
        """Stop reading and close at once."""
        self._reading.cancel()
        await asyncio.wait({self._reading})
        self._lose("the client closed the connection")
        self._writer.transport.abort()

    def _free_msgid(self) -> int:
        while self._next_msgid in self._waiting:
            self._next_msgid = (self._next_msgid + 1) & rpc_codec.MAX_MSGID
        msgid = self._next_msgid
        self._next_msgid = (msgid + 1) & rpc_codec.MAX_MSGID
        return msgid

    async def _read(self) -> None:
        try:
            while True:
                data = await self._reader.read(_READ_BYTES)
                if not data:
                    self._lose(ENDED)
                    return
                for message in self._decoder.feed(data):
                    response = response_in(message, self._path)
                    answer = self._waiting.get(response.msgid) if response else None
                    if response is not None and answer is not None and not answer.done():
                        answer.set_result(response)
        except BrokerUnreachable as error:
            self._lose(error.reason)
        except rpc_codec.RpcCodecError as error:
            self._lose(f"its answer can't be read: {error}")
        except OSError as error:
            self._lose(reason_of(error))
        finally:
            self._writer.transport.abort()

    def _lose(self, reason: str) -> None:
        if self._lost is None:
            self._lost = BrokerUnreachable(self._path, reason)
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(BrokerUnreachable(self._path, self._lost.reason))
