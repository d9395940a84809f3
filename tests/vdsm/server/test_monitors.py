# SPDX-License-Identifier: Apache-2.0
"""Domain monitors: real reads, answers from memory."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Callable

import pytest

from ha_agent.clock import SystemClock
from ha_agent.errors import EnvironmentFault
from ha_agent.vdsm.deadline import StorageThreads
from ha_agent.vdsm.server.monitors import Monitors, read_uncached
from tests.vdsm.embedded import DOMAIN, make_domain


@pytest.fixture
async def monitors(tmp_path: Path) -> AsyncIterator[Monitors]:
    made = Monitors(
        lambda: (tmp_path,),
        StorageThreads(),
        SystemClock(),
        interval_seconds=0.02,
        deadline_seconds=0.2,
    )
    yield made
    await made.stop()


async def until(monitors: Monitors, holds: Callable[[Any], bool]) -> Any:
    for _ in range(2000):
        vitals = monitors.stats()[DOMAIN]
        if holds(vitals):
            return vitals
        await asyncio.sleep(0.005)
    raise AssertionError(monitors.stats())


async def test_before_the_first_read(monitors: Monitors) -> None:
    assert monitors.stats() == {}
    monitors.start(DOMAIN, 1)
    vitals = monitors.stats()[DOMAIN]
    assert (vitals["version"], vitals["actual"], vitals["acquired"]) == (-1, False, False)
    assert monitors.stats(["other"]) == {}


async def test_monitors_are_bounded(monitors: Monitors) -> None:
    for number in range(100):
        monitors.start(f"domain{number}", 1)
    monitors.start("domain99", 2)  # one that is there already
    with pytest.raises(EnvironmentFault, match="100 storage domains"):
        monitors.start("one more", 1)


async def test_a_domain_comes_and_goes(monitors: Monitors, tmp_path: Path) -> None:
    monitors.start(DOMAIN, 1)
    assert (await until(monitors, lambda vitals: vitals["actual"]))["code"] == 358
    path = make_domain(tmp_path)
    good = await until(monitors, lambda vitals: vitals["code"] == 0)
    assert (good["valid"], good["version"], good["acquired"]) == (True, 5, True)
    shutil.rmtree(path)
    bad = await until(monitors, lambda vitals: vitals["code"] != 0)
    assert (bad["valid"], bad["acquired"]) == (False, False)
    await monitors.stop(DOMAIN)
    assert monitors.stats() == {}


class BusyOnce:
    """A lockspace that is in use when it is left for the first time."""

    def __init__(self) -> None:
        self.left: list[int] = []

    def keep(self, _domain_path: Path, _host_id: int) -> bool:
        return True

    def leave(self, _domain_path: Path, host_id: int) -> None:
        self.left.append(host_id)
        if len(self.left) == 1:
            raise EnvironmentFault("busy")


async def test_a_host_id_that_could_not_be_released_is_released_when_asked_again(
    tmp_path: Path,
) -> None:
    make_domain(tmp_path)
    lockspace = BusyOnce()
    monitors = Monitors(lambda: (tmp_path,), StorageThreads(), SystemClock(), lockspaces=lockspace)
    monitors.start(DOMAIN, 7)
    with pytest.raises(EnvironmentFault, match="busy"):
        await monitors.leave(DOMAIN)
    await monitors.leave(DOMAIN)
    await monitors.leave(DOMAIN)  # nothing is left to do
    assert lockspace.left == [7, 7]
    assert monitors.stats() == {}


async def test_storage_that_hangs_is_told_and_blocks_nothing(tmp_path: Path) -> None:
    released = threading.Event()

    class HangingThreads(StorageThreads):
        """Runs the real call on a mount that answers only when it is released."""

        async def run(self, what: str, deadline_seconds: float, call: Any, **more: Any) -> Any:
            def hang() -> Any:
                released.wait(20)
                return call()

            return await super().run(what, deadline_seconds, hang, **more)

    make_domain(tmp_path)
    threads = HangingThreads()
    monitors = Monitors(
        lambda: (tmp_path,), threads, SystemClock(), interval_seconds=0.02, deadline_seconds=0.1
    )
    try:
        monitors.start(DOMAIN, 1)
        bad = await until(monitors, lambda vitals: vitals["actual"])
        assert (bad["code"], bad["valid"]) == (379, False)
        assert float(bad["delay"]) >= 0.1
        released.set()
        await until(monitors, lambda vitals: vitals["code"] == 0)
    finally:
        released.set()
        await monitors.stop()


def test_one_block_is_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert read_uncached(tmp_path / "a") == b"abc"
    (tmp_path / "b").write_bytes(b"x" * 10000)
    assert read_uncached(tmp_path / "b") == b"x" * 4096
