# SPDX-License-Identifier: Apache-2.0
"""A record that names a host though nothing there has the lease: in virtual time, and a real one.

That a real one is refused where it is none is in test_clear.py.
"""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from typing import Optional

import pytest

from ha_agent.broker.sanlock.clear import LIMIT_SECONDS
from ha_agent.broker.sanlock.orphan import CLEAR_SECONDS, ORPHAN_SECONDS, OrphanWatch
from ha_agent.broker.sanlock.place import Leader
from ha_agent.broker.sanlock.port import HostSight, Look
from ha_agent.instant import Instant
from tests.broker.lease_world import FakeFence, HostClock, run_virtual
from tests.broker.sanlock.written_by import resource_bytes, write_resource_bytes
from tests.broker.sanlock_world import Area, FakeDaemon, FakeSanlock, SanlockHost
from tests.broker.test_lease_contract import RealHost
from tests.sanlock_daemon import SanlockDaemon, needs_sanlock


def test_a_worker_waits_longer_than_the_process_that_frees_it_may_take() -> None:
    assert CLEAR_SECONDS > LIMIT_SECONDS


def now() -> float:
    return asyncio.get_running_loop().time()


async def orphaned() -> tuple[SanlockHost, SanlockHost]:
    """Host 1 was told to release epoch 1, and storage did not take it."""
    area = Area()
    alpha, beta = SanlockHost(area, 1, 1000.0), SanlockHost(area, 2, 5.0)
    await alpha.take()
    await beta.until("held", ours=False)
    alpha.vm_running = False
    alpha.sanlock.releases_fail = True
    result = await alpha.keeper.release("moves")
    assert (result.ok, "EIO (error 5)" in result.reason) == (False, True)
    return alpha, beta


def test_it_is_freed_for_others_and_never_ours(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        alpha, beta = await orphaned()
        since = now()
        while beta.keeper.view().state != "free":
            assert not alpha.keeper.view().ours
            assert now() - since < 3 * ORPHAN_SECONDS
            await asyncio.sleep(0.1)
        assert now() - since >= ORPHAN_SECONDS
        assert beta.keeper.view().epoch == 2
        await beta.take()
        await asyncio.sleep(60)
        assert beta.keeper.view().epoch == 3
        assert alpha.sanlock.cleared == [1]
        assert beta.sanlock.cleared == []

    run_virtual(scenario())
    said = [record.getMessage() for record in caplog.records]
    assert (
        "lease not released: epoch 1: sanlock: not released: vm in /lease: EIO (error 5)" in said
    )
    assert "the record of the lease (epoch 1) was freed" in said


def test_a_restarted_broker_frees_it_and_does_not_adopt_it() -> None:
    async def scenario() -> None:
        alpha, beta = await orphaned()
        await asyncio.sleep(ORPHAN_SECONDS / 2)
        alpha.kill_broker()
        alpha.start_broker()
        while beta.keeper.view().state != "free":
            assert not alpha.keeper.view().ours
            await asyncio.sleep(0.1)
        assert alpha.sanlock.cleared == [1]

    run_virtual(scenario())


def test_what_cant_be_freed_is_said_and_tried_again() -> None:
    async def scenario() -> None:
        alpha, beta = await orphaned()
        alpha.sanlock.clear_refused = "the engine VM runs here (pid 7)"
        await asyncio.sleep(100)
        assert 2 <= len(alpha.sanlock.cleared) <= 5
        view = alpha.keeper.view()
        assert (view.state, view.ours) == ("held", False)
        assert "can't be freed: the engine VM runs here (pid 7); it is tried" in view.detail
        alpha.sanlock.clear_refused = ""
        await beta.until("free")
        await alpha.until("free")
        assert alpha.keeper.view().detail == ""

    run_virtual(scenario())


def test_an_acquire_at_the_same_moment_gets_nothing_that_the_clearing_took() -> None:
    async def scenario() -> None:
        alpha, _ = await orphaned()
        while not alpha.sanlock.cleared:
            for epoch in (0, 1, 2):
                assert not (await alpha.keeper.acquire(epoch)).ok
            await asyncio.sleep(0.005)
        await alpha.until("free")
        result = await alpha.keeper.acquire(2)
        assert (result.ok, alpha.keeper.view().epoch) == (True, 3)

    run_virtual(scenario())


OWN = HostSight(1, 4, 100, 2, "LIVE")


def look(
    *,
    joined: Optional[bool] = True,
    held: Optional[int] = None,
    host_id: int = 1,
    generation: int = 4,
    is_held: bool = True,
    is_known: bool = True,
) -> Look:
    leader = Leader(512, host_id, generation, 7, "ha-agent", "vm", is_held)
    return Look(joined, {1: OWN} if is_known else {}, held, leader)


class Watched:
    """An OrphanWatch over a daemon that clears nothing."""

    def __init__(self) -> None:
        self.sanlock = FakeSanlock(FakeDaemon(Area(), 1, "alpha"))
        self.sanlock.clear_refused = "no"
        self.fence = FakeFence()
        self.watch = OrphanWatch(self.sanlock, 1, HostClock(), self.fence)

    async def sees(self, seen: Look, seconds: float, *, is_renewed: bool = True) -> list[int]:
        ends_at = now() + seconds
        while now() < ends_at:
            await self.watch.saw(seen, is_renewed=is_renewed)
            await asyncio.sleep(1.0)
        return self.sanlock.cleared


@pytest.mark.parametrize(
    "seen",
    [
        look(joined=None),
        look(held=7),
        look(host_id=2),
        look(generation=3),
        look(is_held=False),
        look(is_known=False),
        Look(True, {1: OWN}, None, None),
    ],
)
def test_what_is_no_orphan(seen: Look) -> None:
    async def scenario() -> None:
        watched = Watched()
        assert await watched.sees(seen, 60) == []
        assert watched.watch.problem == ""

    run_virtual(scenario())


def test_not_while_a_deadline_is_armed_or_renewals_are_not_seen() -> None:
    async def scenario() -> None:
        watched = Watched()
        assert await watched.sees(look(), 60, is_renewed=False) == []
        watched.fence.arm(Instant(1.0), 7, final=True)
        assert await watched.sees(look(), 60) == []
        watched.fence.disarm()
        assert await watched.sees(look(), 2) == [7]

    run_virtual(scenario())


def test_looks_that_show_it_otherwise_in_between_begin_it_anew() -> None:
    async def scenario() -> None:
        watched = Watched()
        for _ in range(10):
            assert await watched.sees(look(), ORPHAN_SECONDS - 1) == []
            assert await watched.sees(look(held=7), 1) == []

    run_virtual(scenario())


@pytest.mark.sanlock
@pytest.mark.timeout(120)
@needs_sanlock
async def test_a_real_one_is_freed(tmp_path: Path) -> None:
    """The record is put back as it was before the release: storage that did not take it."""
    with SanlockDaemon(tmp_path / "alpha", "alpha") as daemon:
        host = RealHost(tmp_path, 1, daemon, str(uuid.uuid4()))
        try:
            await host.sanlock.initialise(20)
            host.keeper.start()
            while not (await host.keeper.acquire(0)).ok:  # noqa: ASYNC110
                await asyncio.sleep(0.2)
            held = resource_bytes(Path(host.path))
            assert (await host.keeper.release("test")).ok
            assert host.keeper.view().state == "free"
            write_resource_bytes(Path(host.path), held)
            states = []
            while (view := host.keeper.view()).epoch != 2:
                assert not view.ours
                states.append(view.state)
                await asyncio.sleep(0.1)
            assert "held" in states
            assert (view.state, view.ours) == ("free", False)
        finally:
            await host.end()
