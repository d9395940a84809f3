# SPDX-License-Identifier: Apache-2.0
"""What failures.py does to the hosts, a function a failure.

Each is given the cluster and the owner's name, breaks, and where the failure has an end of its own
(storage that is back after a minute, a daemon that systemd starts again) mends. It returns from
when the time counts if that is not its own begin: where the wait before is the operator's.
"""

from __future__ import annotations

import errno
import os
import signal
import time
import urllib.request
from pathlib import Path
from typing import Optional

from bench.cluster import START_LIMIT_SECONDS, NotMeasured
from bench.failure_cluster import FailureCluster
from bench.failure_times import TIMES

COMMAND_DEADLINE_SECONDS = 20.0
_BLOCK_BYTES = 4096
_TORN_BYTES = 2048
# All of the archive, which is far smaller than its volume.
_ARCHIVE_BYTES = 1 << 20
_EVERYTHING = ("read", "write", "open", "create", "lock", "fsync", "stat", "list", "rename")
# Of a status block: in its text, not in its first line's magic.
_DAMAGED_BYTE = 20


def power_cut(cluster: FailureCluster, owner: str) -> None:
    """The owner's daemons and QEMU get SIGKILL at once."""
    cluster.hosts[owner].power_cut()


def kill_qemu(cluster: FailureCluster, _owner: str) -> None:
    """SIGKILL to QEMU."""
    for qemu in cluster.qemus.running():
        os.kill(qemu.pid, signal.SIGKILL)


def guest_off(cluster: FailureCluster, owner: str) -> float:
    """The guest shuts itself down; the time counts from the end of QEMU."""
    (qemu,) = cluster.qemus.running()
    _ask_guest(cluster, owner, "poweroff")

    def ended_at() -> Optional[float]:
        return cluster.qemus.seen[qemu.pid].ended_at

    return cluster.wait(ended_at, COMMAND_DEADLINE_SECONDS, "the guest has not shut down")


def hang_engine(cluster: FailureCluster, owner: str) -> None:
    """The engine's page takes connections and answers no more, until the guest boots again."""
    _ask_guest(cluster, owner, "health?hang")


def _ask_guest(cluster: FailureCluster, owner: str, what: str) -> None:
    url = f"http://127.0.0.1:{cluster.hosts[owner].engine_port}/cgi-bin/{what}"
    try:
        with urllib.request.urlopen(url, timeout=COMMAND_DEADLINE_SECONDS) as answer:
            answer.read()
    except OSError as error:
        raise NotMeasured(f"the guest does not do {what}: {error}") from error


def kill_agent(cluster: FailureCluster, owner: str) -> None:
    """SIGKILL; systemd starts it again."""
    cluster.kill(owner, "ha-agent")


def kill_broker(cluster: FailureCluster, owner: str) -> None:
    """SIGKILL; systemd starts it again."""
    cluster.kill(owner, "ha-broker")


def kill_vdsm(cluster: FailureCluster, owner: str) -> None:
    """SIGKILL; systemd starts it again."""
    cluster.kill(owner, "ha-vdsm")


def pause_agent(cluster: FailureCluster, owner: str) -> None:
    """SIGSTOP for longer than the lease."""
    cluster.pause(owner, "ha-agent", TIMES.paused_seconds)


def pause_broker(cluster: FailureCluster, owner: str) -> None:
    """SIGSTOP for longer than the lease."""
    cluster.pause(owner, "ha-broker", TIMES.paused_seconds)


# --- storage -----------------------------------------------------------------------------


def hang_storage(cluster: FailureCluster, owner: str) -> None:
    """The owner's mount hangs; the file server takes its locks away, as it hears no more of it."""
    _hang(cluster, owner)
    cluster.storage[owner].drop_locks()


def hang_all_storage(cluster: FailureCluster, _owner: str) -> None:
    """All mounts hang, and go on after a minute: what hangs is done then."""
    for name in cluster.hosts:
        _hang(cluster, name)
    time.sleep(TIMES.storage_hangs_seconds)
    for storage in cluster.storage.values():
        storage.release()


def unreadable_lock_file(cluster: FailureCluster, _owner: str) -> None:
    """Nobody may open, read, write or lock it for a while, as after a wrong chmod."""
    from tests.storage_faults import Fault

    operations = ("open", "read", "write", "lock")
    path = f"*/{cluster.domain.lease.name}"
    for storage in cluster.storage.values():
        storage.set(Fault(operations, path, errno=errno.EACCES))
    time.sleep(TIMES.lock_file_unreadable_seconds)
    for storage in cluster.storage.values():
        storage.release()


def _hang(cluster: FailureCluster, name: str) -> None:
    from tests.storage_faults import Fault

    cluster.storage[name].set(Fault(_EVERYTHING, hang=True))


def damage_block(cluster: FailureCluster, owner: str) -> float:
    """A byte of the owner's status block is another one; its checksum tells.

    Right after the owner has written it: until it writes it again the others have it damaged.
    """
    domain = cluster.domain
    volume = domain.path / "images" / domain.status_image / domain.status_volume
    place = cluster.hosts[owner].number * _BLOCK_BYTES
    with volume.open("r+b", buffering=0) as file:
        before = os.pread(file.fileno(), _BLOCK_BYTES, place)

        def written() -> Optional[bytes]:
            found = os.pread(file.fileno(), _BLOCK_BYTES, place)
            return found if found != before else None

        block = cluster.wait(written, COMMAND_DEADLINE_SECONDS, f"{owner} writes no block")
        os.pwrite(file.fileno(), bytes([block[_DAMAGED_BYTE] ^ 1]), place + _DAMAGED_BYTE)
    return time.monotonic()


def tear_store(cluster: FailureCluster, owner: str) -> None:
    """The copy of the OVF_STORE that is in use ends in its middle for a while."""
    snapshot = cluster.snapshot(owner)
    source = snapshot.definition.source if snapshot else ""
    found = [path for path in _store_volumes(cluster.domain.path) if path.name in source]
    if len(found) != 1:
        raise NotMeasured(f"{owner} does not tell which copy it has read: {source!r}")
    (volume,) = found
    size_bytes = volume.stat().st_size
    with volume.open("r+b") as file:
        archive = file.read(_ARCHIVE_BYTES)
        file.truncate(_TORN_BYTES)
        try:
            for name in cluster.hosts:
                cluster.command(name, "refresh")
            time.sleep(TIMES.untouched_seconds)
        finally:
            file.seek(0)
            file.write(archive)
            file.truncate(size_bytes)
    for name in cluster.hosts:
        cluster.command(name, "refresh")


def _store_volumes(domain: Path) -> list[Path]:
    metas = sorted(domain.glob("images/*/*.meta"))
    return [meta.with_suffix("") for meta in metas if "OVF_STORE" in meta.read_text()]


# --- on purpose --------------------------------------------------------------------------


def local_maintenance(cluster: FailureCluster, owner: str) -> None:
    """An operator takes the owner out."""
    cluster.command(owner, "maintenance", "local", "--reason", "bench")


def cluster_shutdown(cluster: FailureCluster, owner: str) -> float:
    """All of it is shut down in order; the time counts from the command that resumes it."""
    begun = time.monotonic()
    cluster.command(owner, "cluster", "shutdown", "--yes", "--reason", "bench")
    if cluster.qemus.running():
        raise NotMeasured("the cluster is shut down, and the engine VM runs")
    cluster.say(f"  the shutdown took {time.monotonic() - begun:.1f} s")
    # Long enough for `status` to be looked at.
    time.sleep(2.0)
    resumed_at = time.monotonic()
    cluster.command(owner, "cluster", "resume", "--no-wait")
    return resumed_at


def power_cut_all(cluster: FailureCluster, _owner: str) -> float:
    """Every host at once, and on again; the time counts from when all brokers answer."""
    for host in cluster.hosts.values():
        host.power_cut()
    for host in cluster.hosts.values():
        host.start()

    def answer() -> Optional[bool]:
        return all(cluster.snapshot(name) for name in cluster.hosts) or None

    cluster.wait(answer, START_LIMIT_SECONDS, "the brokers do not answer")
    return time.monotonic()
