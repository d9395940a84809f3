# SPDX-License-Identifier: Apache-2.0
"""`make bench`, or `python -m bench [CLAIM ...]`: run the claims, print one table.

Exit codes: 0 all bounds kept; 1 a bound is broken; 2 something could not be measured.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Optional

from bench import (
    failover,
    heartbeat,
    host_death,
    idle,
    maintenance,
    ovf_translate,
    status_latency,
    status_load,
    store_put,
    store_read,
    vdsm_calls,
    vdsm_flood,
    vm_crash,
    vm_start,
)
from bench.cluster import Cluster, NotMeasured, running_cluster
from bench.failure_list import NAMES as FAILURE_NAMES
from bench.failure_report import measure as measure_failures
from bench.report import Row, table
from ha_agent.errors import HaAgentError

Measure = Callable[[Cluster], "list[Row]"]
MeasureAlone = Callable[[Path, Callable[[str], None]], "list[Row]"]

# By name: what measures it, and the hosts' configuration beside the shipped one.
CLAIMS: dict[str, tuple[Measure, str]] = {
    "host-death": (host_death.measure, ""),
    "vm-crash": (vm_crash.measure, vm_crash.CONFIG),
    "maintenance": (maintenance.measure, ""),
    "status": (status_latency.measure, ""),
    "vm-start": (vm_start.measure, vm_crash.CONFIG),
}
# Those that need no hosts: only a work folder, and something to say how far they are.
ALONE: dict[str, MeasureAlone] = {
    "store-read": store_read.measure,
    "store-put": store_put.measure,
    "ovf-translate": ovf_translate.measure,
    "vdsm-calls": vdsm_calls.measure,
    "vdsm-flood": vdsm_flood.measure,
}
# One host, no cluster; the guest's work folder, and how long, and how many clients, may be said.
LOADS = ("status-load", "heartbeat", "idle", "failover")
# Takes ten minutes and more, so it is run only when it is named.
FAILURES = "failures"
BY_DEFAULT = (*CLAIMS, *ALONE, *LOADS)
NAMES = (*BY_DEFAULT, FAILURES)
IDLE_SECONDS = 60.0
KEPT, BROKEN, NOT_MEASURED = 0, 1, 2


@dataclass(frozen=True)
class Given:
    """What the command line says."""

    work: Path
    guest_work: Path
    seconds: Optional[float] = None
    clients: int = status_load.CLIENTS
    runs: int = 1
    only: tuple[str, ...] = ()
    write: Optional[Path] = None


NOTES = """\
Ratios are median to median, within this run. host death: three hosts, default lease times.
The predecessor documents 120-160 s from a host's crash to the VM's start elsewhere, on real
hosts; that is its own figure, not measured here. QEMU killed: [restart] backoff_seconds is all
zeros here, so that each restart is at once as the first one is by default. Events and verbs are
timed on the wire between VDSM and the agent, both real processes.
Store: a volume of 128 MiB whose VMs have about 17 kB each; "≤ 1/N"
wants N times as fast. Ours is a function in this process, and for one VM also a call to a
storage worker, there and back, as the broker makes it; the other side is the processes that VDSM
and the predecessor start. "direct" is past the page cache, on
both sides alike. dd and tar read the whole archive; ours is read from its end to the member, so
that what is in front is not verified. "only read" is what the storage takes for those bytes.
VDSM: our client, bounds and deadlines included, and stomp.py with json take turns at one server;
"answers only" is one that does no more, so that the client is what is measured. With 10,000
events a second agent and broker are real, and both get all of them.
Load: clients and broker share these cores. Heartbeat: all that the status worker reads and writes.
Idle: agent, broker, its workers and guard, with an engine VM that runs; "alone" counts files that
strangers map, too, as if they did not.
Failures: from the fault to QEMU on the kernel's list of processes; against is what the times of
the configuration promise, and not a measurement."""


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "load_average": os.getloadavg(),
    }


def measure_load(name: str, given: Given, say: Callable[[str], None]) -> list[Row]:
    """Measure one of LOADS."""
    if name == "heartbeat":
        return heartbeat.measure(given.work, given.guest_work, say)
    if name == "idle":
        return idle.measure(given.work, given.guest_work, say, given.seconds or IDLE_SECONDS)
    if name == "failover":
        return failover.measure(given.work, given.guest_work, say)
    seconds = given.seconds or status_load.SECONDS
    return status_load.measure(given.work, given.guest_work, say, given.clients, seconds)


def run(names: list[str], given: Given) -> int:
    """Measure the named claims, print the table, keep results.json. Returns the exit code."""
    work, guest_work = given.work, given.guest_work
    begun = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - begun:7.1f} s  {text}", flush=True)

    where = machine()
    rows: list[Row] = []
    failures: list[str] = []
    for name in names:
        try:
            if name in ALONE:
                rows += ALONE[name](work, say)
                continue
            if name in LOADS:
                rows += measure_load(name, given, say)
                continue
            if name == FAILURES:
                rows += measure_failures(
                    work, guest_work, say, given.runs, given.only, given.write, failures.append
                )
                continue
            measure, extra_config = CLAIMS[name]
            say(f"{name}: three hosts are started")
            with running_cluster(work, guest_work, say, extra_config) as cluster:
                rows += measure(cluster)
        except (NotMeasured, HaAgentError) as error:
            failures.append(f"{name}: {error}")
            say(f"{name}: NOT MEASURED: {error}; logs are in {work / 'logs'}")
    results = {"machine": where, "rows": [row.to_json() for row in rows], "failures": failures}
    (work / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    print(f"\n{where['cores']} cores, Python {where['python']}, Linux {where['kernel']}\n")
    if rows:
        print(table(rows) + "\n\n" + NOTES)
    print(f"Every sample is in {work / 'results.json'}.")
    for failure in failures:
        print(f"NOT MEASURED: {failure}")
    if any(row.kept is False for row in rows):
        return BROKEN
    return NOT_MEASURED if failures else KEPT


def main() -> int:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("claims", nargs="*", metavar="CLAIM", help=", ".join(NAMES))
    parser.add_argument("--work", type=Path, default=Path("bench-work"), help="work folder")
    parser.add_argument(
        "--guest-work", type=Path, default=Path("demo-work"), help="where the guest's parts are"
    )
    parser.add_argument(
        "--seconds", type=float, help="how long status-load (30) and idle (60) are watched"
    )
    parser.add_argument(
        "--clients", type=int, default=status_load.CLIENTS, help="clients of status-load"
    )
    parser.add_argument("--runs", type=int, default=1, help="rounds of failures; 0 for none")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="NAME",
        choices=FAILURE_NAMES,
        help=f"of failures only this one (again and again): {', '.join(FAILURE_NAMES)}",
    )
    parser.add_argument("--write", type=Path, help="write failures as a document there")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.claims if name not in NAMES]
    if unknown:
        parser.error(f"unknown claim {', '.join(unknown)}; there are {', '.join(NAMES)}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    work = arguments.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    try:
        given = Given(
            work,
            arguments.guest_work.resolve(),
            arguments.seconds,
            arguments.clients,
            arguments.runs,
            tuple(arguments.only),
            arguments.write,
        )
        return run(arguments.claims or list(BY_DEFAULT), given)
    except KeyboardInterrupt:
        print("bench: interrupted", flush=True)
        return NOT_MEASURED


if __name__ == "__main__":
    sys.exit(main())
