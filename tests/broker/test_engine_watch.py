# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
from typing import Callable

from ha_agent.broker.engine_watch import EngineWatch, HealthProbe
from ha_agent.broker.probes.engine_health import HealthResult
from ha_agent.broker.probes.from_config import HealthSample
from ha_agent.broker.probes.loop import ProbeLoop
from ha_agent.broker.snapshot import HealthEntry
from tests.fakes import FakeClock


class Page:
    """The engine's health page, as often as it is asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.told: list[HealthEntry] = []

    async def ask(self) -> HealthResult:
        self.asked += 1
        return HealthResult(True, "DB Up!", 0.01)

    def make_probe(self, tell: Callable[[HealthSample], None]) -> HealthProbe:
        return ProbeLoop(
            "page",
            self.ask,
            interval_seconds=2.0,
            deadline_seconds=1.0,
            clock=FakeClock(),
            on_change=tell,
        )

    async def until_asked(self, times: int) -> None:
        for _ in range(1000):
            if self.asked >= times:
                return
            await asyncio.sleep(0)
        raise AssertionError(f"asked {self.asked} times only")


async def test_the_page_is_asked_only_as_long_as_somebody_wants_it() -> None:
    page = Page()
    watch = EngineWatch(page.make_probe, page.told.append)
    assert watch.entry() is None
    watch.watch(True)
    watch.watch(True)
    await page.until_asked(2)
    entry = watch.entry()
    assert entry is not None
    assert (entry.health, entry.detail) == ("good", "DB Up!")
    assert [told.health for told in page.told] == ["good"]
    watch.watch(False)
    watch.watch(False)
    assert watch.entry() is None
    assert page.told[1:] == [HealthEntry()]
    asked = page.asked
    for _ in range(10):
        await asyncio.sleep(0)
    assert page.asked == asked


async def test_what_was_seen_before_is_not_told_again_later() -> None:
    page = Page()
    watch = EngineWatch(page.make_probe, page.told.append)
    watch.watch(True)
    await page.until_asked(1)
    watch.watch(False)
    watch.watch(True)
    assert watch.entry() is None
    await page.until_asked(3)  # the one before the last has been kept
    assert watch.entry() is not None
    await watch.close()
