# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from pathlib import Path

import pytest

from ha_agent.setup.step import SetupFailed, SetupRefused
from ha_agent.vdsm.client import storage_server
from tests.engine.engine_model import CENTER, DOMAIN, HOST, NFS, FakeDomain, Model, Passing
from tests.engine.engine_server import EngineServer, Trouble
from tests.engine.importer import Importer

pytest.importorskip("ovirtsdk4", reason="the extra `engine` is not installed")


@pytest.fixture
def importer(server: EngineServer, tmp_path: Path) -> Importer:
    return Importer(server, tmp_path)


async def test_a_domain_that_is_known_is_only_attached(importer: Importer, model: Model) -> None:
    model.domains[DOMAIN] = FakeDomain("mine", Passing("unattached"))
    outcome = await importer.run()
    assert outcome.changed[0] == "attach"
    assert model.domains[DOMAIN].center == CENTER


@pytest.mark.parametrize("rest", ["maintenance", "inactive"])
async def test_a_domain_at_rest_is_activated(importer: Importer, model: Model, rest: str) -> None:
    model.domains[DOMAIN] = FakeDomain("mine", Passing(rest), CENTER)
    outcome = await importer.run()
    assert outcome.changed[0] == "activate"
    assert "activate" in model.done
    assert importer.has_said(f"the engine activates it; it was in {rest}")


@pytest.mark.parametrize("way", ["locked", "activating", "preparing_for_maintenance", "new_word"])
async def test_a_domain_on_its_way_is_waited_for(
    importer: Importer, model: Model, way: str
) -> None:
    model.domains[DOMAIN] = FakeDomain("mine", Passing("active"), CENTER)
    end = "maintenance" if way.startswith("preparing") else "active"
    model.domains[DOMAIN].status.go(way, 12, end)
    await importer.run()
    assert model.domains[DOMAIN].status.now == "active"
    assert model.done.count("activate") == (1 if end == "maintenance" else 0)


async def test_an_engine_that_says_yes_and_does_nothing(importer: Importer, model: Model) -> None:
    model.domains[DOMAIN] = FakeDomain("mine", Passing("inactive"), CENTER)
    model.idle.add("activate")
    with pytest.raises(SetupFailed, match="took 3 requests, but the storage domain is inactive"):
        await importer.run()


async def test_a_connection_that_a_cut_off_import_left(importer: Importer, model: Model) -> None:
    model.connections["left"] = NFS
    await importer.run()
    assert list(model.connections) == ["left"]
    assert "import" in model.done


async def test_no_domain_at_our_connection(importer: Importer, model: Model) -> None:
    model.on_storage.clear()
    with pytest.raises(SetupFailed, match="host alpha finds no storage domain at the connection"):
        await importer.run()
    assert model.formatted == []


async def test_another_domain_at_our_connection(importer: Importer, model: Model) -> None:
    other = "00000000-0000-4000-8000-0000000000ff"
    model.on_storage[NFS] = other
    with pytest.raises(
        SetupFailed, match=f"imported storage domain {other} .* without formatting"
    ):
        await importer.run()


async def test_a_connection_that_nobody_told(importer: Importer, model: Model) -> None:
    importer.want(server=None)
    with pytest.raises(SetupRefused, match=r"set \[storage\] connection"):
        await importer.run()
    model.domains[DOMAIN] = FakeDomain("mine", Passing("unattached"))
    await importer.run()  # and it is not needed where the engine knows the domain


async def test_a_block_domain(importer: Importer, model: Model) -> None:
    model.on_luns.add(DOMAIN)
    importer.want(server=storage_server.fc())
    await importer.run()
    assert "import" in model.done


async def test_a_host_that_comes_up_meanwhile(importer: Importer, model: Model) -> None:
    model.hosts[HOST].status.go("connecting", 20, "up")
    await importer.run()
    assert importer.has_said("has no host that is Up (alpha is connecting)")


async def test_no_host_that_is_up(importer: Importer, model: Model) -> None:
    model.hosts[HOST].status = Passing("non_operational")
    with pytest.raises(SetupRefused, match="alpha is non_operational"):
        await importer.run()
    assert model.done == []


async def test_the_host_goes_down_before_the_import(
    importer: Importer, model: Model, server: EngineServer
) -> None:
    server.troubles = [
        Trouble("POST /storagedomains", "fault", code=409, detail="[Cannot add. Host is not up.]")
    ]
    with pytest.raises(SetupFailed, match="Host is not up"):
        await importer.run()
