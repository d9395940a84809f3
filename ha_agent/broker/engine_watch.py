# SPDX-License-Identifier: Apache-2.0
"""Watches the engine's health page, as long as the agent wants that.

Only where the engine VM is: elsewhere the page tells nothing of this host, and every host would
ask it all the time.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Callable, Optional

from ha_agent.broker.probes import engine_health
from ha_agent.broker.probes.entries import health_entry
from ha_agent.broker.probes.from_config import HealthSample
from ha_agent.broker.probes.loop import ProbeLoop
from ha_agent.broker.snapshot import HealthEntry

log = logging.getLogger(__name__)

HealthProbe = ProbeLoop[engine_health.HealthResult]


class EngineWatch:
    """The probe of the page, begun and ended with the wish for it."""

    def __init__(
        self,
        make_probe: Callable[[Callable[[HealthSample], None]], HealthProbe],
        on_change: Callable[[HealthEntry], None],
    ) -> None:
        """`make_probe(tell)` makes a probe that has no samples yet."""
        self._make_probe = make_probe
        self._on_change = on_change
        self._probe = make_probe(self._changed)
        self._task: Optional[asyncio.Task[None]] = None

    def watch(self, wanted: bool) -> None:
        """Begin or end; what was seen is forgotten at the end."""
        if wanted and self._task is None:
            self._task = asyncio.ensure_future(self._probe.run())
        elif not wanted and self._task is not None:
            self._task.cancel()
            self._task = None
            self._probe = self._make_probe(self._changed)
            self._on_change(HealthEntry())

    def entry(self) -> Optional[HealthEntry]:
        """Return what the last sample says; None while nobody watches or none is there."""
        sample = self._probe.latest
        return None if sample is None or self._task is None else health_entry(sample)

    async def close(self) -> None:
        """End the probe."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    def _changed(self, sample: HealthSample) -> None:
        entry = health_entry(sample)
        log.info("engine health: %s (%s)", entry.health, entry.detail)
        self._on_change(entry)
