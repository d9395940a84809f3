# SPDX-License-Identifier: Apache-2.0
"""May this host make volumes on the domain? On a real VDSM only as the manager (SPM) of a pool.

There is no engine yet that could have made one. So a pool is made for the time of the set-up, as
oVirt's set-up did it until 4.2 (ovirt-hosted-engine-setup, gr-he-setup/storage/storage.py): a pool
needs a master domain, and the hosted engine's must not become one, since that can't be undone.

    enter   the embedded VDSM writes on a domain without a pool: nothing is needed
            else:  a master domain in a directory of this host, LOCALFS      noted, made
                   a pool of both, connected, spmStart, both activated       noted, made
    leave   the domain is detached, the pool destroyed, the master formatted

Each is noted before it is made, and done again where it was cut off: connecting, becoming SPM and
activating are harmless to repeat. That the pool is left stands on the storage: the domain belongs
to none. facts/vdsm.md tells of Volume.create that it is refused with 309 without a pool; the rest
was read in the sources, and not run on a real VDSM.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Optional

from ha_agent.errors import DeadlineExceeded, EnvironmentFault
from ha_agent.ports import Clock
from ha_agent.setup.deploy.deployment import Choices
from ha_agent.setup.step import Found, Say, SetupFailed, SetupRefused
from ha_agent.vdsm.client import storage_server
from ha_agent.vdsm.client.storage_server import DomainType
from ha_agent.vdsm.client.verbs import NO_POOL
from ha_agent.vdsm.client.verbs_setup import SetupVdsm
from ha_agent.vdsm.deadline import StorageThreads
from ha_agent.vdsm.errors import VdsmCallFailed, VdsmCode

_SPM_SECONDS = 300.0
_POLL_SECONDS = 1.0
_VDSM_USER = 36  # vdsm:kvm on every oVirt host
_EXISTS = (361, 365)
_POOL_NAME = "hosted_engine_setup"
_MASTER_NAME = "hosted_engine_setup_master"


class Pool:
    """The pool that volumes are made under."""

    def __init__(
        self,
        vdsm: SetupVdsm,
        choices: Choices,
        threads: StorageThreads,
        clock: Clock,
        *,
        domain_uuid: str,
        host_id: int,
        folder: Path,
    ) -> None:
        """`folder` is where the master domain's directory is made, on this host's own disk."""
        self._vdsm = vdsm
        self._choices = choices
        self._threads = threads
        self._clock = clock
        self._domain = domain_uuid
        self._host_id = host_id
        self._folder = folder
        self._entered: Optional[str] = None

    def id(self) -> Optional[str]:
        """Return the id of our own pool, None while none was ever begun."""
        return self._choices.known("pool") or None

    async def enter(self, say: Say) -> str:
        """Return the pool's id to write with; make the pool first where VDSM wants one.

        Raises SetupFailed, EnvironmentFault.
        """
        if self._entered is None:
            self._entered = NO_POOL if await self._needs_none() else await self._make(say)
        return self._entered

    async def look(self) -> Found:
        """Whether the domain belongs to no pool, as it should in the end."""
        pool = self.id()
        if pool is None:
            return Found(True, "none was needed")
        left = self._choices.known("pool_left") == "yes"
        return Found(left, f"pool {pool} is gone" if left else f"pool {pool} is there")

    async def _needs_none(self) -> bool:
        """Ask VDSM for what it refuses without a pool: about a volume that can't be."""
        try:
            await self._vdsm.set_volume_description(self._domain, NO_POOL, NO_POOL, "")
        except VdsmCallFailed as error:
            return error.code not in (VdsmCode.POOL_NOT_CONNECTED, VdsmCode.NOT_SPM)
        return True

    async def _make(self, say: Say) -> str:
        connected = [one for one in await self._vdsm.connected_pools() if one != self.id()]
        if connected:
            raise SetupRefused(
                f"this host is connected to pool {connected[0]}: an engine manages it, and it"
                " can't set up another hosted engine"
            )
        master, pool = self._choices.get("pool_master"), self._choices.get("pool")
        if self._choices.known("pool_left"):
            self._choices.replace("pool_left", "")
        say("a storage pool for the time of the set-up")
        await self._make_master(master)
        info = await self._vdsm.domain_info(self._domain)
        if pool not in info.pool_ids:
            await self._vdsm.create_pool(pool, _POOL_NAME, master, self._domain)
        await self._vdsm.connect_pool(pool, self._host_id, master, self._domain)
        await self._become_spm(pool)
        for domain in (master, self._domain):
            await self._vdsm.activate_domain(domain, pool)
        return pool

    async def _make_master(self, master: str) -> None:
        path = self._folder / master

        def folder() -> None:
            path.mkdir(mode=0o755, parents=True, exist_ok=True)
            if os.geteuid() == 0:
                os.chown(path, _VDSM_USER, _VDSM_USER)

        try:
            await self._threads.run("the master domain's directory", 30.0, folder)
        except OSError as error:
            raise EnvironmentFault(f"{path}: {error.strerror}") from error
        server = storage_server.localfs(str(path), connection_id=master)
        for status in await self._vdsm.connect_storage_server(server):
            if status.code:
                raise SetupFailed(f"{path}: {status.why}")
        try:
            await self._vdsm.create_domain(master, DomainType.LOCALFS, str(path), _MASTER_NAME)
        except VdsmCallFailed as error:
            if error.code not in _EXISTS:
                raise

    async def _become_spm(self, pool: str) -> None:
        status = await self._vdsm.spm_status(pool)
        if status is None or not status.is_spm:
            await self._vdsm.start_spm(pool)
        ends_at = self._clock.now() + _SPM_SECONDS
        while True:
            status = await self._vdsm.spm_status(pool)
            if status is not None and status.is_spm:
                return
            if self._clock.now() >= ends_at:
                raise DeadlineExceeded("VDSM becoming SPM of the set-up's pool", _SPM_SECONDS)
            await self._clock.sleep(_POLL_SECONDS)

    async def leave(self, say: Say) -> str:
        """Undo it all. Raises SetupFailed, EnvironmentFault."""
        pool, master = self.id(), self._choices.known("pool_master")
        assert pool is not None
        info = await self._vdsm.domain_info(self._domain)
        if pool in info.pool_ids or pool in await self._vdsm.connected_pools():
            await self.enter(say)
            if pool in info.pool_ids:
                await self._vdsm.detach_domain(self._domain, pool, master)
            await self._vdsm.destroy_pool(pool, self._host_id)
        self._entered = None
        try:
            await self._vdsm.format_domain(master)
        except VdsmCallFailed as error:
            if error.code != VdsmCode.DOMAIN_DOES_NOT_EXIST:
                raise
        path = self._folder / master
        await self._vdsm.disconnect_storage_server(
            storage_server.localfs(str(path), connection_id=master)
        )
        await self._threads.run(
            "the master domain's directory", 30.0, lambda: shutil.rmtree(path, ignore_errors=True)
        )
        self._choices.replace("pool_left", "yes")
        return f"pool {pool} is gone"


class LeavePool:
    """The last step that needs the pool's manager is done: the engine will make its own pool."""

    name, title = "pool", "leave the set-up's storage pool"

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def look(self) -> Found:
        """As Pool.look."""
        return await self._pool.look()

    async def do(self, say: Say) -> str:
        """As Pool.leave."""
        return await self._pool.leave(say)
