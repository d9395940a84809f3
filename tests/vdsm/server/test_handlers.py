# SPDX-License-Identifier: Apache-2.0
"""The embedded VDSM's verbs over its wire: shapes, codes, arguments."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.vdsm.embedded import (
    BLANK,
    DOMAIN,
    IMAGE,
    VM,
    Client,
    Host,
    Refused,
    hosts,
    make_domain,
)

pytestmark = [
    pytest.mark.qemu,
    pytest.mark.skipif(not shutil.which("qemu-system-x86_64"), reason="needs QEMU"),
]

IDS = {"storagepoolID": BLANK, "storagedomainID": DOMAIN, "imageID": IMAGE}
OTHER = "99999999-9999-4999-8999-999999999999"


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    async with hosts(Host(make_domain(tmp_path), networks={"ovirtmgmt": "user"})) as [made]:
        yield made


async def code(client: Client, method: str, **params: Any) -> int:
    with pytest.raises(Refused) as refused:
        await client.call(method, **params)
    return refused.value.code


async def test_ping_and_unknown_verbs(client: Client) -> None:
    assert await client.call("Host.ping2") is True
    assert await code(client, "Volume.getPath") == -32601
    assert await code(client, "Host.ping2.__class__") == -32601
    assert await code(client, "Volume.delete") == 309
    assert await code(client, "Host.getAllTasksStatuses") == 654
    assert await code(client, "Host.setHaMaintenanceMode", mode="GLOBAL", enabled=True) == 40
    target = {"host": "10.0.0.1", "port": "3260"}
    assert await code(client, "ISCSIConnection.discoverSendTargets", **target) == 475
    assert await client.call("Host.getDeviceList", storageType=3) == []
    assert await client.call("StoragePool.disconnect", storagepoolID=BLANK) is True


async def test_verbs_on_a_vm_that_is_not_here(client: Client) -> None:
    verbs: dict[str, dict[str, Any]] = {
        "VM.reset": {},
        "VM.setDestroyOnReboot": {},
        "VM.updateDevice": {"params": {"deviceType": "graphics"}},
        "VM.setTicket": {"password": "x", "ttl": 1, "existingConnAction": "keep"},
        "VM.migrate": {"params": {}},
        "VM.migrateCancel": {},
        "VM.getMigrationStatus": {},
        "VM.desktopLock": {},
        "VM.hotplugLease": {"lease": {}},
    }
    for verb, params in verbs.items():
        assert await code(client, verb, vmID=VM, **params) == 1
    assert await client.call("Host.getVMFullList") == []


async def test_what_the_host_is_made_of_is_told_as_texts(client: Client) -> None:
    info = await client.call("Host.getHardwareInfo")
    assert {"systemUUID", "systemManufacturer"} < set(info)
    assert all(isinstance(value, str) for value in info.values())


async def test_arguments_by_position_and_by_name(client: Client) -> None:
    client.request("VM.getStats", [VM], "by position")
    reply = await client.message()
    assert reply["id"] == "by position"
    assert reply["error"]["code"] == 1
    assert await code(client, "VM.getStats", vmID=VM, unknown="is ignored") == 1


async def test_bad_arguments(client: Client) -> None:
    assert await code(client, "VM.getStats") == -32603
    assert await code(client, "VM.getStats", vmID=5) == -32602
    assert await code(client, "VM.create", vmID=VM, vmParams="text") == -32602
    assert await code(client, "Host.startMonitoringDomain", sdUUID=DOMAIN, hostID=True) == -32602
    assert await code(client, "VM.destroy", vmID=VM) == 1
    for verb in ("VM.pause", "VM.cont", "VM.shutdown"):
        assert await code(client, verb, vmID=VM) == 1


async def test_host_stats_have_vdsms_shapes(client: Client) -> None:
    while True:
        stats = await client.call("Host.getStats")
        if "network" in stats:  # with the second sample
            break
    assert isinstance(stats["memFree"], int)
    assert stats["memFree"] > 0
    for name in ("cpuLoad", "cpuUser", "cpuSys", "cpuIdle"):
        assert isinstance(stats[name], str)
        assert float(stats[name]) >= 0
    assert stats["network"]["ovirtmgmt"]["state"] == "up"
    assert stats["vmCount"] == 0
    capabilities = await client.call("Host.getCapabilities")
    assert capabilities["kvmEnabled"] == "false"
    assert set(capabilities["networks"]) == {"ovirtmgmt"}
    assert isinstance(capabilities["emulatedMachines"], list)
    assert {"q35", "pc"} < set(capabilities["emulatedMachines"])
    assert (capabilities["memSize"].isdecimal(), capabilities["cpuThreads"].isdecimal()) == (
        True,
        True,
    )


async def test_a_notification_and_a_batch_do_not_make_it_deaf(client: Client) -> None:
    ping = {"jsonrpc": "2.0", "method": "Host.ping2", "params": {}}
    batch = [{**ping, "id": "1"}, {**ping, "id": "2"}]
    headers = {"destination": "jms.topic.vdsm_requests", "reply-to": client.reply_to}
    for body in (ping, batch):
        client.send("SEND", headers, json.dumps(body).encode())
    client.send("SEND", headers, json.dumps([{**ping, "id": "3"}]).encode())
    assert await client.message() == {"jsonrpc": "2.0", "id": "3", "result": True}


async def test_an_unreadable_request_has_a_null_id(client: Client) -> None:
    client.send("SUBSCRIBE", {"id": "all", "destination": "jms.topic.vdsm_responses"})
    client.send("SEND", {"destination": "jms.topic.vdsm_requests", "reply-to": "x"}, b"{nonsense")
    reply = await client.message()
    assert (reply["id"], reply["error"]["code"]) == (None, -32700)
