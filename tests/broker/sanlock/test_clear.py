# SPDX-License-Identifier: Apache-2.0
"""The process that frees an orphan, over a real daemon: it does so only where it is one."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from ha_agent.broker.sanlock.place import decode_leader
from ha_agent.broker.sanlock.port import Look
from tests.broker.sanlock.written_by import resource_bytes, write_resource_bytes
from tests.broker.test_lease_contract import RealHost
from tests.sanlock_daemon import SanlockDaemon, needs_sanlock

pytestmark = [pytest.mark.sanlock, needs_sanlock, pytest.mark.timeout(120)]


async def test_only_an_orphan_without_a_vm_is_freed(tmp_path: Path) -> None:
    vm_uuid = str(uuid.uuid4())
    with SanlockDaemon(tmp_path / "alpha", "alpha") as daemon:
        host = RealHost(tmp_path, 1, daemon, vm_uuid)
        sanlock, path = host.sanlock, Path(host.path)

        async def look() -> Look:
            return await sanlock.look(host.holder.pid, True, 20)

        try:
            await sanlock.initialise(20)
            await sanlock.join(20)
            while not (await look()).hosts:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
            pid = await host.holder.ensure(20)
            assert await sanlock.acquire(pid, 0, 20) == ""
            held = resource_bytes(path)
            assert "a process of this host has it (sanlock error 17)" in await sanlock.clear(1, 20)
            assert (await look()).held == 1
            await sanlock.release(pid, 20)
            write_resource_bytes(path, held)
            orphan = await look()
            assert (orphan.held, orphan.leader) == (None, decode_leader(held[:512], ""))
            assert orphan.leader is not None
            assert orphan.leader.held
            assert "(error 240)" in await sanlock.clear(2, 20)
            command = [sys.executable, "-c", "import time; time.sleep(60)", "-uuid", vm_uuid]
            with subprocess.Popen(command) as vm:
                try:
                    assert f"the engine VM runs here (pid {vm.pid})" in await sanlock.clear(1, 20)
                finally:
                    vm.kill()
            assert (await look()).leader == orphan.leader
            assert await sanlock.clear(1, 20) == ""
            freed = await look()
            assert freed.leader is not None
            assert (freed.held, freed.leader.held, freed.leader.epoch) == (None, False, 2)
            assert await sanlock.acquire(pid, 2, 20) == ""
        finally:
            await host.end()
