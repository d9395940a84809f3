# SPDX-License-Identifier: Apache-2.0
"""The storage verbs, over the wire."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

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


async def test_volumes_are_found_as_the_predecessor_does(client: Client) -> None:
    assert await client.call("Host.getStorageDomains") == [DOMAIN]
    assert await client.call("StorageDomain.getImages", storagedomainID=DOMAIN) == [IMAGE]
    assert await client.call("StorageDomain.getVolumes", **IDS) == [VOLUME]
    assert await client.call("Image.getVolumes", **IDS) == [VOLUME]
    info = await client.call("Volume.getInfo", volumeID=VOLUME, **IDS)
    assert (info["description"], info["disktype"]) == ("disk", "HEVD")
    assert (info["capacity"], info["apparentsize"], info["ctime"]) == ("1048576", "1048576", "1")
    path = Path((await client.call("Image.prepare", volumeID=VOLUME, **IDS))["path"])
    assert path.stat().st_size == 1048576
    assert await client.call("Image.teardown", **IDS) is True


async def test_domain_info_and_stats(client: Client) -> None:
    info = await client.call("StorageDomain.getInfo", storagedomainID=DOMAIN)
    assert (info["uuid"], info["version"], info["pool"]) == (DOMAIN, "5", [])
    assert (info["type"], info["class"], info["name"]) == ("LOCALFS", "Data", "hosted_storage")
    stats = await client.call("StorageDomain.getStats", storagedomainID=DOMAIN)
    assert 0 < int(stats["diskfree"]) <= int(stats["disktotal"])


async def test_what_is_not_there_has_vdsms_codes(client: Client) -> None:
    assert await code(client, "Volume.getInfo", volumeID=OTHER, **IDS) == 201
    assert await code(client, "Image.prepare", volumeID=OTHER, **IDS) == 201
    assert (
        await code(client, "Volume.getInfo", volumeID=VOLUME, **{**IDS, "imageID": OTHER}) == 254
    )
    assert await code(client, "StorageDomain.getInfo", storagedomainID=OTHER) == 358
    # No path is made of what is no UUID.
    assert await code(client, "Volume.getInfo", volumeID="../x", **IDS) == 201
    assert await code(client, "StorageDomain.getImages", storagedomainID="../..") == 358


async def test_a_storage_server_is_connected_by_its_directory(
    client: Client, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    (other / OTHER / "dom_md").mkdir(parents=True)
    (other / OTHER / "dom_md" / "metadata").write_text("VERSION=5\n")
    local = [{"id": "c", "connection": str(other)}, {"id": "d", "connection": "/does/not/exist"}]
    params = {"storagepoolID": BLANK, "domainType": 4, "connectionParams": local}
    answer = await client.call("StoragePool.connectStorageServer", **params)
    assert answer == [{"id": "c", "status": 0}, {"id": "d", "status": 477}]
    assert OTHER in await client.call("Host.getStorageDomains")
    await client.call("StoragePool.disconnectStorageServer", **params)
    assert OTHER not in await client.call("Host.getStorageDomains")
    nfs = {**params, "domainType": 1, "connectionParams": [{"id": "n", "connection": "a:/b"}]}
    answer = await client.call("StoragePool.connectStorageServer", **nfs)
    assert answer == [{"id": "n", "status": 477}]
    empty = {**params, "connectionParams": []}
    for verb in ("StoragePool.connectStorageServer", "StoragePool.disconnectStorageServer"):
        assert await code(client, verb, **empty) == 1000
        assert await code(client, verb, **{**params, "domainType": "nfs"}) == 451
        assert await code(client, verb, **{**params, "domainType": "4"}) == 451


async def test_block_storage_is_refused_connection_by_connection(client: Client) -> None:
    lun = {"id": "i", "connection": "10.0.0.1", "port": "3260", "iqn": "iqn.x", "tpgt": "1"}
    params = {"storagepoolID": BLANK, "connectionParams": [lun, {"id": "j"}]}
    for kind, status in ((3, 460), (2, 468)):
        answer = await client.call("StoragePool.connectStorageServer", domainType=kind, **params)
        assert answer == [{"id": "i", "status": status}, {"id": "j", "status": status}]


async def test_a_domain_is_validated(client: Client) -> None:
    assert await client.call("StorageDomain.validate", storagedomainID=DOMAIN) is True
    assert await code(client, "StorageDomain.validate", storagedomainID=OTHER) == 358
