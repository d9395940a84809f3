# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
from pathlib import Path

from ha_agent.broker.lease.renewal_tally import RenewalTally
from ha_agent.broker.metrics.figures import Sources
from ha_agent.broker.metrics.parts import Scrapes, metrics_part
from ha_agent.broker.rpc.tally import RpcTally
from ha_agent.broker.snapshot import Snapshot
from ha_agent.clock import SystemClock
from ha_agent.config.schema import MetricsConfig
from ha_agent.instant import Instant
from tests.fakes import FakeClock


class Counted:
    """Sources that know how often they were asked."""

    def __init__(self) -> None:
        self.pictures = 0

    def sources(self) -> Sources:
        return Sources(self._picture, list, RenewalTally(), RpcTally(), dict)

    def _picture(self) -> Snapshot:
        self.pictures += 1
        return Snapshot(self.pictures, 1, "alpha", "vm", Instant(5.0))


def test_off_is_off() -> None:
    assert metrics_part(MetricsConfig(), Counted().sources(), clock=FakeClock()).work == ()


async def test_the_textfile_is_written_anew_each_interval(tmp_path: Path) -> None:
    path = tmp_path / "ha_agent.prom"
    counted = Counted()
    config = MetricsConfig(textfile=path, interval_seconds=0.01)
    part = metrics_part(config, counted.sources(), clock=SystemClock())
    work = [asyncio.ensure_future(make()) for make in part.work]
    assert len(work) == 1
    try:
        for _round in range(2):
            while not path.exists():  # noqa: ASYNC110  # a thread writes it
                await asyncio.sleep(0.01)
            if _round == 0:
                path.unlink()
    finally:
        work[0].cancel()
        await asyncio.wait(work)
    assert 'ha_agent_host_info{host_id="1",host_name="alpha",vm_uuid="vm"} 1.0' in path.read_text()
    assert list(tmp_path.iterdir()) == [path]


async def test_asking_often_takes_the_figures_once_a_second() -> None:
    counted, clock = Counted(), FakeClock()
    scrapes = Scrapes("127.0.0.1", 0, counted.sources(), clock)
    first = await scrapes.text("")
    assert await scrapes.text("text/plain") == first
    assert counted.pictures == 1
    openmetrics = await scrapes.text("application/openmetrics-text")
    assert openmetrics[1] != first[1]
    await clock.sleep(1.0)
    await scrapes.text("")
    assert counted.pictures == 3


async def test_what_else_is_asked_for_changes_nothing_and_breaks_nothing() -> None:
    counted = Counted()
    scrapes = Scrapes("127.0.0.1", 0, counted.sources(), FakeClock())
    kind = "application/openmetrics-text"
    odd = await scrapes.text(f"{kind};version=\xff;escaping=zz;q=x,,;;==")
    assert odd == await scrapes.text(f"{kind};version=1.0.0;escaping=allow-utf-8;q=0.6,*/*")
    assert counted.pictures == 1
    assert odd[1].startswith(kind)
