# SPDX-License-Identifier: Apache-2.0
"""What one caller may take of an RPC server, so that the others always find room.

    connections   Places: root has places that nobody else can take, no other user takes all
    answers       Room: bytes that were made and are not taken yet, by debtor
    requests      a small one costs little; large ones take turns (ServerLimits.max_large)
    time          Turns: of the broker's one thread, who may only look has a part, not all

It must not know sockets, nor what is called.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from dataclasses import dataclass
from typing import Optional

from ha_agent.broker.rpc import codec as rpc_codec
from ha_agent.broker.rpc.peer import Peer

KIB, MIB = 1024, 1024 * 1024


@dataclass(frozen=True)
class ServerLimits:
    """Bounds of one server.

    The memory of its messages is at most, whatever callers do:
      requests   max_connections x (64 KiB + 32 KiB of reading ahead), and
                 max_large x max_message_bytes: with these figures 105 + 36 MiB
      answers    for each user, and for each process of root's, max_owed_bytes and one message:
                 25 MiB. So no other process holds up the agent's.
    A caller that may only look (`trusted` of RpcServer) has no request above the small size, and
    fewer calls at once.
    """

    # A thousand callers, and room for the daemons among them.
    max_connections: int = 1100
    # Of those, for root only; and the most of any other user.
    root_connections: int = 100
    max_connections_of_user: int = 500
    max_in_flight: int = 32
    lookers_in_flight: int = 4
    max_streams: int = 4
    max_message_bytes: int = rpc_codec.DEFAULT_MAX_MESSAGE_BYTES
    small_message_bytes: int = 64 * KIB
    max_large: int = 4
    max_owed_bytes: int = 16 * MIB
    call_deadline_seconds: float = 10.0
    # For a message that has begun, and for a large one to have its turn.
    message_deadline_seconds: float = 30.0
    drain_deadline_seconds: float = 5.0


class Places:
    """Who has how many connections. `own_uid` is the server's own user, who counts as root."""

    def __init__(self, limits: ServerLimits, own_uid: int = 0) -> None:
        self._limits = limits
        self._root = (0, own_uid)
        self._users: Counter[int] = Counter()

    def take(self, peer: Peer) -> str:
        """Give `peer` a place and return "", or say why there is none."""
        limits = self._limits
        taken = sum(self._users.values())
        if taken >= limits.max_connections:
            return f"all {limits.max_connections} connections are in use"
        if peer.uid not in self._root:
            most = limits.max_connections - limits.root_connections
            if taken - sum(self._users[uid] for uid in set(self._root)) >= most:
                return f"all {most} connections of users other than root are in use"
            most = limits.max_connections_of_user
            if self._users[peer.uid] >= most:
                return f"all {most} connections that user {peer.uid} may have are in use"
        self._users[peer.uid] += 1
        return ""

    def leave(self, peer: Peer) -> None:
        """Take the place back."""
        self._users[peer.uid] -= 1
        if self._users[peer.uid] <= 0:
            del self._users[peer.uid]


Debtor = tuple[str, int]


def debtor_of(peer: Peer, own_uid: int = 0) -> Debtor:
    """Return whose answers count together with those to `peer`.

    Of the server's own user, `own_uid`, each process has its own, as of root: the agent is that
    user's and so is VDSM, and one that does not read must not keep answers from the other.
    """
    return ("process", peer.pid) if peer.uid in (0, own_uid) else ("user", peer.uid)


class Room:
    """Bytes of answers that were made and not taken yet, by debtor; more is not made meanwhile.

    A debtor is a user, or of root and our own user a process. Belongs to one event loop.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._owed: Counter[Debtor] = Counter()
        self._waiting: dict[Debtor, deque[asyncio.Future[None]]] = {}

    async def wait(self, debtor: Debtor) -> None:
        """Wait until there is room for another answer to this one: first come, first served."""
        while self._owed[debtor] >= self._limit_bytes:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            queue = self._waiting.setdefault(debtor, deque())
            queue.append(turn)
            try:
                await turn
            finally:
                if turn in queue:
                    queue.remove(turn)

    def owe(self, debtor: Debtor, size_bytes: int) -> None:
        """An answer is on its way."""
        self._owed[debtor] += size_bytes

    def settle(self, debtor: Debtor, size_bytes: int) -> None:
        """It was taken, or its connection is no more."""
        self._owed[debtor] -= size_bytes
        if self._owed[debtor] <= 0:
            del self._owed[debtor]
        queue = self._waiting.get(debtor)
        if queue and self._owed[debtor] < self._limit_bytes:
            # All of them: each looks again, and most will make their answer at once.
            for turn in queue:
                if not turn.done():
                    turn.set_result(None)
        if not queue:
            self._waiting.pop(debtor, None)

    @property
    def owed_bytes(self) -> int:
        """What is owed to all now."""
        return sum(self._owed.values())


class Turns:
    """The event loop's time for callers who may only look.

    The lease is renewed by the same loop: sixteen thousand calls that are ready at once would be
    one pass of it, of many seconds. So one piece of their work is done at a time, users in turn,
    and after each the loop is without them for _REST times as long as those passes took.
    """

    # What a turn sets off is done within these: who waited resumes, reads, asks, answers.
    _PASSES = 4
    _REST = 3.0
    _MAX_REST_SECONDS = 1.0

    def __init__(self) -> None:
        self._waiting: dict[int, deque[asyncio.Future[None]]] = {}
        self._giving: Optional[asyncio.Task[None]] = None

    async def take(self, uid: int) -> None:
        """Wait for a turn of this user's: in order, while no other user is before them."""
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting.setdefault(uid, deque()).append(turn)
        if self._giving is None:
            self._giving = loop.create_task(self._give())
        await turn

    async def _give(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                uid = next(iter(self._waiting))
                queue = self._waiting.pop(uid)
                turn = queue.popleft()
                if queue:
                    self._waiting[uid] = queue  # behind all others
                if turn.done():  # who waited has left
                    continue
                begun = loop.time()
                turn.set_result(None)
                for _pass in range(self._PASSES):
                    await asyncio.sleep(0)
                rest_seconds = self._REST * (loop.time() - begun)
                await asyncio.sleep(min(rest_seconds, self._MAX_REST_SECONDS))
        finally:
            self._giving = None
