# SPDX-License-Identifier: Apache-2.0
"""The broker's probes as the configuration wants them, and their samples as the board's entries.

Decides nothing about when a probe runs: that is the service's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Callable

from ha_agent.broker.probes import engine_health, network
from ha_agent.broker.probes.loop import ProbeLoop, Sample
from ha_agent.broker.snapshot import HealthEntry, NetworkEntry
from ha_agent.clock import SystemClock
from ha_agent.config_schema import EngineConfig, NetworkConfig

# A probe ends itself at its deadline; the loop's comes after, for one that does not.
_GRACE_SECONDS = 1.0

HealthSample = Sample[engine_health.HealthResult]
NetworkSample = Sample[network.ProbeResult]


def health_loop(
    config: EngineConfig, clock: SystemClock, on_change: Callable[[HealthSample], None]
) -> ProbeLoop[engine_health.HealthResult]:
    """Return the loop that asks the engine's health page. Raises BadInput for a bad URL."""
    target = engine_health.parse_target(config.health_url)
    ca_file = str(config.health_ca_file) if config.health_ca_file else None

    async def look() -> engine_health.HealthResult:
        return await engine_health.probe(
            target,
            deadline_seconds=config.health_deadline_seconds,
            clock=clock,
            ca_file=ca_file,
        )

    return ProbeLoop(
        "engine health",
        look,
        interval_seconds=config.health_interval_seconds,
        deadline_seconds=config.health_deadline_seconds + _GRACE_SECONDS,
        clock=clock,
        on_change=on_change,
    )


def network_loop(
    config: NetworkConfig, clock: SystemClock, on_change: Callable[[NetworkSample], None]
) -> ProbeLoop[network.ProbeResult]:
    """Return the loop that tests this host's network."""
    test = network.NetworkTest(config.test, config.address, config.port)

    async def look() -> network.ProbeResult:
        return await network.probe(test, config.deadline_seconds)

    return ProbeLoop(
        "network",
        look,
        interval_seconds=config.interval_seconds,
        deadline_seconds=config.deadline_seconds + _GRACE_SECONDS,
        clock=clock,
        on_change=on_change,
    )


def health_entry(sample: HealthSample) -> HealthEntry:
    """Return what the board shows of a sample; one that failed on this host tells nothing."""
    if sample.value is None:
        return HealthEntry("unknown", sample.failure, sample.taken_at)
    word = "good" if sample.value.healthy else "bad"
    return HealthEntry(word, sample.value.detail, sample.taken_at)


def network_entry(sample: NetworkSample, samples: Sequence[NetworkSample]) -> NetworkEntry:
    """Return the newest sample's detail and the share that was lost of all that tell.

    The share is as old as the newest of these: who counts shares by their time must not take
    one lost test for several because the tests after it did not work.
    """
    telling = [
        (each.value.ok, each.taken_at)
        for each in samples
        if each.value is not None and each.value.ok is not None
    ]
    detail = sample.value.detail if sample.value is not None else sample.failure
    if not telling:
        return NetworkEntry(None, detail, sample.taken_at)
    lost = sum(not ok for ok, _taken_at in telling) / len(telling)
    return NetworkEntry(lost, detail, telling[-1][1])
