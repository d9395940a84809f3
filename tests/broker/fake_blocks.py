# SPDX-License-Identifier: Apache-2.0
"""A status volume in memory that keeps block_store.BlockStore's promises; test_monitor.py holds
both to the same contract. What it holds are bytes, so the codec is the real one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Callable, Optional, Union

from ha_agent.broker.blocks.codec import (
    BlockError,
    GlobalBlock,
    StatusBlock,
    decode,
    decode_global,
    encode,
    encode_global,
)
from ha_agent.broker.blocks.store import BlockProblem, StatusVolume, content_of
from ha_agent.errors import EnvironmentFault
from ha_agent.instant import Instant


class FakeBlocks:
    """`fault` fails every call; a `gate` holds reads between their look and their answer."""

    def __init__(self, now: Callable[[], Instant]) -> None:
        self._now = now
        self.slots: dict[int, bytes] = {}
        self.writes: list[StatusBlock] = []
        self.fault: Optional[EnvironmentFault] = None
        self.write_fault: Optional[EnvironmentFault] = None
        self.gate: Optional[asyncio.Event] = None

    async def read_all(self) -> StatusVolume:
        read_at = self._now()
        self._check(self.fault)
        hosts: dict[int, Union[StatusBlock, BlockProblem]] = {}
        for slot, data in self.slots.items():
            if slot == 0:
                continue
            content = content_of(data, slot)
            if content is not None:
                hosts[slot] = content
        volume = StatusVolume(self._global(), hosts, read_at, direct=True, scanned=True)
        if self.gate is not None:
            await self.gate.wait()
        return volume

    async def write(
        self, block: StatusBlock, extra_lines: Sequence[str] = (), *, read_back: bool = False
    ) -> StatusBlock:
        data = encode(block, extra_lines)
        self._check(self.fault or self.write_fault)
        self.slots[block.host_id] = data
        self.writes.append(block)
        written = decode(data, slot=block.host_id)
        assert written is not None
        return written

    async def write_global(self, maintenance: bool) -> None:
        self._check(self.fault or self.write_fault)
        self.slots[0] = encode_global(GlobalBlock(maintenance))

    def _global(self) -> Union[GlobalBlock, BlockProblem, None]:
        if 0 not in self.slots:
            return None
        try:
            return decode_global(self.slots[0])
        except BlockError as error:
            return BlockProblem(0, str(error))

    def _check(self, fault: Optional[EnvironmentFault]) -> None:
        if fault is not None:
            raise fault
