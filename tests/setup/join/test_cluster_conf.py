# SPDX-License-Identifier: Apache-2.0
"""The shared configuration as a joining host judges it; test_join.py has the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from ha_agent.compat import hosted_engine_conf
from ha_agent.compat.hosted_engine_conf import HostedEngineConf
from ha_agent.errors import BadInput
from ha_agent.setup.join.cluster_conf import (
    Cluster,
    check_same_cluster,
    check_whole,
    own_conf,
    own_id,
    place_of,
)
from ha_agent.setup.join.cluster_source import FolderSource
from ha_agent.setup.step import SetupFailed, SetupRefused
from tests.setup.join_world import JoiningHost, make_cluster
from tests.setup.register_world import HereLane

A, B = (f"00000000-0000-4000-8000-00000000000{n}" for n in (1, 2))


def conf(text: str) -> HostedEngineConf:
    return hosted_engine_conf.parse(text, "c")


def test_a_file_must_be_whole_and_about_its_storage() -> None:
    whole = f"vmid={A}\nsdUUID={B}\nmetadata_image_UUID={A}\nmetadata_volume_UUID={A}\n"
    check_whole(conf(whole), B)
    with pytest.raises(SetupRefused, match="is about storage domain"):
        check_whole(conf(whole), A)
    for line in whole.splitlines():
        with pytest.raises(BadInput, match=r"is missing|metadata"):
            check_whole(conf(whole.replace(line, "")), B)


def test_the_same_cluster() -> None:
    one = conf(f"vmid={A}\nsdUUID={B}\n")
    check_same_cluster(one, conf(f"vmid={A.upper()}\nsdUUID={B}\n"))
    with pytest.raises(SetupRefused, match="its engine VM is"):
        check_same_cluster(one, conf(f"vmid={B}\nsdUUID={B}\n"))
    with pytest.raises(SetupRefused, match="its storage domain is"):
        check_same_cluster(one, conf(f"vmid={A}\nsdUUID={A}\n"))


def test_what_this_host_had(tmp_path: Path) -> None:
    host = JoiningHost(tmp_path, "alpha")
    assert own_conf(host.root) is None
    host.conf.parent.mkdir(parents=True)
    host.conf.write_text("host_id=7\n")
    assert own_id(own_conf(host.root)) == 7
    host.conf.write_bytes(b"a=\xff\n")
    with pytest.raises(BadInput, match="UTF-8"):
        own_conf(host.root)


@pytest.mark.parametrize("text", ["", "host_id=\n", "host_id=x\n", "host_id=0\n", "host_id=-1\n"])
def test_no_host_id(text: str) -> None:
    assert own_id(conf(text)) is None
    assert own_id(None) is None


@pytest.mark.parametrize(
    ("more", "locks", "lease", "sanlock"),
    [
        ("", True, True, False),
        ("ha_agent_lease_backend=sanlock\n", True, False, True),
        (
            "ha_agent_lease_backend=sanlock\nha_agent_storage_domain_type=nfs3\n",
            False,
            False,
            True,
        ),
    ],
)
def test_where_the_register_is(
    tmp_path: Path, more: str, locks: bool, lease: bool, sanlock: bool
) -> None:
    shared = make_cluster(tmp_path / "storage")
    text = shared.conf_text
    if "domain_type" in more:
        text = text.replace("ha_agent_storage_domain_type=localfs\n", "")
    settings = JoiningHost(tmp_path, "alpha").files.settings_with(text + more)
    place = place_of(settings, "/status")
    hosts = f"{shared.path}/ha_agent/{shared.vm_uuid}.hosts"
    assert place.hosts_path == (hosts if locks else "")
    assert place.lease_path == (str(shared.lease) if lease else "")
    assert (place.sanlock is not None) is sanlock
    assert place.ids_path == f"{shared.path}/dom_md/ids"


async def test_it_is_read_once_and_refused_each_time(tmp_path: Path) -> None:
    shared = make_cluster(tmp_path / "storage")
    host = JoiningHost(tmp_path, "alpha")
    source = FolderSource(HereLane(), shared.path)
    cluster = Cluster(host.root, source, host.files.settings_with)
    found = await cluster.known()
    assert found.settings.engine.vm_uuid == shared.vm_uuid
    assert await cluster.read() is found
    shared.put(hosted_engine_conf=shared.conf_text.replace(shared.uuid, A))
    assert await cluster.peek() is found
    other = Cluster(host.root, FolderSource(HereLane(), shared.path), host.files.settings_with)
    for _ in range(2):
        assert await other.peek() is None
        with pytest.raises(SetupRefused):
            await other.read()


async def test_storage_that_is_not_there_yet(tmp_path: Path) -> None:
    class Absent(FolderSource):
        async def look(self):  # type: ignore[no-untyped-def]
            from ha_agent.setup.step import Found

            return Found(False, "not connected")

    host = JoiningHost(tmp_path, "alpha")
    cluster = Cluster(host.root, Absent(HereLane(), tmp_path), host.files.settings_with)
    assert await cluster.read() is None
    with pytest.raises(SetupFailed, match="not there"):
        await cluster.known()


class BlockSource(FolderSource):
    """As of a block domain: a volume is only readable once VDSM has prepared it."""

    def __init__(self, path: Path) -> None:
        super().__init__(HereLane(), path)
        self.prepared: list[str] = []
        self.folder = path

    async def volume_path(self, image: str, volume: str) -> str:
        self.prepared.append(volume)
        return str(self.folder / image / volume)


async def test_the_leases_own_volume_is_made_readable(tmp_path: Path) -> None:
    """Before the host id is taken in the lockspace that is there."""
    shared = make_cluster(tmp_path / "storage")
    text = shared.conf_text.replace("domain_type=localfs", "domain_type=fc")
    text += f"ha_agent_lease_backend=sanlock\nha_agent_sanlock_path={shared.path}/{A}/{B}\n"
    shared.put(hosted_engine_conf=text)
    host = JoiningHost(tmp_path, "alpha")
    source = BlockSource(shared.path)
    found = await Cluster(host.root, source, host.files.settings_with).known()
    assert source.prepared[1:] == [B]
    assert place_of(found.settings, "/s").sanlock is not None
    source.folder = tmp_path
    with pytest.raises(SetupRefused, match="has the lease's volume at"):
        await Cluster(host.root, source, host.files.settings_with).known()
