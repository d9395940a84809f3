# SPDX-License-Identifier: Apache-2.0
"""This host's settings before and after it has a cluster, its broker and its VDSM."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from demo.hosts import free_port
from ha_agent.broker.snapshot import Snapshot, to_wire
from ha_agent.broker.storage.domain_connect import Wanted
from ha_agent.clock import SystemClock
from ha_agent.config.schema import VdsmConfig
from ha_agent.errors import EnvironmentFault
from ha_agent.instant import Instant
from ha_agent.setup.own_host import OwnFiles, SocketBroker, VdsmStorage, is_set_up
from ha_agent.setup.step import SetupFailed, SetupRefused
from ha_agent.vdsm.client.storage_server import nfs
from tests.fake_broker import FakeBroker
from tests.setup.join_world import HastyClock, JoiningHost, make_cluster

CLOCK = SystemClock()
UUID = "00000000-0000-4000-8000-000000000001"


def test_what_a_host_says_of_itself_alone(tmp_path: Path) -> None:
    host = JoiningHost(tmp_path, "alpha")
    vdsm = host.root / "etc" / "vdsm"
    vdsm.mkdir()
    (vdsm / "vdsm.conf").write_text("[addresses]\nmanagement_port = 54399\n")
    with (host.root / "etc" / "ha-agent" / "ha-agent.conf").open("a") as file:
        file.write(f"[storage]\ndomain_path = /mnt/{UUID}\n[vdsm]\nssl = false\n")
    drop_ins = host.root / "etc" / "ha-agent" / "ha-agent.conf.d"
    drop_ins.mkdir()
    (drop_ins / "a.conf").write_text("[host]\nname = omega\n")
    found = host.files.settings_alone()
    assert found.host.name == "omega"
    assert found.host.state_dir == host.root / "state"
    assert (found.vdsm.port, found.vdsm.ssl) == (54399, False)


def test_a_host_without_any_file(tmp_path: Path) -> None:
    assert OwnFiles(tmp_path, [], {}).settings_alone().vdsm.port == 54321


def test_a_named_file(tmp_path: Path) -> None:
    named = tmp_path / "named.conf"
    named.write_text("[host]\nname = beta\n")
    for files in (
        OwnFiles(tmp_path, [named], {}),
        OwnFiles(tmp_path, [], {"HA_AGENT_CONFIG": str(named)}),
    ):
        assert files.settings_alone().host.name == "beta"


def test_with_a_cluster(tmp_path: Path) -> None:
    shared = make_cluster(tmp_path / "storage", "ha_agent_storage_max_hosts=7\n")
    host = JoiningHost(tmp_path, "alpha")
    found = host.files.settings_with(shared.conf_text)
    assert (found.storage.max_hosts, found.host.name) == (7, "alpha")
    assert not host.conf.exists()


def test_faults_name_the_files_of_the_host(tmp_path: Path) -> None:
    host = JoiningHost(tmp_path, "alpha")
    own = host.root / "etc" / "ha-agent" / "ha-agent.conf"
    own.write_text("[storage]\nio_deadline_seconds = never\n")
    with pytest.raises(SetupRefused) as caught:
        host.files.settings_with("vmid=1\nha_agent_what=1\n")
    told = str(caught.value)
    assert f"{own}:2" in told
    assert "hosted-engine.conf:2" in told
    assert tempfile.gettempdir() + "/ha-agent-" not in told


async def test_vdsm_that_does_not_answer() -> None:
    settings = VdsmConfig(host="127.0.0.1", port=free_port(), ssl=False)
    wanted = Wanted("d", "i", "v", "/p", is_block=False)

    told = await VdsmStorage(settings, wanted, HastyClock()).release()
    assert "the system that has it mounted" in told
    connected = Wanted("d", "i", "v", "/p", is_block=False, server=nfs("srv:/he", "4"))
    with pytest.raises(EnvironmentFault, match="VDSM at"):
        await VdsmStorage(settings, connected, HastyClock()).release()


async def test_what_the_broker_answers() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "broker.socket"
        broker = FakeBroker(path)
        try:
            picture = Snapshot(1, 3, "alpha", "vm", Instant(5.0))
            broker.answers["status"] = None, to_wire(picture)
            broker.answers["maintenance.set"] = None, {}
            ours = SocketBroker(str(path), CLOCK)
            assert await ours.picture() == picture
            await ours.set_local_maintenance()
            params = {"scope": "local", "enabled": True, "reason": "leaving the cluster"}
            assert broker.asked[1] == ("maintenance.set", params)
            broker.answers["maintenance.set"] = {"code": "refused", "message": "not now"}, None
            with pytest.raises(SetupFailed, match="not now"):
                await ours.set_local_maintenance()
        finally:
            broker.close()


async def test_the_broker_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match="can't be reached"):
        await SocketBroker(str(tmp_path / "no.socket"), CLOCK).picture()


def test_whether_it_is_set_up(tmp_path: Path) -> None:
    host = JoiningHost(tmp_path, "alpha")
    assert not is_set_up(host.root)
    host.conf.parent.mkdir(parents=True)
    host.conf.touch()
    assert is_set_up(host.root)
