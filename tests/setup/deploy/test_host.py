# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from ha_agent.setup.deploy.definition import DiskPlace, document, load_source
from ha_agent.setup.deploy.deployment import DISK, Deployment
from ha_agent.setup.deploy.host import CheckHost
from ha_agent.setup.services import PREDECESSOR_AGENT, PREDECESSOR_UNITS
from ha_agent.setup.step import SetupRefused
from ha_agent.vdsm.vm_status import parse_vm_stats
from tests.fakes import FakeClock
from tests.setup.deploy_fakes import DOMAIN, VM, FakeVdsm, make_deployment, make_journal
from tests.setup.deploying import FakeServices


class Host:
    def __init__(self, tmp_path: Path) -> None:
        self.path = tmp_path
        self.vdsm = FakeVdsm(tmp_path)
        self.services = FakeServices()

    async def look(self, **changes: str) -> str:
        """Return what was found, or why it was refused."""
        with make_journal(self.path) as journal:
            deployment = make_deployment(self.path, journal, self.vdsm, **changes)
            return await self._look(deployment)

    async def _look(self, deployment: Deployment) -> str:
        async def ovf() -> bytes:
            place = DiskPlace(DOMAIN, deployment.image(DISK), deployment.volume(DISK), 1)
            return document(load_source(deployment.answers, deployment.choices.get), place)

        clock = deployment.clock
        assert isinstance(clock, FakeClock)
        try:
            found = await CheckHost(deployment, self.services, ovf).look()
        except SetupRefused as error:
            return str(error)
        assert found.done
        return ""


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


async def test_a_sound_host_is_let_through(host: Host) -> None:
    assert await host.look() == ""
    host.vdsm.networks = None  # in the first half minute of VDSM's life
    assert await host.look() == ""


async def test_all_that_is_wrong_is_told_at_once(host: Host) -> None:
    host.vdsm.networks = {"em1": True}
    host.vdsm.memory_free_mib = 1000
    text = await host.look(machine="isapc", engine_fqdn="no.such.name.invalid")
    assert "there is no network ovirtmgmt on this host (VDSM sees em1)" in text
    assert "1000 MiB of memory are free, and the engine VM takes 16384" in text
    assert "QEMU on this host has no machine isapc" in text
    assert "no.such.name.invalid does not resolve" in text


async def test_the_engine_vms_network_must_be_there(host: Host) -> None:
    text = await host.look(network="backbone")
    assert "there is no network backbone for the engine VM on this host" in text


async def test_an_engine_vm_that_runs_is_refused_unless_it_is_ours(host: Host) -> None:
    host.vdsm.vm = parse_vm_stats({"vmId": VM, "status": "Up"}, vm_id=VM)
    assert f"the engine VM {VM} runs on this host already" in await host.look()
    host.vdsm.vm = parse_vm_stats({"vmId": VM, "status": "Down"}, vm_id=VM)
    assert await host.look() == ""
    host.vdsm.vm = parse_vm_stats({"vmId": VM, "status": "Up"}, vm_id=VM)
    conf = host.path / "etc/ovirt-hosted-engine/hosted-engine.conf"
    conf.parent.mkdir(parents=True)
    conf.write_text(f"vmid={VM}\n")
    assert await host.look() == ""


async def test_a_host_of_the_predecessors_is_upgraded_not_set_up(host: Host) -> None:
    host.services = FakeServices(*PREDECESSOR_UNITS)
    assert await host.look() == ""
    host.services.running.add(PREDECESSOR_AGENT)
    assert "use `ha-agent upgrade`" in await host.look()
