# SPDX-License-Identifier: Apache-2.0
"""The verbs of the broker's socket: arguments checked, answers from memory.

For the agent:      snapshot, publish, lease.take, lease.release, lease.abandon,
                    definition.domain
For operators:      status, refresh, lease.initialise, version
About definitions:  api_definition.py; about maintenance: api_maintenance.py
Every verb takes one map. Verbs that change something are for root and the configured group;
the socket's mode keeps others out altogether by default.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Mapping
from typing import Any, Callable

from ha_agent import __version__
from ha_agent.broker.api_arguments import Access, argument
from ha_agent.broker.definition import DefinitionKeeper
from ha_agent.broker.definition_starts import DefinitionStarts
from ha_agent.broker.lease_cycle import LeaseKeeper, LeaseResult
from ha_agent.broker.monitor import StatusMonitor
from ha_agent.broker.rpc_server import Handler, Peer, RpcRefusal
from ha_agent.broker.snapshot import Report, from_wire, to_wire
from ha_agent.broker.watch import Board
from ha_agent.errors import BadInput, EnvironmentFault

API_VERSION = 1
MAX_WAIT_SECONDS = 60.0


class Api:
    """The handlers, by name, over the broker's parts."""

    def __init__(
        self,
        board: Board,
        lease: LeaseKeeper,
        monitor: StatusMonitor,
        definition: DefinitionKeeper,
        starts: DefinitionStarts,
        *,
        access: Access,
        on_report: Callable[[Report], None],
        initialise_lease: Callable[[], Awaitable[tuple[bool, str]]],
    ) -> None:
        """`initialise_lease` makes the lock file: whether it did, and what it holds now."""
        self._board = board
        self._lease = lease
        self._monitor = monitor
        self._definition = definition
        self._starts = starts
        self._access = access
        self._on_report = on_report
        self._initialise_lease = initialise_lease

    def handlers(self) -> dict[str, Handler]:
        """Return the verbs."""
        return {
            "version": self._version,
            "snapshot": self._snapshot,
            "status": self._snapshot,
            "publish": self._access.guarded("publish", self._publish),
            "lease.take": self._access.guarded("lease.take", self._take),
            "lease.release": self._access.guarded("lease.release", self._release),
            "lease.abandon": self._access.guarded("lease.abandon", self._abandon),
            "definition.domain": self._access.guarded("definition.domain", self._domain),
            "refresh": self._access.guarded("refresh", self._refresh),
            "lease.initialise": self._access.guarded("lease.initialise", self._initialise),
        }

    async def _version(self, _params: Mapping[str, Any], _peer: Peer) -> Any:
        return {"version": __version__, "api_version": API_VERSION}

    async def _snapshot(self, params: Mapping[str, Any], _peer: Peer) -> Any:
        since = argument(params, "since_version", int, -1)
        wait_seconds = float(argument(params, "wait_seconds", (int, float), 0.0))
        wait_seconds = min(max(wait_seconds, 0.0), MAX_WAIT_SECONDS)
        return to_wire(await self._board.newer_than(since, wait_seconds))

    async def _publish(self, params: Mapping[str, Any], _peer: Peer) -> Any:
        try:
            report = from_wire(Report, params.get("report"), where="report")
        except BadInput as fault:
            raise RpcRefusal("bad_argument", str(fault)) from fault
        # Events are for the timeline: on the board they would stay until the next report.
        self._monitor.report(dataclasses.replace(report, events=()))
        self._on_report(report)
        return True

    async def _take(self, params: Mapping[str, Any], _peer: Peer) -> Any:
        epoch = argument(params, "expected_epoch", int)
        why = argument(params, "why", str, "")
        # Shielded: a caller that leaves must not cut a write of the lease in half.
        return self._lease_answer(await asyncio.shield(self._lease.acquire(epoch, why)))

    async def _release(self, params: Mapping[str, Any], _peer: Peer) -> Any:
        why = argument(params, "why", str, "")
        return self._lease_answer(await asyncio.shield(self._lease.release(why)))

    async def _abandon(self, params: Mapping[str, Any], _peer: Peer) -> Any:
        why = argument(params, "why", str, "")
        return self._lease_answer(await asyncio.shield(self._lease.abandon(why)))

    def _lease_answer(self, result: LeaseResult) -> dict[str, Any]:
        snapshot = to_wire(self._board.read())
        return {"ok": result.ok, "detail": result.reason, "snapshot": snapshot}

    async def _domain(self, params: Mapping[str, Any], _peer: Peer) -> Any:
        """What to start the VM from; with `fallback`, and `why`, the last other that started."""
        fallback = argument(params, "fallback", bool, False)
        why = argument(params, "why", str, "")
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

    async def _refresh(self, _params: Mapping[str, Any], _peer: Peer) -> Any:
        problem = await self._definition.refresh(read_again=True)
        return {"problem": problem, "definition": to_wire(self._board.read().definition)}

    async def _initialise(self, _params: Mapping[str, Any], _peer: Peer) -> Any:
        try:
            done, found = await self._initialise_lease()
        except (EnvironmentFault, BadInput) as fault:
            raise RpcRefusal("storage", f"lock file not made: {fault}") from fault
        if not done:
            raise RpcRefusal("refused", f"the lock file is in use already: {found}")
        return True
