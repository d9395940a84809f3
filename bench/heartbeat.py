# SPDX-License-Identifier: Apache-2.0
"""What the heartbeat costs on shared storage: bytes and calls a minute, for 3, 50 and 250 hosts.

A real broker and agent on a status volume that so many hosts write: this one, and the others by a
feeder, which writes each one's slot every 5 s as their brokers would. Counted are all reads and
writes of this host's status worker (storage/worker.py: the kernel's figures, taken around each
operation and told by the broker's metrics), scans for new hosts and our own block included.
Counting begins when the scans are as far apart as they get.

Against: the predecessor's look, done here on the same volume as it does it: slots 0 to 2000 of
4 KiB, past the page cache, every 10 s.
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

from bench.cluster import NotMeasured
from bench.one_host import one_host, snapshot, status_volume, wait
from bench.report import BYTES, COUNT, Less, Row
from demo.hosts import Host, free_port
from ha_agent.broker.blocks import codec as block_codec
from ha_agent.broker.blocks.codec import StatusBlock
from ha_agent.broker.storage import directio
from ha_agent.broker.storage.io_meter import IoMeter

HOSTS = (3, 50, 250)
FEWER_AT_THREE = 50.0
SCAN_INTERVAL_SECONDS = 60.0
# Scans come after 2, 4, 8, 16, 32 and then each 60 s, from the discovery of the last host on.
SETTLE_SECONDS = 66.0
COUNT_SECONDS = 60.0
PREDECESSOR_SLOTS = 2001
PREDECESSOR_INTERVAL_SECONDS = 10.0
PUBLISH_INTERVAL_SECONDS = 5.0
_FIGURE = re.compile(r'ha_agent_storage_(\w+)_total\{lane="(\w+)"\} ([0-9.e+]+)')


def measure(work: Path, guest_work: Path, say: Callable[[str], None]) -> list[Row]:
    """Count for each number of hosts. Raises NotMeasured."""
    rows = []
    for hosts in HOSTS:
        port = free_port()
        extra = f"[metrics]\nlisten_address = 127.0.0.1\nlisten_port = {port}\n"
        config = f"[storage]\nmax_hosts = {max(64, hosts)}\n"
        with (
            one_host(work, guest_work, say, with_vm=False, drop_in=config + extra) as host,
            feeding(status_volume(host.domain), hosts - 1),
        ):
            wait(lambda host=host, n=hosts: _all_alive(host, n), 60.0, "not all hosts are alive")  # type: ignore[misc]
            say(f"heartbeat: {hosts} hosts are alive; scans get rarer")
            time.sleep(SETTLE_SECONDS)
            before = figures(port)
            time.sleep(COUNT_SECONDS)
            after = figures(port)
            spent = {key: after[key] - before[key] for key in after}
            theirs = predecessor_look(status_volume(host.domain))
        rows += _rows(hosts, spent, theirs)
        lease = {name: int(spent[name, "lease"]) for name in ("read_bytes", "reads", "writes")}
        say(f"heartbeat: {hosts} hosts: {dict(spent)}; of the lease beside it: {lease}")
    return rows


def _rows(hosts: int, spent: dict[tuple[str, str], float], theirs: tuple[int, int]) -> list[Row]:
    looks = 60.0 / PREDECESSOR_INTERVAL_SECONDS
    per_minute = 60.0 / COUNT_SECONDS
    ours_bytes = spent["read_bytes", "status"] + spent["written_bytes", "status"]
    ours_calls = spent["reads", "status"] + spent["writes", "status"]
    against = f"{PREDECESSOR_SLOTS} slots each {PREDECESSOR_INTERVAL_SECONDS:g} s"
    return [
        Row(
            f"heartbeat, {hosts} hosts, bytes a minute",
            (ours_bytes * per_minute,),
            against,
            (theirs[1] * looks,),
            Less(FEWER_AT_THREE) if hosts == min(HOSTS) else None,
            BYTES,
        ),
        Row(
            f"heartbeat, {hosts} hosts, calls a minute",
            (ours_calls * per_minute,),
            against,
            (theirs[0] * looks,),
            None,
            COUNT,
        ),
    ]


def _all_alive(host: Host, hosts: int) -> object:
    found = snapshot(host)
    return (found is not None and sum(entry.alive for entry in found.hosts) == hosts) or None


def figures(port: int) -> dict[tuple[str, str], float]:
    """Return the storage counters of a broker, by name and lane."""
    url = f"http://127.0.0.1:{port}/metrics"
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            text = answer.read().decode()
    except OSError as error:
        raise NotMeasured(f"{url}: {error}") from error
    return {(name, lane): float(value) for name, lane, value in _FIGURE.findall(text)}


def predecessor_look(volume: Path) -> tuple[int, int]:
    """Read the volume as the predecessor does each time; return calls and bytes."""
    meter = IoMeter()
    before = meter.read()
    with directio.open_file(str(volume)) as file:
        for first in range(0, PREDECESSOR_SLOTS, 256):
            slots = min(256, PREDECESSOR_SLOTS - first)
            file.read(first * block_codec.SLOT_BYTES, slots * block_codec.SLOT_BYTES)
    spent = meter.since(before)
    meter.close()
    if spent is None:
        raise NotMeasured("this kernel does not count a process's reads")
    return spent[0], spent[1]


@contextlib.contextmanager
def feeding(volume: Path, others: int) -> Iterator[None]:
    """Within `with`, hosts 2 and up live: their blocks change every few seconds."""
    end = threading.Event()

    def feed() -> None:
        with volume.open("r+b") as file:
            while True:
                begun = time.monotonic()
                for host_id in range(2, others + 2):
                    file.seek(host_id * block_codec.SLOT_BYTES)
                    file.write(_block(host_id))
                    file.flush()
                rest = PUBLISH_INTERVAL_SECONDS - (time.monotonic() - begun)
                if end.wait(max(0.0, rest)):
                    return

    thread = threading.Thread(target=feed, name="feeder", daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


def _block(host_id: int) -> bytes:
    block = StatusBlock(
        host_id,
        f"host{host_id}.example.com",
        int(time.monotonic()),
        3400,
        {"vm": "down", "health": "bad", "detail": "unknown", "reason": "vm not running"},
    )
    lines = ["agent=ha-agent 0.1.0", "state=EngineDown", "memory_mib=65536", "cpu_threads=32"]
    return block_codec.encode(block, lines)
