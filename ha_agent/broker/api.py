# SPDX-License-Identifier: Apache-2.0
"""The verbs of the broker's socket: arguments checked, answers from memory.

For the agent:      snapshot, publish, lease.take, lease.release, definition.domain
For operators:      status, maintenance.set, refresh, lease.initialise, version
Every verb takes one map. Verbs that change something are for root and the configured group;
the socket's mode keeps others out altogether by default.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Optional

from ha_agent import __version__, maintenance_file
from ha_agent.broker.definition import DefinitionKeeper
from ha_agent.broker.lease_cycle import LeaseKeeper, LeaseResult
from ha_agent.broker.monitor import StatusMonitor
from ha_agent.broker.rpc_server import Handler, Peer, RpcRefusal
from ha_agent.broker.snapshot import Report, from_wire, to_wire
from ha_agent.broker.watch import Board
from ha_agent.clock import SystemClock
from ha_agent.errors import BadInput, EnvironmentFault

API_VERSION = 1
MAX_WAIT_SECONDS = 60.0


@dataclass(frozen=True)
class Access:
    """Who may change things: root, the broker's own user, and members of `gid`."""

    uid: int
    gid: Optional[int]

    def check(self, peer: Peer, verb: str) -> None:
        """Raise RpcRefusal("denied") unless `peer` may call `verb`."""
        if peer.uid in (0, self.uid) or peer.gid == self.gid or self.gid in peer.groups:
            return
        raise RpcRefusal("denied", f"{verb}: user {peer.uid} may only look")


class Api:
    """The handlers, by name, over the broker's parts."""

    def __init__(
        self,
        board: Board,
        lease: LeaseKeeper,
        monitor: StatusMonitor,
        definition: DefinitionKeeper,
        *,
        access: Access,
        state_dir: Path,
        clock: SystemClock,
        on_report: Callable[[Report], None],
        initialise_lease: Callable[[], Awaitable[tuple[bool, str]]],
    ) -> None:
        """`initialise_lease` makes the lock file: whether it did, and what it holds now."""
        self._board = board
        self._lease = lease
        self._monitor = monitor
        self._definition = definition
        self._access = access
        self._state_dir = state_dir
        self._clock = clock
        self._on_report = on_report
        self._initialise_lease = initialise_lease

    def handlers(self) -> dict[str, Handler]:
        """Return the verbs."""
        return {
            "version": self._version,
            "snapshot": self._snapshot,
            "status": self._snapshot,
            "publish": self._changing("publish", self._publish),
            "lease.take": self._changing("lease.take", self._take),
            "lease.release": self._changing("lease.release", self._release),
            "definition.domain": self._changing("definition.domain", self._domain),
            "maintenance.set": self._changing("maintenance.set", self._maintenance),
            "refresh": self._changing("refresh", self._refresh),
            "lease.initialise": self._changing("lease.initialise", self._initialise),
        }

    def _changing(self, verb: str, handler: Handler) -> Handler:
        async def checked(params: Mapping[str, Any], peer: Peer) -> Any:
            self._access.check(peer, verb)
            return await handler(params, peer)

        return checked

    async def _version(self, _params: Mapping[str, Any], _peer: Peer) -> Any:
        return {"version": __version__, "api_version": API_VERSION}

    async def _snapshot(self, params: Mapping[str, Any], _peer: Peer) -> Any:
        since = _get(params, "since_version", int, -1)
        wait_seconds = float(_get(params, "wait_seconds", (int, float), 0.0))
        wait_seconds = min(max(wait_seconds, 0.0), MAX_WAIT_SECONDS)
        return to_wire(await self._board.newer_than(since, wait_seconds))

    async def _publish(self, params: Mapping[str, Any], _peer: Peer) -> Any:
        try:
            report = from_wire(Report, params.get("report"), where="report")
        except BadInput as fault:
            raise RpcRefusal("bad_argument", str(fault)) from fault
        self._monitor.report(report)
        self._on_report(report)
        return True

    async def _take(self, params: Mapping[str, Any], _peer: Peer) -> Any:
        epoch = _get(params, "expected_epoch", int, None)
        why = _get(params, "why", str, "")
        # Shielded: a caller that leaves must not cut a write of the lease in half.
        return self._lease_answer(await asyncio.shield(self._lease.acquire(epoch, why)))

    async def _release(self, params: Mapping[str, Any], _peer: Peer) -> Any:
        why = _get(params, "why", str, "")
        return self._lease_answer(await asyncio.shield(self._lease.release(why)))

    def _lease_answer(self, result: LeaseResult) -> dict[str, Any]:
        snapshot = to_wire(self._board.read())
        return {"ok": result.ok, "detail": result.reason, "snapshot": snapshot}

    async def _domain(self, _params: Mapping[str, Any], _peer: Peer) -> Any:
        current = self._definition.current
        if current is None:
            problem = self._board.read().definition.problem
            raise RpcRefusal("not_ready", f"no definition of the engine VM: {problem}")
        return {
            "identity": current.identity,
            "xml": current.domain.xml,
            "notes": list(current.domain.notes),
        }

    async def _maintenance(self, params: Mapping[str, Any], peer: Peer) -> Any:
        """scope: global or local; enabled. Answered when the flag has been read back."""
        scope = _get(params, "scope", str, None)
        enabled = _get(params, "enabled", bool, None)
        if scope == "global":
            try:
                await self._monitor.set_global_maintenance(enabled)
            except EnvironmentFault as fault:
                raise RpcRefusal("storage", f"global maintenance not set: {fault}") from fault
        elif scope == "local":
            await asyncio.get_running_loop().run_in_executor(
                None, self._write_local_maintenance, enabled, peer
            )
        else:
            raise RpcRefusal("bad_argument", f"scope: {scope!r} is not global or local")
        return {"scope": scope, "enabled": enabled}

    def _write_local_maintenance(self, enabled: bool, peer: Peer) -> None:
        """An operator's `none` clears the engine's flag, too, as the predecessor's does."""
        path = self._state_dir / maintenance_file.FILE_NAME
        try:
            wanted = dataclasses.replace(
                maintenance_file.read(path),
                by_operator=enabled,
                who=f"uid {peer.uid}",
                when=self._clock.wall().iso(),
            )
            if not enabled:
                wanted = dataclasses.replace(wanted, by_engine=False)
            maintenance_file.write(path, wanted)
            found = maintenance_file.read(path).active
        except (EnvironmentFault, BadInput) as fault:
            raise RpcRefusal("failed", f"local maintenance not set: {fault}") from fault
        if found is not enabled:
            raise RpcRefusal("failed", f"{path} reads back local maintenance {found}")

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


def _get(params: Mapping[str, Any], name: str, kind: Any, default: Any) -> Any:
    """Return an argument of the right type; `default` None means that it is required."""
    if name not in params:
        if default is None:
            raise RpcRefusal("bad_argument", f"{name} is missing")
        return default
    value = params[name]
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise RpcRefusal("bad_argument", f"{name}: {value!r:.60} is of the wrong type")
    return value
