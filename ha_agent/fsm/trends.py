# SPDX-License-Identifier: Apache-2.0
"""Measurements over time: a penalty is entered and left by several samples, never by one.

    value    enter ------------------------------------------------   penalty after `needed` of
             (between: neither for nor against)                       the last `kept` samples
             leave ------------------------------------------------   above, gone after as many
                                                                      at or below leave, and not
                                                                      before the residency

The predecessor took each sample at its word: one round of lost pings cost 960 points, and with
them a healthy engine (facts/predecessor-and-peers.md 1.2). Here a penalty also keeps its
points until the median of the samples has moved by a step, so that the score does not flicker.
Samples are known by when they were taken, so that none counts twice. A window that a sample
leaves as it was is the same object as before: nothing is to be decided then.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Optional

from ha_agent.fsm.observation import Observation, VmCondition
from ha_agent.fsm.policy import Hysteresis, Policy
from ha_agent.instant import Instant, reached

# Free memory moves with every cache: a tenth more than the VM needs has to be free again.
_MEMORY_MARGIN = 0.1
_GONE = (VmCondition.ABSENT, VmCondition.DOWN)


@dataclass(frozen=True)
class Trend:
    """The last samples of one measurement, and what they cost.

    `values` are those samples, newest last; what is at or below the leave threshold stands as
    that threshold. `since` is when the penalty was entered, None while there is none;
    `counted` is the value that its points are reckoned from, and `lingers` says that samples
    are no longer beyond the enter threshold, so that the penalty only waits to be left.
    """

    values: tuple[float, ...] = ()
    taken_at: Optional[Instant] = None
    since: Optional[Instant] = None
    counted: float = 0.0
    lingers: bool = False


@dataclass(frozen=True)
class Trends:
    """One trend for each measured penalty. Values: share lost, 1 for a bridge that is down,
    share of all CPUs, MiB that are missing for the engine VM."""

    network: Trend = field(default_factory=Trend)
    bridge: Trend = field(default_factory=Trend)
    cpu_load: Trend = field(default_factory=Trend)
    memory: Trend = field(default_factory=Trend)

    @property
    def network_lost(self) -> bool:
        """Whether the network costs points now; not while that only lingers."""
        return self.network.since is not None and not self.network.lingers

    @property
    def network_good(self) -> bool:
        """Whether the network is tested and costs nothing."""
        return self.network.since is None and bool(self.network.values)


@dataclass(frozen=True)
class _Gauge:
    """Where a penalty is entered (above) and left (at or below), and the step of its points."""

    enter: float
    leave: float
    step: float


_BRIDGE = _Gauge(0.5, 0.5, 1.0)
_NOTHING = Trend()


def follow_trends(trends: Trends, observation: Observation, policy: Policy) -> Trends:
    """Take in the samples of this observation that are new, and the passing of time."""
    facts, now, rules = observation.facts, observation.now, policy.hysteresis
    network, bridge, cpu_load = trends.network, trends.bridge, trends.cpu_load
    if _news(network, facts.network_share_lost, facts.network_at):
        gauge = _Gauge(rules.network_enter, rules.network_leave, rules.step)
        network = _take(network, facts.network_share_lost, facts.network_at, gauge, rules)
        network = _judge(network, gauge, now, rules)
    if _news(bridge, facts.bridge_up, facts.bridge_at):
        down = None if facts.bridge_up is None else float(not facts.bridge_up)
        bridge = _take(bridge, down, facts.bridge_at, _BRIDGE, rules)
        bridge = _judge(bridge, _BRIDGE, now, rules)
    if _news(cpu_load, facts.cpu_load, facts.cpu_at):
        gauge = _Gauge(policy.weights.cpu_load_low, rules.cpu_load_leave, rules.step)
        cpu_load = _take(cpu_load, facts.cpu_load, facts.cpu_at, gauge, rules)
        cpu_load = _judge(cpu_load, gauge, now, rules)
    memory = _memory(trends.memory, observation, rules)
    before = (trends.network, trends.bridge, trends.cpu_load, trends.memory)
    if all(a is b for a, b in zip(before, (network, bridge, cpu_load, memory))):
        return trends
    return Trends(network, bridge, cpu_load, memory)


def trend_dues(trends: Trends, policy: Policy) -> Iterator[Instant]:
    """Yield when penalties that linger may be left by the passing of time."""
    for trend in (trends.network, trends.bridge, trends.cpu_load, trends.memory):
        if trend.since is not None:
            yield reached(trend.since, policy.hysteresis.residency_seconds)


def _memory(trend: Trend, observation: Observation, rules: Hysteresis) -> Trend:
    """Free memory tells only where the VM is not: where it runs it has its memory already."""
    if observation.vm.condition not in _GONE:
        return trend if trend == _NOTHING else _NOTHING
    facts = observation.facts
    if not _news(trend, facts.memory_free_mib, facts.memory_at):
        return trend
    needed_mib = observation.definition.memory_mib
    missing_mib = None
    if facts.memory_free_mib is not None:
        missing_mib = float(needed_mib - facts.memory_free_mib)
    margin_mib = _MEMORY_MARGIN * needed_mib
    gauge = _Gauge(0.0, -margin_mib, margin_mib)
    trend = _take(trend, missing_mib, facts.memory_at, gauge, rules)
    return _judge(trend, gauge, observation.now, rules)


def _news(trend: Trend, value: Optional[float], taken_at: Optional[Instant]) -> bool:
    """Whether there is anything to do: a penalty to look after, or a sample to take in."""
    return trend.since is not None or _is_new(trend, value, taken_at)


def _is_new(trend: Trend, value: Optional[float], taken_at: Optional[Instant]) -> bool:
    if value is None or taken_at is None or taken_at is trend.taken_at:
        return False
    return trend.taken_at is None or taken_at > trend.taken_at


def _take(
    trend: Trend,
    value: Optional[float],
    taken_at: Optional[Instant],
    gauge: _Gauge,
    rules: Hysteresis,
) -> Trend:
    if value is None or not _is_new(trend, value, taken_at):
        return trend
    value = max(gauge.leave, round(value, 2))
    values = (*trend.values, value)[-rules.samples_kept :]
    if values == trend.values:
        return trend
    return Trend(values, taken_at, trend.since, trend.counted, trend.lingers)


def _judge(trend: Trend, gauge: _Gauge, now: Instant, rules: Hysteresis) -> Trend:
    """Enter or leave the penalty, or let its points follow a value that has moved far."""
    values, since = trend.values, trend.since
    if not values:
        return trend
    middle = sorted(values)[len(values) // 2]
    if since is None:
        beyond = sum(value > gauge.enter for value in values)
        if beyond < rules.samples_needed:
            return trend
        return Trend(values, trend.taken_at, now, max(middle, _least(values, gauge)))
    below = sum(value <= gauge.leave for value in values)
    if below >= rules.samples_needed and now >= reached(since, rules.residency_seconds):
        return Trend(values, trend.taken_at)
    counted, lingers = trend.counted, middle <= gauge.enter
    if not lingers and round(abs(middle - counted), 2) >= gauge.step:
        counted = middle
    if (counted, lingers) == (trend.counted, trend.lingers):
        return trend
    return Trend(values, trend.taken_at, since, counted, lingers)


def _least(values: tuple[float, ...], gauge: _Gauge) -> float:
    """The mildest sample beyond the threshold: with fewer than half beyond, the median is not."""
    return min(value for value in values if value > gauge.enter)
