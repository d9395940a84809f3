# SPDX-License-Identifier: Apache-2.0
"""One host's storage fails, is full, is read-only or tears what is written, and is mended.

Those with one fixture share a host, in this order; each mends what it broke.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.faulty import FaultyCluster, FaultyHost, faulty_cluster
from tests.e2e.lone import IN_USE, done, edited, eventually, failed, in_use, read_ovf, says
from tests.e2e.test_store_kill import putting, stop_broker
from tests.storage_faults import Fault

pytestmark = [pytest.mark.e2e, pytest.mark.root, pytest.mark.timeout(300)]

WITHOUT_VM = ("ha-vdsm", "ha-broker")


@pytest.fixture(scope="module")
def alone() -> Iterator[tuple[FaultyCluster, FaultyHost]]:
    with faulty_cluster(1) as cluster:
        cluster.hosts[0].host.start()
        yield cluster, cluster.hosts[0]


@pytest.fixture(scope="module")
def without_vm() -> Iterator[tuple[FaultyCluster, FaultyHost]]:
    with faulty_cluster(1) as cluster:
        cluster.hosts[0].host.start(WITHOUT_VM)
        says(cluster.hosts[0].host, IN_USE)
        yield cluster, cluster.hosts[0]


def test_writes_that_fail_are_told_by_their_error_and_the_lease_goes_on(
    alone: tuple[FaultyCluster, FaultyHost],
) -> None:
    cluster, faulty = alone
    pid = cluster.settled_on(faulty)
    for number in (errno.EIO, errno.ENOSPC, errno.EROFS):
        name = errno.errorcode[number]
        faulty.storage.set(Fault(("write",), f"*/{cluster.domain.status_volume}", errno=number))
        counter = cluster.record().counter
        says(faulty.host, "our block can't be written", name)
        assert faulty.storage_entry()["workers_stuck"] == 0
        eventually(lambda counter=counter: cluster.record().counter > counter + 1, "no renewal")  # type: ignore[misc]
        faulty.storage.set()
        eventually(lambda: not faulty.storage_entry()["problem"], f"not mended after {name}")
    assert list(cluster.qemus()) == [pid]
    assert cluster.record().epoch == 1


def test_a_lease_that_can_not_be_written_costs_the_host_its_vm(
    alone: tuple[FaultyCluster, FaultyHost],
) -> None:
    cluster, faulty = alone
    cluster.settled_on(faulty)
    faulty.storage.set(Fault(("write",), f"*/{cluster.domain.lease.name}", errno=errno.EIO))
    eventually(lambda: not cluster.runs_on(), "the guard has not ended the VM")
    assert not faulty.owns()
    says(faulty.host, "Lease: expired", "the lease was not to be had")


def test_a_torn_block_is_its_own_hosts_problem() -> None:
    with faulty_cluster(2) as cluster:
        for entry in cluster.hosts:
            entry.host.start()
        torn, other = cluster.hosts
        says(other.host, "host1  yes", "host2  yes")
        status = f"*/{cluster.domain.status_volume}"
        torn.storage.set(Fault(("write",), status, first_bytes=100, errno=errno.EIO))
        says(other.host, "bad block", "host2  yes", "host id 1: its status block can't be used")
        torn.storage.set()
        says(other.host, "host1  yes", "host2  yes")


def put_is_cut_off(faulty: FaultyHost, file: Path) -> None:
    """Restart the broker while the write of a put hangs; neither waits for it."""
    put = putting(faulty.host, file)
    try:
        eventually(lambda: faulty.hangs("write"), "the put writes nothing")
        stop_broker(faulty.host)
        assert put.wait(30) == 1
    finally:
        put.kill()
        put.communicate(timeout=10)
    assert faulty.hangs("write")
    faulty.host.start(["ha-broker"])
    says(faulty.host, IN_USE)


@pytest.mark.parametrize(
    ("fault", "memory_mib"),
    [
        (Fault(("write",), first_bytes=700, errno=errno.EIO, times=1), 200),
        (Fault(("write",), errno=errno.ENOSPC, times=1), 201),
        (Fault(("write",), first_bytes=700, hang=True, times=1), 202),
    ],
    ids=["torn", "full", "hangs"],
)
def test_a_put_that_is_cut_off_leaves_the_old_or_the_new_whole(
    without_vm: tuple[FaultyCluster, FaultyHost], tmp_path: Path, fault: Fault, memory_mib: int
) -> None:
    cluster, faulty = without_vm
    host = faulty.host
    old = read_ovf(cluster.domain)
    new = edited(cluster.domain, old, memory_mib=memory_mib)
    file = tmp_path / "new.ovf"
    file.write_bytes(new)
    stores = {
        meta.with_suffix("").name
        for meta in cluster.domain.path.glob("images/*/*.meta")
        if "OVF_STORE" in meta.read_text()
    }
    faults = [
        Fault(fault.operations, f"*/{name}", fault.first_bytes, 0.0, fault.hang, fault.errno, 1)
        for name in stores
    ]
    faulty.storage.set(*faults)
    if fault.hang:
        put_is_cut_off(faulty, file)
    else:
        failed(host, "store", "put", str(file))
    assert in_use(host) in (old, new)
    faulty.storage.release()  # what hung lands now
    eventually(lambda: faulty.storage_entry()["workers_stuck"] == 0, "a worker is stuck")
    assert in_use(host) in (old, new)
    for _ in range(3):
        if host.cli("store", "put", str(file)).returncode == 0:
            break
    assert in_use(host) == new
    done(host, "store", "verify")
