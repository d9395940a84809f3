# SPDX-License-Identifier: Apache-2.0
"""The socket's verbs that are carried out by this host's VDSM at once: the VM's console and
migration, and the connection to the storage domain.

They change nothing of what the agent decides on. The console's password is never logged nor told
again. `storage.disconnect` is for a host that is taken out of service: it is refused as long as
this host is not in local maintenance, owns the engine VM, or has any VM.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Callable

from ha_agent.broker.api.arguments import Access, bound
from ha_agent.broker.api.verb import Argument, Field, Kind, Verb, Who
from ha_agent.broker.rpc.server import Handler, Peer, RpcRefusal
from ha_agent.broker.snapshot import Snapshot
from ha_agent.broker.storage.domain_connect import DomainConnect
from ha_agent.errors import EnvironmentFault
from ha_agent.vdsm.client.storage_server import DomainType, Portal
from ha_agent.vdsm.client.verbs import Graphics, OnConnected, Vdsm
from ha_agent.vdsm.vm_status import VmStats

log = logging.getLogger(__name__)

# VNC's own authentication takes 8 bytes of a password and drops the rest (RFC 6143, 7.2.2).
VNC_PASSWORD_BYTES = 8
MAX_TTL_SECONDS = 86400
_VDSM_SECONDS = 45.0  # one call of VDSM that concerns a VM, and some more
CONNECT_SECONDS = 600.0  # connecting may take 180 s, twice looking 60 s each, and so on

VERBS = (
    Verb(
        "vm.console_password",
        "Lets whoever knows the password connect to the engine VM's console on this host.",
        who=Who.CHANGE,
        arguments=(
            Argument("password", Kind.TEXT, "with VNC at most 8 bytes", most=64),
            Argument(
                "ttl_seconds", Kind.WHOLE, "until it counts no more", 120, 1, MAX_TTL_SECONDS
            ),
            Argument("protocol", Kind.TEXT, "of the console", "vnc", choices=("vnc", "spice")),
            Argument(
                "on_connected",
                Kind.TEXT,
                "with SPICE, what becomes of who is connected; with VNC they stay",
                "keep",
                choices=("keep", "disconnect", "fail"),
            ),
        ),
        errors=("refused", "failed"),
        deadline_seconds=_VDSM_SECONDS,
    ),
    Verb(
        "vm.migration",
        "Says how far the engine VM's migration away from this host is.",
        result=(
            Field("migrating", Kind.FLAG, "whether one is under way"),
            Field("progress_percent", Kind.WHOLE, "how far", optional=True),
            Field("downtime_ms", Kind.WHOLE, "how long the VM may stand still", optional=True),
        ),
        errors=("failed",),
        deadline_seconds=_VDSM_SECONDS,
    ),
    Verb(
        "storage.connect",
        "Has VDSM connect the storage domain now, also in local maintenance.",
        who=Who.CHANGE,
        errors=("storage",),
        deadline_seconds=CONNECT_SECONDS,
    ),
    Verb(
        "storage.disconnect",
        "Has VDSM disconnect the storage domain; in local maintenance only.",
        who=Who.CHANGE,
        errors=("refused", "failed", "storage"),
        deadline_seconds=CONNECT_SECONDS,
    ),
    Verb(
        "storage.targets",
        "Asks the portals of an iSCSI domain which targets they offer, and where.",
        who=Who.CHANGE,
        result=(Field("targets", Kind.LIST, "texts: portal, target portal group, name"),),
        errors=("refused", "storage"),
        deadline_seconds=CONNECT_SECONDS,
    ),
)


class VdsmApi:
    """The handlers, by name."""

    def __init__(
        self,
        vdsm: Vdsm,
        connect: DomainConnect,
        picture: Callable[[], Snapshot],
        *,
        access: Access,
        in_maintenance: Callable[[], bool],
        vm_list: Callable[[], Awaitable[Sequence[VmStats]]],
    ) -> None:
        """`vm_list` tells of all VMs of this host, and raises EnvironmentFault."""
        self._vm_list = vm_list
        self._vdsm = vdsm
        self._connect = connect
        self._picture = picture
        self._access = access
        self._in_maintenance = in_maintenance

    def handlers(self) -> dict[str, Handler]:
        """Return the verbs."""
        handlers: dict[str, Handler] = {
            "vm.console_password": self._console_password,
            "vm.migration": self._migration,
            "storage.connect": self._connect_storage,
            "storage.disconnect": self._disconnect_storage,
            "storage.targets": self._targets,
        }
        return bound(VERBS, handlers, self._access)

    async def _console_password(self, params: Mapping[str, Any], peer: Peer) -> bool:
        password, graphics = params["password"], Graphics(params["protocol"])
        if not password or not password.isprintable():
            raise RpcRefusal("refused", "the password is empty, or has control characters")
        if graphics is Graphics.VNC and len(password.encode()) > VNC_PASSWORD_BYTES:
            raise RpcRefusal("refused", f"VNC takes {VNC_PASSWORD_BYTES} bytes of a password")
        try:
            is_here = await self._vdsm.set_console_password(
                self._picture().vm_uuid,
                password,
                ttl_seconds=params["ttl_seconds"],
                graphics=graphics,
                on_connected=OnConnected(params["on_connected"]),
            )
        except EnvironmentFault as fault:
            raise RpcRefusal("failed", f"the console's password is not set: {fault}") from fault
        if not is_here:
            lease = self._picture().lease
            where = f"; {lease.host_name or lease.host_id} has its lease" if lease.host_id else ""
            raise RpcRefusal("refused", f"the engine VM does not run on this host{where}")
        log.warning("%s set a password for the engine VM's console", peer.who)
        return True

    async def _migration(self, _params: Mapping[str, Any], _peer: Peer) -> dict[str, Any]:
        try:
            status = await self._vdsm.migration_status(self._picture().vm_uuid)
        except EnvironmentFault as fault:
            raise RpcRefusal("failed", f"VDSM does not tell: {fault}") from fault
        return {
            "migrating": status is not None,
            "progress_percent": None if status is None else status.progress_percent,
            "downtime_ms": None if status is None else status.downtime_ms,
        }

    async def _connect_storage(self, _params: Mapping[str, Any], peer: Peer) -> bool:
        log.info("%s has the storage domain connected", peer.who)
        problem = await self._connect.connect_now()
        if problem:
            raise RpcRefusal("storage", problem)
        return True

    async def _disconnect_storage(self, _params: Mapping[str, Any], peer: Peer) -> bool:
        log.warning("%s wants the storage domain disconnected", peer.who)
        try:
            problem = await self._connect.release(self._refuse_if_needed)
        except EnvironmentFault as fault:
            raise RpcRefusal("failed", f"not known to be disconnected: {fault}") from fault
        if problem:
            raise RpcRefusal("storage", problem)
        return True

    async def _refuse_if_needed(self) -> None:
        """Refuse where the engine VM may be started here, or a VM is. Raises EnvironmentFault."""
        picture = self._picture()
        # The agent has to know of it, too: it is what starts the engine VM.
        agent_knows = picture.agent.made_at is None or picture.agent.local_maintenance
        if not self._in_maintenance() or not (agent_knows or picture.agent.stopped):
            why = "this host is not in local maintenance (`ha-agent maintenance local`)"
            raise RpcRefusal("refused", f"a VM may be started here at any time: {why}")
        if picture.lease.ours:
            raise RpcRefusal("refused", "this host owns the engine VM")
        vms = await self._vm_list()
        if vms:
            ids = ", ".join(vm.vm_id for vm in vms[:5])
            raise RpcRefusal("refused", f"VMs of this host may have disks there: {ids}")

    async def _targets(self, _params: Mapping[str, Any], _peer: Peer) -> dict[str, Any]:
        server = self._connect.server
        if server is None or server.domain_type is not DomainType.ISCSI:
            raise RpcRefusal("refused", "no iSCSI portals are configured")
        found: dict[str, None] = {}
        faults = []
        for connection in server.connections:
            fields = {name: str(value) for name, value in connection.fields.items()}
            portal = Portal(fields["connection"], int(fields["port"]))
            user, password = fields.get("user", ""), fields.get("password", "")
            try:
                targets = await self._vdsm.discover_targets(portal, user, password)
            except EnvironmentFault as fault:
                faults.append(f"{connection.name}: {fault}")
                continue
            found.update(dict.fromkeys(f"{one.portal},{one.tpgt} {one.iqn}" for one in targets))
        if faults and not found:
            raise RpcRefusal("storage", "; ".join(faults))
        return {"targets": sorted(found)}
