# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from pathlib import Path

import pytest

from ha_agent.engine.step_base import STORE_KEY
from ha_agent.setup.step import SetupFailed, SetupRefused
from tests.engine.engine_model import CENTER, DOMAIN, VM, FakeDomain, FakeVm, Model, Passing
from tests.engine.engine_server import EngineServer
from tests.engine.importer import Importer

pytest.importorskip("ovirtsdk4", reason="the extra `engine` is not installed")


@pytest.fixture
def importer(server: EngineServer, model: Model, tmp_path: Path) -> Importer:
    """Everything up to the VM is done."""
    model.domains[DOMAIN] = FakeDomain("hosted_storage", Passing("active"), CENTER)
    return Importer(server, tmp_path)


async def test_a_vm_that_is_registered_already(importer: Importer, model: Model) -> None:
    model.vms[VM] = FakeVm("HostedEngine", Passing("up"), protected=True)
    outcome = await importer.run()
    assert outcome.changed == ("ovf_store",)
    assert model.done == ["update"]


async def test_another_vm_of_its_name(importer: Importer, model: Model) -> None:
    model.vms["vm-2"] = FakeVm("HostedEngine", Passing("up"))
    with pytest.raises(SetupRefused, match="another VM of the engine, vm-2, has the name"):
        await importer.run()
    assert model.done == []
    model.vms["vm-2"].name = "Old"
    await importer.run()
    assert VM in model.vms


async def test_a_vm_that_is_not_in_the_store(importer: Importer, model: Model) -> None:
    model.in_store = {"vm-3": "Somebody"}
    with pytest.raises(SetupFailed, match=r"no VM .* unregistered VMs there: Somebody \(vm-3\)"):
        await importer.run()


async def test_a_store_that_the_engine_has_not_read_yet(importer: Importer, model: Model) -> None:
    model.unread_looks = 8
    await importer.run()
    assert importer.has_said("the engine lists no VM of the OVF_STORE yet")
    assert model.done == ["register", "protect", "update"]


async def test_a_store_that_the_engine_finds_nothing_in(importer: Importer, model: Model) -> None:
    model.in_store = {}
    with pytest.raises(SetupFailed, match=r"no VM .* unregistered VMs there: none"):
        await importer.run()


@pytest.mark.parametrize("disks", [(), ("on another domain",)])
async def test_a_vm_that_has_no_disk_here(
    importer: Importer, model: Model, disks: tuple[str, ...]
) -> None:
    """As the engine notes a VM that it only found running. The store would lose the real one."""
    model.vms[VM] = FakeVm("external-HostedEngine", Passing("up"), disks=disks)
    with pytest.raises(SetupRefused, match=r"external-HostedEngine .* has no disk on storage"):
        await importer.run()
    assert model.done == []


async def test_such_a_vm_before_the_domain_is_there(
    server: EngineServer, model: Model, tmp_path: Path
) -> None:
    model.vms[VM] = FakeVm("external-HostedEngine", Passing("up"), disks=())
    with pytest.raises(SetupRefused, match="has no disk on storage"):
        await Importer(server, tmp_path).run()
    assert model.done == []


async def test_a_store_without_disks_is_no_store(importer: Importer, model: Model) -> None:
    importer.view.away = True
    model.copies = {}
    with pytest.raises(SetupFailed, match="took 3 requests, but the OVF_STORE stays as it was"):
        await importer.run()
    assert importer.has_said("the engine has no disk of the OVF_STORE")


async def test_a_registration_that_comes_to_nothing(importer: Importer, model: Model) -> None:
    model.idle.add("register")
    with pytest.raises(SetupFailed, match="took 3 requests, but HostedEngine is not registered"):
        await importer.run()


async def test_the_named_cluster_is_used(importer: Importer, model: Model) -> None:
    model.clusters["cl-2"] = ("Second", CENTER)
    model.hosts["ho-2"] = type(model.hosts["ho-1"])("beta", Passing("up"), "cl-2")
    importer.want(cluster="Second")
    await importer.run()
    assert model.vms[VM].cluster == "cl-2"


async def test_the_store_is_written_after_every_change(importer: Importer, model: Model) -> None:
    await importer.run()
    model.vms[VM].protected = False
    assert (await importer.run()).changed == ("protect", "ovf_store")
    assert model.done == ["register", "protect", "update", "protect", "update"]


async def test_the_journal_forgets_nothing(importer: Importer, model: Model) -> None:
    await importer.run()
    with importer.journal() as journal:  # as a kill leaves it after the engine's change
        journal.note(STORE_KEY, "wanted")
    assert (await importer.run()).changed == ("ovf_store",)


async def test_a_copy_that_stays_as_it_was(importer: Importer, model: Model) -> None:
    model.idle.add("update")
    importer.total_seconds = 86400.0
    with pytest.raises(SetupFailed, match="took 3 requests, but the OVF_STORE stays as it was"):
        await importer.run()
    assert importer.has_said("copy copy-1, copy-2 is still the one from before")


async def test_a_disk_that_is_illegal(importer: Importer, model: Model) -> None:
    model.copies["copy-2"].status = Passing("illegal")
    model.idle.add("update")
    with pytest.raises(SetupFailed, match="copy-2 is illegal"):
        await importer.run()


async def test_without_a_broker_the_engine_is_believed(importer: Importer, model: Model) -> None:
    importer.view.away = True
    await importer.run()
    assert importer.has_said("its dates can't be seen here")
    assert (await importer.run()).changed == ()
