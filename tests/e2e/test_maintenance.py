# SPDX-License-Identifier: Apache-2.0
"""Maintenance and the cluster's shutdown, through real processes and real storage."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from demo.hosts import Host
from tests.e2e.lone import (
    STORAGE_ONLY,
    done,
    failed,
    lone_host,
    no_tracebacks,
    says,
    twin_of,
)

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]


@pytest.fixture
def host() -> Iterator[Host]:
    with lone_host() as made:
        yield made
        no_tracebacks(made)


def slot_0(host: Host) -> bytes:
    storage = host.domain
    volume = storage.path / "images" / storage.status_image / storage.status_volume
    return volume.read_bytes()[:4096].rstrip(b"\0")


def crash(host: Host) -> None:
    """SIGKILL to the broker, and the next one at once, as systemd does."""
    broker = host.daemons.pop("ha-broker")
    broker.kill()
    broker.wait(10)
    host.start(["ha-broker"])


def test_maintenance_has_a_reason_survives_a_crash_and_ends_in_time(host: Host) -> None:
    with twin_of(host, 2) as other:
        for each in (host, other):
            each.start(STORAGE_ONLY)
            says(each, "Lease: free")
        words = ("--reason", "new switch = faster")
        done(host, "maintenance", "global", "--for", "1h", *words)
        assert slot_0(host) == b"maintenance=1"
        for each in (host, other):
            says(each, "Global maintenance: ON since", "on host1 until", "new switch = faster")
        crash(host)
        says(host, "new switch = faster")
        # Shorter now; the host that set it may come back before its end or after it.
        done(host, "maintenance", "global", "--for", "3s", *words)
        crash(host)
        for each in (host, other):
            says(each, "Global maintenance: off")
        assert slot_0(host) == b"maintenance=0"
        no_tracebacks(other)


def test_local_and_global_are_apart(host: Host) -> None:
    host.start(STORAGE_ONLY)
    says(host, "Lease: free")
    done(host, "maintenance", "global")
    done(host, "maintenance", "local", "--for", "1s")
    done(host, "maintenance", "global", "--off")
    file = host.folder / "state" / "ha.conf"
    assert "# set by: root (uid 0)" in file.read_text()
    says(host, "Global maintenance: off")
    while "local_maintenance_manual=True" in file.read_text():
        says(host, "Global maintenance: off")
    assert "maintenance" in failed(host, "maintenance", "global", "--timeout", "0.0001")


def test_the_cluster_is_shut_down_and_comes_back(host: Host) -> None:
    # A disk without a system does not hear the power button.
    text = host.config.read_text()
    host.config.write_text(text.replace("[engine]\n", "[engine]\nstop_timeout_seconds = 3\n"))
    host.start(("ha-vdsm", "ha-broker", "ha-agent"))
    says(host, "starts on host1")
    words = ("cluster", "shutdown", "--yes", "--within", "50", "--reason", "power")
    told = done(host, *words).splitlines()
    assert told[-1] == "the cluster is shut down: hosts may be powered off"
    said = says(host, "Cluster shutdown: in force", "hosts may be powered off", "Lease: free")
    assert "runs on no live host" in said
    told = done(host, "cluster", "resume", "--within", "50").splitlines()
    assert told[-1].startswith("the engine VM runs on host1")
    says(host, "Global maintenance: off", "starts on host1")
