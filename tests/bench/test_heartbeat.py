# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

from bench.heartbeat import PREDECESSOR_SLOTS, feeding, predecessor_look
from ha_agent.broker.blocks import codec as block_codec

SLOT = block_codec.SLOT_BYTES


def test_the_predecessor_reads_all_slots(tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.write_bytes(bytes(PREDECESSOR_SLOTS * SLOT))
    calls, read_bytes = predecessor_look(volume)
    assert read_bytes >= PREDECESSOR_SLOTS * SLOT
    assert calls >= 8


def test_the_feeder_writes_blocks_that_can_be_read(tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.write_bytes(bytes(8 * SLOT))
    with feeding(volume, 2):
        pass  # the first round is written in any case
    data = volume.read_bytes()
    for host_id in (2, 3):
        block = block_codec.decode(data[host_id * SLOT : (host_id + 1) * SLOT], slot=host_id)
        assert block is not None
        assert block.host_id == host_id
    assert not any(data[4 * SLOT :])
