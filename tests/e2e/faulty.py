# SPDX-License-Identifier: Apache-2.0
"""Whole hosts, each with a mount of its own of one storage: one's may hang while others' is fine.

The engine VM has an empty disk. Times are short: what a mount does for a minute to the default
times, it does for seconds to these.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

import pytest

from demo.domain import DemoDomain, make_domain
from demo.guest import GuestImage
from demo.hosts import Host, free_port
from demo.watcher import command_line
from ha_agent.broker.lease.rules import LeaseRecord, decode
from ha_agent.broker.rpc import call as rpc_call
from tests.e2e.cluster import SHORT_TIMES
from tests.e2e.lone import CLOCK, eventually, no_tracebacks
from tests.faulty_storage import FaultyStorage, faulty_storage

MAX_STUCK = 3
SHORT_DEADLINES = f"""
[storage]
io_deadline_seconds = 2
ovf_deadline_seconds = 3
max_abandoned_workers = {MAX_STUCK}
"""


@dataclasses.dataclass
class FaultyHost:
    """A host and its own mount of the shared storage."""

    host: Host
    storage: FaultyStorage

    def snapshot(self) -> dict[str, Any]:
        """Return what the broker has in memory, asked at its socket."""
        socket = str(self.host.folder / "run" / "broker.socket")
        answer: dict[str, Any] = rpc_call.call_once(socket, "snapshot", {}, 10, clock=CLOCK)
        return answer

    def storage_entry(self) -> dict[str, Any]:
        """Return how storage does, by the broker's word."""
        entry: dict[str, Any] = self.snapshot()["storage"]
        return entry

    def owns(self) -> bool:
        """Whether its broker says that the lease is its own."""
        return bool(self.snapshot()["lease"]["ours"])

    def hangs(self, operation: str = "") -> list[tuple[str, str]]:
        """Return what hangs on the mount."""
        return [entry for entry in self.storage.hanging() if operation in ("", entry[0])]


@dataclasses.dataclass
class FaultyCluster:
    """The hosts, and the storage as it is behind all mounts."""

    hosts: list[FaultyHost]
    domain: DemoDomain

    def record(self) -> LeaseRecord:
        """Return the lease's record, read past every mount."""
        return decode(self.domain.lease.read_bytes()[:4096], "lease")

    def qemus(self) -> dict[int, str]:
        """Return the QEMU processes that live, by the kernel's word: pid to host name."""
        return {
            pid: entry.host.name
            for entry in self.hosts
            for pid in entry.host.pids()
            if "qemu-system" in command_line(pid).split(" ")[0] and is_alive(pid)
        }

    def runs_on(self) -> str:
        """Return the host that QEMU runs on, "" for none; more than one fails the test."""
        found = self.qemus()
        assert len(found) <= 1, f"two owners: {found}"
        return next(iter(found.values()), "")

    def settled_on(self, host: FaultyHost) -> int:
        """Wait until the VM runs there and the lease says so, and return its pid."""

        def look() -> bool:
            return self.runs_on() == host.host.name and host.owns()

        eventually(look, f"the VM does not run on {host.host.name}")
        record = self.record()
        assert (record.state, record.host_id) == ("held", host.host.number)
        return next(iter(self.qemus()))


def is_alive(pid: int) -> bool:
    """Whether it is neither gone nor a zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


@contextlib.contextmanager
def faulty_cluster(
    count: int, extra_config: str = "", *, guest: Optional[GuestImage] = None
) -> Iterator[FaultyCluster]:
    """Make storage, and hosts with a mount each; nothing runs yet, and nothing afterwards.

    Without `guest` the VM has an empty disk.
    """
    if shutil.which("qemu-system-x86_64") is None:
        pytest.skip("needs qemu-system-x86_64: apt-get install qemu-system-x86")
    # Not tmp_path: the path of a UNIX socket has at most 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="ha-faulty-"))
    blank = folder / "blank"
    blank.write_bytes(bytes(1 << 20))
    storage = folder / "storage"
    storage.mkdir()
    domain = make_domain(storage, guest or GuestImage(blank, 1 << 20, "", ""))
    extra_config = SHORT_TIMES + SHORT_DEADLINES + extra_config
    hosts: list[FaultyHost] = []
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        for number in range(1, count + 1):
            mounted = stack.enter_context(faulty_storage(storage, folder / f"mount{number}"))
            seen = _seen_at(mounted.mount, domain, storage)
            # A port each: a QEMU that hangs in the kernel still has its own.
            host = Host(number, folder / f"host{number}", seen, free_port(), extra_config)
            host.write_config("tcg")
            hosts.append(FaultyHost(host, mounted))
        stack.callback(_end, hosts)
        yield FaultyCluster(hosts, domain)
    for entry in hosts:
        assert not entry.storage.is_mounted()


def _seen_at(mount: Path, domain: DemoDomain, storage: Path) -> DemoDomain:
    def seen(path: Path) -> Path:
        return mount / os.path.relpath(path, storage)

    return dataclasses.replace(
        domain,
        path=seen(domain.path),
        boot_disk=seen(domain.boot_disk),
        lease=seen(domain.lease),
    )


def _end(hosts: list[FaultyHost]) -> None:
    for entry in hosts:
        entry.storage.release()
    for entry in hosts:
        entry.host.stop()
    for entry in hosts:
        no_tracebacks(entry.host)
