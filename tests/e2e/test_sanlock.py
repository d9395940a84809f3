# SPDX-License-Identifier: Apache-2.0
"""Three whole hosts with a sanlock daemon each: ownership and VM lease are sanlock's.

In this order over one cluster: a start, QEMU killed, orderly hand-overs. The witness watches.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.run import Demo
from ha_agent.broker.sanlock.place import RESOURCE_OFFSET
from tests.broker.sanlock.written_by import written_by_another
from tests.e2e.cluster import GUEST_CACHE, SHORT_TIMES, WORK, Cluster
from tests.sanlock_daemon import SanlockDaemon, needs_sanlock

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.qemu,
    pytest.mark.sanlock,
    needs_sanlock,
    pytest.mark.timeout(300),
]

SANLOCK = """
[lease]
backend = sanlock
[sanlock]
profile = fast
[vdsm-server]
vm_lease = sanlock
"""


def initialise(demo: Demo, daemon: SanlockDaemon) -> None:
    """Make the domain's lockspace and the boot disk's lease, as VDSM does for a domain."""
    host = demo.hosts["host1"]
    domain = host.domain
    ids = domain.path / "dom_md" / "ids"
    daemon.client("init", "-s", f"{domain.uuid}:0:{ids}:0", "-o", "2")
    disk = domain.boot_disk
    daemon.client("init", "-r", f"{domain.uuid}:{disk.name}:{disk}.lease:0")


@pytest.fixture(scope="module")
def running() -> Iterator[Cluster]:
    run_root = Path(tempfile.mkdtemp(prefix="ha-e2e-"))
    WORK.mkdir(exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="sanlock-", dir=WORK))
    demo = Demo(work, "tcg", SHORT_TIMES + SANLOCK, guest_cache=GUEST_CACHE)
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, work, ignore_errors=True)
        stack.callback(shutil.rmtree, run_root, ignore_errors=True)
        demo.build(run_root)
        daemons = []
        for host in demo.hosts.values():
            daemon = stack.enter_context(SanlockDaemon(run_root / f"s{host.number}", host.name))
            host.environment.update(daemon.variables)
            daemons.append(daemon)
        initialise(demo, daemons[0])
        stack.callback(_keep_logs, demo, daemons)
        stack.callback(demo.stop)
        demo.start()
        cluster = Cluster(demo)
        first = demo.hosts["host1"]
        cluster.wait(lambda: first.status(), "host1's broker does not answer")
        made = first.cli("lease", "init")
        assert made.returncode == 0, made.stderr
        assert made.stdout.startswith("lockspace and lease of sanlock made: ")
        yield cluster


def _keep_logs(demo: Demo, daemons: list[SanlockDaemon]) -> None:
    logs = WORK / "last-sanlock-logs"
    shutil.rmtree(logs, ignore_errors=True)
    for host, daemon in zip(demo.hosts.values(), daemons):
        logs.joinpath(host.name).mkdir(parents=True)
        shutil.copy(daemon.log_path, logs / host.name)
        for log in host.folder.glob("*.log"):
            shutil.copy(log, logs / host.name)


@pytest.fixture
def cluster(running: Cluster) -> Iterator[Cluster]:
    yield running
    assert running.watcher.most_at_once == 1, running.watcher.changes


def test_the_vm_starts_and_its_leases_are_sanlocks(cluster: Cluster) -> None:
    pid, owner = cluster.healthy()
    told = cluster.hosts[owner].cli("lockspace", "check").stdout
    number = cluster.hosts[owner].number
    assert f"owner: held by host {number} ({owner})" in told
    assert "problem" not in told
    assert cluster.runs() == (pid, owner)


def test_a_killed_qemu_comes_back_on_its_host(cluster: Cluster) -> None:
    pid, owner = cluster.settled()
    descriptor = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    finally:
        os.close(descriptor)
    _pid, name = cluster.moved(pid)
    assert name == owner


@pytest.mark.parametrize("writer", ["the owner", "another host"])
def test_an_orderly_hand_over(cluster: Cluster, writer: str) -> None:
    """Of two hosts that took it at once, the other one may have written the owner's record."""
    cluster.settled()
    pid, owner = cluster.healthy()
    number = cluster.hosts[owner].number
    if writer != "the owner":
        written_by_another(_lease(cluster), RESOURCE_OFFSET, writer_id=number % 3 + 1)
    assert cluster.hosts[owner].cli("maintenance", "local").returncode == 0
    _pid, name = cluster.moved(pid, away_from=owner)
    refused = cluster.hosts[name].cli("host", "remove", str(number))
    assert refused.returncode == 1
    assert "nothing was removed" in refused.stderr


def _lease(cluster: Cluster) -> Path:
    (path,) = cluster.hosts["host1"].domain.path.glob("ha_agent/*.sanlock")
    return path
