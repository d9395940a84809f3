# SPDX-License-Identifier: Apache-2.0
"""Upgrade and downgrade put together on a host's files, without VDSM behind it."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from ha_agent.broker.snapshot import Report, Snapshot
from ha_agent.clock import SystemClock
from ha_agent.compat.conf_writer import set_keys
from ha_agent.errors import EnvironmentFault
from ha_agent.instant import Instant
from ha_agent.setup.own_host import OwnFiles, SocketBroker
from ha_agent.setup.services import OUR_UNITS
from ha_agent.setup.step import SetupRefused
from ha_agent.setup.upgrade.ground import read_facts
from ha_agent.setup.upgrade.predecessor_host import HostKind
from ha_agent.setup.upgrade.upgrading import (
    Asked,
    BrokerWatch,
    downgrade,
    settings_before,
    upgrade,
)
from tests.broker.store_world import DOMAIN, VM
from tests.setup.upgrade_world import ETC, Units, conf_4x, make_4x, put


def asked(root: Path, units: Units, said: list[str], *, dry_run: bool = False) -> Asked:
    """Return a request on a host whose VDSM is at a port that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    put(
        root,
        "etc/ha-agent/ha-agent.conf",
        f"[host]\nrun_dir = {root}/run\nstate_dir = {root}/state\n"
        f"[vdsm]\nhost = 127.0.0.1\nport = {port}\nssl = false\n",
    )
    path = root / "etc/ha-agent/ha-agent.conf"
    return Asked(OwnFiles(root, [path], {}), said.append, units, dry_run=dry_run)


async def test_no_host_of_a_hosted_engine(tmp_path: Path) -> None:
    said: list[str] = []
    with pytest.raises(SetupRefused, match="nothing to upgrade"):
        await upgrade(asked(tmp_path, Units(), said))
    assert said[0] == "this is no hosted-engine host:"
    with pytest.raises(SetupRefused, match="no backup of an upgrade"):
        await downgrade(asked(tmp_path, Units(), said))


async def test_a_host_that_is_ours_already(tmp_path: Path) -> None:
    make_4x(tmp_path)
    put(tmp_path, f"{ETC}/hosted-engine.conf", conf_4x() + "ha_agent_lease_backend=lockfile\n")
    units = Units(running=set(OUR_UNITS), enabled=set(OUR_UNITS))
    assert await upgrade(asked(tmp_path, units, [])) is HostKind.OURS
    assert units.log == []


async def test_a_configuration_that_ours_could_not_load_is_told_first(tmp_path: Path) -> None:
    make_4x(tmp_path)
    text = conf_4x().replace("domainType=nfs", "domainType=floppy")
    put(tmp_path, f"{ETC}/hosted-engine.conf", text)
    with pytest.raises(SetupRefused, match="domainType"):
        await upgrade(asked(tmp_path, Units(), []))


@pytest.mark.parametrize(
    ("change", "kind", "path"),
    [
        ({}, "nfs", "/rhev/data-center/mnt/"),
        ({"domainType": "nfs3"}, "nfs3", "/rhev/data-center/mnt/"),
        (
            {"domainType": "iscsi", "storage": "192.0.2.1", "iqn": "iqn.2026-01.x:he"},
            "iscsi",
            f"/run/vdsm/storage/{DOMAIN}",
        ),
        ({"domainType": "fc", "storage": "none"}, "fc", f"/run/vdsm/storage/{DOMAIN}"),
    ],
)
def test_any_storage_of_the_predecessors_can_be_begun_with(
    tmp_path: Path, change: dict[str, str], kind: str, path: str
) -> None:
    """Also one for which the default of our lease's back end is refused."""
    make_4x(tmp_path)
    put(tmp_path, f"{ETC}/hosted-engine.conf", set_keys(conf_4x(), change, where="test"))
    files = asked(tmp_path, Units(), []).files
    storage = settings_before(files, read_facts(tmp_path, None)).storage
    assert storage.domain_type == kind
    assert str(storage.domain_path).startswith(path)


class Told(SocketBroker):
    """A broker with this report of its agent."""

    def __init__(self, report: Report) -> None:
        super().__init__("", SystemClock())
        self.report = report

    async def picture(self) -> Snapshot:
        return Snapshot(1, 1, "h1", VM, Instant(1.0), agent=self.report)


@pytest.mark.parametrize(
    ("report", "watches"),
    [
        (Report(), False),
        (Report(state="StartState", made_at=Instant(1.0)), False),
        (Report(state="EngineUp", made_at=Instant(1.0), stopped=True), False),
        (Report(state="EngineUp", made_at=Instant(1.0), reason="it is up"), True),
    ],
)
async def test_when_our_agent_watches(report: Report, watches: bool) -> None:
    found, text = await BrokerWatch(Told(report)).look()
    assert found is watches
    assert ("it is up" in text) is watches


async def test_a_broker_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    watch = BrokerWatch(SocketBroker(str(tmp_path / "socket"), SystemClock()))
    found, text = await watch.look()
    assert not found
    assert str(tmp_path) in text


async def test_units_that_can_not_be_asked_about(tmp_path: Path) -> None:
    class Silent(Units):
        async def states(self, names: object) -> dict[str, object]:  # type: ignore[override]
            raise EnvironmentFault("systemctl show: no answer within 20 s")

    make_4x(tmp_path)
    with pytest.raises(EnvironmentFault, match="no answer within 20 s"):
        await upgrade(asked(tmp_path, Silent(), []))
