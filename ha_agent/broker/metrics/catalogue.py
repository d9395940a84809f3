# SPDX-License-Identifier: Apache-2.0
"""Every metric: its name, its kind, its labels, and what it means; and docs/metrics.md. Pure.

`document` writes docs/metrics.md (scripts/make_metrics_doc.py), a test holds the two together.
"""

from __future__ import annotations

from typing import NamedTuple

GAUGE, COUNTER, INFO = "gauge", "counter", "info"


class Metric(NamedTuple):
    """One metric. `help` is one sentence; flags are 1 or 0."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...] = ()


_HOST = ("host_id", "host_name")
_LANE = ("lane",)

CATALOGUE: tuple[Metric, ...] = (
    Metric("ha_agent_build_info", INFO, "The software that runs.", ("version", "python")),
    Metric("ha_agent_host_info", INFO, "This host.", (*_HOST, "vm_uuid")),
    Metric("ha_agent_engine_vm_up", GAUGE, "Whether the engine VM runs on this host."),
    Metric(
        "ha_agent_engine_health",
        GAUGE,
        "The engine's health page as this host sees it: 1 for the one that holds.",
        ("health",),
    ),
    Metric(
        "ha_agent_agent_report_age_seconds",
        GAUGE,
        "Time since the agent on this host last reported.",
    ),
    Metric(
        "ha_agent_agent_state", GAUGE, "The agent's state: 1 for the one it is in.", ("state",)
    ),
    Metric("ha_agent_agent_state_age_seconds", GAUGE, "For how long it has been in that state."),
    Metric(
        "ha_agent_score_points", GAUGE, "This host's score, as the agent counts it; 3400 is best."
    ),
    Metric("ha_agent_score_penalty_points", GAUGE, "What is taken off the score.", ("penalty",)),
    Metric("ha_agent_maintenance", GAUGE, "Whether maintenance is on.", ("scope",)),
    Metric(
        "ha_agent_lease_state",
        GAUGE,
        "The ownership lease as this host sees it: 1 for the state it is in.",
        ("state",),
    ),
    Metric("ha_agent_lease_owned", GAUGE, "Whether this host owns the engine VM."),
    Metric("ha_agent_lease_owner_host_id", GAUGE, "Id of the owner; absent while there is none."),
    Metric("ha_agent_lease_epoch", GAUGE, "How often the lease has been taken."),
    Metric(
        "ha_agent_lease_look_age_seconds",
        GAUGE,
        "Time since this host last read or renewed the lease with success.",
    ),
    Metric(
        "ha_agent_lease_remaining_seconds",
        GAUGE,
        "Time until the lease expires if it is not renewed; negative once it has expired.",
    ),
    Metric(
        "ha_agent_fence_remaining_seconds",
        GAUGE,
        "Time until the engine VM here is ended if the lease is not renewed; on the owner only.",
    ),
    Metric(
        "ha_agent_lease_renewals_total",
        COUNTER,
        "Renewals of our lease that were tried, by result: ok or failed.",
        ("result",),
    ),
    Metric("ha_agent_lease_renewal_seconds_total", COUNTER, "Time spent in renewals."),
    Metric("ha_agent_lease_renewal_last_seconds", GAUGE, "How long the last renewal took."),
    Metric("ha_agent_host_alive", GAUGE, "Whether the host's status block keeps changing.", _HOST),
    Metric("ha_agent_host_score_points", GAUGE, "The score that the host published last.", _HOST),
    Metric(
        "ha_agent_host_status_age_seconds",
        GAUGE,
        "Time since the host's status block last changed, by this host's clock.",
        _HOST,
    ),
    Metric(
        "ha_agent_host_status_unreadable",
        GAUGE,
        "Whether the host's status block can't be used.",
        _HOST,
    ),
    Metric("ha_agent_host_maintenance", GAUGE, "Whether it is in local maintenance.", _HOST),
    Metric("ha_agent_storage_problem", GAUGE, "Whether the status volume can't be used."),
    Metric("ha_agent_status_read_age_seconds", GAUGE, "Time since the status blocks were read."),
    Metric("ha_agent_status_write_age_seconds", GAUGE, "Time since our block was written."),
    Metric("ha_agent_storage_calls_total", COUNTER, "Storage calls that were answered.", _LANE),
    Metric("ha_agent_storage_call_seconds_total", COUNTER, "Time that those calls took.", _LANE),
    Metric(
        "ha_agent_storage_errors_total",
        COUNTER,
        "Storage calls that failed, by the error's name; deadline is one that was too late.",
        ("lane", "error"),
    ),
    Metric("ha_agent_storage_reads_total", COUNTER, "Read calls of the workers.", _LANE),
    Metric("ha_agent_storage_read_bytes_total", COUNTER, "Bytes that they read.", _LANE),
    Metric("ha_agent_storage_writes_total", COUNTER, "Write calls of the workers.", _LANE),
    Metric("ha_agent_storage_written_bytes_total", COUNTER, "Bytes that they wrote.", _LANE),
    Metric("ha_agent_storage_queued_calls", GAUGE, "Storage calls that wait.", _LANE),
    Metric("ha_agent_storage_busy_seconds", GAUGE, "How long the running call runs.", _LANE),
    Metric("ha_agent_storage_workers_replaced_total", COUNTER, "Workers that were lost.", _LANE),
    Metric(
        "ha_agent_storage_workers_stuck",
        GAUGE,
        "Workers that hang in the kernel and can't be ended.",
        _LANE,
    ),
    Metric("ha_agent_definition_available", GAUGE, "Whether the engine VM could be started."),
    Metric(
        "ha_agent_definition_version", GAUGE, "Number of the definition in this host's history."
    ),
    Metric(
        "ha_agent_definition_accepted_timestamp_seconds",
        GAUGE,
        "When it was accepted, in seconds since 1970.",
    ),
    Metric(
        "ha_agent_definition_problem", GAUGE, "Whether something is wrong with the definition."
    ),
    Metric("ha_agent_definition_stale", GAUGE, "Whether the store can't be read at present."),
    Metric("ha_agent_definition_pending", GAUGE, "Whether the guard holds a new one back."),
    Metric("ha_agent_socket_connections", GAUGE, "Connections to the operators' socket."),
    Metric("ha_agent_socket_connections_total", COUNTER, "Connections that were accepted."),
    Metric("ha_agent_socket_connections_refused_total", COUNTER, "Those over the limit."),
    Metric(
        "ha_agent_socket_calls_total",
        COUNTER,
        "Calls by verb and result: ok, or the error's code. Verbs that do not exist are one.",
        ("verb", "result"),
    ),
    Metric("ha_agent_events_total", COUNTER, "Events of the timeline since the start.", ("kind",)),
    Metric(
        "ha_agent_probe_success",
        GAUGE,
        "Whether the newest finding of a probe is good: engine, network, bridge or domain.",
        ("probe",),
    ),
    Metric("ha_agent_probe_age_seconds", GAUGE, "Time since that sample was taken.", ("probe",)),
    Metric(
        "ha_agent_network_lost_ratio",
        GAUGE,
        "Share of the last network tests that failed.",
    ),
    Metric("ha_agent_cpu_load_ratio", GAUGE, "CPU load without the engine VM's own, 0 to 1."),
    Metric("ha_agent_memory_free_bytes", GAUGE, "Memory that the engine VM could have here."),
    Metric("ha_agent_domain_latency_seconds", GAUGE, "How long the storage domain's answer took."),
    Metric("ha_agent_incidents_open", GAUGE, "Incidents that are open.", ("kind",)),
    Metric(
        "ha_agent_certificate_expiry_timestamp_seconds",
        GAUGE,
        "When a certificate expires, in seconds since 1970: a file of ours, or shown by a peer.",
        ("certificate",),
    ),
    Metric("ha_agent_push_listening", GAUGE, "Whether the engine's push can be taken."),
    Metric(
        "ha_agent_push_total",
        COUNTER,
        "What the push listener met: connections accepted or refused, calls, puts, refreshes.",
        ("what",),
    ),
)

_INTRODUCTION = """\
# Metrics

Made by `scripts/make_metrics_doc.py` from `ha_agent/broker/metrics/catalogue.py`; don't edit it.

The broker of each host has them in memory: asking costs no storage. Two ways, off by default:

- **Endpoint.** `[metrics] listen_address = 127.0.0.1`: `GET /metrics` at port 9877, without TLS or
  login, so keep it on the loop-back and let a proxy or an agent of your monitoring pass it on.
- **Textfile.** `[metrics] textfile = /var/lib/node_exporter/ha_agent.prom`: for node_exporter's
  textfile collector, replaced as a whole each `interval_seconds`. Its age tells when the broker
  has stopped: `node_textfile_mtime_seconds`.

All hosts tell of all hosts (`host_id`, `host_name`), each as it sees them. Flags are 1 or 0. What
is not known is absent, not 0. Counters begin at 0 when the broker starts. Besides these there are
`ha_agent_broker_process_*`: CPU time, memory and descriptors of the broker's own process.

| metric | kind | labels | meaning |
|---|---|---|---|
"""

_RULES = """
## Alert rules to begin with

```yaml
groups:
  - name: ha-agent
    rules:
      - alert: EngineRunsNowhere
        # No host that is scraped owns the engine VM, and nobody has said that this is meant.
        expr: max(ha_agent_lease_owned) == 0 and max(ha_agent_maintenance{scope="global"}) == 0
        for: 5m
        annotations:
          summary: No host runs the engine VM.
      - alert: LeaseNotRenewed
        # Renewals are due every 3 s; the engine VM is ended 11 s after the last good one.
        expr: increase(ha_agent_lease_renewals_total{result="failed"}[5m]) > 3
        annotations:
          summary: The owner has trouble to renew its lease; its storage is slow or failing.
      - alert: StorageWorkersStuck
        expr: ha_agent_storage_workers_stuck > 0
        for: 2m
        annotations:
          summary: Storage hangs in the kernel of a host ({{ $labels.lane }}).
      - alert: NoHostToTakeOver
        # The best of the others, as the owner sees them, could not take the engine VM.
        expr: |
          max(
            ha_agent_host_score_points * ha_agent_host_alive
            and on (instance) ha_agent_lease_owned == 1
            unless on (instance, host_id) ha_agent_host_info
          ) < 1000
        for: 15m
        annotations:
          summary: If the engine's host dies now, no other host can run the engine VM.
      - alert: PushCertificateExpires
        expr: ha_agent_certificate_expiry_timestamp_seconds - time() < 14 * 86400
        annotations:
          summary: The certificate {{ $labels.certificate }} expires within two weeks.
```
"""


def document() -> str:
    """Return docs/metrics.md."""
    rows = [
        f"| `{metric.name}` | {metric.kind} | "
        f"{', '.join(f'`{label}`' for label in metric.labels)} | {metric.help} |\n"
        for metric in CATALOGUE
    ]
    return _INTRODUCTION + "".join(rows) + _RULES
