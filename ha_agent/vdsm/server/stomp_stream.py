# SPDX-License-Identifier: Apache-2.0
"""An accepted connection of the embedded VDSM as a stream, in the clear or under TLS.

As VDSM does it (facts 1.1): under TLS the other end must show a certificate of our CA, whoever it
names; the handshake has 10 s; certificates are read for each connection, so that renewed ones
need no restart. Who is refused is told so by TLS's alert, which under TLS 1.3 comes to a client
with its first read. Nothing is known here of what is said over the stream.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import struct
from typing import Optional, Protocol

from ha_agent.certificates import TlsFiles, load_files
from ha_agent.errors import EnvironmentFault
from ha_agent.tls_stream import TlsStream, handshake_fault
from ha_agent.waiting import within

log = logging.getLogger(__name__)

HANDSHAKE_SECONDS = 10.0
_GOODBYE_SECONDS = 2.0
# With it, closing sends a reset instead of an end.
_NO_LINGER = struct.pack("ii", 1, 0)


class Stream(Protocol):
    """Bytes both ways. `read` and `drain` raise OSError; `dispose` comes last, in any case."""

    async def read(self, n: int) -> bytes: ...

    def write(self, data: bytes) -> None: ...

    async def drain(self) -> None: ...

    def close(self) -> None: ...

    async def wait_closed(self) -> None: ...

    def abort(self) -> None: ...

    async def dispose(self) -> None: ...


class PlainStream:
    """A socket in the clear; implements Stream."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.read = reader.read
        self.write = writer.write
        self.drain = writer.drain
        self.close = writer.close
        self.wait_closed = writer.wait_closed
        self._transport = writer.transport

    def abort(self) -> None:
        """End at once."""
        self._transport.abort()

    async def dispose(self) -> None:
        """End, where that has not happened yet."""
        self._transport.abort()


def server_context(files: TlsFiles) -> ssl.SSLContext:
    """Return the settings of one handshake. Raises EnvironmentFault that names the file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    # No tickets: who comes back shows its certificate again.
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.num_tickets = 0
    load_files(context, files)
    return context


async def open_stream(sock: socket.socket, tls: Optional[TlsFiles], peer: str) -> Optional[Stream]:
    """Take over an accepted, non-blocking socket; None when the handshake failed, which is in
    the log then. Raises OSError.
    """
    if tls is None:
        try:
            return PlainStream(*await asyncio.open_connection(sock=sock))
        except BaseException:
            sock.close()
            raise
    try:
        stream = TlsStream(sock, server_context(tls))
    except EnvironmentFault as fault:
        sock.close()
        log.error("%s: no connection under TLS: %s", peer, fault)
        return None
    is_open = False
    try:
        await within(HANDSHAKE_SECONDS, stream.handshake())
        is_open = True
        return stream
    except asyncio.TimeoutError:
        log.warning("%s: its handshake took more than %g s", peer, HANDSHAKE_SECONDS)
    except OSError as error:
        log.warning("%s: %s", peer, handshake_fault(error)[1])
        # Closing over unread bytes would reset the connection, and the alert be lost with it.
        with contextlib.suppress(OSError, asyncio.TimeoutError):
            await within(_GOODBYE_SECONDS, stream.wait_closed())
    finally:
        if not is_open:
            await stream.dispose()
    return None


def reset_when_closed(sock: socket.socket) -> None:
    """Have the connection end by a reset, as VDSM ends what does not speak STOMP."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
