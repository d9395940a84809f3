# SPDX-License-Identifier: Apache-2.0
"""`make demo` in short, and what it does not show: single daemons that die or hang.

The tests share one cluster, in this order, so that the guest boots as seldom as possible; each
mends what it broke. The witness watches all along.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from tests.e2e.cluster import CLOCK, Cluster, running_cluster

pytestmark = [pytest.mark.e2e, pytest.mark.qemu, pytest.mark.timeout(300)]

# Longer than a lease's life and a start: what has not happened by then does not happen.
QUIET_SECONDS = 9.0


@pytest.fixture(scope="module")
def running() -> Iterator[Cluster]:
    with running_cluster() as cluster:
        yield cluster


@pytest.fixture
def cluster(running: Cluster) -> Iterator[Cluster]:
    yield running
    running.mended()
    assert running.watcher.most_at_once == 1, running.watcher.changes


def stays(cluster: Cluster, pid: int) -> None:
    """Look that QEMU neither goes nor gets company, for longer than that would take."""
    ends_at = CLOCK.now() + QUIET_SECONDS
    while CLOCK.now() < ends_at:
        found = cluster.runs()
        assert found is not None
        assert found[0] == pid
        CLOCK.block(0.1)


def end_qemu(pid: int) -> None:
    """SIGKILL to that process and no other."""
    pidfd = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    finally:
        os.close(pidfd)


def test_one_host_starts_the_vm_and_its_engine_answers(cluster: Cluster) -> None:
    _pid, owner = cluster.healthy()
    assert cluster.lease()["host_name"] == owner
    answer = cluster.hosts[owner].cli("status")
    assert f"runs on {owner}" in answer.stdout


@pytest.mark.parametrize("daemon", ["ha-agent", "ha-broker", "ha-vdsm"])
def test_a_daemon_that_was_killed_finds_the_vm_again(cluster: Cluster, daemon: str) -> None:
    pid, owner = cluster.settled()
    epoch = cluster.lease()["epoch"]
    cluster.kill(owner, daemon)
    cluster.hosts[owner].start([daemon])
    stays(cluster, pid)
    assert cluster.settled() == (pid, owner)
    assert cluster.lease()["epoch"] == epoch
    assert cluster.lease()["host_name"] == owner


def test_local_maintenance_moves_the_vm_in_order(cluster: Cluster) -> None:
    cluster.settled()
    pid, owner = cluster.healthy()
    assert cluster.hosts[owner].cli("maintenance", "local").returncode == 0
    _pid, new_owner = cluster.moved(pid, away_from=owner)
    record = cluster.lease()
    assert record["host_name"] == new_owner
    assert record["note"].startswith("taken: free")  # given up, not expired


def test_a_crash_of_qemu_restarts_it_on_the_same_host(cluster: Cluster) -> None:
    pid, owner = cluster.settled()
    end_qemu(pid)
    assert cluster.moved(pid)[1] == owner


def test_global_maintenance_leaves_a_dead_vm_alone(cluster: Cluster) -> None:
    pid, owner = cluster.settled()
    assert cluster.hosts[owner].cli("maintenance", "global").returncode == 0
    cluster.wait(
        lambda: (
            all((h.status() or {}).get("global_maintenance") for h in cluster.hosts.values())
            or None
        ),
        "not every host knows of global maintenance",
    )
    end_qemu(pid)
    cluster.wait(lambda: cluster.runs() is None or None, "QEMU has not ended")
    ends_at = CLOCK.now() + QUIET_SECONDS
    while CLOCK.now() < ends_at:
        assert cluster.runs() is None
        CLOCK.block(0.1)
    assert cluster.hosts[owner].cli("maintenance", "none").returncode == 0
    cluster.moved(pid)


def test_a_power_cut_moves_the_vm(cluster: Cluster) -> None:
    pid, owner = cluster.settled()
    cluster.hosts[owner].power_cut()
    cluster.moved(pid, away_from=owner)


def test_a_broker_that_stays_dead_costs_its_host_the_vm(cluster: Cluster) -> None:
    pid, owner = cluster.settled()
    cluster.kill(owner, "ha-broker")
    cluster.moved(pid, away_from=owner)
    assert cluster.lease()["note"].startswith("taken: expired")


def test_a_broker_that_hangs_costs_its_host_the_vm(cluster: Cluster) -> None:
    pid, owner = cluster.settled()
    broker = cluster.hosts[owner].daemons["ha-broker"]
    broker.send_signal(signal.SIGSTOP)
    try:
        _pid, new_owner = cluster.moved(pid, away_from=owner)
        status = cluster.hosts[owner].cli("status", "--timeout", "1")
        assert (status.returncode, status.stdout) == (1, "")
    finally:
        broker.send_signal(signal.SIGCONT)
    # It wakes up believing in a lease that is gone.
    assert cluster.settled()[1] == new_owner
    assert cluster.lease()["host_name"] == new_owner
    assert broker.poll() is None


def test_in_the_end_the_engine_answers_and_nobody_complained(cluster: Cluster) -> None:
    cluster.settled()
    cluster.healthy()
    for host in cluster.hosts.values():
        for log in host.folder.glob("*.log"):
            assert "Traceback" not in log.read_text(), log
