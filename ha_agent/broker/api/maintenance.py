# SPDX-License-Identifier: Apache-2.0
"""The socket's verbs about maintenance and the cluster's shutdown.

    maintenance.set   global maintenance, or this host's own
    cluster.order     the shutdown of the whole cluster

Answered when storage, or for local maintenance the file, has been read back and says so; what is
not known to be set is a refusal with code "storage" or "failed", and "overtaken" where another
host came in between. Who asked is what the kernel says of the connection, never an argument.
"""

from __future__ import annotations

import asyncio
import pwd
from collections.abc import Mapping
from typing import Any, Optional

from ha_agent.broker.api.arguments import Access, bound
from ha_agent.broker.api.verb import Argument, Field, Kind, Verb, Who
from ha_agent.broker.maintenance import order as orders
from ha_agent.broker.maintenance.local import LocalMaintenanceKeeper
from ha_agent.broker.maintenance.order import Order
from ha_agent.broker.maintenance.orders import MaintenanceKeeper, Overtaken
from ha_agent.broker.rpc.server import Handler, Peer, RpcRefusal
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


_REASON = Argument(
    "reason", Kind.TEXT, "why, for those who read status", default="", most=orders.MAX_REASON
)
_ORDER = Field("order", Kind.MAP, "the order as storage has it", optional=True, shape=Order)
_BY_STORAGE = f"{STORAGE_CALLS} times [storage] io_deadline_seconds"

VERBS = (
    Verb(
        "maintenance.set",
        "Sets or ends maintenance, and answers when it has been read back.",
        who=Who.CHANGE,
        arguments=(
            Argument(
                "scope", Kind.TEXT, "the whole cluster, or this host", choices=("global", "local")
            ),
            Argument("enabled", Kind.FLAG, "whether it is to be on"),
            _REASON,
            Argument(
                "for_seconds",
                Kind.NUMBER,
                "ends by itself after this; without it, when it is ended",
                default=None,
                most=MAX_FOR_SECONDS,
                unit="s",
            ),
        ),
        result=(
            Field("scope", Kind.TEXT, "as asked"),
            Field("enabled", Kind.FLAG, "as asked"),
            Field(
                "until",
                Kind.TEXT,
                "when this host's own ends, in UTC, empty for never",
                optional=True,
            ),
            _ORDER,
        ),
        errors=("storage", "failed", "overtaken"),
        deadline=_BY_STORAGE,
    ),
    Verb(
        "cluster.order",
        "Orders the shutdown of the cluster, the engine VM last, or takes the order back.",
        who=Who.CHANGE,
        arguments=(
            Argument("what", Kind.TEXT, "the order", choices=(orders.SHUTDOWN, orders.NONE)),
            _REASON,
            Argument("now", Kind.FLAG, "waits for no other VM", default=False),
        ),
        result=(Field("what", Kind.TEXT, "the order"), _ORDER),
        errors=("storage", "overtaken"),
        deadline=_BY_STORAGE,
    ),
)


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
        handlers: dict[str, Handler] = {
            "maintenance.set": self._set,
            "cluster.order": self._order,
        }
        return bound(VERBS, handlers, self._access)

    async def _set(self, params: Mapping[str, Any], peer: Peer) -> Any:
        scope, enabled = params["scope"], params["enabled"]
        reason = " ".join(params["reason"].split())
        for_seconds = _for_seconds(params["for_seconds"])
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
            return {"scope": scope, "enabled": enabled, "until": state.until, "order": None}
        order = await self._give(
            orders.MAINTENANCE if enabled else orders.NONE, who, reason, for_seconds=for_seconds
        )
        return {"scope": scope, "enabled": enabled, "until": None, "order": _wire(order)}

    async def _order(self, params: Mapping[str, Any], peer: Peer) -> Any:
        what, now = params["what"], params["now"]
        reason = " ".join(params["reason"].split())
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


def _for_seconds(value: Optional[float]) -> Optional[float]:
    if value is not None and value <= 0:
        raise RpcRefusal("bad_argument", f"maintenance.set: for_seconds: {value:g} is not above 0")
    return None if value is None else float(value)


async def _who(peer: Peer) -> str:
    """The name is asked for beside the loop: a directory service may be slow."""
    try:
        entry = await asyncio.get_running_loop().run_in_executor(None, pwd.getpwuid, peer.uid)
    except KeyError:
        return f"uid {peer.uid}"
    return f"{entry.pw_name} (uid {peer.uid})"


def _wire(order: Optional[Order]) -> Any:
    return None if order is None else to_wire(order)
