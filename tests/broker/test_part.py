# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from ha_agent.broker.part import Part


async def test_a_part_without_anything_can_be_stopped() -> None:
    part = Part("quiet")
    part.wake()
    await part.close()
    assert not part.handlers
    assert not part.work
