# SPDX-License-Identifier: Apache-2.0
"""What an idle host costs: agent, broker, storage workers and guard, all together.

The host owns the engine VM, which runs and is healthy: so leases are renewed, blocks written and
read, the engine's page asked for. Neither QEMU nor VDSM counts. Processor time is what the kernel
has counted for these processes, those that ended within the time included. Memory is told twice:

    PSS        of /proc/PID/smaps_rollup, summed: a page that n processes map counts 1/n in each
    alone      the same as if no other process of the machine had these files mapped: what is
               shared with strangers counts whole; for other Pythons on this machine make
               ours look smaller than it would be without them
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from pathlib import Path
from typing import Callable

from bench.cluster import NotMeasured
from bench.one_host import one_host
from bench.report import BYTES, SHARE, WORST, Bound, Row
from demo.hosts import Host
from demo.watcher import command_line

SETTLE_SECONDS = 20.0
SAMPLES = 6
LIMIT_SHARE = 0.01
LIMIT_BYTES = 80e6
_TICKS = os.sysconf("SC_CLK_TCK")


def measure(work: Path, guest_work: Path, say: Callable[[str], None], seconds: float) -> list[Row]:
    """Watch an idle host for so long. Raises NotMeasured."""
    with one_host(work, guest_work, say, with_vm=True) as host:
        say("idle: the engine is up; the host settles")
        time.sleep(SETTLE_SECONDS)
        shares, pss, alone = [], [], []
        machine = []
        for number in range(SAMPLES):
            before, idle_before = cpu_seconds(processes(host)), _machine_seconds()
            begun = time.monotonic()
            time.sleep(seconds / SAMPLES)
            after, idle_after = cpu_seconds(processes(host)), _machine_seconds()
            spent = time.monotonic() - begun
            by_role = {role: (after[role] - before.get(role, 0.0)) / spent for role in after}
            shares.append(sum(by_role.values()))
            machine.append((idle_after - idle_before) / spent)
            memory = {role: memory_bytes([pid]) for role, pid in processes(host).items()}
            pss.append(sum(found[0] for found in memory.values()))
            alone.append(memory_bytes(list(processes(host).values()))[1])
            if number in (0, SAMPLES - 1):
                for role in sorted(by_role):
                    say(
                        f"idle: {role:22} {by_role[role] * 100:6.3f} % of a core, PSS "
                        f"{memory.get(role, (0.0, 0.0))[0] / 1e6:5.1f} MB"
                    )
        return [
            Row(
                "idle host, processor",
                tuple(shares),
                "all that this machine did",
                tuple(machine),
                Bound("median", LIMIT_SHARE, SHARE),
                SHARE,
            ),
            Row(
                "idle host, memory (PSS)",
                tuple(pss),
                "as if alone on the machine",
                tuple(alone),
                Bound(WORST, LIMIT_BYTES, BYTES),
                BYTES,
            ),
        ]


def processes(host: Host) -> dict[str, int]:
    """Return agent, broker and the broker's helpers of a host, by what they are."""
    found = {name: host.daemons[name].pid for name in ("ha-agent", "ha-broker")}
    roles = {"fence": "guard"}
    for pid in host.pids():
        comm = Path(f"/proc/{pid}/comm").read_text().strip()
        if comm.startswith("ha-io"):
            found[comm.replace("+", "-")] = pid
            continue
        text = command_line(pid)
        for word, role in roles.items():
            if f"ha_agent.broker.{word}" in text:
                found[role] = pid
    if not any(role.startswith("ha-io-") for role in found):
        raise NotMeasured("no storage worker was found")
    return found


def cpu_seconds(pids: dict[str, int]) -> dict[str, float]:
    """Return the processor time of each, of its children that have ended included."""
    found = {}
    for role, pid in pids.items():
        threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
        now = sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9
        # Of children that have ended: ticks are all there is.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        found[role] = now + sum(int(field) for field in fields[13:15]) / _TICKS
    return found


def memory_bytes(pids: list[int]) -> tuple[float, float]:
    """Return PSS together, and what it would be if these were alone on the machine."""
    pss = alone = 0.0
    files: dict[str, int] = defaultdict(int)
    for pid in pids:
        mapped: dict[str, int] = defaultdict(int)
        name = ""
        for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
            words = line.split()
            if not words[0].endswith(":"):
                name = words[5] if len(words) > 5 else ""
                continue
            amount = int(words[1]) * 1024 if len(words) > 2 and words[2] == "kB" else 0
            if words[0] == "Pss:":
                pss += amount
                private = amount
            elif words[0] == "Rss:":
                resident = amount
            elif words[0] == "Anonymous:":
                # Pages of a file that were written to are this process's own.
                anonymous = min(amount, resident)
                shared_file = resident - anonymous if name.startswith("/") else 0
                mapped[name] += shared_file
                # Anonymous pages are shared with nobody but a parent and its other children.
                alone += max(0.0, private - shared_file) if not shared_file else anonymous
        for name, resident in mapped.items():
            files[name] = max(files[name], resident)
    return pss, alone + sum(files.values())


def _machine_seconds() -> float:
    words = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    busy = [int(word) for word in words[:3]] + [int(word) for word in words[5:8]]
    return sum(busy) / _TICKS
