# SPDX-License-Identifier: Apache-2.0
"""The other end of a connection: who it is, and what bytes come and go by.

rpc/server.py serves calls over it, whether it came by the operators' UNIX socket, where the
kernel says who it is, or by the engine's push (push/listener.py), where a certificate does.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from dataclasses import dataclass
from typing import Protocol

_UCRED = struct.Struct("iII")  # struct ucred of unix(7): pid, uid, gid
_SO_PEERGROUPS = 59  # <asm-generic/socket.h>; Python has no name for it
_MAX_PEER_GROUPS = 1024


@dataclass(frozen=True)
class Peer:
    """Who is at the other end of a connection, as the kernel saw it when they connected.

    One who came over the network (push/listener.py) has no ids here, so all of them are -1 and
    fit nobody's; `name` is the subject of the certificate that they proved to have.
    """

    pid: int
    uid: int
    gid: int
    groups: frozenset[int] = frozenset()
    """Supplementary group ids."""
    name: str = ""

    @property
    def who(self) -> str:
        """What they are called in logs, history and events."""
        return self.name or f"user {self.uid}"

    def __str__(self) -> str:
        return self.name or f"pid {self.pid}"


class Reads(Protocol):
    """What is needed of asyncio.StreamReader."""

    async def read(self, n: int = ...) -> bytes: ...


class Writes(Protocol):
    """What is needed of asyncio.StreamWriter."""

    @property
    def transport(self) -> Aborts: ...

    def write(self, data: bytes) -> None: ...

    async def drain(self) -> None: ...

    def is_closing(self) -> bool: ...

    def close(self) -> None: ...

    async def wait_closed(self) -> None: ...


class Aborts(Protocol):
    """What is needed of asyncio.WriteTransport."""

    def abort(self) -> None: ...


def peer_of(sock: socket.socket) -> Peer:
    """Ask the kernel who connected. Raises OSError."""
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    pid, uid, gid = _UCRED.unpack(credentials)
    groups: frozenset[int] = frozenset()
    # Linux 4.13 and later. Without it a caller has fewer rights, never more.
    with contextlib.suppress(OSError):
        raw = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, 4 * _MAX_PEER_GROUPS)
        groups = frozenset(struct.unpack(f"{len(raw) // 4}I", raw))
    return Peer(pid, uid, gid, groups)
