# SPDX-License-Identifier: Apache-2.0
"""Samples as the board's entries: the figure, what the newest sample found, the last in words.

A figure is that of the newest sample that tells, with that sample's time, and `detail` of the
newest one: who takes samples by their time must not take one for two because those after it
did not work. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional, TypeVar

from ha_agent.broker.probes.bridge import BridgeState
from ha_agent.broker.probes.domain import DomainState
from ha_agent.broker.probes.engine_health import HealthResult
from ha_agent.broker.probes.load import Load
from ha_agent.broker.probes.loop import Sample
from ha_agent.broker.probes.memory import Memory
from ha_agent.broker.probes.network import NetworkTest, ProbeResult
from ha_agent.broker.snapshot import (
    BridgeEntry,
    CpuEntry,
    DomainEntry,
    HealthEntry,
    MemoryEntry,
    NetworkEntry,
)
from ha_agent.instant import Instant

Value = TypeVar("Value")

_NOTHING_YET = "not measured yet"


def health_entry(sample: Sample[HealthResult]) -> HealthEntry:
    """Return what a look at the page says; one that failed on this host tells nothing."""
    if sample.value is None:
        return HealthEntry("unknown", sample.failure, sample.taken_at)
    word = "good" if sample.value.healthy else "bad"
    return HealthEntry(word, sample.value.detail, sample.taken_at)


def network_entry(test: NetworkTest, samples: Sequence[Sample[ProbeResult]]) -> NetworkEntry:
    """Return the share that was lost of the tests that tell."""
    if test.kind == "none":
        return NetworkEntry(detail="no network test is configured")
    if not samples:
        return NetworkEntry(detail=_NOTHING_YET)
    newest = samples[-1]
    detail = newest.value.detail if newest.value is not None else newest.failure
    telling = [
        (each.value.ok, each.taken_at)
        for each in samples
        if each.value is not None and each.value.ok is not None
    ]
    if not telling:
        return NetworkEntry(None, detail, newest.taken_at, f"no {_tests(test, 1)} worked")
    lost = sum(not ok for ok, _taken_at in telling)
    count = len(telling)
    last = f"of the last {count} {_tests(test, count)}"
    lately = f"{lost} {last} lost" if lost else f"none {last} lost"
    return NetworkEntry(lost / count, detail, telling[-1][1], lately)


def _tests(test: NetworkTest, count: int) -> str:
    plural = "" if count == 1 else "s"
    if test.kind == "ping":
        return f"ping{plural} to {test.address}"
    if test.kind == "tcp":
        return f"connection{plural} to {test.address} port {test.port}"
    whom = test.address or "the name servers"
    return f"question{plural} to {whom}"


def bridge_entry(name: str, samples: Sequence[Sample[BridgeState]]) -> BridgeEntry:
    """Return whether the bridge is up."""
    if not name:
        return BridgeEntry(detail="no bridge is looked at")
    told = _telling(samples)
    if not told:
        return BridgeEntry(detail=_why_not(samples), taken_at=_taken_at(samples))
    ups = sum(state.up for state, _sample in told)
    lately = f"up in {ups} of the last {len(told)} looks"
    detail = _fault(samples) or told[-1][0].detail
    return BridgeEntry(told[-1][0].up, detail, told[-1][1].taken_at, lately)


def cpu_entry(samples: Sequence[Sample[Optional[Load]]]) -> CpuEntry:
    """Return the mean load of the samples; the first look of a meter tells nothing."""
    told = _telling(samples)
    if not told:
        return CpuEntry(detail=_why_not(samples), taken_at=_taken_at(samples))
    newest = told[-1][0]
    mean = sum(load.share for load, _sample in told) / len(told)
    span = told[-1][1].taken_at - told[0][1].taken_at
    detail = _fault(samples) or f"{newest.share:.0%} of all CPUs in use" + (
        f", without the engine VM's {newest.engine_share:.0%}" if newest.engine_share else ""
    )
    lately = f"{mean:.0%} on the mean of {len(told)} samples" + (
        f" in {span:.0f} s" if len(told) > 1 else ""
    )
    return CpuEntry(mean, detail, told[-1][1].taken_at, lately)


def memory_entry(samples: Sequence[Sample[Memory]]) -> MemoryEntry:
    """Return how much there is for the engine VM."""
    told = _telling(samples)
    if not told:
        return MemoryEntry(detail=_why_not(samples), taken_at=_taken_at(samples))
    newest = told[-1][0]
    least = min(memory.free_mib for memory, _sample in told)
    has = f", {newest.engine_mib} MiB of them in use by it" if newest.engine_mib else ""
    detail = _fault(samples) or f"{newest.free_mib} MiB for the engine VM{has}"
    lately = f"at least {least} MiB in the last {len(told)} looks"
    return MemoryEntry(newest.free_mib, detail, told[-1][1].taken_at, lately)


def domain_entry(samples: Sequence[Sample[DomainState]]) -> DomainEntry:
    """Return whether the storage domain is within reach."""
    told = _telling(samples)
    if not told:
        return DomainEntry(detail=_why_not(samples), taken_at=_taken_at(samples))
    newest = told[-1][0]
    reached = sum(state.accessible for state, _sample in told)
    figures = [
        f"{whose} took {seconds * 1000:.0f} ms"
        for whose, seconds in (
            ("the broker's last call", newest.latency_seconds),
            ("VDSM's last read", newest.vdsm_seconds),
        )
        if seconds is not None
    ]
    detail = _fault(samples) or ", ".join([newest.detail, *figures])
    lately = f"within reach in {reached} of the last {len(told)} looks"
    return DomainEntry(
        newest.accessible, newest.latency_seconds, detail, told[-1][1].taken_at, lately
    )


def _telling(
    samples: Sequence[Sample[Optional[Value]]],
) -> list[tuple[Value, Sample[Optional[Value]]]]:
    return [(sample.value, sample) for sample in samples if sample.value is not None]


def _fault(samples: Sequence[Sample[Value]]) -> str:
    return samples[-1].failure


def _why_not(samples: Sequence[Sample[Value]]) -> str:
    return samples[-1].failure or _NOTHING_YET if samples else _NOTHING_YET


def _taken_at(samples: Sequence[Sample[Value]]) -> Optional[Instant]:
    return samples[-1].taken_at if samples else None
