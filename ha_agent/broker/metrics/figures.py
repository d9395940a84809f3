# SPDX-License-Identifier: Apache-2.0
"""What the broker tells Prometheus: every metric by name, and its figures as of now.

Names follow Prometheus' conventions: `ha_agent_` in front, the unit last, `_total` for what only
grows. Everything is taken from memory and costs no storage. Labels are bounded: hosts of the
cluster (2000 at most), lanes, verbs that exist, codes from a list; never a sentence, a path or
what a caller sent. A time that is not known is left out, never written as 0: an alert on an age
must not take "never" for "just now". Ages, not moments, as they are measured with this host's
boot-time clock, which nobody else has.

This module knows no library and no wire: metrics/text.py makes text of what `collect` returns.
"""

from __future__ import annotations

import dataclasses
import platform
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Callable, Optional

import ha_agent
from ha_agent.broker.incidents.incident import KINDS as INCIDENT_KINDS
from ha_agent.broker.lease.renewal_tally import RenewalTally
from ha_agent.broker.metrics.catalogue import CATALOGUE, Metric
from ha_agent.broker.rpc.tally import RpcTally
from ha_agent.broker.snapshot import HostEntry, Snapshot
from ha_agent.broker.storage.lane_tally import LaneFigures
from ha_agent.instant import Instant

LEASE_STATES = ("expired", "free", "held", "unknown", "unreadable")
HEALTHS = ("bad", "good", "unknown")


@dataclass(frozen=True)
class Sources:
    """Where the figures come from. All are called in the broker's loop, and must not wait."""

    picture: Callable[[], Snapshot]
    lanes: Callable[[], Iterable[LaneFigures]]
    renewals: RenewalTally
    socket: RpcTally
    events: Callable[[], Mapping[str, int]]


@dataclass(frozen=True)
class Family:
    """One metric with its samples: values of its labels, in their order, and the figure."""

    metric: Metric
    samples: tuple[tuple[tuple[str, ...], float], ...]


_Sample = tuple[str, tuple[str, ...], Optional[float]]


def collect(sources: Sources) -> list[Family]:
    """Return all metrics that have a figure now, in the catalogue's order."""
    found: dict[str, list[tuple[tuple[str, ...], float]]] = {}
    for name, labels, value in _samples(sources):
        if value is not None:
            found.setdefault(name, []).append((labels, float(value)))
    return [
        Family(metric, tuple(found.pop(metric.name)))
        for metric in CATALOGUE
        if metric.name in found
    ]


def _samples(sources: Sources) -> Iterator[_Sample]:
    picture = sources.picture()
    yield "ha_agent_build_info", (ha_agent.__version__, platform.python_version()), 1
    yield "ha_agent_host_info", (str(picture.host_id), picture.host_name, picture.vm_uuid), 1
    yield from _engine(picture)
    yield from _lease(picture, sources.renewals)
    for host in picture.hosts:
        yield from _host(host, picture.made_at)
    yield from _storage(picture, sources.lanes())
    yield from _definition(picture)
    yield from _socket(sources.socket)
    for kind, count in sources.events().items():
        yield "ha_agent_events_total", (kind,), count
    yield from _probes(picture)
    yield from _incidents(picture)
    yield from _push(picture)


def _probes(picture: Snapshot) -> Iterator[_Sample]:
    lost, health = picture.network.share_lost, picture.health
    judged = (
        ("engine", None if health.taken_at is None else health.health == "good", health.taken_at),
        ("network", None if lost is None else lost == 0, picture.network.taken_at),
        ("bridge", picture.bridge.up, picture.bridge.taken_at),
        ("domain", picture.domain.accessible, picture.domain.taken_at),
    )
    for name, fine, taken_at in judged:
        yield "ha_agent_probe_success", (name,), fine
        yield "ha_agent_probe_age_seconds", (name,), _age(picture.made_at, taken_at)
    yield "ha_agent_network_lost_ratio", (), lost
    yield "ha_agent_cpu_load_ratio", (), picture.cpu.load
    free_mib = picture.memory.free_mib
    yield "ha_agent_memory_free_bytes", (), None if free_mib is None else free_mib * 1024**2
    yield "ha_agent_domain_latency_seconds", (), picture.domain.latency_seconds


def _incidents(picture: Snapshot) -> Iterator[_Sample]:
    open_now = Counter(i.kind for i in picture.incidents if i.closed_unix_seconds is None)
    for kind in INCIDENT_KINDS:
        yield "ha_agent_incidents_open", (kind,), open_now[kind]


def _push(picture: Snapshot) -> Iterator[_Sample]:
    # Of certificates of one role that which ends first counts.
    ends: dict[str, float] = {}
    for entry in picture.certificates:
        if not entry.problem:
            end = entry.not_after_unix_seconds
            ends[entry.role] = min(end, ends.get(entry.role, end))
    for role, end in ends.items():
        yield "ha_agent_certificate_expiry_timestamp_seconds", (role,), end
    if picture.push.state != "off":
        yield "ha_agent_push_listening", (), picture.push.state == "listening"
        for counter in dataclasses.fields(picture.push.counters):
            count = getattr(picture.push.counters, counter.name)
            yield "ha_agent_push_total", (counter.name,), count


def _engine(picture: Snapshot) -> Iterator[_Sample]:
    now, agent = picture.made_at, picture.agent
    yield "ha_agent_engine_vm_up", (), agent.engine_status.get("vm") == "up"
    for health in HEALTHS:
        yield "ha_agent_engine_health", (health,), picture.health.health == health
    if agent.made_at is not None:
        yield "ha_agent_agent_report_age_seconds", (), _age(now, agent.made_at)
        yield "ha_agent_agent_state", (agent.state,), 1
        yield "ha_agent_agent_state_age_seconds", (), _age(now, agent.state_since)
        yield "ha_agent_score_points", (), agent.score
        for penalty in agent.penalties:
            yield "ha_agent_score_penalty_points", (penalty.name,), penalty.points
    yield "ha_agent_maintenance", ("local",), agent.local_maintenance
    yield "ha_agent_maintenance", ("global",), picture.global_maintenance


def _lease(picture: Snapshot, renewals: RenewalTally) -> Iterator[_Sample]:
    lease, now = picture.lease, picture.made_at
    for state in LEASE_STATES:
        yield "ha_agent_lease_state", (state,), lease.state == state
    yield "ha_agent_lease_owned", (), lease.ours
    yield "ha_agent_lease_owner_host_id", (), lease.host_id if lease.state == "held" else None
    yield "ha_agent_lease_epoch", (), lease.epoch or None
    yield "ha_agent_lease_look_age_seconds", (), _age(now, lease.last_success)
    yield "ha_agent_lease_remaining_seconds", (), _left(now, lease.expires_at)
    yield "ha_agent_fence_remaining_seconds", (), _left(now, lease.fence_at)
    yield "ha_agent_lease_renewals_total", ("ok",), renewals.ok
    yield "ha_agent_lease_renewals_total", ("failed",), renewals.failed
    yield "ha_agent_lease_renewal_seconds_total", (), renewals.spent_seconds
    yield "ha_agent_lease_renewal_last_seconds", (), renewals.last_seconds


def _host(host: HostEntry, now: Instant) -> Iterator[_Sample]:
    labels = (str(host.host_id), host.host_name)
    yield "ha_agent_host_alive", labels, host.alive
    yield "ha_agent_host_score_points", labels, host.score
    yield "ha_agent_host_status_age_seconds", labels, _age(now, host.changed_at)
    yield "ha_agent_host_status_unreadable", labels, bool(host.problem)
    yield "ha_agent_host_maintenance", labels, host.maintenance


def _storage(picture: Snapshot, lanes: Iterable[LaneFigures]) -> Iterator[_Sample]:
    now, storage = picture.made_at, picture.storage
    yield "ha_agent_storage_problem", (), bool(storage.problem)
    yield "ha_agent_status_read_age_seconds", (), _age(now, storage.read_at)
    yield "ha_agent_status_write_age_seconds", (), _age(now, storage.written_at)
    for lane in lanes:
        name, tally = (lane.name,), lane.tally
        yield "ha_agent_storage_calls_total", name, tally.answered
        yield "ha_agent_storage_call_seconds_total", name, tally.spent_seconds
        for code, count in tally.errors.items():
            yield "ha_agent_storage_errors_total", (lane.name, code), count
        yield "ha_agent_storage_reads_total", name, tally.reads
        yield "ha_agent_storage_read_bytes_total", name, tally.read_bytes
        yield "ha_agent_storage_writes_total", name, tally.writes
        yield "ha_agent_storage_written_bytes_total", name, tally.written_bytes
        yield "ha_agent_storage_queued_calls", name, lane.queued
        yield "ha_agent_storage_busy_seconds", name, _age(now, lane.busy_since) or 0
        yield "ha_agent_storage_workers_replaced_total", name, lane.replaced
        yield "ha_agent_storage_workers_stuck", name, lane.stuck


def _definition(picture: Snapshot) -> Iterator[_Sample]:
    entry = picture.definition
    yield "ha_agent_definition_available", (), entry.available
    yield "ha_agent_definition_version", (), entry.version or None
    accepted = entry.accepted_at_unix_seconds
    yield "ha_agent_definition_accepted_timestamp_seconds", (), accepted or None
    yield "ha_agent_definition_problem", (), bool(entry.problem or entry.running_problem)
    yield "ha_agent_definition_stale", (), entry.stale
    yield "ha_agent_definition_pending", (), entry.pending is not None


def _socket(tally: RpcTally) -> Iterator[_Sample]:
    yield "ha_agent_socket_connections", (), tally.open_connections
    yield "ha_agent_socket_connections_total", (), tally.connections
    yield "ha_agent_socket_connections_refused_total", (), tally.turned_away
    for (verb, result), count in tally.calls.items():
        yield "ha_agent_socket_calls_total", (verb, result), count


def _age(now: Instant, then: Optional[Instant]) -> Optional[float]:
    return None if then is None else max(0.0, now - then)


def _left(now: Instant, end: Optional[Instant]) -> Optional[float]:
    return None if end is None else end - now
