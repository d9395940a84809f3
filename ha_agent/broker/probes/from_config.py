# SPDX-License-Identifier: Apache-2.0
"""The probe of the engine's health page as the configuration wants it.

Decides nothing about when it runs: that is the broker's (engine_watch.py). The probes of this
host itself are in host_probes.py.
"""

from __future__ import annotations

from typing import Callable

from ha_agent.broker.probes import engine_health
from ha_agent.broker.probes.loop import GRACE_SECONDS, ProbeLoop, Sample
from ha_agent.broker.probes.names import Names
from ha_agent.clock import SystemClock
from ha_agent.config.schema import EngineConfig

HealthSample = Sample[engine_health.HealthResult]


def health_loop(
    config: EngineConfig, clock: SystemClock, on_change: Callable[[HealthSample], None]
) -> ProbeLoop[engine_health.HealthResult]:
    """Return the loop that asks the engine's health page. Raises BadInput for a bad URL."""
    target = engine_health.parse_target(config.health_url)
    names = Names()
    ca_file = str(config.health_ca_file) if config.health_ca_file else None

    async def look() -> engine_health.HealthResult:
        return await engine_health.probe(
            target,
            deadline_seconds=config.health_deadline_seconds,
            clock=clock,
            names=names,
            ca_file=ca_file,
        )

    return ProbeLoop(
        "engine health",
        look,
        interval_seconds=config.health_interval_seconds,
        deadline_seconds=config.health_deadline_seconds + GRACE_SECONDS,
        clock=clock,
        on_change=on_change,
    )
