# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from ha_agent.engine.api import Engine
from ha_agent.engine.budget import Budget
from ha_agent.engine.faults import EngineNotFound, EngineRefused
from ha_agent.engine.sdk import EngineLink, Login
from ha_agent.engine.storage import host_storage
from ha_agent.engine.views import (
    Cluster,
    Connection,
    DataCenter,
    Disk,
    Domain,
    Host,
    HostedEngine,
    Vm,
)
from ha_agent.vdsm.client import storage_server
from tests.engine.engine_model import (
    CENTER,
    CLUSTER,
    DOMAIN,
    HOST,
    NFS,
    VM,
    FakeDomain,
    FakeHost,
    FakeVm,
    Model,
    Passing,
)
from tests.engine.engine_server import PASSWORD, USER, EngineServer, Trouble
from tests.fakes import FakeClock

pytest.importorskip("ovirtsdk4", reason="the extra `engine` is not installed")


@pytest.fixture
async def engine(server: EngineServer) -> AsyncIterator[Engine]:
    login = Login(server.url, USER, PASSWORD, server.ca)
    link = EngineLink(login, Budget(FakeClock(), 60.0))
    yield Engine(link)
    await link.close()


async def test_what_there_is(engine: Engine, model: Model) -> None:
    model.hosts[HOST].configured, model.hosts[HOST].score = True, 3400
    model.connections["c-1"] = NFS
    assert await engine.product() == "oVirt Engine 4.5.6-1.el9"
    assert await engine.data_centers() == (DataCenter(CENTER, "Default", "up"),)
    assert await engine.clusters() == (Cluster(CLUSTER, "Default", CENTER),)
    ha = HostedEngine(True, True, 3400, False, False)
    assert await engine.hosts() == (Host(HOST, "alpha", "alpha", "up", CLUSTER, ha),)
    assert await engine.connections() == (Connection("c-1", *NFS),)


async def test_a_status_that_the_sdk_does_not_know(engine: Engine, model: Model) -> None:
    model.hosts["h-2"] = FakeHost("beta", Passing("levitating"))
    assert [host.status for host in await engine.hosts()] == ["up", ""]


async def test_a_domain_in_its_states(engine: Engine, model: Model) -> None:
    assert await engine.domain(DOMAIN) is None
    model.domains[DOMAIN] = FakeDomain("store", Passing("unattached"))
    assert await engine.domain(DOMAIN) == Domain(DOMAIN, "store", "", "unattached")
    await engine.attach(DOMAIN, CENTER)
    assert await engine.domain(DOMAIN) == Domain(DOMAIN, "store", CENTER, "locked")
    await engine.domain(DOMAIN)
    assert await engine.domain(DOMAIN) == Domain(DOMAIN, "store", CENTER, "active")
    model.domains[DOMAIN].status.now = "maintenance"
    await engine.activate(DOMAIN, CENTER)
    assert await engine.domain(DOMAIN) == Domain(DOMAIN, "store", CENTER, "activating")


async def test_a_domain_that_is_detached_while_it_is_looked_at(
    engine: Engine, model: Model, server: EngineServer
) -> None:
    model.domains[DOMAIN] = FakeDomain("store", Passing("active"), CENTER)
    server.troubles = [Trouble("GET /datacenters/.*", "fault", code=404)]
    assert await engine.domain(DOMAIN) == Domain(DOMAIN, "store", "", "unattached")


async def test_importing_by_a_new_and_by_a_kept_connection(engine: Engine, model: Model) -> None:
    storage = host_storage(storage_server.nfs("192.0.2.1:/exports/he", "4.1"))
    assert await engine.import_domain(DOMAIN, storage, "", HOST) == DOMAIN
    model.domains.clear()
    (kept,) = await engine.connections()
    with pytest.raises(EngineRefused, match="already exists"):
        await engine.import_domain(DOMAIN, storage, "", HOST)
    assert await engine.import_domain(DOMAIN, storage, kept.id, HOST) == DOMAIN


async def test_nothing_is_ever_made_where_nothing_is(engine: Engine, model: Model) -> None:
    """The engine would format a domain; without a name it refuses."""
    model.on_storage.clear()
    storage = host_storage(storage_server.nfs("192.0.2.1:/exports/he", "4.1"))
    with pytest.raises(EngineRefused, match=r"StorageDomain \[name\] required for add"):
        await engine.import_domain(DOMAIN, storage, "", HOST)
    assert (model.formatted, model.domains, model.connections) == ([], {}, {})


@pytest.mark.parametrize(
    "server_there",
    [
        storage_server.fc(),
        storage_server.iscsi(storage_server.parse_portals("192.0.2.9"), "iqn.2026-11.com.a:he"),
    ],
)
async def test_a_block_domain_is_found_by_its_id(
    engine: Engine, model: Model, server_there: storage_server.StorageServer
) -> None:
    storage = host_storage(server_there)
    with pytest.raises(EngineNotFound, match="Does not exists"):
        await engine.import_domain(DOMAIN, storage, "", HOST)
    model.on_luns.add(DOMAIN)
    assert await engine.import_domain(DOMAIN, storage, "", HOST) == DOMAIN


async def test_vms(engine: Engine, model: Model) -> None:
    model.domains[DOMAIN] = FakeDomain("store", Passing("active"), CENTER)
    assert await engine.vm(VM) is None
    assert await engine.unregistered_vms(DOMAIN) == (Vm(VM, "HostedEngine", "", "", False),)
    await engine.register(DOMAIN, VM, CLUSTER)
    assert await engine.vm(VM) == Vm(VM, "HostedEngine", "image_locked", CLUSTER, False)
    await engine.vm(VM)
    assert await engine.unregistered_vms(DOMAIN) == ()
    await engine.protect(VM)
    assert await engine.vm(VM) == Vm(VM, "HostedEngine", "up", CLUSTER, True)
    model.vms["vm-2"] = FakeVm("Other", Passing("up"))
    assert [vm.id for vm in await engine.vms_called("Other")] == ["vm-2"]
    assert await engine.vms_called("Nobody") == ()


async def test_the_ovf_store(engine: Engine, model: Model) -> None:
    model.domains[DOMAIN] = FakeDomain("store", Passing("active"), CENTER)
    assert await engine.ovf_disks(DOMAIN) == (
        Disk("copy-1", "ok", "ovf_store"),
        Disk("copy-2", "ok", "ovf_store"),
    )
    await engine.update_ovf_store(DOMAIN)
    assert [disk.status for disk in await engine.ovf_disks(DOMAIN)] == ["locked", "locked"]


async def test_the_update_interval(engine: Engine, model: Model) -> None:
    assert await engine.ovf_interval_minutes() == 60
    model.options["OvfUpdateIntervalInMinutes"] = "often"
    assert await engine.ovf_interval_minutes() is None
    model.options.clear()
    assert await engine.ovf_interval_minutes() is None
