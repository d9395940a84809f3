# SPDX-License-Identifier: Apache-2.0
"""The socket's verbs about maintenance and the cluster's shutdown.

    maintenance.set  {scope: "global" | "local", enabled, reason?, for_seconds?}
    cluster.order    {what: "shutdown" | "none", reason?, now?}

Answered when storage, or for local maintenance the file, has been read back and says so; what is
not known to be set is a refusal with code "storage" or "failed", and "overtaken" where another
host came in between. Who asked is what the kernel says of the connection, never an argument.
"""

from __future__ import annotations

import asyncio
import pwd
from collections.abc import Mapping
from typing import Any, Optional

from ha_agent.broker import order as orders
from ha_agent.broker.api_arguments import Access, argument
from ha_agent.broker.local_maintenance import LocalMaintenanceKeeper
from ha_agent.broker.maintenance import MaintenanceKeeper, Overtaken
from ha_agent.broker.order import Order
from ha_agent.broker.rpc_server import Handler, Peer, RpcRefusal
from ha_agent.broker.snapshot import to_wire
from ha_agent.errors import BadInput, EnvironmentFault

MAX_FOR_SECONDS = 366 * 86400.0
# Looks, writes and the wait for the host id, one after the other.
STORAGE_CALLS = 8
# A write without an answer may have arrived, so no more can be said.
_NOT_KNOWN = {
    orders.MAINTENANCE: "global maintenance is not known to be set",
    orders.SHUTDOWN: "the shutdown is not known to be ordered",
    orders.NONE: "global maintenance is not known to be cleared",
}


class MaintenanceApi:
    """The handlers, by name."""

    def __init__(
        self, cluster: MaintenanceKeeper, local: LocalMaintenanceKeeper, *, access: Access
    ) -> None:
        self._cluster = cluster
        self._local = local
        self._access = access

    def handlers(self) -> dict[str, Handler]:
        """Return the verbs."""
        return {
            "maintenance.set": self._access.guarded("maintenance.set", self._set),
            "cluster.order": self._access.guarded("cluster.order", self._order),
        }

    async def _set(self, params: Mapping[str, Any], peer: Peer) -> Any:
        scope = argument(params, "scope", str)
        enabled = argument(params, "enabled", bool)
        reason = _reason(params)
        for_seconds = _for_seconds(params)
        if scope not in ("global", "local"):
            raise RpcRefusal("bad_argument", f"scope: {scope!r} is not global or local")
        if for_seconds is not None and not enabled:
            raise RpcRefusal("bad_argument", "for_seconds is for maintenance that is set")
        who = await _who(peer)
        if scope == "local":
            try:
                state = await asyncio.shield(
                    self._local.set(enabled, who=who, reason=reason, for_seconds=for_seconds)
                )
            except (EnvironmentFault, BadInput) as fault:
                raise RpcRefusal("failed", f"local maintenance not set: {fault}") from fault
            return {"scope": scope, "enabled": enabled, "until": state.until}
        order = await self._give(
            orders.MAINTENANCE if enabled else orders.NONE, who, reason, for_seconds=for_seconds
        )
        return {"scope": scope, "enabled": enabled, "order": _wire(order)}

    async def _order(self, params: Mapping[str, Any], peer: Peer) -> Any:
        what = argument(params, "what", str)
        now = argument(params, "now", bool, False)
        reason = _reason(params)
        if what not in (orders.SHUTDOWN, orders.NONE):
            raise RpcRefusal("bad_argument", f"what: {what!r} is not shutdown or none")
        order = await self._give(what, await _who(peer), reason, now=now)
        return {"what": what, "order": _wire(order)}

    async def _give(
        self,
        what: str,
        who: str,
        reason: str,
        *,
        for_seconds: Optional[float] = None,
        now: bool = False,
    ) -> Optional[Order]:
        work = (
            self._cluster.clear(who=who, reason=reason)
            if what == orders.NONE
            else self._cluster.give(what, who=who, reason=reason, for_seconds=for_seconds, now=now)
        )
        try:
            # Shielded: a caller that leaves must not stop it between order and flag.
            return await asyncio.shield(work)
        except Overtaken as fault:
            raise RpcRefusal("overtaken", str(fault)) from fault
        except EnvironmentFault as fault:
            raise RpcRefusal("storage", f"{_NOT_KNOWN[what]}: {fault}") from fault


def _reason(params: Mapping[str, Any]) -> str:
    text: str = argument(params, "reason", str, "")
    if len(text) > orders.MAX_REASON:
        raise RpcRefusal("bad_argument", f"reason: longer than {orders.MAX_REASON} characters")
    return " ".join(text.split())


def _for_seconds(params: Mapping[str, Any]) -> Optional[float]:
    if params.get("for_seconds") is None:
        return None
    value = float(argument(params, "for_seconds", (int, float)))
    if not 0 < value <= MAX_FOR_SECONDS:
        raise RpcRefusal(
            "bad_argument", f"for_seconds: {value:g} is not in 0..{MAX_FOR_SECONDS:g}"
        )
    return value


async def _who(peer: Peer) -> str:
    """The name is asked for beside the loop: a directory service may be slow."""
    try:
        entry = await asyncio.get_running_loop().run_in_executor(None, pwd.getpwuid, peer.uid)
    except KeyError:
        return f"uid {peer.uid}"
    return f"{entry.pw_name} (uid {peer.uid})"


def _wire(order: Optional[Order]) -> Any:
    return None if order is None else to_wire(order)
