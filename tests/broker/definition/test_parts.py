# SPDX-License-Identifier: Apache-2.0
"""What the configuration and the hosts' state make of the keeper, the guard and the socket."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Optional, cast

import pytest

from ha_agent.broker.api.arguments import Access
from ha_agent.broker.definition.parts import HISTORY_FOLDER, DefinitionParts
from ha_agent.broker.rpc.server import Peer, RpcRefusal
from ha_agent.broker.snapshot import DefinitionEntry, HostEntry, Report, Snapshot
from ha_agent.clock import SystemClock
from ha_agent.config import layers
from ha_agent.instant import Instant
from ha_agent.ovfstore.approval import identity_of
from ha_agent.vdsm.client.verbs import Vdsm
from tests.broker.store_world import (
    DOMAIN,
    FIRST,
    SECOND,
    VM,
    Host,
    JumpingClock,
    World,
    ovf_of,
)
from tests.small_config import NOWHERE, write_config

ROOT = Peer(1, 0, 0)
MEMORY_MIB = 4096
SMALL, BIG = ovf_of(1024), ovf_of(MEMORY_MIB + 1024)


class CapableHost(Host):
    """A host whose VDSM tells what it has, once `told` is set."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.told = asyncio.Event()
        self.told.set()

    async def call(
        self, method: str, params: Mapping[str, Any], *, deadline_seconds: Optional[float] = None
    ) -> Any:
        if method == "Host.getCapabilities":
            await self.told.wait()
        return await super().call(method, params, deadline_seconds=deadline_seconds)

    def _getCapabilities(self) -> dict[str, Any]:
        return {"memSize": str(MEMORY_MIB), "cpuThreads": "8", "emulatedMachines": []}


class Parts:
    """The parts over a store of two copies with `SMALL` in them."""

    def __init__(self, folder: Path, more: str = "") -> None:
        self.world = World(folder / "storage")
        self.world.folder.mkdir()
        self.write(SMALL, at=-60)
        made = layers.load([write_config(folder, more)], NOWHERE)
        self.settings = dataclasses.replace(
            made,
            engine=dataclasses.replace(made.engine, vm_uuid=VM),
            storage=dataclasses.replace(made.storage, domain_uuid=DOMAIN),
        )
        for made_folder in (made.host.run_dir, made.host.state_dir):
            made_folder.mkdir()
        self.restart()

    def restart(self) -> None:
        """Begin with what is on the disks."""
        self.host = CapableHost(self.world)
        self.picture = Snapshot(0, 1, "host1", VM, Instant(0.0))
        self.entry = DefinitionEntry()
        self.changed = asyncio.Event()
        self.made = DefinitionParts(
            self.settings,
            Vdsm(self.host),
            self.host.lane(),
            clock=cast(SystemClock, JumpingClock()),
            picture=lambda: self.picture,
            on_change=self._changed,
        )

    def _changed(self, entry: DefinitionEntry) -> None:
        self.entry = entry
        self.changed.set()

    def write(self, ovf: bytes, *, at: float) -> None:
        self.world.write(FIRST, ovf, at=at)
        volume = self.world.volumes[FIRST]
        self.world.add(SECOND, volume.description, volume.path.read_bytes())

    async def ask(self, verb: str, **params: Any) -> Any:
        return await self.made.api(Access(os.getuid(), None)).handlers()[verb](params, ROOT)

    async def in_use(self, document: bytes) -> None:
        """Wait until it is."""
        while self.entry.identity != identity_of(document):
            self.changed.clear()
            await asyncio.wait_for(self.changed.wait(), 20)


@contextlib.asynccontextmanager
async def at_work(parts: Parts) -> AsyncIterator[Parts]:
    tasks = [asyncio.ensure_future(work()) for work in parts.made.work()]
    try:
        yield parts
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def wait_for_capacity(parts: Parts) -> None:
    parts.made.connected()
    for _look in range(2000):
        if parts.made.capacity.current is not None:
            return
        await asyncio.sleep(0.01)
    pytest.fail("the capacity of this host is not known")


async def test_vdsm_that_comes_back_makes_both_look_again(tmp_path: Path) -> None:
    parts = Parts(tmp_path, "[definition]\nrefresh_interval_seconds = 3600\n")
    async with at_work(parts):
        await parts.in_use(SMALL)
        assert parts.made.capacity.current is None  # VDSM was not there
        parts.write(ovf_of(2048), at=0)
        await wait_for_capacity(parts)
        await parts.in_use(ovf_of(2048))


async def test_the_guard_knows_this_hosts_memory_and_that_of_live_ones(tmp_path: Path) -> None:
    parts = Parts(tmp_path)

    async def refusal() -> Optional[RpcRefusal]:
        try:
            await parts.ask("ovf.put", document=BIG)
        except RpcRefusal as refused:
            return refused
        return None

    async with at_work(parts):
        await parts.in_use(SMALL)
        await wait_for_capacity(parts)
        other = HostEntry(
            host_id=2, host_name="host2", alive=False, memory_mib=4 * MEMORY_MIB, cpu_threads=8
        )
        parts.picture = dataclasses.replace(parts.picture, hosts=(other,))
        refused = await refusal()
        assert refused is not None
        assert "memory_beyond_hosts" in refused.message
        assert str(MEMORY_MIB) in refused.message
        other = dataclasses.replace(other, alive=True)
        parts.picture = dataclasses.replace(parts.picture, hosts=(other,))
        assert await refusal() is None
        await parts.in_use(BIG)


async def test_a_restart_lets_nothing_pass_that_the_guard_refused(tmp_path: Path) -> None:
    """VDSM takes seconds to tell what this host has; until then nothing would be too big."""
    parts = Parts(tmp_path)
    await parts.made.keeper.refresh()  # SMALL is in the history of this host
    parts.write(BIG, at=0)
    parts.restart()
    parts.host.told.clear()
    async with at_work(parts):
        parts.made.connected()
        look = asyncio.ensure_future(parts.made.keeper.refresh())
        await asyncio.wait({look}, timeout=0.3)
        parts.host.told.set()
        assert "is not used" in await look
        assert parts.entry.identity == identity_of(SMALL)
        assert parts.entry.pending is not None


async def test_the_history_is_in_the_state_folder_and_as_long_as_configured(
    tmp_path: Path,
) -> None:
    parts = Parts(tmp_path, "[definition]\nhistory_versions = 2\n")
    await parts.made.keeper.refresh(read_again=True)
    for memory_mib in (1536, 2048, 2560):
        await parts.ask("ovf.put", document=ovf_of(memory_mib))
    versions = (await parts.ask("ovf.history"))["versions"]
    assert [version["memory_mib"] for version in versions] == [2048, 2560]
    folder = parts.settings.host.state_dir / HISTORY_FOLDER
    assert sorted(file.name for file in folder.glob("*.ovf")) == ["000003.ovf", "000004.ovf"]


async def test_can_do_knows_the_store_the_vms_disks_and_the_status_volume(tmp_path: Path) -> None:
    parts = Parts(tmp_path)
    storage = parts.settings.storage

    async def code(disk: str) -> str:
        answer = await parts.ask("can_do", action="disk.remove", object={"disk": disk})
        return str(answer["code"])

    # What was configured is known before anything has been read.
    assert await code(storage.status_image) == "hosted_engine_volume"
    assert await code(SECOND) == "unknown_state"
    await parts.made.keeper.refresh(read_again=True)
    assert await code(storage.status_volume) == "hosted_engine_volume"
    assert await code(SECOND) == "ovf_store"
    assert await code(VM) == "not_concerned"
    detach = await parts.ask(
        "can_do", action="storage_domain.detach", object={"storage_domain": DOMAIN}
    )
    assert detach["code"] == "hosted_engine_domain"


async def test_what_a_dead_hosts_block_says_is_proven_can_be_fallen_back_to(
    tmp_path: Path,
) -> None:
    parts = Parts(tmp_path)
    async with at_work(parts):
        await parts.in_use(SMALL)
        await parts.ask("ovf.put", document=ovf_of(2048))
        await parts.in_use(ovf_of(2048))
        dead = HostEntry(2, "host2", proven=identity_of(SMALL))
        parts.picture = dataclasses.replace(parts.picture, hosts=(dead,))
        for _look in range(2000):
            parts.made.reported(Report())
            if parts.entry.fallback:
                break
            await asyncio.sleep(0.01)
        assert parts.entry.fallback == identity_of(SMALL)


@pytest.mark.parametrize("is_known", [True, False])
async def test_what_the_configured_vm_is_decides(tmp_path: Path, is_known: bool) -> None:
    parts = Parts(tmp_path)
    if not is_known:
        parts.world.volumes.clear()
        parts.world.write(FIRST, ovf_of(1024), vm=SECOND)
    problem = await parts.made.keeper.refresh(read_again=True)
    assert (problem == "") is is_known
    assert (f"{VM}.ovf" in problem) is not is_known
