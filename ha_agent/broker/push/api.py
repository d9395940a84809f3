# SPDX-License-Identifier: Apache-2.0
"""What the engine may ask over its push: docs/push.md is written from here.

    version    of this software and of the push
    status     the picture, as on the operators' socket
    can_do     whether the engine may do something to a disk, a host or a storage domain
    refresh    all hosts read the definition from the store now
    ovf.put    the definition itself: not if it is an old one, then as the guard judges

The engine is no person: it can't insist on what the guard refuses, and can't go back. It has no
other verb; whoever has its certificate can stop no VM and see no definition.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Mapping
from typing import Any, Callable, Optional, Protocol

from ha_agent import __version__
from ha_agent.broker.api.arguments import Access, bound
from ha_agent.broker.api.verb import Argument, Field, Kind, Verb
from ha_agent.broker.definition.keeper import DefinitionKeeper
from ha_agent.broker.push.refresh import Refreshed
from ha_agent.broker.push.version import why_old
from ha_agent.broker.rpc.codec import CODE_BUSY, DEFAULT_MAX_MESSAGE_BYTES
from ha_agent.broker.rpc.server import Handler, Peer, RpcRefusal
from ha_agent.broker.snapshot import DefinitionEntry, to_wire
from ha_agent.broker.watch import Board
from ha_agent.errors import BadInput, EnvironmentFault
from ha_agent.journal_messages import BUG, PUSH_REFUSED
from ha_agent.log import fields
from ha_agent.ovfstore.approval import identity_of
from ha_agent.ovfstore.version import Version

log = logging.getLogger(__name__)

PUSH_VERSION = 1
PUT_DEADLINE_SECONDS = 600.0
SAME_AS_ON_SOCKET = ("status", "can_do")

VERBS = (
    Verb(
        "version",
        "Tells the version of this software, and of the push.",
        result=(
            Field("version", Kind.TEXT, "of ha-agent"),
            Field("push_version", Kind.WHOLE, "grows when an older client would misunderstand"),
        ),
    ),
    Verb(
        "refresh",
        "Has all hosts read the engine VM's definition from the store now.",
        result=(
            Field("problem", Kind.TEXT, "why this host could not read it, empty for nothing"),
            Field("told", Kind.TEXT, "why other hosts don't know of it yet, empty for nothing"),
            Field("definition", Kind.MAP, "the definition in use here", shape=DefinitionEntry),
        ),
        deadline="3 times [storage] ovf_deadline_seconds",
    ),
    Verb(
        "ovf.put",
        "Writes the engine VM's OVF to every copy of the store, and has all hosts use it.",
        arguments=(
            Argument(
                "document", Kind.BYTES, "the OVF", most=DEFAULT_MAX_MESSAGE_BYTES, unit="bytes"
            ),
        ),
        result=(
            Field("identity", Kind.TEXT, "first 12 hex digits of the document's SHA-256"),
            Field("last_updated", Kind.TEXT, "the date that the store's copies have now"),
            Field("differences", Kind.LIST, "sentences: what it changes"),
            Field("notes", Kind.LIST, "sentences: what was odd in it"),
        ),
        errors=(
            *("bad_document", "guard", "old_version", "storage", "too_large", "not_ready"),
            *("no_store", "one_copy", "no_whole_copy", "not_spm", "pool_not_connected"),
        ),
        deadline_seconds=PUT_DEADLINE_SECONDS,
    ),
)


class Versions(Protocol):
    """What is needed of history.History. Blocks; raises EnvironmentFault."""

    def versions(self) -> tuple[Version, ...]: ...


class PushApi:
    """The handlers, by name."""

    def __init__(
        self,
        keeper: DefinitionKeeper,
        history: Versions,
        board: Board,
        *,
        on_socket: Mapping[str, Handler],
        refresh: Callable[[str], Awaitable[Refreshed]],
        put: Callable[[bytes, str], Awaitable[dict[str, Any]]],
        max_document_bytes: int,
        count: Callable[[str], None],
    ) -> None:
        """`on_socket`: the operators' verbs; `put` judges and stores a document for somebody,
        and raises RpcRefusal; `count` counts a field of push_entry.PushCounters."""
        self._keeper = keeper
        self._history = history
        self._board = board
        self._on_socket = on_socket
        self._refresh_everywhere = refresh
        self._store = put
        self._max_document_bytes = max_document_bytes
        self._count = count
        self._putting: Optional[asyncio.Task[dict[str, Any]]] = None

    def handlers(self) -> dict[str, Handler]:
        """Return the verbs."""
        ours: dict[str, Handler] = {
            "version": self._version,
            "refresh": self._refresh,
            "ovf.put": self._put,
        }
        # Whoever was let in may call each of them, so nobody's ids are asked for.
        handlers = bound(VERBS, ours, Access(-1, None))
        for name in SAME_AS_ON_SOCKET:
            handlers[name] = self._on_socket[name]
        return {name: self._counted(handler) for name, handler in handlers.items()}

    def _counted(self, handler: Handler) -> Handler:
        async def answer(params: Mapping[str, Any], peer: Peer) -> Any:
            self._count("calls")
            return await handler(params, peer)

        return answer

    async def _version(self, _params: Mapping[str, Any], _peer: Peer) -> Any:
        return {"version": __version__, "push_version": PUSH_VERSION}

    async def _refresh(self, _params: Mapping[str, Any], peer: Peer) -> Any:
        self._count("refreshes")
        refreshed = await self._refresh_everywhere(peer.who)
        definition = to_wire(self._board.read().definition)
        return {"problem": refreshed.problem, "told": refreshed.told, "definition": definition}

    async def _put(self, params: Mapping[str, Any], peer: Peer) -> Any:
        # One at a time: a document may have 8 MiB, and many times that while it is judged. What
        # was begun is finished, also when its caller goes away, so until then it counts.
        if self._putting is not None and not self._putting.done():
            self._count("refused")
            raise RpcRefusal(CODE_BUSY, "another definition is just being put on this host")
        document: bytes = params["document"]
        self._putting = asyncio.ensure_future(self._put_one(document, peer))
        self._putting.add_done_callback(_taken_notice_of)
        return await asyncio.shield(self._putting)

    async def _put_one(self, document: bytes, peer: Peer) -> dict[str, Any]:
        try:
            await self._check(document)
            answer = await self._store(document, peer.who)
        except RpcRefusal as refusal:
            counter = refusal.code if refusal.code in ("too_large", "old_version") else "refused"
            self._count(counter)
            told = fields(
                PUSH_REFUSED, key=f"put refused: {refusal.code}", push_refused=refusal.code
            )
            log.warning(
                "the engine's push: the definition of %s was not taken: %s: %s",
                peer.who,
                refusal.code,
                refusal.message,
                extra=told,
            )
            raise
        self._count("puts")
        log.info("the engine's push: %s put definition %s", peer.who, answer["identity"])
        return {
            name: answer[name] for name in ("identity", "last_updated", "differences", "notes")
        }

    async def _check(self, document: bytes) -> None:
        """Raise RpcRefusal unless the document is short enough and not an old one."""
        if len(document) > self._max_document_bytes:
            limit = self._max_document_bytes
            raise RpcRefusal(
                "too_large", f"the OVF has {len(document)} bytes, [push] allows {limit}"
            )
        # Another host may have put a newer one a moment ago. What can't be read stands in the
        # way of the write as well, which says so.
        await self._keeper.refresh(read_again=True)
        current, pending = self._keeper.current, self._keeper.pending
        known = [] if current is None else [current.document]
        if pending is not None:
            known.append(pending.definition.document)
        loop = asyncio.get_running_loop()
        try:
            why = await loop.run_in_executor(
                None, lambda: why_old(document, known, self._history.versions())
            )
        except BadInput as fault:
            raise RpcRefusal("bad_document", str(fault)) from fault
        except EnvironmentFault as fault:
            raise RpcRefusal("storage", str(fault)) from fault
        if why:
            identity = identity_of(document)
            raise RpcRefusal("old_version", f"definition {identity} is an old one: {why}")


def _taken_notice_of(put: asyncio.Task[dict[str, Any]]) -> None:
    # Its caller may be gone; a refusal is in the log already.
    failure = None if put.cancelled() else put.exception()
    if failure is not None and not isinstance(failure, RpcRefusal):
        log.error("a put of the engine failed", exc_info=failure, extra=fields(BUG))
