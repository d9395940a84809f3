# SPDX-License-Identifier: Apache-2.0
"""HAClient: the predecessor's shapes, made of what this version's broker really sends."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from ovirt_hosted_engine_ha.client import client as ha_client
from ovirt_hosted_engine_ha.client.client import HAClient
from ovirt_hosted_engine_ha.env.settings import Settings
from ovirt_hosted_engine_ha.lib.exceptions import BrokerTimeoutError, RequestError

from ha_agent.broker.snapshot import HostEntry, Snapshot, to_wire
from ha_agent.instant import Instant
from ha_agent.status_text import predecessor_json
from tests.fake_broker import FakeBroker

UP = {"vm": "up", "health": "good", "detail": "Up"}
HOST = HostEntry(
    host_id=1,
    host_name="alpha",
    alive=True,
    score=3400,
    engine_status=UP,
    state="EngineUp",
    timestamp_seconds=4262,
    local_conf_timestamp_seconds=4200,
    crc32="8b9b1f7e",
    extra="metadata_parse_version=1\nstate=EngineUp\n",
    changed_at=Instant(5.0),
)
OTHER = dataclasses.replace(
    HOST, host_id=2, host_name="beta", alive=False, maintenance=True, extra="", score=0
)


def snapshot(*hosts: HostEntry, global_maintenance: Any = False) -> Snapshot:
    return Snapshot(
        3, 1, "alpha", "vm", Instant(9.0), hosts=hosts, global_maintenance=global_maintenance
    )


@pytest.fixture
def client(folder: Path, broker: FakeBroker) -> HAClient:
    say(broker, snapshot(HOST, OTHER))
    return HAClient(settings=Settings(str(folder / "run" / "broker.socket"), 1))


def say(broker: FakeBroker, picture: Snapshot) -> None:
    broker.answers["status"] = (None, to_wire(picture))


def test_names_are_where_callers_look_for_them() -> None:
    assert (HAClient.StatModes.ALL, HAClient.StatModes.HOST) == ("ALL", "HOST")
    assert HAClient.GlobalMdFlags.MAINTENANCE == "maintenance"
    modes = HAClient.MaintenanceMode
    assert (modes.LOCAL, modes.GLOBAL, modes.LOCAL_MANUAL) == ("LOCAL", "GLOBAL", "LOCAL_MANUAL")
    assert ha_client.StatModes is HAClient.StatModes
    HAClient(log=True)
    HAClient(True, anything="of a later version")


def test_all_stats(client: HAClient) -> None:
    stats = client.get_all_stats(timeout=5)
    assert list(stats) == [0, 1, 2]
    assert stats[0] == {"maintenance": False}
    assert stats[1] == {
        "host-id": 1,
        "host-ts": 4262,
        "score": 3400,
        "engine-status": '{"vm": "up", "health": "good", "detail": "Up"}',
        "hostname": "alpha",
        "maintenance": False,
        "stopped": False,
        "crc32": "8b9b1f7e",
        "conf_on_shared_storage": True,
        "local_conf_timestamp": 4200,
        "extra": HOST.extra,
        "live-data": True,
    }
    assert (stats[2]["live-data"], stats[2]["maintenance"], "extra" in stats[2]) == (
        *(False, True),
        False,
    )


@pytest.mark.parametrize(
    "host",
    [
        HOST,
        OTHER,
        dataclasses.replace(HOST, problem="its crc32 is wrong"),
        dataclasses.replace(HOST, engine_status={}),
        dataclasses.replace(HOST, engine_status={}, alive=False),
        dataclasses.replace(HOST, engine_status={"vm": "down", "health": "bad", "detail": "Down"}),
        dataclasses.replace(HOST, extra="a=b=c\nno pair\nstate=EngineUp"),
        dataclasses.replace(HOST, extra="no pair"),
    ],
)
def test_it_is_what_vm_status_json_has(
    client: HAClient, broker: FakeBroker, host: HostEntry
) -> None:
    """The set-up's tool makes its JSON of this client's answers, key by key in their order."""
    say(broker, snapshot(host))
    stats = client.get_all_host_stats()[host.host_id]
    stats["engine-status"] = json.loads(stats["engine-status"])
    ours = predecessor_json(snapshot(host))[str(host.host_id)]
    assert list(stats.items()) == list(ours.items())


def test_a_dead_host_runs_no_engine(client: HAClient) -> None:
    """Who does not look at live-data must not take it for one that does (facts 6, 18)."""
    status = json.loads(client.get_all_host_stats()[OTHER.host_id]["engine-status"])
    assert (status["vm"], status["health"]) == ("unknown", "unknown")
    assert "up" in status["reason"]


def test_modes(client: HAClient, broker: FakeBroker) -> None:
    assert list(client.get_all_stats(HAClient.StatModes.GLOBAL)) == [0]
    assert list(client.get_all_stats(HAClient.StatModes.HOST)) == [1, 2]
    say(broker, snapshot(HOST, global_maintenance=True))
    assert client.get_all_stats()[0] == {"maintenance": True}
    say(broker, snapshot(global_maintenance=None))
    assert client.get_all_stats() == {}


def test_a_block_that_can_not_be_used(client: HAClient, broker: FakeBroker) -> None:
    never = dataclasses.replace(HOST, host_id=3, changed_at=None, problem="nonsense")
    bad = dataclasses.replace(HOST, host_id=4, problem="its crc32 is wrong")
    say(broker, snapshot(never, bad))
    stats = client.get_all_host_stats()
    assert list(stats) == [4]
    assert stats[4]["live-data"] is False


def test_the_score_of_this_host(client: HAClient, broker: FakeBroker) -> None:
    assert client.get_local_host_id() == 1
    assert client.get_local_host_score() == 3400
    say(broker, snapshot(dataclasses.replace(HOST, alive=False)))
    assert client.get_local_host_score() == 0
    say(broker, snapshot())
    assert client.get_local_host_score() == 0


@pytest.mark.parametrize("answer", [None, [], {}, {"hosts": 5}, {"hosts": [{}]}])
def test_an_answer_of_another_form(client: HAClient, broker: FakeBroker, answer: Any) -> None:
    if isinstance(answer, dict) and answer:
        answer = {"global_maintenance": False, **answer}
    broker.answers["status"] = (None, answer)
    with pytest.raises(RequestError, match="not as expected"):
        client.get_all_stats()


def test_a_broker_that_hangs_has_a_deadline(client: HAClient, broker: FakeBroker) -> None:
    del broker.answers["status"]
    with pytest.raises(BrokerTimeoutError):
        client.get_all_stats(timeout=0.1)


def test_maintenance(client: HAClient, broker: FakeBroker) -> None:
    broker.answers["maintenance.set"] = (None, {"scope": "global", "enabled": True})
    broker.answers["conf.set_key"] = (None, {"key": "x", "store": "ha"})
    modes = client.MaintenanceMode
    client.set_maintenance_mode(modes.GLOBAL, True, timeout=60)
    client.set_maintenance_mode(mode=modes.GLOBAL, value="False")
    client.set_global_md_flag(client.GlobalMdFlags.MAINTENANCE, "1")
    client.set_maintenance_mode(modes.LOCAL, True)
    client.set_maintenance_mode(modes.LOCAL_MANUAL, "no")
    key, manual = "local_maintenance", "local_maintenance_manual"
    assert broker.asked == [
        ("maintenance.set", {"scope": "global", "enabled": True}),
        ("maintenance.set", {"scope": "global", "enabled": False}),
        ("maintenance.set", {"scope": "global", "enabled": True}),
        ("conf.set_key", {"key": key, "value": "True", "store": "ha"}),
        ("conf.set_key", {"key": manual, "value": "False", "store": "ha"}),
    ]
    with pytest.raises(ValueError, match="Invalid maintenance mode: OTHER"):
        client.set_maintenance_mode("OTHER", True)
    with pytest.raises(ValueError, match="perhaps"):
        client.set_maintenance_mode(modes.GLOBAL, "perhaps")
    with pytest.raises(ValueError, match="Unknown metadata flag: x"):
        client.set_global_md_flag("x", True)
    told = {"code": "storage", "message": "global maintenance is not known to be set: EIO"}
    broker.answers["maintenance.set"] = (told, None)
    with pytest.raises(RequestError, match="not known to be set"):
        client.set_maintenance_mode(modes.GLOBAL, True)


def test_configuration_by_key(client: HAClient, broker: FakeBroker) -> None:
    found = {"key": "gateway", "store": "he_shared", "value": "192.0.2.1"}
    broker.answers["conf.get_key"] = (None, found)
    assert client.get_shared_config("gateway") == ["192.0.2.1", "he_shared"]
    broker.answers["conf.set_key"] = (None, {"key": "gateway", "store": "he_shared"})
    client.set_shared_config("gateway", "192.0.2.2", config_type="he_shared")
    broker.answers["conf.keys"] = (None, {"keys": {"ha": ["local_maintenance"]}})
    assert client.get_all_config_keys("ha") == {"ha": ["local_maintenance"]}
    assert broker.asked == [
        ("conf.get_key", {"key": "gateway"}),
        ("conf.set_key", {"key": "gateway", "value": "192.0.2.2", "store": "he_shared"}),
        ("conf.keys", {"store": "ha"}),
    ]
    broker.answers["conf.get_key"] = ({"code": "not_found", "message": "no key 'x'"}, None)
    with pytest.raises(KeyError, match="Configuration key not found"):
        client.get_shared_config("x")
    several = {"code": "bad_argument", "message": "fqdn is in he_local and in he_shared"}
    broker.answers["conf.set_key"] = (several, None)
    with pytest.raises(RequestError, match="he_local and in he_shared"):
        client.set_shared_config("fqdn", "x")
    broker.answers["conf.keys"] = (None, {})
    with pytest.raises(RequestError, match="not as expected"):
        client.get_all_config_keys()


def test_storage_and_lockspace(client: HAClient, broker: FakeBroker) -> None:
    broker.answers["storage.connect"] = broker.answers["storage.disconnect"] = (None, True)
    client.connect_storage_server(timeout=30)
    client.disconnect_storage_server()
    broker.answers["lockspace.repair"] = (None, {"done": ["nothing to do"]})
    with pytest.raises(RequestError, match="global maintenance mode only"):
        client.reset_lockspace()
    client.reset_lockspace(force=True)
    say(broker, snapshot(HOST, global_maintenance=True))
    client.reset_lockspace()
    broker.answers["lockspace.repair"] = ({"code": "refused", "message": "beta lives"}, None)
    with pytest.raises(RequestError, match="beta lives"):
        client.reset_lockspace(True)
    broker.answers["host.remove"] = (None, {"removed": "beta"})
    assert client.clean_metadata(2) == "beta"
    methods = [method for method, _ in broker.asked if method != "status"]
    assert methods == [
        *("storage.connect", "storage.disconnect"),
        *("lockspace.repair", "lockspace.repair", "lockspace.repair", "host.remove"),
    ]


def test_deployed_or_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ha-agent.conf"
    monkeypatch.setenv("HA_AGENT_CONFIG", str(path))
    assert HAClient().is_deployed() is False
    path.write_text("[host]\nid = 1\n")
    assert HAClient().is_deployed() is True
    assert HAClient().get_local_host_id() == 1
    path.unlink()
    path.mkdir()
    assert HAClient().is_deployed() is False


def test_threads_share_a_client(client: HAClient) -> None:
    found: list[Any] = []
    threads = [
        threading.Thread(target=lambda: found.append(client.get_all_stats())) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(found) == 8
    assert all(stats == found[0] for stats in found)


def test_importing_it_loads_nothing_heavy() -> None:
    code = (
        "import sys; import ovirt_hosted_engine_ha.client.client, logging;"
        "print(*(sorted(sys.modules))); print(logging.getLogger().handlers)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
        env={"PYTHONPATH": str(Path(ha_client.__file__).parents[2])},
    )
    modules, handlers = done.stdout.splitlines()
    loaded = {name.partition(".")[0] for name in modules.split()}
    assert not loaded & {"asyncio", "ha_agent", "transitions", "lxml", "ssl", "subprocess"}
    assert handlers == "[]"
