# SPDX-License-Identifier: Apache-2.0
"""Verbs on a VM that runs, over the wire, with real QEMU."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.vdsm.embedded import VM, Client, Host, Refused, hosts, make_domain, make_xml

pytestmark = [
    pytest.mark.qemu,
    pytest.mark.skipif(not shutil.which("qemu-system-x86_64"), reason="needs QEMU"),
]

VNC = "<graphics type='vnc' port='-1' passwd='x' passwdValidTo='1970-01-01T00:00:01'/>"


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    async with hosts(Host(make_domain(tmp_path))) as [made]:
        await made.create(make_xml(devices=VNC))
        await made.event("Powering up")
        yield made


async def refusal(client: Client, method: str, **params: Any) -> Refused:
    with pytest.raises(Refused) as refused:
        await client.call(method, vmID=VM, **params)
    return refused.value


async def test_it_is_listed_raw_and_whole(client: Client) -> None:
    [short] = await client.call("Host.getVMList", fullStatus=True)
    assert set(short) == {"vmId", "status", "statusTime"}
    assert (short["status"], (await client.status())["status"]) == ("Up", "Powering up")
    [full] = await client.call("Host.getVMFullList")
    assert full["xml"] == make_xml(devices=VNC)
    assert {**full, **short} == full
    assert await client.call("Host.getVMFullList", vmList=["other"]) == []
    [stats] = await client.call("Host.getAllVmStats")
    assert stats["vmId"] == VM
    assert isinstance(stats["statusTime"], str)


async def test_a_reset_is_told(client: Client) -> None:
    assert await client.call("VM.reset", vmID=VM) is True
    assert await client.event("RebootInProgress") == {"status": "RebootInProgress"}


async def test_a_reboot_may_end_the_vm(client: Client) -> None:
    assert await client.call("VM.setDestroyOnReboot", vmID=VM) is True
    await client.call("VM.reset", vmID=VM)
    await client.event("Down")


async def test_a_console_gets_a_password(client: Client) -> None:
    device = {
        "deviceType": "graphics",
        "graphicsType": "vnc",
        "password": "secret",
        "ttl": "120",
        "existingConnAction": "keep",
        "params": {},
    }
    assert await client.call("VM.updateDevice", vmID=VM, params=device) is True
    ticket = {"password": "secret", "ttl": 120, "existingConnAction": "keep", "params": {}}
    assert await client.call("VM.setTicket", vmID=VM, **ticket) is True
    for wrong in (
        {**device, "graphicsType": "spice"},
        {**device, "deviceType": "interface"},
        {**device, "ttl": "soon"},
        {**device, "password": None},
        {"graphicsType": "vnc"},
    ):
        assert (await refusal(client, "VM.updateDevice", params=wrong)).code == 100


async def test_what_needs_another_host_or_a_guest_agent_is_refused(client: Client) -> None:
    migrate = await refusal(client, "VM.migrate", params={"dst": "other:54321"})
    assert (migrate.code, "no VM to another host" in migrate.message) == (12, True)
    for verb in ("VM.migrateCancel", "VM.getMigrationStatus"):
        assert (await refusal(client, verb)).code == 81
    assert (await refusal(client, "VM.desktopLogoff", force=True)).code == 19
    assert (await refusal(client, "VM.hotplugLease", lease={})).code == 100
    assert (await client.status())["status"] == "Powering up"
