# SPDX-License-Identifier: Apache-2.0
"""HAClient as VDSM uses it, in a process of its own, on a host with real daemons and storage."""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ovirt_hosted_engine_ha.client.client import HAClient
from ovirt_hosted_engine_ha.env.settings import Settings
from ovirt_hosted_engine_ha.lib.exceptions import BrokerTimeoutError, RequestError

from demo.hosts import Host
from ha_agent.ovfstore.conf_volume import FILE_NAMES, encode_conf_volume
from ha_agent.vdsm import file_domain
from tests.e2e.lone import CLOCK, eventually, lone_host, no_tracebacks, says, twin_of

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

# What VDSM does for the engine (facts/vdsm.md, "How VDSM calls the HA package"), in our words.
AS_VDSM = """
import json, sys
import ovirt_hosted_engine_ha.client.client as package

def information():
    told = dict(configured=False, active=False, score=0, globalMaintenance=False,
                localMaintenance=False)
    client = package.HAClient()
    own = client.get_local_host_id()
    if not own:
        return told
    told["configured"] = True
    try:
        stats = client.get_all_stats(timeout=5)
    except IOError as error:
        return dict(told, errno=error.errno)
    if 0 in stats:
        flag = package.HAClient.GlobalMdFlags.MAINTENANCE
        told["globalMaintenance"] = stats[0].get(flag, False)
    if own in stats:
        told.update(active=stats[own]["live-data"], score=stats[own]["score"],
                    localMaintenance=stats[own]["maintenance"])
    return told

if len(sys.argv) > 1:
    mode = getattr(package.HAClient.MaintenanceMode, sys.argv[1])
    package.HAClient().set_maintenance_mode(mode, sys.argv[2] == "on", timeout=60)
print(json.dumps({"haStats": information(), "deployed": package.HAClient().is_deployed()}))
"""


def as_vdsm(host: Host, *words: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", AS_VDSM, *words],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
        env={**os.environ, "HA_AGENT_CONFIG": str(host.config)},
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def stats_of(host: Host, **wanted: Any) -> dict[str, Any]:
    """Wait until haStats are as wanted, and return them."""

    def look() -> Any:
        found = as_vdsm(host)["haStats"]
        return found if {key: found.get(key) for key in wanted} == wanted else None

    found: dict[str, Any] = eventually(look, f"haStats are not {wanted}")
    return found


def local_conf(host: Host) -> Path:
    return host.folder / "hosted-engine.conf"


def with_shared_configuration(host: Host) -> None:
    """Give the domain a configuration volume, and the host its own hosted-engine.conf."""
    image, volume = str(uuid.uuid4()), str(uuid.uuid4())
    files = dict.fromkeys(FILE_NAMES, b"")
    files["version"] = b"2.5.0\n"
    files["hosted-engine.conf"] = b"fqdn=engine\nhost_id=1\ngateway=192.0.2.1\n"
    files["broker.conf"] = b"[email]\nsmtp-server = localhost\n"
    source = host.folder.parent / "archive"
    source.write_bytes(encode_conf_volume(files, CLOCK.wall()))
    file_domain.create_volume(
        host.domain.path,
        image,
        volume,
        1 << 20,
        "HostedEngineConfiguration",
        "HECI",
        created_at_seconds=1,
        source=source,
    )
    own_file(host)


def own_file(host: Host) -> None:
    local_conf(host).write_text(f"fqdn=engine\nhost_id={host.number}\n")
    with host.config.open("a") as config:
        config.write(f"[storage]\nhosted_engine_conf = {local_conf(host)}\n")


@pytest.fixture
def host() -> Iterator[Host]:
    with lone_host() as made:
        with_shared_configuration(made)
        yield made
        no_tracebacks(made)


def client_of(host: Host) -> HAClient:
    return HAClient(settings=Settings(str(host.folder / "run" / "broker.socket"), host.number))


def test_what_vdsm_tells_the_engine(host: Host) -> None:
    unasked = as_vdsm(host)
    assert unasked["deployed"] is True
    assert unasked["haStats"]["configured"] is True
    assert unasked["haStats"]["active"] is False
    assert unasked["haStats"]["errno"] == 2  # "is Hosted Engine setup finished?"
    host.start()
    found = stats_of(host, active=True, globalMaintenance=False, localMaintenance=False)
    assert set(found) == {
        *("configured", "active", "score", "globalMaintenance", "localMaintenance")
    }
    assert as_vdsm(host, "GLOBAL", "on")["haStats"]["globalMaintenance"] is True
    says(host, "GlobalMaintenance")
    as_vdsm(host, "LOCAL", "on")
    assert stats_of(host, localMaintenance=True)["score"] == 0
    # The engine ends what it began, not what an operator did.
    as_vdsm(host, "LOCAL_MANUAL", "on")
    as_vdsm(host, "LOCAL", "off")
    assert client_of(host).get_shared_config("local_maintenance_manual") == ["True", "ha"]
    assert stats_of(host, globalMaintenance=True)["localMaintenance"] is True
    as_vdsm(host, "LOCAL_MANUAL", "off")
    as_vdsm(host, "GLOBAL", "off")
    stats_of(host, localMaintenance=False, globalMaintenance=False)
    broker = host.daemons["ha-broker"]
    os.kill(broker.pid, signal.SIGSTOP)
    try:
        with pytest.raises(BrokerTimeoutError):
            client_of(host).get_all_stats(timeout=0.3)
    finally:
        os.kill(broker.pid, signal.SIGCONT)
    broker.kill()
    broker.wait(10)
    assert as_vdsm(host)["haStats"]["active"] is False
    host.start(["ha-broker"])
    stats_of(host, active=True)


def test_two_hosts_that_set_shared_keys_at_once(host: Host) -> None:
    with twin_of(host, 2) as twin:
        own_file(twin)
        for one in (host, twin):
            one.start(("ha-vdsm", "ha-broker"))
        clients = [client_of(host), client_of(twin)]
        for client in clients:
            eventually(functools.partial(asked, client), "no broker tells keys")
        assert clients[0].get_shared_config("gateway") == ["192.0.2.1", "he_shared"]
        with pytest.raises(KeyError, match="gatewy"):
            clients[0].get_shared_config("gatewy")
        with pytest.raises(RequestError, match="he_local and in he_shared"):
            clients[0].set_shared_config("fqdn", "other")
        names = ("gateway", "tcp_t_port", "email.smtp-port", "email.source-email")
        stores = ("he_shared", "he_shared", "broker", "broker")

        def change(number: int, client: HAClient, key: str, store: str) -> None:
            client.set_shared_config(key, f"{number}", store)

        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            for number in range(3):
                jobs = [
                    pool.submit(change, number, clients[place % 2], key, store)
                    for place, (key, store) in enumerate(zip(names, stores))
                ]
                for job in jobs:
                    job.result(60)
                for client in clients:
                    found = [client.get_shared_config(*pair)[0] for pair in zip(names, stores)]
                    assert found == [str(number)] * 4
        clients[1].set_shared_config("network_test", "dns", "he_local")
        assert local_conf(twin).read_text() == "fqdn=engine\nhost_id=2\nnetwork_test=dns\n"
        assert local_conf(host).read_text() == "fqdn=engine\nhost_id=1\n"
        assert "network_test" in clients[1].get_all_config_keys()["he_local"]
        no_tracebacks(twin)


def asked(client: HAClient) -> bool:
    with contextlib.suppress(OSError, RequestError):
        return bool(client.get_all_config_keys("he_shared"))
    return False
