# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from ha_agent.broker.api.arguments import Access
from ha_agent.broker.blocks.monitor import MonitorTimes, StatusMonitor
from ha_agent.broker.host_vms import HostVms
from ha_agent.broker.maintenance.order import MAINTENANCE, Order
from ha_agent.broker.maintenance.order_file import FILE_NAME, KeptOrder, OrderFile
from ha_agent.broker.maintenance.parts import MaintenanceParts
from ha_agent.broker.rpc.server import Peer
from ha_agent.broker.snapshot import Snapshot
from ha_agent.broker.watch import Board
from ha_agent.clock import SystemClock
from ha_agent.config import layers
from ha_agent.vdsm.client.from_config import vdsm_client
from ha_agent.vdsm.client.verbs import Vdsm
from tests.broker.fake_blocks import FakeBlocks
from tests.small_config import NOWHERE, write_config

CLOCK = SystemClock()


class World:
    def __init__(self, folder: Path) -> None:
        config = layers.load([write_config(folder)], NOWHERE)
        config.host.state_dir.mkdir(exist_ok=True)
        self.blocks = FakeBlocks(CLOCK.now)
        self.board = Board(Snapshot(0, 1, "alpha", "vm", CLOCK.now()), CLOCK.now, dict)
        self.monitor = StatusMonitor(
            self.blocks,
            self.board,
            1,
            "alpha",
            clock=CLOCK,
            times=MonitorTimes(1.0, 10.0, 20.0),
            may_write=lambda: True,
        )
        vms = HostVms(config, Vdsm(vdsm_client(config.vdsm, CLOCK, lambda: None)), CLOCK)
        self.parts = MaintenanceParts(
            config, vms, self.monitor, self.board, clock=CLOCK, boot_id="b1"
        )


async def test_an_order_goes_to_storage_and_to_the_disk(tmp_path: Path) -> None:
    world = World(tmp_path)
    handlers = world.parts.api(Access(os.getuid(), None)).handlers()
    params = {"scope": "global", "enabled": True, "for_seconds": 60}
    await handlers["maintenance.set"](params, Peer(1, os.getuid(), 0))
    assert (tmp_path / "state" / FILE_NAME).exists()
    entry = world.board.read().order
    assert entry is not None
    assert entry.in_force
    left = world.parts.as_of_now(entry).remaining_seconds
    assert left is not None
    assert 0 < left <= 60
    assert set(world.parts.deadlines_seconds) == set(handlers)


async def test_local_maintenance_is_told_in_our_block(tmp_path: Path) -> None:
    world = World(tmp_path)
    handlers = world.parts.api(Access(os.getuid(), None)).handlers()
    params = {"scope": "local", "enabled": True, "reason": "disks"}
    await handlers["maintenance.set"](params, Peer(1, os.getuid(), 0))
    assert world.monitor.own.extra.maintenance_note.endswith(": disks")


async def test_what_was_kept_is_ours_again(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    order = Order(7, MAINTENANCE, "root", 1, "alpha", 5.0)
    await OrderFile(tmp_path / "state", "b1").save(KeptOrder(order))
    assert World(tmp_path).monitor.own.extra.order == order


async def test_a_broken_file_is_told_and_no_reason_to_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / FILE_NAME).write_text("{")
    with caplog.at_level(logging.WARNING):
        assert World(tmp_path).monitor.own.extra.order is None
    assert FILE_NAME in caplog.text
