# SPDX-License-Identifier: Apache-2.0
"""Broker and guard die while the engine VM runs: nobody here enforces the lease any more.

What is left is the VM's own lease, which lives as long as QEMU: no other host gets the VM started,
whatever the record says. (The storage is shared through a mount for each host.)
"""

from __future__ import annotations

import contextlib
import os
import signal

import pytest

from demo.watcher import command_line
from tests.e2e.faulty import FaultyHost, faulty_cluster
from tests.e2e.lone import eventually, says
from tests.e2e.test_storage_hangs import owner_of

pytestmark = [pytest.mark.e2e, pytest.mark.root, pytest.mark.timeout(300)]


def guards_of(entry: FaultyHost) -> list[int]:
    return [pid for pid in entry.host.pids() if "ha_agent.broker.lease.fence" in command_line(pid)]


def kill_broker_and_guard(entry: FaultyHost) -> None:
    broker = entry.host.daemons.pop("ha-broker")
    # One that runs would start another guard.
    broker.send_signal(signal.SIGSTOP)
    guards = guards_of(entry)
    assert guards
    for pid in guards:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    broker.kill()
    broker.wait(10)


def events(entry: FaultyHost) -> str:
    """Return what the host tells; its agent's events come with its next report."""
    return entry.host.cli("events").stdout


def test_no_second_start_and_the_broker_that_comes_back_takes_the_lease_again() -> None:
    with faulty_cluster(2) as cluster:
        for entry in cluster.hosts:
            entry.host.start()
        owner, other = owner_of(cluster)
        pid = next(iter(cluster.qemus()))
        epoch = cluster.record().epoch
        kill_broker_and_guard(owner)

        def gave_up_a_start() -> bool:
            assert list(cluster.qemus()) == [pid]
            record = cluster.record()
            return (record.epoch, record.state) == (epoch + 1, "free")

        eventually(gave_up_a_start, "the other host did not take the lease and give it back")
        eventually(
            lambda: "another host holds the VM lease: stand back" in events(other),
            "the other host does not say why",
        )
        assert "lost the lease" not in events(other)
        # Without its broker, the owner's agent knows nothing and ends nothing.
        agent = owner.host.daemons["ha-agent"]
        assert agent.poll() is None
        status = owner.host.cli("status", "--timeout", "1")
        assert status.returncode == 1
        assert "is ha-broker running?" in status.stderr
        assert list(cluster.qemus()) == [pid]

        owner.host.start(["ha-broker"])
        says(owner.host, f"Lease: held by {owner.host.name}")
        assert cluster.settled_on(owner) == pid
        assert "the VM runs here, so the lease belongs here" in cluster.record().note
        assert guards_of(owner)
