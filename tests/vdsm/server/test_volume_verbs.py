# SPDX-License-Identifier: Apache-2.0
"""Volumes made and described over the wire, by two VDSMs that share a domain."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ha_agent.vdsm import file_domain
from tests.vdsm.embedded import (
    BLANK,
    DOMAIN,
    IMAGE,
    VOLUME,
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

IDS = {"storagepoolID": BLANK, "storagedomainID": DOMAIN, "imageID": IMAGE, "volumeID": VOLUME}
NEW_IMAGE = "77777777-7777-4777-8777-777777777777"
NEW_VOLUME = "88888888-8888-4888-8888-888888888888"
POOL = "99999999-9999-4999-8999-999999999999"
NEW: dict[str, Any] = {
    **IDS,
    "imageID": NEW_IMAGE,
    "volumeID": NEW_VOLUME,
    "size": "134217728",
    "volFormat": 5,
    "preallocate": 2,
    "diskType": "OVFS",
    "desc": "OVF_STORE",
    "srcImgUUID": BLANK,
    "srcVolUUID": BLANK,
}


@pytest.fixture
async def clients(tmp_path: Path) -> AsyncIterator[list[Client]]:
    domain = make_domain(tmp_path)
    async with hosts(Host(domain), Host(domain)) as made:
        yield made


async def code(client: Client, method: str, **params: Any) -> int:
    with pytest.raises(Refused) as refused:
        await client.call(method, **params)
    return refused.value.code


async def result(client: Client, task: str) -> tuple[str, int]:
    while True:
        status = await client.call("Task.getStatus", taskID=task)
        if status["taskState"] == "finished":
            return status["taskResult"], status["code"]
        await asyncio.sleep(0.01)


async def test_a_description_is_seen_by_the_other_host(clients: list[Client]) -> None:
    one, two = clients
    assert await one.call("Volume.setDescription", **IDS, description="new " + "x" * 300)
    info = await two.call("Volume.getInfo", **IDS)
    assert info["description"] == "new " + "x" * 206
    assert await code(one, "Volume.setDescription", **IDS, description="a\nb") == 379
    gone = {**IDS, "volumeID": NEW_VOLUME}
    assert await code(one, "Volume.setDescription", **gone, description="x") == 201


async def test_a_volume_is_made_by_a_task(clients: list[Client]) -> None:
    one, two = clients
    task = await one.call("Volume.create", **NEW)
    assert await result(one, task) == ("success", 0)
    assert await one.call("Task.clear", taskID=task) is True
    assert await code(one, "Task.getStatus", taskID=task) == 401
    new = {name: NEW[name] for name in IDS}
    info = await two.call("Volume.getInfo", **new)
    assert (info["disktype"], info["format"], info["type"]) == ("OVFS", "RAW", "SPARSE")
    assert (info["capacity"], info["description"]) == ("134217728", "OVF_STORE")
    again = await two.call("Volume.create", **NEW)
    assert await result(two, again) == ("cleanSuccess", 212)


async def test_what_is_no_raw_volume_is_refused(clients: list[Client]) -> None:
    one = clients[0]
    assert await code(one, "Volume.create", **{**NEW, "volFormat": 4}) == 202
    assert await code(one, "Volume.create", **{**NEW, "size": "many"}) == 1000
    assert await code(one, "Volume.create", **{**NEW, "preallocate": 9}) == 1000
    assert await code(one, "Volume.create", **{**NEW, "diskType": "?"}) == 1000
    bad = await one.call("Volume.create", **{**NEW, "imageID": "../x"})
    assert await result(one, bad) == ("cleanSuccess", 379)


async def test_a_pool_is_never_connected_here(clients: list[Client], tmp_path: Path) -> None:
    one = clients[0]
    other = {**IDS, "storagepoolID": POOL}
    assert await code(one, "StoragePool.getSpmStatus", storagepoolID=POOL) == 309
    assert await code(one, "Volume.setDescription", **other, description="x") == 309
    metadata = tmp_path / DOMAIN / "dom_md" / "metadata"
    text = metadata.read_text()
    assert "POOL_UUID=\n" in text
    metadata.write_text(text.replace("POOL_UUID=", f"POOL_UUID={POOL}"))
    for pool in (BLANK, POOL):
        ids = {**IDS, "storagepoolID": pool}
        assert await code(one, "Volume.setDescription", **ids, description="x") == 309
        assert await code(one, "Volume.create", **{**NEW, "storagepoolID": pool}) == 309
    volume = file_domain.find_volume(tmp_path / DOMAIN, IMAGE, VOLUME)
    assert file_domain.read_volume_metadata(volume)["DESCRIPTION"] == "disk"
