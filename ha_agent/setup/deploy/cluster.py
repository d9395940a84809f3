# SPDX-License-Identifier: Apache-2.0
"""Steps of a deploy: the lease's place on the storage, and this host in the register.

What is there is looked at and never made anew: a lease or a lockspace that somebody uses is
theirs. The register is the one of `ha-agent join` (host_register.py).
"""

from __future__ import annotations

from ha_agent.broker.lease.rules import LeaseFormatError, decode
from ha_agent.broker.sanlock import place as sanlock_place
from ha_agent.broker.storage.lane import StorageFault
from ha_agent.errors import BadInput
from ha_agent.setup.deploy.config import config_of
from ha_agent.setup.deploy.deployment import STATUS, Deployment
from ha_agent.setup.join.cluster_conf import place_of
from ha_agent.setup.join.host_id import Joiner
from ha_agent.setup.join.host_register import HostRegister
from ha_agent.setup.step import Found, Say, SetupFailed, SetupRefused

_LEASE_SECONDS = 60.0
_MISSING = ("ENOENT", "ENOTDIR")


class MakeLease:
    """Lock file, or sanlock's lockspace and resource."""

    name, title = "lease", "initialise the engine VM's lease"

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment

    async def look(self) -> Found:
        """Raises SetupRefused for a place that holds something else."""
        if await self._deployment.domain_info() is None:
            return Found(False, "when the storage domain is there")
        config = await config_of(self._deployment)
        sanlock = config.lease.backend == "sanlock"
        path = str(config.sanlock.path if sanlock else config.lease.path)
        operation, args = "lease_read", {}
        if sanlock:
            operation = "lockspace_leader"
            args = {"offset": sanlock_place.RESOURCE_OFFSET}
        try:
            data: bytes = await self._deployment.lane.call(
                operation, _LEASE_SECONDS, path=path, **args
            )
        except StorageFault as error:
            if error.errno_name in _MISSING:
                return Found(False, path)
            raise
        if not any(data):
            return Found(False, path)
        why = (
            self._other(data, path, config.sanlock.lockspace)
            if sanlock
            else _other_record(data, path)
        )
        if why:
            raise SetupRefused(why)
        return Found(True, path)

    def _other(self, data: bytes, path: str, ours: str) -> str:
        try:
            leader = sanlock_place.decode_leader(data, path)
        except BadInput as error:
            return f"{error}: nothing is made over it"
        if leader.lockspace != ours or leader.resource != self._deployment.vm_uuid:
            return f"{path} is of lockspace {leader.lockspace!r}, resource {leader.resource!r}"
        return ""

    async def do(self, say: Say) -> str:
        """Make it, where there are only zeros."""
        del say
        config = await config_of(self._deployment)
        lane, section = self._deployment.lane, config.sanlock
        if config.lease.backend == "sanlock":
            answer = await lane.call(
                "sanlock_initialise",
                _LEASE_SECONDS,
                lockspace=section.lockspace,
                path=str(section.path),
                resource=self._deployment.vm_uuid,
                io_timeout_seconds=section.io_timeout_seconds,
            )
            path = str(section.path)
        else:
            path = str(config.lease.path)
            answer = await lane.call("lease_initialise", _LEASE_SECONDS, path=path)
        if not answer["done"]:
            raise SetupFailed(f"{path} was written by somebody else a moment ago; run this again")
        return path


def _other_record(data: bytes, path: str) -> str:
    try:
        decode(data, path)
    except LeaseFormatError as error:
        return f"{error}: nothing is made over it"
    return ""


class RegisterHost:
    """This host's slot in the status volume."""

    name, title = "register", "register this host"

    def __init__(self, deployment: Deployment, joiner: Joiner) -> None:
        self._deployment = deployment
        self._joiner = joiner

    async def look(self) -> Found:
        """Raises SetupRefused where other hosts are registered, or the id is taken."""
        deployment, host_id = self._deployment, self._deployment.host_id
        if not await deployment.is_finished(STATUS):
            return Found(False, f"{self._joiner.host_name} as host {host_id}")
        standing = await (await self._register()).standing()
        taken = [slot for slot in standing.hosts if slot.host_id == host_id]
        if host_id in standing.ours:
            return Found(True, f"{self._joiner.host_name} is host {host_id}")
        if standing.ours:
            raise SetupRefused(
                f"this host is registered as host {standing.ours[0]}, not {host_id}: set host_id ="
                f" {standing.ours[0]}"
            )
        if taken:
            whose = taken[0].host_name or taken[0].problem
            raise SetupRefused(f"host id {host_id} is taken: it is {whose}'s")
        if standing.hosts:
            others = ", ".join(f"{slot.host_name} ({slot.host_id})" for slot in standing.hosts)
            raise SetupRefused(
                f"other hosts are registered, {others}: join their cluster with `ha-agent join`"
            )
        return Found(False, f"{self._joiner.host_name} as host {host_id}")

    async def do(self, say: Say) -> str:
        """Take the id."""
        host_id = await (await self._register()).take(self._deployment.host_id, None, say)
        return f"{self._joiner.host_name} is host {host_id}"

    async def _register(self) -> HostRegister:
        deployment = self._deployment
        config = await config_of(deployment)
        place = place_of(config, await deployment.path(STATUS))
        return HostRegister(deployment.lane, place, self._joiner, clock=deployment.clock)
