# SPDX-License-Identifier: Apache-2.0
"""Orders that go to VDSM at once, over a VDSM and a keeper that the test plays."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import replace
from typing import Any, Callable, Optional

import pytest

from ha_agent.broker.api.arguments import Access
from ha_agent.broker.api.vdsm import VdsmApi
from ha_agent.broker.rpc.server import Peer, RpcRefusal
from ha_agent.broker.snapshot import LeaseEntry, Report, Snapshot
from ha_agent.broker.storage.domain_connect import DomainConnect, Wanted
from ha_agent.vdsm.client.storage_server import Portal, StorageServer, iscsi, nfs
from ha_agent.vdsm.client.verbs import Vdsm
from ha_agent.vdsm.errors import VdsmCallFailed
from tests.fakes import FakeClock

ROOT, STRANGER = Peer(1, 0, 0), Peer(2, 99, 99)
NFS = nfs("host:/export", "4")
TWO = iscsi([Portal("10.0.0.1"), Portal("10.0.0.2")], "iqn.a:b", user="u", password="chap-pw")
LEFT = [
    "Host.getVMList",
    "Host.stopMonitoringDomain",
    "Image.teardown",
    "Host.getVMList",
    "StoragePool.disconnectStorageServer",
]


class Caller:
    """VDSM by its wire: answers from `answers`, in which an exception is raised."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {
            "VM.updateDevice": {"vmList": {}},
            "VM.getMigrationStatus": VdsmCallFailed("VM.getMigrationStatus", 81, "no"),
            "Host.getVMList": [],
            "Host.getStorageRepoStats": {},
            "Host.stopMonitoringDomain": True,
            "Image.teardown": True,
            "Image.prepare": {"path": "/p"},
            "StorageDomain.getStats": {},
        }
        self.before: dict[str, Callable[[], Awaitable[None]]] = {}
        self.asked: list[tuple[str, Any]] = []

    async def call(
        self, method: str, params: Any, *, deadline_seconds: Optional[float] = None
    ) -> Any:
        self.asked.append((method, params))
        if method in self.before:
            await self.before[method]()
        answer = self.answers[method]
        if callable(answer):
            answer = answer(params)
        if isinstance(answer, Exception):
            raise answer
        return answer


class World:
    def __init__(self, server: Optional[StorageServer] = NFS) -> None:
        self.caller = Caller()
        vdsm = Vdsm(self.caller)
        clock = FakeClock()
        self.maintenance = True
        self.picture = Snapshot(0, 1, "alpha", "vm", clock.now())
        wanted = Wanted("sd", "img", "vol", "/p", False, server)
        connect = DomainConnect(
            vdsm,
            wanted,
            clock=clock,
            in_maintenance=lambda: self.maintenance,
            is_unread=lambda: False,
        )
        self.api = VdsmApi(
            vdsm,
            connect,
            lambda: self.picture,
            access=Access(0, None),
            in_maintenance=lambda: self.maintenance,
            vm_list=vdsm.vm_list,
        )
        for verb in ("connect", "disconnect"):
            self.caller.answers[f"StoragePool.{verb}StorageServer"] = lambda params: [
                {"id": one["id"], "status": 0} for one in params["connectionParams"]
            ]

    async def ask(self, verb: str, peer: Peer = ROOT, **params: Any) -> Any:
        return await self.api.handlers()[verb](params, peer)

    async def refused(self, verb: str, peer: Peer = ROOT, **params: Any) -> RpcRefusal:
        with pytest.raises(RpcRefusal) as caught:
            await self.ask(verb, peer, **params)
        return caught.value

    def lease(self, *, ours: bool) -> None:
        lease = LeaseEntry("held", ours=ours, host_id=2, host_name="beta")
        self.picture = Snapshot(0, 1, "alpha", "vm", self.picture.made_at, lease=lease)


async def test_a_password_reaches_the_console_and_no_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(0)
    world = World()
    assert await world.ask("vm.console_password", password="s3cret") is True
    [(method, params)] = world.caller.asked
    assert (method, params["vmID"], params["params"]["ttl"]) == ("VM.updateDevice", "vm", 120)
    assert params["params"]["password"] == "s3cret"
    assert "set a password" in caplog.text
    assert "s3cret" not in caplog.text


@pytest.mark.parametrize(
    ("params", "why"),
    [
        ({"password": ""}, "the password is empty"),
        ({"password": "a\nb"}, "control characters"),
        ({"password": "123456789"}, "VNC takes 8 bytes"),
        ({"password": "ääääa"}, "VNC takes 8 bytes"),
    ],
)
async def test_a_password_that_would_not_work(params: dict[str, Any], why: str) -> None:
    world = World()
    refusal = await world.refused("vm.console_password", **params)
    assert why in refusal.message
    assert world.caller.asked == []


async def test_spice_takes_a_longer_one() -> None:
    world = World()
    params: dict[str, Any] = {"protocol": "spice", "on_connected": "fail", "ttl_seconds": 5}
    await world.ask("vm.console_password", password="123456789", **params)
    sent = world.caller.asked[0][1]["params"]
    assert (sent["graphicsType"], sent["existingConnAction"], sent["ttl"]) == ("spice", "fail", 5)


async def test_a_vm_that_is_elsewhere() -> None:
    world = World()
    world.lease(ours=False)
    world.caller.answers["VM.updateDevice"] = VdsmCallFailed("VM.updateDevice", 1, "no VM")
    refusal = await world.refused("vm.console_password", password="x")
    assert refusal.code == "refused"
    assert "does not run on this host; beta has its lease" in refusal.message


async def test_what_vdsm_quotes_is_not_passed_on() -> None:
    world = World()
    quoted = VdsmCallFailed("VM.updateDevice", 100, "bad <graphics passwd='s3cret'/>")
    world.caller.answers["VM.updateDevice"] = quoted
    refusal = await world.refused("vm.console_password", password="s3cret")
    assert refusal.code == "failed"
    assert "passwd='(password)'" in refusal.message


async def test_migration() -> None:
    world = World()
    assert (await world.ask("vm.migration", STRANGER))["migrating"] is False
    world.caller.answers["VM.getMigrationStatus"] = {"progress": 7, "downtime": 150}
    answer = await world.ask("vm.migration")
    assert answer == {"migrating": True, "progress_percent": 7, "downtime_ms": 150}
    world.caller.answers["VM.getMigrationStatus"] = VdsmCallFailed("v", 100, "because")
    assert "because" in (await world.refused("vm.migration")).message


async def test_connect_and_disconnect() -> None:
    world = World()
    assert await world.ask("storage.connect") is True
    world.caller.asked.clear()
    assert await world.ask("storage.disconnect") is True
    assert [method for method, _ in world.caller.asked] == LEFT


async def test_what_is_not_connected_is_an_error() -> None:
    world = World()
    world.caller.answers["StoragePool.connectStorageServer"] = lambda params: [
        {"id": params["connectionParams"][0]["id"], "status": 477}
    ]
    refusal = await world.refused("storage.connect")
    assert refusal.code == "storage"
    assert "host:/export is not connected: code 477, mount error" in refusal.message


async def test_storage_that_may_be_needed_is_not_disconnected() -> None:
    world = World()
    world.maintenance = False
    assert "not in local maintenance" in (await world.refused("storage.disconnect")).message
    world.maintenance = True
    unaware = Report(made_at=world.picture.made_at)
    world.picture = replace(world.picture, agent=unaware)
    assert "not in local maintenance" in (await world.refused("storage.disconnect")).message
    world.lease(ours=True)
    assert "owns the engine VM" in (await world.refused("storage.disconnect")).message
    assert world.caller.asked == []
    world.lease(ours=False)
    world.caller.answers["Host.getVMList"] = [{"vmId": "other", "status": "Up"}]
    assert "other" in (await world.refused("storage.disconnect")).message
    world.caller.answers["Host.getVMList"] = VdsmCallFailed("Host.getVMList", 99, "recovering")
    assert (await world.refused("storage.disconnect")).code == "failed"
    assert {method for method, _ in world.caller.asked} == {"Host.getVMList"}


@pytest.mark.parametrize("verb", ["Host.stopMonitoringDomain", "Image.teardown"])
async def test_what_begins_while_vdsm_takes_its_time_keeps_the_storage(verb: str) -> None:
    world = World()

    def takes_minutes(_params: Any) -> bool:
        world.maintenance = False
        return True

    world.caller.answers[verb] = takes_minutes
    refusal = await world.refused("storage.disconnect")
    assert (refusal.code, "not in local maintenance" in refusal.message) == ("refused", True)
    methods = [method for method, _ in world.caller.asked]
    assert "StoragePool.disconnectStorageServer" not in methods


async def test_maintenance_that_ends_while_a_round_hangs_keeps_the_storage() -> None:
    world = World()
    hangs, goes_on = asyncio.Event(), asyncio.Event()

    async def hang() -> None:
        hangs.set()
        await goes_on.wait()

    world.caller.before["StorageDomain.getStats"] = hang
    connecting = asyncio.ensure_future(world.ask("storage.connect"))
    await hangs.wait()
    leaving = asyncio.ensure_future(world.refused("storage.disconnect"))
    await asyncio.sleep(0)
    world.maintenance = False
    goes_on.set()
    assert await connecting is True
    assert "not in local maintenance" in (await leaving).message
    asked = [method for method, _ in world.caller.asked]
    assert "Host.stopMonitoringDomain" not in asked


async def test_what_vdsm_quotes_of_chap_is_not_passed_on(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    world = World(TWO)
    for verb, method in (
        ("storage.connect", "StoragePool.connectStorageServer"),
        ("storage.disconnect", "StoragePool.disconnectStorageServer"),
        ("storage.targets", "ISCSIConnection.discoverSendTargets"),
    ):
        quoted = VdsmCallFailed(method, 1000, "Invalid parameter: 'password=chap-pw'")
        world.caller.answers[method] = quoted
        world.caller.answers["StorageDomain.getStats"] = VdsmCallFailed("v", 358, "no domain")
        world.caller.answers["Host.getDeviceList"] = []
        world.caller.answers["Host.getStorageDomains"] = []
        message = (await world.refused(verb)).message
        assert "Invalid parameter: 'password=(password)'" in message
        assert "code 1000" in message
    assert "chap-pw" not in caplog.text


async def test_targets_of_all_portals_that_answer() -> None:
    world = World(TWO)

    def found(params: Any) -> Any:
        assert (params["user"], params["password"]) == ("u", "chap-pw")
        if params["host"] == "10.0.0.2":
            return VdsmCallFailed("ISCSIConnection.discoverSendTargets", 475, "no route")
        return ["10.0.0.1:3260,1 iqn.a:b", "10.0.0.2:3260,1 iqn.a:b"]

    world.caller.answers["ISCSIConnection.discoverSendTargets"] = found
    answer = await world.ask("storage.targets")
    assert answer == {"targets": ["10.0.0.1:3260,1 iqn.a:b", "10.0.0.2:3260,1 iqn.a:b"]}
    world.caller.answers["ISCSIConnection.discoverSendTargets"] = VdsmCallFailed("v", 475, "route")
    refusal = await world.refused("storage.targets")
    assert "portal 10.0.0.2:3260: " in refusal.message
    assert "chap-pw" not in refusal.message
    assert "no iSCSI portals" in (await World().refused("storage.targets")).message


@pytest.mark.parametrize(
    "verb", ["vm.console_password", "storage.connect", "storage.disconnect", "storage.targets"]
)
async def test_who_may_only_look(verb: str) -> None:
    world = World()
    params = {"password": "x"} if verb.startswith("vm.") else {}
    assert (await world.refused(verb, STRANGER, **params)).code == "denied"
    assert world.caller.asked == []
