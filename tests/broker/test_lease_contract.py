# SPDX-License-Identifier: Apache-2.0
"""What every lease back end keeps to, by the same assertions: lock file, sanlock, and its fake.

The lock file and the fake of sanlock run in virtual time; sanlock with two real daemons on one
machine. The steps of sanlock are one test: joining a lockspace takes the daemon seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol
from unittest import mock

import pytest

from ha_agent.broker.identity import read_boot_id
from ha_agent.broker.lease.backend import Keeper
from ha_agent.broker.lease.cycle import LeaseKeeper
from ha_agent.broker.lease.fence_deadline import Fence, GuardFence
from ha_agent.broker.lease.rules import LeaseIdentity, LeaseTimes
from ha_agent.broker.lease.storage import HostIdHold
from ha_agent.broker.sanlock.hold import HolderProcess
from ha_agent.broker.sanlock.keeper import SanlockKeeper
from ha_agent.broker.sanlock.port import LaneSanlock
from ha_agent.broker.sanlock.times import SanlockTimes
from ha_agent.broker.storage.lane import StorageLane, WorkerProcess, launch_worker
from ha_agent.clock import SystemClock
from tests.broker.lease_world import VM, Disk, FakeFence, FakeLeaseStorage, HostClock, run_virtual
from tests.broker.sanlock_world import Area, SanlockHost
from tests.sanlock_daemon import SanlockDaemon, needs_sanlock

LOCKSPACE = "ha-agent"


class Host(Protocol):
    """A host of a back end under test."""

    keeper: Keeper
    fence: Fence

    async def die(self) -> None:
        """End as a host whose lease others may have, sooner or later."""
        ...


async def until(host: Host, *states: str) -> None:
    """Wait for the view's state; `ours` is a state of its own here."""
    ends_at = asyncio.get_running_loop().time() + 60
    while True:
        view = host.keeper.view()
        if ("ours" if view.ours else view.state) in states:
            return
        assert asyncio.get_running_loop().time() < ends_at, (states, view)
        await asyncio.sleep(0.05)


async def until_epoch(epoch: int, *hosts: Host) -> None:
    """Wait until all see this epoch."""
    ends_at = asyncio.get_running_loop().time() + 60
    while any(host.keeper.view().epoch != epoch for host in hosts):
        assert asyncio.get_running_loop().time() < ends_at
        await asyncio.sleep(0.05)


async def take(host: Host) -> None:
    """Take it; the first renewal of a host that has just joined may still have to be seen."""
    ends_at = asyncio.get_running_loop().time() + 60
    while True:
        result = await host.keeper.acquire(host.keeper.view().epoch, "contract")
        if result.ok:
            return
        assert "waited for" in result.reason, result
        assert asyncio.get_running_loop().time() < ends_at
        await asyncio.sleep(0.2)


async def contract(alpha: Host, beta: Host) -> None:
    # Free, and taken by one; the other sees whose it is.
    await until(alpha, "free")
    await until(beta, "free")
    assert alpha.keeper.host_id == HostIdHold(True)
    await take(alpha)
    view = alpha.keeper.view()
    assert (view.ours, view.host_id, view.epoch) == (True, 1, 1)
    armed = alpha.fence.armed()
    assert armed is not None
    assert (armed.epoch, armed.final) == (1, False)
    await until(beta, "held")
    seen = beta.keeper.view()
    assert (seen.ours, seen.host_id, seen.epoch) == (False, 1, 1)
    assert seen.expires_at is not None
    assert not (await beta.keeper.acquire(1)).ok
    assert (await alpha.keeper.acquire(1)).ok  # it has it
    # Released: free for others at once, not for one who thinks of another epoch.
    assert (await alpha.keeper.release("contract")).ok
    assert alpha.fence.armed() is None
    assert not alpha.keeper.view().ours
    await until(beta, "free")
    assert beta.keeper.view().epoch == 1
    wrong = await beta.keeper.acquire(0)
    assert (wrong.ok, wrong.reason) == (False, "epoch is 1, not 0")
    # Two takers at once: one has it, the epoch is higher.
    await until(alpha, "free")
    await take(beta)
    assert (await beta.keeper.release("contract")).ok
    await until(alpha, "free")
    await until(beta, "free")
    await until_epoch(2, alpha, beta)
    results = await asyncio.gather(alpha.keeper.acquire(2), beta.keeper.acquire(2))
    assert sorted(result.ok for result in results) == [False, True]
    owner, other = (alpha, beta) if results[0].ok else (beta, alpha)
    assert owner.keeper.view().epoch == 3
    # The owner ends: the other may have it, with a higher epoch.
    await until(other, "held")
    await owner.die()
    await until(other, "expired")
    await take(other)
    assert other.keeper.view().epoch == 4


class LockfileHost:
    def __init__(self, disk: Disk, host_id: int) -> None:
        identity = LeaseIdentity(host_id, f"host{host_id}", f"instance-{host_id}", VM)
        self.fence: Fence = FakeFence()
        self._keeper = LeaseKeeper(
            FakeLeaseStorage(disk, identity),
            LeaseTimes(),
            identity,
            clock=HostClock(),
            fence=self.fence,
        )
        self.keeper: Keeper = self._keeper
        self._keeper.start()

    async def die(self) -> None:
        self._keeper._task.cancel()


class FakeSanlockHost:
    def __init__(self, area: Area, host_id: int) -> None:
        self._host = SanlockHost(area, host_id)
        self.fence: Fence = self._host.fence
        self.keeper: Keeper = self._host.keeper

    async def die(self) -> None:
        self._host.kill()


def test_the_lock_file_keeps_the_contract() -> None:
    async def run() -> None:
        disk = Disk()
        await contract(LockfileHost(disk, 1), LockfileHost(disk, 2))

    run_virtual(run())


def test_the_fake_of_sanlock_keeps_the_contract() -> None:
    async def run() -> None:
        area = Area()
        await contract(FakeSanlockHost(area, 1), FakeSanlockHost(area, 2))

    run_virtual(run())


class _HolderOfDaemon(HolderProcess):
    """Starts the holder in the environment of its own host's daemon, as a broker there would."""

    daemon: SanlockDaemon

    def _start(self) -> None:
        with mock.patch.dict(os.environ, self.daemon.variables):
            super()._start()


class RealHost:
    """A host over a daemon of its own: worker, holder and guard are processes."""

    def __init__(self, base: Path, host_id: int, daemon: SanlockDaemon, vm_uuid: str) -> None:
        self.run_dir = base / f"run{host_id}"
        self.run_dir.mkdir()
        self.daemon, self.host_id = daemon, host_id
        self.path = str(base / "lease")
        clock = SystemClock()
        self.lane = StorageLane("lease", str(self.run_dir), clock=clock, launch=self._launch)
        times = SanlockTimes(io_timeout_seconds=2)
        self.sanlock = LaneSanlock(
            self.lane,
            self.path,
            lockspace=LOCKSPACE,
            resource=vm_uuid,
            host_id=host_id,
            times=times,
        )
        self.holder = _HolderOfDaemon(self.run_dir, vm_uuid, str(self.run_dir), clock)
        self.holder.daemon = daemon
        self.fence: Fence = GuardFence(
            self.run_dir, vm_uuid, read_boot_id(), qemu_marker=str(self.run_dir)
        )
        self.keeper: Keeper = SanlockKeeper(
            self.sanlock,
            times,
            host_id=host_id,
            holder=self.holder,
            clock=clock,
            fence=self.fence,
        )

    def _launch(self, python: str, name: str, run_dir: str) -> tuple[WorkerProcess, socket.socket]:
        with mock.patch.dict(os.environ, self.daemon.variables):
            return launch_worker(python, name, run_dir)

    async def die(self) -> None:
        """The daemon dies and comes back as after a reboot: its leases are over at once then."""
        self.daemon.kill()  # first: it would release what an ended holder had
        await self.end()
        self.daemon.start()
        place = f"{LOCKSPACE}:{self.host_id}:{self.path}:0"
        await asyncio.to_thread(self.daemon.client, "add_lockspace", "-s", place, "-o", "2")

    async def end(self) -> None:
        await self.keeper.stop()
        self.holder.end()
        await self.holder.gone(20)
        self.holder.close()
        self.fence.disarm()
        await self.lane.close()


@pytest.fixture
def daemons(tmp_path: Path) -> Iterator[list[SanlockDaemon]]:
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(SanlockDaemon(tmp_path / name, name)) for name in ("alpha", "beta")
        ]


@pytest.mark.sanlock
@pytest.mark.timeout(240)
@needs_sanlock
async def test_sanlock_keeps_the_contract(tmp_path: Path, daemons: list[SanlockDaemon]) -> None:
    vm_uuid = str(uuid.uuid4())
    hosts = [RealHost(tmp_path, index + 1, daemons[index], vm_uuid) for index in range(2)]
    try:
        done, found = await hosts[0].sanlock.initialise(20)
        assert (done, found) == (True, "free, epoch 0, sectors of 512 bytes")
        assert not (await hosts[1].sanlock.initialise(20))[0]
        for host in hosts:
            host.keeper.start()
        await contract(*hosts)
        await _holder_killed(next(host for host in hosts if host.keeper.view().ours))
    finally:
        for host in hosts:
            await host.end()


async def _holder_killed(owner: RealHost) -> None:
    """SIGKILL of the holder: the lease is taken again, one epoch up, by the same host."""
    os.kill(owner.holder.pid, signal.SIGKILL)
    await until_epoch(5, owner)
    assert owner.keeper.view().ours
    armed: Any = owner.fence.armed()
    assert armed.epoch == 5
