# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

import pytest

from ha_agent.broker.host_vms import HostVms
from ha_agent.clock import SystemClock
from ha_agent.config.layers import Config, load
from ha_agent.vdsm.vm_status import VmStats
from ha_agent.virt.errors import LibvirtUnreachable
from tests.small_config import NOWHERE, VM, write_config
from tests.virt.private_libvirtd import needs_libvirtd


class Vdsm:
    async def vm_stats(self, vm_id: str, /) -> Optional[VmStats]:
        return VmStats(vm_id, status_text="VDSM's")

    async def vm_list(self) -> Sequence[VmStats]:
        return [VmStats("1"), VmStats("2")]


def config(folder: Path, more: str = "") -> Config:
    return load([write_config(folder, more)], NOWHERE)


async def test_vdsm_tells(tmp_path: Path) -> None:
    vms = HostVms(config(tmp_path), Vdsm(), SystemClock())
    assert await vms.engine_vm() == VmStats(VM, status_text="VDSM's")
    assert len(await vms.vm_list()) == 2
    assert not vms.part().work


@needs_libvirtd
async def test_libvirt_tells_where_it_runs_the_vms(tmp_path: Path) -> None:
    text = "[host]\nhypervisor = libvirt\n[libvirt]\nuri = test:///default\n"
    vms = HostVms(config(tmp_path, text), Vdsm(), SystemClock())
    with pytest.raises(LibvirtUnreachable):
        await vms.engine_vm()
    (run,) = vms.part().work
    task = asyncio.ensure_future(run())
    try:
        while True:
            with contextlib.suppress(LibvirtUnreachable):
                assert await vms.engine_vm() is None
                break
            await asyncio.sleep(0.01)
        assert [stats.vm_id for stats in await vms.vm_list()] != ["1", "2"]
    finally:
        task.cancel()
        await asyncio.wait([task])
