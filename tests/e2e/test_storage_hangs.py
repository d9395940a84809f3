# SPDX-License-Identifier: Apache-2.0
"""One host's storage hangs: in the kernel, where no signal helps (tests/faulty_storage.py).

A hang here lasts until the test ends it, as a minute's does to the default times: longer than
every deadline, and than the lease.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator

import pytest

from demo.hosts import Host
from tests.e2e.faulty import MAX_STUCK, FaultyCluster, FaultyHost, faulty_cluster
from tests.e2e.lone import CLOCK, eventually, says
from tests.storage_faults import Fault

pytestmark = [pytest.mark.e2e, pytest.mark.root, pytest.mark.timeout(300)]

LANES = 3
EVERYTHING = ("read", "write", "open", "create", "lock", "fsync", "stat", "list", "rename")
# Seconds: longer than a lease's life and a start. What has not happened by then does not happen.
QUIET_SECONDS = 9.0


@pytest.fixture
def alone() -> Iterator[tuple[FaultyCluster, FaultyHost]]:
    with faulty_cluster(1) as cluster:
        yield cluster, cluster.hosts[0]


class Systemd:
    """Stands in for systemd: takes what a service tells it."""

    def __init__(self) -> None:
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.bind(f"\0ha-agent-test-{os.getpid()}")
        self._told: list[str] = []
        threading.Thread(target=self._take, daemon=True).start()

    def _take(self) -> None:
        while message := self._sock.recv(4096):
            self._told.append(message.decode())

    def start_broker(self, host: Host) -> None:
        """Start the broker under our eyes, and wait until it says that it is ready."""
        count = self._count("READY=1")
        os.environ["NOTIFY_SOCKET"] = self._sock.getsockname().decode().replace("\0", "@")
        try:
            host.start(["ha-broker"])
        finally:
            del os.environ["NOTIFY_SOCKET"]
        eventually(lambda: self._count("READY=1") > count, "the broker is not ready")

    def sees_life(self) -> None:
        """Wait until the watchdog was fed a few times more."""
        count = self._count("WATCHDOG=1")
        eventually(lambda: self._count("WATCHDOG=1") > count + 3, "nobody feeds the watchdog")

    def _count(self, message: str) -> int:
        return sum(message in told for told in self._told)

    def close(self) -> None:
        self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()


@pytest.fixture
def systemd() -> Iterator[Systemd]:
    made = Systemd()
    yield made
    made.close()


def test_a_write_of_the_status_block_hangs_halfway(
    alone: tuple[FaultyCluster, FaultyHost],
) -> None:
    cluster, faulty = alone
    faulty.host.start()
    pid = cluster.settled_on(faulty)
    status = f"*/{cluster.domain.status_volume}"
    faulty.storage.set(Fault(("write",), status, first_bytes=100, hang=True))
    eventually(lambda: faulty.storage_entry()["workers_stuck"] == 1, "nothing hangs")
    before, renewals = faulty.storage_entry(), cluster.record().counter
    hung = faulty.hangs("write")
    assert len(hung) == 1

    def goes_on() -> bool:
        now = faulty.storage_entry()
        assert faulty.hangs("write") == hung, "another write was begun while one may still land"
        assert now["written_at"] == before["written_at"]
        return bool(
            now["read_at"] > before["read_at"] + 3 and cluster.record().counter > renewals + 3
        )

    eventually(goes_on, "status is read no more, or the lease not renewed")
    text = says(faulty.host, "1 storage process hangs in the kernel", "our block can't be written")
    assert "status volume, last read" in text
    assert "bad block" in text  # what stands there is half of it
    assert "stuck in the kernel" in faulty.host.cli("explain").stdout
    assert list(cluster.qemus()) == [pid]

    faulty.storage.release()

    def is_back() -> bool:
        now = faulty.storage_entry()
        return bool(
            not now["problem"]
            and now["workers_stuck"] == 0
            and now["written_at"] > before["written_at"]
        )

    eventually(is_back, "the storage came back, the broker did not")
    says(faulty.host, "host1  yes")
    assert list(cluster.qemus()) == [pid]
    assert cluster.record().epoch == 1


def test_everything_hangs_and_the_broker_answers_is_watched_and_ends(
    alone: tuple[FaultyCluster, FaultyHost], systemd: Systemd
) -> None:
    cluster, faulty = alone
    systemd.start_broker(faulty.host)
    faulty.host.start(["ha-vdsm", "ha-agent"])
    cluster.settled_on(faulty)
    faulty.storage.set(Fault(EVERYTHING, hang=True))
    eventually(lambda: "(stuck)" in faulty.storage_entry()["problem"], "no bound is reached")
    read_at = faulty.storage_entry()["read_at"]
    systemd.sees_life()
    eventually(lambda: not faulty.owns(), "the lease is not given up")
    entry = faulty.storage_entry()
    assert MAX_STUCK <= entry["workers_stuck"] <= LANES * MAX_STUCK
    assert entry["read_at"] == read_at
    says(faulty.host, "hang in the kernel", "status volume, last read", "last looked at")
    assert "Shared storage hangs" in faulty.host.cli("explain").stdout

    broker = faulty.host.daemons["ha-broker"]
    broker.terminate()
    assert broker.wait(30) == 0
    assert faulty.hangs()
    # And one that starts while it hangs answers, too, and is ready.
    systemd.start_broker(faulty.host)
    says(faulty.host, "status volume, last read never", "Lease: unknown")
    systemd.sees_life()
    faulty.storage.release()

    def is_fine() -> bool:
        now = faulty.storage_entry()
        return bool(not now["problem"] and now["workers_stuck"] == 0)

    eventually(is_fine, "storage is not fine again")


@pytest.fixture
def pair() -> Iterator[FaultyCluster]:
    with faulty_cluster(2) as cluster:
        for entry in cluster.hosts:
            entry.host.start()
        yield cluster


def owner_of(cluster: FaultyCluster) -> tuple[FaultyHost, FaultyHost]:
    """Wait until both live and one runs the VM; return it and the other."""

    def look() -> bool:
        name = cluster.runs_on()
        record = cluster.record()
        return name == f"host{record.host_id}" and record.state == "held"

    eventually(look, "the VM does not run where the lease is")
    number = cluster.record().host_id
    owner, other = sorted(cluster.hosts, key=lambda entry: entry.host.number != number)
    for entry in cluster.hosts:
        says(entry.host, "host1  yes", "host2  yes")
        eventually(lambda entry=entry: not entry.storage_entry()["problem"], "storage is not fine")  # type: ignore[misc]
    return owner, other


def test_reads_hang_on_the_owner_the_other_takes_over_and_it_comes_back(
    pair: FaultyCluster,
) -> None:
    owner, other = owner_of(pair)
    epoch = pair.record().epoch
    owner.storage.set(Fault(("read", "open", "stat", "list"), hang=True))
    pair.settled_on(other)
    assert pair.record().epoch == epoch + 1
    says(owner.host, "hang in the kernel", "last read")
    owner.storage.release()
    assert owner_of(pair) == (other, owner)
    assert pair.record().epoch == epoch + 1
    assert not owner.owns()


def renewal_hangs(cluster: FaultyCluster, owner: FaultyHost) -> None:
    """Let the owner's next renewal hang in its write, with the record's lock held."""
    owner.storage.set(Fault(("write",), f"*/ha_agent/{cluster.domain.lease.name}", hang=True))
    eventually(lambda: owner.hangs("write"), "no renewal hangs")
    # The guard ends the VM though nobody else can have the lease yet.
    eventually(lambda: not cluster.runs_on(), "the guard has not ended the VM")


def test_a_renewal_hangs_its_locks_are_taken_away_and_it_comes_back(pair: FaultyCluster) -> None:
    owner, other = owner_of(pair)
    epoch = pair.record().epoch
    renewal_hangs(pair, owner)
    owner.storage.drop_locks()
    pair.settled_on(other)
    assert pair.record().epoch == epoch + 1
    # As NFSv4 does with a write of a client whose locks are gone.
    owner.storage.release(5)
    assert owner_of(pair) == (other, owner)
    assert pair.record().epoch == epoch + 1


def test_a_renewal_hangs_and_lands_when_the_vm_is_gone(pair: FaultyCluster) -> None:
    owner, other = owner_of(pair)
    counter = pair.record().counter
    renewal_hangs(pair, owner)
    ends_at = CLOCK.now() + QUIET_SECONDS
    while CLOCK.now() < ends_at:
        # The record's lock is held for the write that may still land: nobody may go past it.
        assert not pair.runs_on()
        assert not other.owns()
        CLOCK.block(0.2)
    owner.storage.release()
    eventually(lambda: pair.record().counter > counter, "the write has not landed")
    # What has landed is a renewal of a lease that was given up: it runs out.
    assert not owner.owns()
    eventually(lambda: pair.record().epoch == 2, "the lease does not run out")
    pair.runs_on()
