# SPDX-License-Identifier: Apache-2.0
"""Steps of a deploy: connect the storage, find or make the storage domain, keep others away.

A domain that VDSM makes for us has the UUID that was chosen before. One that an engine manages, or
that is there and was not named, is refused: nothing is ever made over it.
"""

from __future__ import annotations

import os
from typing import Optional

from ha_agent import ofd_lock
from ha_agent.setup.deploy.deployment import (
    CONFIGURATION,
    DISK,
    GIB,
    LOCKSPACE,
    MIB,
    SIZES,
    STATUS,
    Deployment,
)
from ha_agent.setup.step import Found, Say, SetupFailed, SetupRefused
from ha_agent.vdsm.client.verbs import NO_POOL
from ha_agent.vdsm.errors import VdsmCallFailed
from ha_agent.vdsm_user import as_user, vdsm_owner

LOCK_NAME = "deploy.lock"
_STORE_BYTES = 2 * 128 * MIB
_SPARE_BYTES = 16 * MIB


class ConnectStorage:
    """Has VDSM mount the storage, or log in to it."""

    name, title = "storage", "connect the storage"

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._connected = False

    async def look(self) -> Found:
        """VDSM tells of no connection, only of what is seen by it."""
        names = ", ".join(one.name for one in self._deployment.server.connections)
        if self._connected or await self._deployment.domain_info() is not None:
            return Found(True, names)
        return Found(False, names)

    async def do(self, say: Say) -> str:
        """Connect everything; one portal of several is enough."""
        server = self._deployment.server
        statuses = await self._deployment.vdsm.connect_storage_server(server)
        wrong = [f"{server.name_of(s.connection_id)}: {s.why}" for s in statuses if s.code]
        if len(wrong) == len(statuses):
            raise SetupFailed("; ".join(wrong))
        for text in wrong:
            say(f"not connected: {text}")
        self._connected = True
        return ", ".join(one.name for one in server.connections)


class UseDomain:
    """The storage domain is there, is ours to use, and this host holds its id on it."""

    name, title = "domain", "find or create the storage domain"

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment

    async def look(self) -> Found:
        """Raises SetupRefused for a domain of an engine's, or one that nobody named."""
        deployment = self._deployment
        info = await deployment.domain_info()
        if info is None:
            given = deployment.answers.text("domain_uuid")
            await self._refuse_others()
            told = "it must be there" if given else "made where the connected storage has none"
            return Found(False, f"domain {deployment.domain_uuid}: {told}")
        pools = [pool for pool in info.pool_ids if pool not in ("", NO_POOL)]
        others = [pool for pool in pools if pool != deployment.pool_id()]
        if others:
            raise SetupRefused(
                f"storage domain {deployment.domain_uuid} ({info.name}) belongs to pool"
                f" {others[0]}: an engine manages it; give another one, or join its cluster"
            )
        return Found(True, f"domain {deployment.domain_uuid} ({info.name})")

    async def _refuse_others(self) -> None:
        deployment = self._deployment
        if deployment.is_block or deployment.answers.text("domain_uuid"):
            return
        source = str(deployment.server.connections[0].fields.get("connection", ""))
        for uuid in await deployment.vdsm.storage_domains():
            if uuid == deployment.domain_uuid:
                continue
            try:
                info = await deployment.vdsm.domain_info(uuid)
            except VdsmCallFailed:
                continue  # a damaged domain elsewhere is no business of ours
            if info.remote_path.rstrip("/") == source.rstrip("/"):
                raise SetupRefused(
                    f"{source} has storage domain {uuid} ({info.name}) already: set domain_uuid ="
                    f" {uuid} to use it, or run `ha-agent join` on this host to join its cluster"
                )

    async def do(self, say: Say) -> str:
        """Make the domain. Raises SetupFailed when one that was named is not there."""
        deployment = self._deployment
        if deployment.answers.text("domain_uuid"):
            raise SetupFailed(f"storage domain {deployment.domain_uuid} is not on this storage")
        server, uuid = deployment.server, deployment.domain_uuid
        arguments = str(server.connections[0].fields.get("connection", ""))
        if deployment.is_block:
            arguments = await self._volume_group(say)
        name = deployment.answers.text("domain_name")
        await deployment.vdsm.create_domain(uuid, server.domain_type, arguments, name)
        return f"domain {uuid} ({name}) made"

    async def _volume_group(self, say: Say) -> str:
        """Make a volume group with the domain's UUID as its name, as VDSM wants it."""
        deployment = self._deployment
        known = deployment.choices.known("volume_group")
        if known:
            return known
        # LUNs that an earlier try of ours began to use are ours; else VDSM refuses what is used.
        again = bool(deployment.choices.known("volume_group_begun"))
        deployment.choices.replace("volume_group_begun", "yes")
        luns = deployment.answers.values["luns"]
        await deployment.vdsm.block_devices(deployment.server.domain_type)
        say(f"volume group of {len(luns)} LUNs")
        made = await deployment.vdsm.create_volume_group(deployment.domain_uuid, luns, force=again)
        deployment.choices.replace("volume_group", made)
        return made


class KeepOthersAway:
    """Holds a lock on the domain while this process lives, so that two deploys can't meet.

    The lock is on <domain>/ha_agent/deploy.lock. A block domain has no files: there VDSM's own
    host id, which one host only can hold, is what two hosts would fight for.
    """

    name, title = "lock", "keep other set-ups away from the storage"

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._fd: Optional[int] = None

    async def look(self) -> Found:
        """The lock counts in this process only."""
        if self._deployment.is_block:
            return Found(True, "a block domain has no file to lock")
        if self._fd is not None:
            return Found(True, "no other set-up works there")
        return Found(False, "taken when it begins")

    async def do(self, say: Say) -> str:
        """Take it. Raises SetupRefused when another has it."""
        del say
        deployment = self._deployment
        folder = await deployment.domain_path() / "ha_agent"

        def take() -> Optional[int]:
            path = folder / LOCK_NAME
            with as_user(vdsm_owner()):
                folder.mkdir(mode=0o770, exist_ok=True)
                fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o660)
            try:
                if ofd_lock.try_lock(fd, 0, 1):
                    return fd
            except OSError:
                os.close(fd)
                raise
            os.close(fd)
            return None

        self._fd = await deployment.blocking("the lock of set-ups", take)
        if self._fd is None:
            raise SetupRefused(
                f"another `ha-agent deploy` works on storage domain {deployment.domain_uuid} now"
                f" (it holds {folder / LOCK_NAME})"
            )
        return "no other set-up works there"

    def close(self) -> None:
        """Let go of the lock."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


class CheckSpace:
    """All that will be made has room. It does nothing."""

    name, title = "space", "look whether there is room"

    def __init__(self, deployment: Deployment, disk_bytes: int) -> None:
        """`disk_bytes` is the new disk's size, 0 where there is one already."""
        self._deployment = deployment
        self._disk_bytes = disk_bytes

    async def look(self) -> Found:
        """Raises SetupRefused when there is too little."""
        deployment = self._deployment
        if await deployment.domain_info() is None:
            return Found(False, "known when the storage domain is there")
        needed = 0
        sizes = {**SIZES, DISK: self._disk_bytes}
        for role in (STATUS, LOCKSPACE, CONFIGURATION, DISK):
            if sizes[role] and await deployment.info(role) is None:
                needed += sizes[role]
        if await deployment.info(STATUS) is None:
            needed += _STORE_BYTES if deployment.is_block else _SPARE_BYTES
        free = (await deployment.vdsm.domain_space(deployment.domain_uuid)).free_bytes
        if free is None or not needed:
            return Found(True, "nothing more is needed" if not needed else "VDSM does not tell")
        if free < needed:
            raise SetupRefused(
                f"storage domain {deployment.domain_uuid} has {free / GIB:.1f} GiB free, and"
                f" {needed / GIB:.1f} GiB are needed"
            )
        return Found(True, f"{needed / GIB:.1f} GiB are needed, {free / GIB:.1f} GiB are free")

    async def do(self, say: Say) -> str:
        """There is nothing to do."""
        del say
        raise SetupFailed("the storage domain is not there")
