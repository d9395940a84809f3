# SPDX-License-Identifier: Apache-2.0
"""The verbs about definitions, on two hosts over one store with real archives."""

from __future__ import annotations

import asyncio
import dataclasses
import os
from pathlib import Path
from typing import Any, Callable, Optional, cast

import pytest

from demo.domain import engine_vm
from ha_agent.broker.api.arguments import Access
from ha_agent.broker.api.definition_verbs import PUT_HOWS
from ha_agent.broker.definition.parts import DefinitionParts
from ha_agent.broker.rpc.server import Peer, RpcRefusal
from ha_agent.broker.snapshot import DefinitionEntry, Snapshot
from ha_agent.clock import SystemClock
from ha_agent.config import layers
from ha_agent.instant import Instant
from ha_agent.ovfstore.approval import identity_of
from ha_agent.ovfstore.backup import build_backup
from ha_agent.ovfstore.conf_volume import FILE_NAMES, encode_conf_volume
from ha_agent.ovfstore.history import History
from ha_agent.ovfstore.ovf_build import build_ovf
from ha_agent.vdsm.client.verbs import Vdsm
from tests.broker.store_world import (
    DOMAIN,
    FIRST,
    SECOND,
    THIRD,
    VM,
    Host,
    JumpingClock,
    World,
    ovf_of,
    unfinished,
)
from tests.small_config import NOWHERE, write_config

ROOT, STRANGER = Peer(1, 0, 0), Peer(2, 12345, 12345)
OLD, NEW = ovf_of(1024), ovf_of(2048)


def without_nic() -> bytes:
    vm = engine_vm(DOMAIN, FIRST, SECOND, VM)
    return build_ovf(dataclasses.replace(vm, memory_mib=1024, nics=(), engine_xml=None))


class Broker:
    """The definition's parts of one host's broker."""

    def __init__(self, world: World, folder: Path, host_id: int = 1, **host: Any) -> None:
        folder.mkdir()
        made = layers.load([write_config(folder)], NOWHERE)
        settings = dataclasses.replace(
            made,
            host=dataclasses.replace(made.host, id=host_id),
            engine=dataclasses.replace(made.engine, vm_uuid=VM),
            storage=dataclasses.replace(made.storage, domain_uuid=DOMAIN),
        )
        settings.host.run_dir.mkdir()
        settings.host.state_dir.mkdir()
        self.settings = settings
        self.host = Host(world, host_id=host_id, **host)
        self.entry = DefinitionEntry()
        self.on_change: Callable[[DefinitionEntry], None] = lambda entry: None
        self.parts = DefinitionParts(
            settings,
            Vdsm(self.host),
            self.host.lane(),
            clock=cast(SystemClock, JumpingClock()),
            picture=lambda: Snapshot(0, host_id, f"host{host_id}", VM, Instant(0.0)),
            on_change=self._changed,
        )

    def _changed(self, entry: DefinitionEntry) -> None:
        self.entry = entry
        self.on_change(entry)

    async def look(self) -> DefinitionEntry:
        await self.parts.keeper.refresh(read_again=True)
        return self.entry

    async def ask(self, verb: str, peer: Peer = ROOT, **params: Any) -> Any:
        api = self.parts.api(Access(os.getuid(), None))
        return await api.handlers()[verb](params, peer)

    async def refused(self, verb: str, peer: Peer = ROOT, **params: Any) -> RpcRefusal:
        with pytest.raises(RpcRefusal) as caught:
            await self.ask(verb, peer, **params)
        return caught.value


@pytest.fixture
def world(tmp_path: Path) -> World:
    (tmp_path / "storage").mkdir()
    made = World(tmp_path / "storage")
    made.write(FIRST, OLD, at=-60, others=3)
    made.add(SECOND, made.volumes[FIRST].description, made.volumes[FIRST].path.read_bytes())
    return made


@pytest.fixture
async def broker(world: World, tmp_path: Path) -> Broker:
    made = Broker(world, tmp_path / "one")
    await made.look()
    return made


@pytest.fixture
async def other(world: World, tmp_path: Path) -> Broker:
    made = Broker(world, tmp_path / "two", host_id=2)
    await made.look()
    return made


async def test_what_is_put_is_in_use_on_every_host(broker: Broker, other: Broker) -> None:
    answer = await broker.ask("ovf.put", document=NEW)
    assert answer["identity"] == identity_of(NEW)
    assert "memory 1024 -> 2048 MiB" in answer["differences"]
    assert [copy["whole"] for copy in answer["copies"]] == [False, False]
    assert (await broker.ask("ovf.get"))["document"] == NEW
    assert (await other.look()).memory_mib == 2048
    versions = (await broker.ask("ovf.history"))["versions"]
    assert [(v["how"], v["memory_mib"]) for v in versions] == [("read", 1024), ("put", 2048)]


async def test_the_guard_is_asked_before_anything_is_written(broker: Broker) -> None:
    refusal = await broker.refused("ovf.put", document=without_nic())
    assert refusal.code == "guard"
    assert "no_nic" in refusal.message
    assert refusal.details["refusals"][0]["may_force"] is True
    assert broker.host.steps == []
    assert (await broker.ask("ovf.get"))["document"] == OLD


async def test_what_a_person_forced_is_used_on_every_host(broker: Broker, other: Broker) -> None:
    answer = await broker.ask("ovf.put", document=without_nic(), force=True)
    assert answer["codes"] == ["no_nic"]
    entry = await other.look()
    assert (entry.identity, entry.pending) == (identity_of(without_nic()), None)
    # The next one without force takes the approval away again.
    await broker.ask("ovf.put", document=NEW)
    assert (await broker.ask("store.verify"))["good"] is True
    refusal = await broker.refused("ovf.put", document=without_nic())
    assert refusal.code == "guard"


async def test_nobody_can_force_another_vm(broker: Broker) -> None:
    strange = build_ovf(engine_vm(DOMAIN, FIRST, SECOND, FIRST))
    refusal = await broker.refused("ovf.put", document=strange, force=True)
    assert refusal.code == "bad_document"
    assert VM in refusal.message
    assert broker.host.steps == []


async def test_what_the_engine_wrote_past_the_guard_waits_for_a_person(
    world: World, broker: Broker
) -> None:
    world.write(FIRST, without_nic(), at=60)
    world.add(SECOND, world.volumes[FIRST].description, world.volumes[FIRST].path.read_bytes())
    entry = await broker.look()
    assert (entry.identity, entry.pending is not None) == (identity_of(OLD), True)
    identity = identity_of(without_nic())
    assert (await broker.refused("ovf.accept", identity=identity)).code == "guard"
    assert (await broker.ask("ovf.accept", identity=identity, force=True))["identity"] == identity
    assert (await broker.look()).identity == identity
    assert (await broker.refused("ovf.accept", identity="no such")).code == "bad_document"


async def test_a_version_of_the_history_can_be_put_again(broker: Broker) -> None:
    await broker.ask("ovf.put", document=NEW)
    old = await broker.ask("ovf.version", number=1)
    await broker.ask("ovf.put", document=old["document"], how="rollback")
    assert (await broker.look()).memory_mib == 1024
    versions = (await broker.ask("ovf.history"))["versions"]
    assert [version["how"] for version in versions] == ["read", "put", "rollback"]
    refusal = await broker.refused("ovf.version", number=77)
    assert (refusal.code, refusal.message) == (
        "no_such_version",
        "there is no version 77; there are: 1, 2, 3",
    )


async def test_a_caller_that_leaves_cuts_no_write_in_half(broker: Broker) -> None:
    gate, asked, changed = asyncio.Event(), asyncio.Event(), asyncio.Event()
    broker.on_change = lambda entry: changed.set() if entry.memory_mib == 2048 else None

    async def pause() -> None:
        asked.set()
        await gate.wait()

    broker.host.pause = pause
    call = asyncio.ensure_future(broker.ask("ovf.put", document=NEW))
    await asked.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    gate.set()
    await asyncio.wait_for(changed.wait(), 30)
    assert (await broker.ask("store.verify"))["good"] is True


async def test_this_host_may_not_write(world: World, broker: Broker) -> None:
    world.pool, world.spm_id = SECOND, 3
    refusal = await broker.refused("ovf.put", document=NEW)
    assert refusal.code == "not_spm"
    assert "3" in refusal.message


async def test_storage_that_fails_is_told(world: World, broker: Broker) -> None:
    for volume in (FIRST, SECOND):
        world.volumes[volume].path.write_bytes(b"no archive" * 1000)
    assert (await broker.refused("ovf.put", document=NEW)).code == "no_whole_copy"
    verdict = await broker.ask("store.verify")
    assert verdict["good"] is False
    assert [copy["usable"] for copy in verdict["copies"]] == [False, False]


async def test_the_store_is_listed_checked_and_made(world: World, broker: Broker) -> None:
    listed = await broker.ask("store.list")
    assert {copy["volume_uuid"] for copy in listed["copies"]} == {FIRST, SECOND}
    assert (await broker.ask("store.verify"))["good"] is True
    assert await broker.ask("store.create") == {"made": [], "count": 2}
    del world.volumes[SECOND]
    verdict = await broker.ask("store.verify")
    assert (verdict["good"], "only one copy" in verdict["problems"][0]) == (False, True)
    made = await broker.ask("store.create")
    assert (len(made["made"]), made["count"]) == (1, 2)
    world.volumes.clear()
    world.add(FIRST, unfinished(None))


async def test_a_backup_is_imported_and_changes_nothing_in_use(
    broker: Broker, tmp_path: Path
) -> None:
    elsewhere = History(tmp_path / "elsewhere")
    for memory_mib in (512, 4096):
        elsewhere.add(
            ovf_of(memory_mib),
            accepted_at=SystemClock().wall(),
            source="there",
            how="read",
            vm_name="HostedEngine",
            memory_mib=memory_mib,
        )
    backup = build_backup([(v, elsewhere.document(v.number)) for v in elsewhere.versions()])
    assert await broker.ask("ovf.import", backup=backup, where="backup.tar") == {"added": [2, 3]}
    assert await broker.ask("ovf.import", backup=backup) == {"added": []}
    assert (await broker.look()).memory_mib == 1024
    assert (await broker.ask("ovf.version", number=3))["document"] == ovf_of(4096)
    refusal = await broker.refused("ovf.import", backup=b"nothing", where="backup.tar")
    assert (refusal.code, "backup.tar" in refusal.message) == ("bad_document", True)


async def test_the_shared_configuration(world: World, broker: Broker) -> None:
    assert (await broker.refused("conf.list")).code == "storage"
    files = dict.fromkeys(FILE_NAMES, b"x")
    data = encode_conf_volume(files, SystemClock().wall())
    world.add(THIRD, "", data, disk_type="HECI")
    listed = await broker.ask("conf.list")
    assert [file["name"] for file in listed["files"]] == list(FILE_NAMES)
    await broker.ask("conf.put", name="vm.conf", content=b"vmId=1")
    assert (await broker.ask("conf.get", name="vm.conf"))["content"] == b"vmId=1"
    assert (await broker.refused("conf.get", name="none")).code == "bad_document"
    await broker.look()
    answer = await broker.ask("can_do", action="disk.remove", object={"disk": THIRD})
    assert answer["code"] == "hosted_engine_volume"


async def test_can_do(broker: Broker) -> None:
    async def allowed(action: str, **object_: str) -> Optional[str]:
        answer = await broker.ask("can_do", STRANGER, action=action, object=object_)
        assert answer["sentence"]
        return None if answer["allowed"] else str(answer["code"])

    assert await allowed("storage_domain.detach", storage_domain=DOMAIN) == "hosted_engine_domain"
    assert await allowed("disk.remove", disk=SECOND) == "ovf_store"
    status_image = broker.settings.storage.status_image
    assert await allowed("disk.remove", disk=status_image) == "hosted_engine_volume"
    assert await allowed("vm.remove", vm=VM) == "engine_vm"
    assert await allowed("vm.remove", vm="00000000-0000-0000-0000-0000000000ff") is None
    assert (await broker.refused("can_do", action="vm.remove", object={"vm": 1})).code == (
        "bad_argument"
    )


@pytest.mark.parametrize(
    "verb",
    [
        *("ovf.get", "ovf.version", "ovf.put", "ovf.accept", "ovf.import"),
        *("store.list", "store.verify", "store.create"),
        *("conf.list", "conf.get", "conf.put"),
    ],
)
async def test_strangers_neither_read_nor_change(broker: Broker, verb: str) -> None:
    assert (await broker.refused(verb, STRANGER)).code == "denied"


@pytest.mark.parametrize(
    ("verb", "params"),
    [
        ("ovf.put", {}),
        ("ovf.put", {"document": "text"}),
        ("ovf.put", {"document": NEW, "force": 1}),
        ("ovf.put", {"document": NEW, "how": "import"}),
        ("ovf.version", {"number": "1"}),
        ("ovf.version", {"number": True}),
        ("ovf.accept", {}),
        ("can_do", {"action": "vm.remove", "object": "x"}),
    ],
)
async def test_a_bad_argument_is_named(broker: Broker, verb: str, params: dict[str, Any]) -> None:
    refusal = await broker.refused(verb, **params)
    assert refusal.code == "bad_argument"


async def test_hows_are_hows_of_the_history() -> None:
    from ha_agent.ovfstore.version import HOWS

    assert set(PUT_HOWS) <= set(HOWS)


async def test_without_a_definition(world: World, tmp_path: Path) -> None:
    world.volumes.clear()
    made = Broker(world, tmp_path / "three")
    assert (await made.refused("ovf.get")).code == "not_ready"
    answer = await made.ask("can_do", action="vm.remove", object={"vm": VM})
    assert answer["allowed"] is False


async def test_a_new_store_is_made_and_filled(world: World, tmp_path: Path) -> None:
    world.volumes.clear()
    made = Broker(world, tmp_path / "three")
    assert (await made.ask("store.create"))["count"] == 2
    await made.ask("ovf.put", document=NEW)
    assert (await made.look()).memory_mib == 2048
    assert (await made.ask("store.verify"))["good"] is True
