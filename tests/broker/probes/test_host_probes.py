# SPDX-License-Identifier: Apache-2.0
"""All probes of a host, side by side, on this machine as it is."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Callable, Optional

import psutil
import pytest

from ha_agent.broker.probes import host_probes
from ha_agent.broker.probes.domain import OwnReads
from ha_agent.broker.probes.host_probes import HostProbes
from ha_agent.clock import SystemClock
from ha_agent.config import layers
from ha_agent.config.schema import Config
from ha_agent.errors import BadInput, EnvironmentFault
from ha_agent.vdsm.client.answers import DomainVitals
from tests.small_config import NOWHERE, write_config

QUICK_SECONDS = 0.05
CLOCK = SystemClock()


def quick(folder: Path, **network: Any) -> Config:
    """Return a configuration whose probes run many times a second."""
    config = layers.load([write_config(folder)], NOWHERE)
    probes = dataclasses.replace(
        config.probes,
        bridge_interval_seconds=QUICK_SECONDS,
        cpu_load_interval_seconds=QUICK_SECONDS,
        memory_interval_seconds=QUICK_SECONDS,
        domain_interval_seconds=QUICK_SECONDS,
        domain_deadline_seconds=QUICK_SECONDS,
    )
    values = {"interval_seconds": QUICK_SECONDS, "bridge": "lo", **network}
    return dataclasses.replace(
        config, probes=probes, network=dataclasses.replace(config.network, **values)
    )


async def vitals_good(domain_ids: Sequence[str]) -> dict[str, DomainVitals]:
    return {uuid: DomainVitals(0, True, True, True, 0.001, 1.0, 5) for uuid in domain_ids}


async def vitals_never(_domain_ids: Sequence[str]) -> dict[str, DomainVitals]:
    await asyncio.Event().wait()
    raise AssertionError


async def vitals_fail(_domain_ids: Sequence[str]) -> dict[str, DomainVitals]:
    raise EnvironmentFault("VDSM can't be reached")


class World:
    def __init__(
        self,
        config: Config,
        vitals: host_probes.Vitals = vitals_good,
    ) -> None:
        self.updates: list[dict[str, Any]] = []
        self.probes = HostProbes(
            config,
            CLOCK,
            update=lambda **parts: self.updates.append(parts),
            own_reads=lambda: OwnReads(CLOCK.now(), "", 0.002),
            vitals=vitals,
        )

    def live(self, name: str) -> Any:
        return self.probes.live()[name]

    async def until(self, holds: Callable[[], object]) -> None:
        while not holds():  # noqa: ASYNC110, other threads, too
            await asyncio.sleep(0.01)


@asynccontextmanager
async def running(world: World) -> AsyncIterator[World]:
    tasks = [asyncio.ensure_future(make()) for make in world.probes.part().work]
    try:
        yield world
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def test_every_figure_comes_with_its_age(folder: Path) -> None:
    begun = CLOCK.now()
    async with running(World(quick(folder))) as world:
        await world.until(lambda: world.live("cpu").load is not None)
        await world.until(lambda: world.live("memory").free_mib)
        await world.until(lambda: world.live("bridge").up)
        await world.until(lambda: world.live("domain").accessible)
        for name in ("cpu", "memory", "bridge", "domain"):
            entry = world.live(name)
            assert begun <= entry.taken_at <= CLOCK.now()
            assert entry.lately
        assert world.live("domain").latency_seconds == 0.002
        assert world.live("network").detail == "no network test is configured"
    assert [sorted(update) for update in world.updates] == [["bridge"]]


@pytest.mark.parametrize("vitals", [vitals_never, vitals_fail])
async def test_a_vdsm_that_hangs_or_is_gone_blinds_nothing(folder: Path, vitals: Any) -> None:
    async with running(World(quick(folder), vitals)) as world:
        await world.until(lambda: world.live("domain").accessible)
        assert world.live("domain").detail.startswith("the broker reads it; VDSM does not tell")
        await world.until(lambda: world.live("cpu").load is not None)
        await world.until(lambda: world.live("bridge").up)


async def test_without_a_bridge_or_a_test_nothing_is_looked_at(folder: Path) -> None:
    async with running(World(quick(folder, bridge=""))) as world:
        await world.until(lambda: world.live("memory").free_mib)
        assert world.live("bridge").up is None
        assert world.live("bridge").detail == "no bridge is looked at"
    assert world.updates == []


async def test_a_bridge_that_is_not_there_is_told_of_at_once(folder: Path) -> None:
    async with running(World(quick(folder, bridge="no-such-bridge"))) as world:
        await world.until(lambda: world.updates)
        entry = world.updates[0]["bridge"]
        assert (entry.up, entry.detail) == (False, "there is no interface no-such-bridge")


async def test_a_probe_that_raises_or_hangs_leaves_the_others_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """psutil gives what the kernel gives, odd things included."""
    end, asked = threading.Event(), threading.Event()

    def odd() -> Optional[object]:
        raise ZeroDivisionError("an odd kernel")

    def hang() -> Optional[object]:
        asked.set()
        end.wait(30)
        raise OSError("at last")

    monkeypatch.setattr(psutil, "virtual_memory", odd)
    monkeypatch.setattr(psutil, "cpu_times", hang)
    config = quick(folder)
    probes = dataclasses.replace(config.probes, cpu_load_deadline_seconds=QUICK_SECONDS)
    try:
        async with running(World(dataclasses.replace(config, probes=probes))) as world:
            await world.until(lambda: "failed inside" in world.live("memory").detail)
            await world.until(lambda: "has not ended yet" in world.live("cpu").detail)
            await world.until(lambda: world.live("bridge").up)
            await world.until(lambda: world.live("domain").accessible)
            assert world.live("cpu").load is None
            assert asked.is_set()
    finally:
        end.set()


def test_a_host_without_the_right_address_is_refused_before_anything_runs(folder: Path) -> None:
    with pytest.raises(BadInput, match="needs an address"):
        World(quick(folder, test="ping", address=""))
