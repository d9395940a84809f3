# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ha_agent.vdsm import file_domain
from ha_agent.vdsm.deadline import StorageThreads
from ha_agent.vdsm.refusal import Refusal
from ha_agent.vdsm.server.domain_verbs import DomainVerbs
from ha_agent.vdsm.server.storage_verbs import StorageVerbs

DOMAIN = "11111111-1111-4111-8111-111111111111"
OTHER = "22222222-2222-4222-8222-222222222222"


class Place:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.storage = StorageVerbs((), StorageThreads(), 20.0)

    async def connect(self) -> None:
        connection = {"id": "x", "connection": str(self.path)}
        assert (await self.storage.connect_servers("", 4, [connection]))[0]["status"] == 0

    async def create(self, **changes: Any) -> None:
        values: dict[str, Any] = {
            "domain": DOMAIN, "kind": 4, "type_arguments": str(self.path), "name": "he",
            "domain_class": 1, "version": 5, "_block_size": None, "_max_hosts": None, **changes,
        }  # fmt: skip
        await DomainVerbs(self.storage).create(**values)


async def code_of(place: Place, **changes: Any) -> int:
    with pytest.raises(Refusal) as refused:
        await place.create(**changes)
    return refused.value.code


async def test_a_domain_is_made_once_and_found(tmp_path: Path) -> None:
    place = Place(tmp_path)
    await place.connect()
    await place.create()
    info = await place.storage.domain_info(DOMAIN)
    assert (info["name"], info["type"], info["version"], info["pool"]) == (
        "he",
        "LOCALFS",
        "5",
        [],
    )
    assert info["remotePath"] == str(tmp_path)
    assert await code_of(place) == 365
    assert await code_of(place, domain=OTHER) == 361


async def test_what_is_not_connected_is_not_used(tmp_path: Path) -> None:
    assert await code_of(Place(tmp_path)) == 360
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"kind": 3}, 468),
        ({"domain": "../x"}, 1000),
        ({"name": ""}, 1000),
        ({"name": "a\nb"}, 1000),
        ({"domain_class": 2}, 1000),
        ({"version": 0}, 1000),
        ({"version": None}, 1000),
    ],
)
async def test_arguments_are_checked(tmp_path: Path, changes: dict[str, Any], code: int) -> None:
    place = Place(tmp_path)
    await place.connect()
    assert await code_of(place, **changes) == code
    assert list(tmp_path.iterdir()) == []


async def test_one_that_was_cut_off_is_made_again(tmp_path: Path) -> None:
    (tmp_path / DOMAIN / "dom_md").mkdir(parents=True)
    place = Place(tmp_path)
    await place.connect()
    await place.create()
    assert file_domain.find_domain((tmp_path,), DOMAIN) == tmp_path / DOMAIN
