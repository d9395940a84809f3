# SPDX-License-Identifier: Apache-2.0
"""A Virt that is connected, for the tests of ha_agent/virt."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from ha_agent.clock import SystemClock
from ha_agent.virt.binding import Libvirt
from ha_agent.virt.place import LeaseKind, VirtSettings
from ha_agent.virt.verbs import Virt

CLOCK = SystemClock()


@contextlib.asynccontextmanager
async def connected(
    domain: Path, uri: str, kind: LeaseKind, **settings: Any
) -> AsyncIterator[Virt]:
    ready = asyncio.Event()
    virt = Virt(
        Libvirt(),
        uri,
        VirtSettings((domain,), kind, settings.pop("accelerator", "tcg"), {"net": "user"}, 1),
        clock=CLOCK,
        uniform=lambda: 0.0,
        call_deadline_seconds=settings.pop("call_deadline_seconds", 20.0),
        keepalive_interval_seconds=settings.pop("keepalive_interval_seconds", 5),
        storage_deadline_seconds=20.0,
        on_change=ready.set,
    )
    virt.start()
    try:
        await asyncio.wait_for(ready.wait(), 30)
        yield virt
    finally:
        await virt.close()
