# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Optional

import pytest

from demo.domain import engine_vm
from ha_agent.broker.definition.starts import PROVEN_NAME, STARTED_NAME, DefinitionStarts
from ha_agent.broker.definition.values import read_definition
from ha_agent.broker.snapshot import DefinitionEntry, Report
from ha_agent.clock import SystemClock
from ha_agent.ovfstore.guard import Refusal
from ha_agent.ovfstore.history import History
from ha_agent.ovfstore.model import VmDefinition
from ha_agent.ovfstore.ovf_build import build_ovf
from ha_agent.ovfstore.translate import DomainXml

DOMAIN, VM, IMAGE, VOLUME = (str(uuid.UUID(int=number)) for number in range(1, 5))
CLOCK = SystemClock()


class World:
    """A history of three versions, and what becomes of it."""

    def __init__(self, folder: Path, boot_id: str = "boot") -> None:
        self.folder = folder
        self.history = History(folder / "definitions")
        self.refused: dict[int, Refusal] = {}
        self.in_blocks: set[str] = set()
        if not self.history.versions():
            for memory_mib in (1024, 2048, 3072):
                self.add(memory_mib)
        self.oldest, self.older, self.newest = (v.identity for v in self.history.versions()[:3])
        self.told = asyncio.Event()
        self.starts = DefinitionStarts(
            self.history,
            state_dir=folder,
            run_dir=folder,
            boot_id=boot_id,
            vm_uuid=VM,
            domain_uuid=DOMAIN,
            judge=self._judge,
            proven_by_blocks=lambda: self.in_blocks,
            on_change=self.told.set,
        )

    def add(self, memory_mib: int) -> str:
        vm = engine_vm(DOMAIN, IMAGE, VOLUME, VM)
        vm = dataclasses.replace(vm, memory_mib=memory_mib, engine_xml=None)
        version = self.history.add(
            build_ovf(vm),
            accepted_at=CLOCK.wall(),
            source="volume x",
            how="forced",
            vm_name=vm.name,
            memory_mib=memory_mib,
            approved=("no_nic",),
        )
        return version.identity

    async def _judge(
        self, new: VmDefinition, _domain: DomainXml, current: Optional[VmDefinition]
    ) -> tuple[Refusal, ...]:
        assert current is None
        refusal = self.refused.get(new.memory_mib)
        return () if refusal is None else (refusal,)

    def entry(self, identity: str) -> DefinitionEntry:
        return self.starts.complete(DefinitionEntry(available=True, identity=identity))

    def healthy_with(self, identity: str) -> None:
        self.starts.reported(report(identity))

    def hears_of(self, *identities: str) -> None:
        """The blocks say that these are proven, and the agent reports."""
        self.in_blocks = set(identities)
        self.starts.reported(Report())

    async def hand_out(self, *, fallback: bool = True) -> str:
        current = read_definition(
            self.history.document(3),
            "x",
            vm_uuid=VM,
            domain_uuid=DOMAIN,
            source="volume x",
            last_updated="",
            accepted_at=CLOCK.wall(),
        )
        found = await self.starts.hand_out(current, fallback=fallback, why="it failed")
        return found.identity

    async def settled(self) -> None:
        """Wait until all that is known is on disk, and told."""
        for _ in range(3):
            self.told.clear()
            self.starts._work.set()
            await self.told.wait()


def report(running: str = "", **status: str) -> Report:
    return Report(
        running_definition=running, engine_status={"vm": "up", "health": "good", **status}
    )


@contextlib.asynccontextmanager
async def world_in(folder: Path, **more: Any) -> AsyncIterator[World]:
    world = World(folder, **more)
    running = asyncio.ensure_future(world.starts.run())
    try:
        await world.settled()
        yield world
        await world.settled()
    finally:
        running.cancel()
        await asyncio.wait({running})


async def test_what_never_became_healthy_is_no_fallback(tmp_path: Path) -> None:
    async with world_in(tmp_path) as world:
        world.starts.reported(report(world.older, health="bad"))
        assert world.entry(world.newest).fallback == ""
        assert world.entry(world.newest).running == world.older
        assert await world.hand_out() == world.newest


async def test_the_newest_version_that_is_proven_is_the_fallback(tmp_path: Path) -> None:
    async with world_in(tmp_path) as world:
        world.healthy_with(world.oldest)
        assert world.entry(world.newest).fallback == world.oldest
        world.healthy_with(world.older)
        world.healthy_with(world.oldest)
        assert world.entry(world.newest).fallback == world.older
        assert await world.hand_out() == world.older
        assert await world.hand_out(fallback=False) == world.newest


async def test_one_that_is_proven_itself_has_none(tmp_path: Path) -> None:
    async with world_in(tmp_path) as world:
        world.healthy_with(world.older)
        world.healthy_with(world.newest)
        assert world.entry(world.newest).fallback == ""
        assert await world.hand_out() == world.newest


async def test_a_proof_in_a_block_counts_for_what_is_in_the_history_here(tmp_path: Path) -> None:
    async with world_in(tmp_path) as world:
        world.hears_of("", "0123456789ab")
        assert world.entry(world.newest).fallback == ""
        world.hears_of(world.older, "0123456789ab")
        assert world.entry(world.newest).fallback == world.older
        assert await world.hand_out() == world.older


async def test_a_proof_in_a_block_outlives_the_block_and_a_restart(tmp_path: Path) -> None:
    async with world_in(tmp_path) as world:
        world.hears_of(world.older)
        world.hears_of()
        assert world.entry(world.newest).fallback == world.older
    async with world_in(tmp_path) as again:
        assert again.entry(again.newest).fallback == again.older
        assert again.starts.proven_here() == "", "hearsay is not passed on"


async def test_what_became_healthy_here_last_is_told_also_after_a_restart(tmp_path: Path) -> None:
    async with world_in(tmp_path) as world:
        assert world.starts.proven_here() == ""
        world.healthy_with(world.older)
        world.healthy_with(world.oldest)
        world.hears_of(world.older, world.newest)
        assert world.starts.proven_here() == world.oldest
    async with world_in(tmp_path) as again:
        assert again.starts.proven_here() == again.oldest
        again.healthy_with(again.newest)
        assert again.starts.proven_here() == again.newest, "it was proven elsewhere only"
        assert again.entry(again.newest).fallback == ""


async def test_one_that_is_proven_elsewhere_gives_way_to_what_is_proven_here(
    tmp_path: Path,
) -> None:
    async with world_in(tmp_path) as world:
        world.hears_of(world.newest, world.older)
        assert world.entry(world.newest).fallback == ""
        assert await world.hand_out() == world.newest
        world.healthy_with(world.oldest)
        assert world.entry(world.newest).fallback == world.oldest
        assert await world.hand_out() == world.oldest


async def test_a_version_that_comes_after_its_proof_counts(tmp_path: Path) -> None:
    async with world_in(tmp_path) as world:
        late = world.add(4096)
        world.hears_of(late)
        assert world.entry(world.newest).fallback == "", "the history was not looked at again"
        await world.settled()
        world.starts.reported(Report())
        assert world.entry(world.newest).fallback == late


async def test_proofs_and_starts_outlive_a_restart(tmp_path: Path) -> None:
    async with world_in(tmp_path) as world:
        world.healthy_with(world.older)
        await world.hand_out()
        world.healthy_with(world.older)
        told = world.entry(world.newest)
    async with world_in(tmp_path) as again:
        assert again.entry(again.newest) == told
        again.starts.reported(report())
        assert again.entry(again.newest).running == again.older, "the agent may not know any more"
    async with world_in(tmp_path, boot_id="another") as rebooted:
        assert rebooted.entry(rebooted.newest).running == ""
        assert rebooted.entry(rebooted.newest).fallback == rebooted.older


async def test_why_another_one_runs_is_told(tmp_path: Path) -> None:
    async with world_in(tmp_path) as world:
        world.healthy_with(world.older)
        world.starts.reported(Report(engine_status={"vm": "down_missing"}))
        await world.hand_out()
        world.starts.reported(report(world.older, health="bad"))
        sentence = world.entry(world.newest).running_problem
        assert sentence.startswith(f"definition {world.newest} failed to start twice (it failed)")
        assert world.older in sentence
        assert world.entry(world.oldest).running_problem == "", "another one is in use now"


@pytest.mark.parametrize("vm", ["down", "down_missing", "down_unexpected"])
async def test_a_vm_that_is_gone_runs_nothing(tmp_path: Path, vm: str) -> None:
    async with world_in(tmp_path) as world:
        world.healthy_with(world.older)
        world.starts.reported(Report(engine_status={"vm": "unknown"}))
        assert world.entry(world.newest).running == world.older
        world.starts.reported(Report(engine_status={"vm": vm}))
        assert world.entry(world.newest).running == ""


async def test_the_guard_judges_it_and_approvals_count(tmp_path: Path) -> None:
    async with world_in(tmp_path) as world:
        world.healthy_with(world.oldest)
        world.healthy_with(world.older)
        world.refused = {
            2048: Refusal("no_vm_lease", "its boot disk has no lease", False),
            1024: Refusal("no_nic", "no NIC", True),
        }
        assert await world.hand_out() == world.oldest
        world.refused[1024] = Refusal("memory_beyond_hosts", "too big", True)
        assert await world.hand_out() == world.newest, "none is left"


async def test_a_damaged_version_is_passed_over(tmp_path: Path) -> None:
    async with world_in(tmp_path) as world:
        world.healthy_with(world.oldest)
        world.healthy_with(world.older)
        (world.history.folder / "000002.ovf").write_bytes(b"torn")
        assert await world.hand_out() == world.oldest


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{", b"\xff\xfe", b'{"boot_id": "boot", "identity": 5}']
)
async def test_damaged_files_cost_what_they_knew(tmp_path: Path, content: bytes) -> None:
    (tmp_path / STARTED_NAME).write_bytes(content)
    (tmp_path / PROVEN_NAME).write_bytes(content)
    async with world_in(tmp_path) as world:
        entry = world.entry(world.newest)
        assert (entry.running, entry.fallback) == ("", "")


async def test_a_full_disk_costs_no_start(tmp_path: Path) -> None:
    async with world_in(tmp_path) as world:
        (tmp_path / PROVEN_NAME).mkdir()
        world.healthy_with(world.older)
        await world.settled()
        assert await world.hand_out() == world.older
