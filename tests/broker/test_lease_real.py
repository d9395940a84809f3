# SPDX-License-Identifier: Apache-2.0
"""Keeper, storage worker, lock file and guard together, as processes, with a short lease."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

from ha_agent.broker.identity import load_instance, read_boot_id
from ha_agent.broker.lease.cycle import LeaseKeeper
from ha_agent.broker.lease.fence_deadline import GuardFence
from ha_agent.broker.lease.file import lease_initialise
from ha_agent.broker.lease.rules import LeaseIdentity, LeaseTimes
from ha_agent.broker.lease.storage import FileLeaseStorage
from ha_agent.broker.storage.lane import StorageLane
from ha_agent.clock import SystemClock

CLOCK = SystemClock()
TIMES = LeaseTimes(
    renew_interval_seconds=0.3,
    lease_expiry_seconds=3.0,
    fence_margin_seconds=1.2,
    renew_deadline_seconds=1.0,
)


class RealHost:
    def __init__(self, base: Path, host_id: int, vm_uuid: str) -> None:
        self.run_dir = base / f"host{host_id}"
        self.run_dir.mkdir()
        boot_id = read_boot_id()
        identity = LeaseIdentity(
            host_id, f"host{host_id}", load_instance(self.run_dir, boot_id), vm_uuid
        )
        self.lane = StorageLane("lease", str(self.run_dir), clock=CLOCK)
        self.fence = GuardFence(self.run_dir, vm_uuid, boot_id, str(self.run_dir))
        self.keeper = LeaseKeeper(
            FileLeaseStorage(self.lane, str(base / "lease"), identity),
            TIMES,
            identity,
            clock=CLOCK,
            fence=self.fence,
        )

    def start_vm(self, vm_uuid: str) -> subprocess.Popen[bytes]:
        code = "import time; time.sleep(60)"
        return subprocess.Popen(
            [sys.executable, "-c", code, "-uuid", vm_uuid, f"file={self.run_dir}/disk"]
        )

    async def until(self, state: str) -> None:
        ends_at = CLOCK.now() + 20.0
        while self.keeper.view().state != state:
            assert CLOCK.now() < ends_at, self.keeper.view()
            await CLOCK.sleep(0.02)


async def test_a_hung_broker_loses_its_vm_before_another_host_takes_over(tmp_path: Path) -> None:
    vm_uuid = str(uuid.uuid4())
    lease_initialise(str(tmp_path / "lease"))
    alpha, beta = RealHost(tmp_path, 1, vm_uuid), RealHost(tmp_path, 2, vm_uuid)
    vm = None
    try:
        for host in (alpha, beta):
            host.keeper.start()
            await host.until("free")
        assert (await alpha.keeper.acquire(0, "test")).ok
        armed = alpha.fence.armed()
        assert armed is not None
        assert armed.epoch == 1
        vm = alpha.start_vm(vm_uuid)
        assert not (await beta.keeper.acquire(0)).ok
        await CLOCK.sleep(1.0)
        assert alpha.keeper.view().ours
        assert vm.poll() is None
        alpha.keeper._task.cancel()  # from now on nobody renews
        await beta.until("expired")
        assert vm.poll() == -signal.SIGKILL
        assert (await beta.keeper.acquire(1)).ok
        assert not alpha.keeper.view().ours
    finally:
        for host in (alpha, beta):
            await host.keeper.stop()
            host.fence.disarm()
            await host.lane.close()
            if host.fence._guard is not None:
                os.kill(host.fence._guard.pid, signal.SIGKILL)
                host.fence._guard.wait()
        if vm is not None:
            vm.kill()
            vm.wait()
