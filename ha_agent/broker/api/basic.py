# SPDX-License-Identifier: Apache-2.0
"""The verbs of the broker's socket: arguments checked, answers from memory.

For the agent:      snapshot, publish, lease.take, lease.release, lease.abandon,
                    definition.domain
For operators:      status, watch, refresh, lease.initialise, version
About definitions:  api/definition.py; about maintenance: api/maintenance.py
Every verb takes one map. Verbs that change something are for root and the configured group;
the socket's mode keeps others out altogether by default.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Mapping
from typing import Any, Callable

from ha_agent.broker.api.arguments import Access, bound
from ha_agent.broker.api.verb import Argument, Field, Kind, Verb, Who
from ha_agent.broker.blocks.monitor import StatusMonitor
from ha_agent.broker.definition.keeper import DefinitionKeeper
from ha_agent.broker.definition.starts import DefinitionStarts
from ha_agent.broker.lease.backend import Keeper
from ha_agent.broker.lease.cycle import LeaseResult
from ha_agent.broker.push.refresh import Refreshed
from ha_agent.broker.rpc.answer import Handler, Late, RpcRefusal, Stream
from ha_agent.broker.rpc.follow import CHANGED
from ha_agent.broker.rpc.peer import Peer
from ha_agent.broker.snapshot import DefinitionEntry, Report, Snapshot, from_wire, to_wire
from ha_agent.broker.watch import Board
from ha_agent.errors import BadInput, EnvironmentFault

MAX_WAIT_SECONDS = 60.0
_WAITING = (
    Argument("since_version", Kind.WHOLE, "the version that you have seen", default=-1),
    Argument(
        "wait_seconds",
        Kind.NUMBER,
        "how long to wait for a picture of another version",
        default=0.0,
        least=0,
        most=MAX_WAIT_SECONDS,
        unit="s",
    ),
)
_WHY = Argument("why", Kind.TEXT, "the reason, for the log", default="")
_LEASE_RESULT = (
    Field("ok", Kind.FLAG, "whether it was done"),
    Field("detail", Kind.TEXT, "what was done, or why not"),
    Field("snapshot", Kind.MAP, "the picture after it", shape=Snapshot),
)
_BY_EXPIRY = "[lease] lease_expiry_seconds"

VERBS = (
    Verb(
        "status",
        "Tells the whole picture that this host has of the cluster, from memory.",
        arguments=_WAITING,
        result=Snapshot,
        deadline_seconds=MAX_WAIT_SECONDS + 5.0,
    ),
    Verb(
        "snapshot",
        "As status: the name that the agent uses.",
        arguments=_WAITING,
        result=Snapshot,
        deadline_seconds=MAX_WAIT_SECONDS + 5.0,
    ),
    Verb(
        "watch",
        "Has every change of the picture sent to this connection until it ends, the newest where "
        "the caller is slower than the changes, and at least one a minute.",
        arguments=(_WAITING[0],),
        streams=CHANGED,
    ),
    Verb(
        "refresh",
        "Has all hosts read the engine VM's definition from the store now.",
        who=Who.CHANGE,
        result=(
            Field("problem", Kind.TEXT, "why this host could not read it, empty for nothing"),
            Field("told", Kind.TEXT, "why other hosts don't know of it yet, empty for nothing"),
            Field("definition", Kind.MAP, "the definition in use", shape=DefinitionEntry),
        ),
        deadline="3 times [storage] ovf_deadline_seconds",
    ),
    Verb(
        "publish",
        "Takes the agent's report on itself; for the agent.",
        who=Who.CHANGE,
        arguments=(Argument("report", Kind.MAP, "the report", shape=Report),),
    ),
    Verb(
        "lease.take",
        "Takes the ownership lease, if its epoch is still the expected one; for the agent.",
        who=Who.CHANGE,
        arguments=(
            Argument("expected_epoch", Kind.WHOLE, "the epoch that was decided on", least=0),
            _WHY,
        ),
        result=_LEASE_RESULT,
        deadline=_BY_EXPIRY,
    ),
    Verb(
        "lease.release",
        "Gives the ownership lease up at once, as the VM is known to be gone; for the agent.",
        who=Who.CHANGE,
        arguments=(_WHY,),
        result=_LEASE_RESULT,
        deadline=_BY_EXPIRY,
    ),
    Verb(
        "lease.abandon",
        "Lets the ownership lease run out, so that the fence ends a VM that nobody sees; for the "
        "agent.",
        who=Who.CHANGE,
        arguments=(_WHY,),
        result=_LEASE_RESULT,
        deadline=_BY_EXPIRY,
    ),
    Verb(
        "lease.initialise",
        "Makes the cluster's lock file, where none is in use.",
        who=Who.CHANGE,
        errors=("storage", "refused"),
    ),
    Verb(
        "definition.domain",
        "Tells what to start the engine VM from; for the agent.",
        who=Who.CHANGE,
        arguments=(
            Argument("fallback", Kind.FLAG, "the last other one that did start", default=False),
            _WHY,
        ),
        result=(
            Field("identity", Kind.TEXT, "of the definition"),
            Field("xml", Kind.TEXT, "the domain, for VM.create"),
            Field("notes", Kind.LIST, "sentences about what was translated"),
        ),
        errors=("not_ready",),
    ),
)


class Api:
    """The handlers, by name, over the broker's parts."""

    def __init__(
        self,
        board: Board,
        lease: Keeper,
        monitor: StatusMonitor,
        definition: DefinitionKeeper,
        starts: DefinitionStarts,
        *,
        access: Access,
        on_report: Callable[[Report], None],
        initialise_lease: Callable[[], Awaitable[tuple[bool, str]]],
        refresh: Callable[[str], Awaitable[Refreshed]],
    ) -> None:
        """`initialise_lease` makes the lock file: whether it did, and what it holds now;
        `refresh` has all hosts read the definition anew, for somebody."""
        self._board = board
        self._lease = lease
        self._monitor = monitor
        self._definition = definition
        self._starts = starts
        self._access = access
        self._on_report = on_report
        self._initialise_lease = initialise_lease
        self._refresh_everywhere = refresh

    def handlers(self) -> dict[str, Handler]:
        """Return the verbs."""
        handlers: dict[str, Handler] = {
            "snapshot": self._snapshot,
            "status": self._snapshot,
            "watch": self._watch,
            "publish": self._publish,
            "lease.take": self._take,
            "lease.release": self._release,
            "lease.abandon": self._abandon,
            "definition.domain": self._domain,
            "refresh": self._refresh,
            "lease.initialise": self._initialise,
        }
        return bound(VERBS, handlers, self._access)

    async def _snapshot(self, params: Mapping[str, Any], _peer: Peer) -> Any:
        wait_seconds = params["wait_seconds"]
        await self._board.changed_from(params["since_version"], wait_seconds)
        return Late(lambda: to_wire(self._board.read()))

    async def _watch(self, params: Mapping[str, Any], _peer: Peer) -> Any:
        seen = params["since_version"]

        async def news() -> Callable[[], Mapping[str, Any]]:
            nonlocal seen
            # Looked at anew now and then: at the broker's end the board wakes everybody.
            await self._board.changed_from(seen, MAX_WAIT_SECONDS)

            def picture() -> Mapping[str, Any]:
                nonlocal seen
                snapshot = self._board.read()
                seen = snapshot.version
                return {"snapshot": to_wire(snapshot)}

            return picture

        return Stream(True, CHANGED, news)

    async def _publish(self, params: Mapping[str, Any], _peer: Peer) -> Any:
        try:
            report = from_wire(Report, params["report"], where="report")
        except BadInput as fault:
            raise RpcRefusal("bad_argument", str(fault)) from fault
        # Events are for the timeline: on the board they would stay until the next report.
        self._monitor.report(dataclasses.replace(report, events=()))
        self._on_report(report)
        return True

    async def _take(self, params: Mapping[str, Any], _peer: Peer) -> Any:
        epoch, why = params["expected_epoch"], params["why"]
        # Shielded: a caller that leaves must not cut a write of the lease in half.
        return self._lease_answer(await asyncio.shield(self._lease.acquire(epoch, why)))

    async def _release(self, params: Mapping[str, Any], _peer: Peer) -> Any:
        return self._lease_answer(await asyncio.shield(self._lease.release(params["why"])))

    async def _abandon(self, params: Mapping[str, Any], _peer: Peer) -> Any:
        return self._lease_answer(await asyncio.shield(self._lease.abandon(params["why"])))

    def _lease_answer(self, result: LeaseResult) -> dict[str, Any]:
        snapshot = to_wire(self._board.read())
        return {"ok": result.ok, "detail": result.reason, "snapshot": snapshot}

    async def _domain(self, params: Mapping[str, Any], _peer: Peer) -> Any:
        """What to start the VM from; with `fallback`, and `why`, the last other that started."""
        fallback, why = params["fallback"], params["why"]
        current = self._definition.current
        if current is None:
            problem = self._board.read().definition.problem
            raise RpcRefusal("not_ready", f"no definition of the engine VM: {problem}")
        chosen = await self._starts.hand_out(current, fallback=fallback, why=why)
        return {
            "identity": chosen.identity,
            "xml": chosen.domain.xml,
            "notes": list(chosen.domain.notes),
        }

    async def _refresh(self, _params: Mapping[str, Any], peer: Peer) -> Any:
        refreshed = await self._refresh_everywhere(peer.who)
        definition = to_wire(self._board.read().definition)
        return {"problem": refreshed.problem, "told": refreshed.told, "definition": definition}

    async def _initialise(self, _params: Mapping[str, Any], _peer: Peer) -> Any:
        try:
            done, found = await self._initialise_lease()
        except (EnvironmentFault, BadInput) as fault:
            raise RpcRefusal("storage", f"lock file not made: {fault}") from fault
        if not done:
            raise RpcRefusal("refused", f"the lock file is in use already: {found}")
        return True
