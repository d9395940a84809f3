# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.domain import DemoDomain
from demo.hosts import Host
from ha_agent.config import layers
from tests.small_config import NOWHERE

UUIDS = [f"00000000-0000-4000-8000-00000000000{number}" for number in range(1, 5)]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    path = tmp_path / UUIDS[0]
    lease = path / "ha_agent" / f"{UUIDS[1]}.lease"
    domain = DemoDomain(path, UUIDS[0], UUIDS[1], path / "disk", UUIDS[2], UUIDS[3], lease)
    made = Host(2, tmp_path / "host2", domain, 12345, "[lease]\nrenew_interval_seconds = 2\n")
    made.write_config("tcg")
    yield made
    made.power_cut()


def test_its_configuration_is_sound_and_its_own(host: Host) -> None:
    settings = layers.load([host.config], NOWHERE)
    assert (settings.host.id, settings.host.name) == (2, "host2")
    assert settings.lease.path == host.domain.lease
    assert settings.lease.renew_interval_seconds == 2
    assert settings.vdsm.port == settings.vdsm_server.listen_port
    for folder in (settings.host.run_dir, settings.host.state_dir, settings.broker.socket):
        assert str(folder).startswith(f"{host.folder}/")


def test_its_processes_are_those_with_its_folder_in_their_arguments(host: Host) -> None:
    def sleeper(argument: str) -> subprocess.Popen[bytes]:
        # Popen returns when exec has closed our descriptors in it; its arguments come after that.
        code = "print('runs', flush=True); input()"
        arguments = [sys.executable, "-c", code, argument]
        pipe = subprocess.PIPE
        process = subprocess.Popen(arguments, stdin=pipe, stdout=pipe)
        assert process.stdout is not None
        assert process.stdout.readline() == b"runs\n"
        return process

    mine, other = sleeper(f"{host.folder}/x"), sleeper(f"{host.folder}0/x")
    host.daemons["ha-vdsm"] = mine
    try:
        assert host.pids() == [mine.pid]
        assert host.dead_daemons() == []
        host.power_cut()
        assert mine.poll() == -9
        assert host.dead_daemons() == ["ha-vdsm (-9)"]
        assert host.pids() == []
        assert other.poll() is None
    finally:
        for process in (mine, other):
            process.kill()
            process.communicate(timeout=10)


def test_a_power_cut_ends_a_daemon_that_was_just_started(host: Host) -> None:
    """Its arguments may not be there yet: here they never are."""
    host.daemons["ha-vdsm"] = subprocess.Popen(["sleep", "60"])
    host.power_cut()
    assert host.dead_daemons() == ["ha-vdsm (-9)"]


def test_without_a_broker_there_is_no_status_and_no_health(host: Host) -> None:
    assert host.status() is None
    assert not host.says_healthy()
