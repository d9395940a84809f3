# SPDX-License-Identifier: Apache-2.0
"""The socket's verbs about host ids and the lockspaces, or the lock file, that they are held in.

    lockspace.check    how they are; reads only
    lockspace.repair   makes anew what can't be used, once it is proved that nobody uses it
    host.list          every host id that has a status block
    host.remove        clears the block of one whose host id is free, or expired

A refusal has the code "refused" and says who holds what, and since when; nothing was written
then. sanlock/lockspaces.py decides.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Callable

from ha_agent.broker.api.arguments import Access, bound
from ha_agent.broker.api.verb import Argument, Field, Kind, Verb, Who
from ha_agent.broker.blocks.codec import SLOT_BYTES
from ha_agent.broker.part import Part
from ha_agent.broker.rpc.server import Handler, Peer, RpcRefusal
from ha_agent.broker.sanlock.lockspaces import Clock, Lane, Lockspaces, NotProven
from ha_agent.broker.snapshot import HostEntry, Snapshot
from ha_agent.config.schema import Config
from ha_agent.errors import BadInput, EnvironmentFault
from ha_agent.waiting import Joined

_AGENT_LINE = re.compile(r"^agent=ha-agent (\S{1,40})$", re.MULTILINE)

VERBS = (
    Verb(
        "lockspace.check",
        "Tells who holds what in the lockspaces, or the lock file, that this host uses.",
        result=(
            Field("verdict", Kind.TEXT, "fine, problem or unknown"),
            Field("daemon", Kind.TEXT, "why no sanlock daemon answers, empty when one does"),
            Field("problems", Kind.LIST, "sentences"),
            Field(
                "spaces",
                Kind.LIST,
                "each place: kind, name, path, readable, problem, owner, wait_seconds (until all"
                " is proved, if nobody renews), hosts: host_id, host_name, daemon, state (live,"
                " fail, dead, free, unknown), age_seconds by this host's clock, is_renewal_age,"
                " generation, io_timeout_seconds, dead_after_seconds, problem",
            ),
        ),
        deadline="a few times [storage] io_deadline_seconds",
    ),
    Verb(
        "lockspace.repair",
        "Makes anew what can't be used, if every host id in it is proved free or expired.",
        who=Who.CHANGE,
        arguments=(Argument("dry_run", Kind.FLAG, "only say what would be done", default=False),),
        result=(Field("done", Kind.LIST, "a sentence for each place"),),
        errors=("refused", "storage"),
        deadline="a few times [storage] io_deadline_seconds",
    ),
    Verb(
        "host.list",
        "Lists the hosts that have a status block, bad ones included.",
        result=(
            Field(
                "hosts",
                Kind.LIST,
                "each host: host_id, host_name, alive, state, score, version, age_seconds (nil:"
                " not seen to change), maintenance, owner, host_id_state, problem",
            ),
            Field("problem", Kind.TEXT, "why host_id_state is not known, empty when it is"),
        ),
        deadline="twice [storage] io_deadline_seconds",
    ),
    Verb(
        "host.remove",
        "Clears a host's status block, if its host id is free or expired.",
        who=Who.CHANGE,
        arguments=(Argument("host_id", Kind.WHOLE, "which host", least=1, most=2000),),
        result=(Field("removed", Kind.TEXT, "the host's name, or what its block was"),),
        errors=("refused", "storage", "not_found"),
        deadline="a few times [storage] io_deadline_seconds",
    ),
)


class LockspaceApi:
    """The handlers, by name."""

    def __init__(
        self,
        config: Config,
        lane: Lane,
        lockspaces: Lockspaces,
        *,
        clock: Clock,
        picture: Callable[[], Snapshot],
        access: Access,
    ) -> None:
        self._config = config
        self._lane = lane
        self._lockspaces = lockspaces
        self._clock = clock
        self._picture = picture
        self._access = access
        # Everybody may ask, and the lane is that of the status blocks: a thousand who ask must not
        # keep this host's own block from storage. Who may change things gets a look of their own,
        # begun after they asked.
        self._checked = Joined(lockspaces.check)
        self._states = Joined(self._ask_states)

    def handlers(self) -> dict[str, Handler]:
        """Return the verbs."""
        return bound(
            VERBS,
            {
                "lockspace.check": self._check,
                "lockspace.repair": self._repair,
                "host.list": self._list,
                "host.remove": self._remove,
            },
            self._access,
        )

    async def _check(self, _params: Mapping[str, Any], peer: Peer) -> Any:
        if self._access.may_change(peer):
            return await self._lockspaces.check()
        return await self._checked.result()

    async def _repair(self, params: Mapping[str, Any], _peer: Peer) -> Any:
        try:
            return {"done": await self._lockspaces.repair(params["dry_run"])}
        except NotProven as fault:
            raise RpcRefusal("refused", f"nothing was written: {fault}") from fault
        except (EnvironmentFault, BadInput) as fault:
            raise RpcRefusal("storage", f"not known to be repaired: {fault}") from fault

    async def _list(self, _params: Mapping[str, Any], peer: Peer) -> Any:
        own_look = self._access.may_change(peer)
        snapshot, problem = self._picture(), ""
        states: dict[int, str] = {}
        try:
            states = await (self._ask_states() if own_look else self._states.result())
        except (EnvironmentFault, BadInput) as fault:
            problem = str(fault)
        hosts = [self._row(host, snapshot, states) for host in snapshot.hosts]
        return {"hosts": sorted(hosts, key=lambda row: row["host_id"]), "problem": problem}

    async def _ask_states(self) -> dict[int, str]:
        host_ids = [one.host_id for one in self._picture().hosts]
        return await self._lockspaces.host_id_states(host_ids)

    def _row(
        self, host: HostEntry, snapshot: Snapshot, states: Mapping[int, str]
    ) -> dict[str, Any]:
        version = _AGENT_LINE.search(host.extra)
        lease = snapshot.lease
        changed_at = host.changed_at
        return {
            "host_id": host.host_id,
            "host_name": host.host_name,
            "alive": host.alive,
            "state": host.state,
            "score": host.score,
            "version": version.group(1) if version else "",
            "age_seconds": None if changed_at is None else self._clock.now() - changed_at,
            "maintenance": host.maintenance,
            "owner": lease.state == "held" and lease.host_id == host.host_id,
            "host_id_state": states.get(host.host_id, "unknown"),
            "problem": host.problem,
        }

    async def _remove(self, params: Mapping[str, Any], _peer: Peer) -> Any:
        host_id: int = params["host_id"]
        if host_id == self._config.host.id:
            raise RpcRefusal("refused", f"host id {host_id} is this host's own")
        host = next((one for one in self._picture().hosts if one.host_id == host_id), None)
        if host is None:
            raise RpcRefusal("not_found", f"host id {host_id} has no status block")
        try:
            held = self._why_alive(host) or await self._lockspaces.why_held(host_id)
        except (EnvironmentFault, BadInput) as fault:
            raise RpcRefusal(
                "storage", f"nothing was removed: it can't be told who holds the id: {fault}"
            ) from fault
        if held:
            raise RpcRefusal("refused", f"nothing was removed: {held}")
        await self._clear(host_id)
        return {"removed": host.host_name or host.problem or f"host {host_id}"}

    def _why_alive(self, host: HostEntry) -> str:
        name = f"host {host.host_id} ({host.host_name or 'unknown name'})"
        lease = self._picture().lease
        if lease.state == "held" and lease.host_id == host.host_id:
            return f"{name} owns the engine VM"
        if host.alive and host.changed_at is not None:
            age_seconds = self._clock.now() - host.changed_at
            return f"{name} lives: it wrote its block {age_seconds:.0f} s ago"
        return ""

    async def _clear(self, host_id: int) -> None:
        storage = self._config.storage
        try:
            answer = await self._lane.call(
                "write_slot",
                storage.io_deadline_seconds,
                path=str(storage.status_path),
                slot=host_id,
                data=bytes(SLOT_BYTES),
                read_back=True,
            )
        except (EnvironmentFault, BadInput) as fault:
            raise RpcRefusal("storage", f"not known to be removed: {fault}") from fault
        if not answer["equal"]:
            raise RpcRefusal("refused", f"host {host_id} wrote its block at the same moment")


def lockspace_part(
    config: Config,
    lane: Lane,
    *,
    clock: Clock,
    picture: Callable[[], Snapshot],
    access: Access,
) -> Part:
    """Build the feature. `lane` reads the lockspace now and then: the status blocks' will do."""
    lockspaces = Lockspaces(config, lane, clock=clock, picture=picture)
    api = LockspaceApi(config, lane, lockspaces, clock=clock, picture=picture, access=access)
    seconds = lockspaces.repair_seconds
    return Part(
        "lockspace",
        api.handlers(),
        {verb.name: seconds for verb in VERBS},
        (lockspaces.run,) if lockspaces.spaces else (),
    )
