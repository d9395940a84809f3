# SPDX-License-Identifier: Apache-2.0
"""Deploy as a whole, against a real embedded VDSM on a directory."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from ha_agent import ofd_lock
from ha_agent.certificates import TlsFiles
from ha_agent.ovfstore import conf_volume
from ha_agent.setup.journal import open_journal
from ha_agent.setup.step import SetupFailed, SetupRefused
from tests.push_certs import Pki
from tests.setup.deploying import BareHost, Killed, bare_host

pytestmark = pytest.mark.long


def conf_of(host: BareHost) -> dict[str, str]:
    path = host.root / "etc/ovirt-hosted-engine/hosted-engine.conf"
    return dict(line.partition("=")[::2] for line in path.read_text().splitlines())


def check_whole(host: BareHost) -> None:
    """All is there, once, and finished."""
    volumes = host.volumes()
    assert {kind: len(paths) for kind, paths in volumes.items()} == {
        "HEMD": 1, "HESD": 1, "HECI": 1, "HEVD": 1, "OVFS": 2,
    }  # fmt: skip
    for paths in volumes.values():
        for path in paths:
            assert "is making it" not in Path(f"{path}.meta").read_text()
    conf = conf_of(host)
    assert volumes["HEMD"][0].name == conf["metadata_volume_UUID"]
    assert volumes["HEVD"][0].name == conf["vm_disk_vol_id"]
    assert volumes["HEVD"][0].read_bytes()[:5] == b"boots"
    with volumes["HECI"][0].open("rb") as file:
        files = conf_volume.decode_conf_volume(file.read(20480), where="HECI")
    shared = files["hosted-engine.conf"].decode()
    assert f"vmid={conf['vmid']}\n" in shared
    assert "host_id=" not in shared
    assert set(files) == set(conf_volume.FILE_NAMES)
    for path in volumes["OVFS"]:
        assert conf["vmid"].encode() in path.read_bytes()[:65536]
    with volumes["HEMD"][0].open("rb") as file:
        assert f"|{socket.gethostname()}|".encode() in file.read(8192)[4096:]
    assert host.services.running == host.services.enabled == host.services.there


async def test_from_nothing_and_again_without_a_change() -> None:
    async with bare_host() as host:
        plan = await host.deploy(dry=True)
        assert plan[0] == "storage"
        assert plan[-1] == "units"
        assert host.content() == {}
        done = await host.deploy()
        assert [name for name in plan if name != "space"] == done
        check_whole(host)
        before = host.content()
        assert await host.deploy() == ["lock"]
        assert host.content() == before
        assert await host.deploy(dry=True) == ["lock"]
        assert "CHAP" not in "".join(host.lines)


async def test_killed_after_each_change_at_vdsm_it_goes_on() -> None:
    async with bare_host() as host:
        assert host.wire is not None
        for limit in range(1, 40):
            host.wire.kill_after = 1 + limit // 3
            try:
                await host.deploy()
            except Killed:
                continue
            break
        host.wire.kill_after = None
        assert limit > 6
        check_whole(host)


async def test_killed_at_the_beginning_and_the_end_of_each_step_it_goes_on() -> None:
    async with bare_host() as host:
        names = []
        await host.deploy(dry=True)
        heads = [line.partition("]")[0] + "]" for line in host.lines]
        for head in heads:
            for what in (f"{head} ", "done ("):
                host.kill_at_line = what
                try:
                    await host.deploy()
                except Killed:
                    names.append(what)
        host.kill_at_line = ""
        await host.deploy()
        assert len(names) > 20
        check_whole(host)


async def test_what_this_host_says_of_itself_counts() -> None:
    async with bare_host() as host:
        conf = host.root / "etc/ha-agent/ha-agent.conf"
        conf.parent.mkdir(parents=True)
        own = host.folder / "own"
        conf.write_text(f"[host]\nname = alpha\nrun_dir = {own}/run\nstate_dir = {own}/state\n")
        await host.deploy()
        assert any("alpha is host 1" in line for line in host.lines)
        assert (own / "state/setup/deploy.json").exists()
        assert not host.state_dir.exists()


async def test_without_start_nothing_is_enabled() -> None:
    async with bare_host() as host:
        await host.deploy(start=False)
        assert not host.services.enabled
        assert "left to you, by --no-start: run `systemctl enable --now" in host.lines[-1]


async def test_a_domain_that_nobody_named_is_not_used() -> None:
    async with bare_host() as host:
        await host.deploy()
        before = host.content()
        conf = conf_of(host)
        (host.state_dir / "setup/deploy.json").unlink()
        (host.root / "etc/ovirt-hosted-engine/hosted-engine.conf").unlink()
        with pytest.raises(SetupRefused, match=f"has storage domain {conf['sdUUID']}"):
            await host.deploy()
        # Nor its volumes, when it is named: they are of a cluster.
        with pytest.raises(SetupRefused) as refused:
            await host.deploy(domain_uuid=conf["sdUUID"])
        text = str(refused.value)
        for kind in ("status", "lockspace", "configuration"):
            assert f"the {kind} volume" in text
        assert f"(engine VM {conf['vmid']})" in text
        after = host.content()
        for name in before:
            if name.startswith("share"):
                assert after[name] == before[name], name


async def test_another_deploy_on_the_storage_is_refused() -> None:
    async with bare_host() as host:
        host.kill_at_line = "[6/17] create the status volume ..."
        with pytest.raises(Killed):
            await host.deploy()
        host.kill_at_line = ""
        lock = next(host.share.glob("*/ha_agent/deploy.lock"))
        with lock.open("r+b") as file:
            assert ofd_lock.try_lock(file.fileno(), 0, 1)
            with pytest.raises(SetupRefused, match="another `ha-agent deploy` works on storage"):
                await host.deploy()
            assert host.volumes() == {}
        await host.deploy()
        check_whole(host)


async def test_another_set_up_of_this_host_is_refused() -> None:
    async with bare_host() as host:
        refused = pytest.raises(SetupRefused, match="another set-up of this host")
        with open_journal(host.state_dir, "join", "x"), refused:
            await host.deploy()


async def test_vdsm_that_is_not_there_is_told_with_its_reason() -> None:
    async with bare_host() as host:
        assert host.wire is not None
        await host.wire.stop()
        with pytest.raises(SetupFailed, match="can't be reached"):
            await host.deploy()


async def test_a_vdsm_of_another_ca_is_told(tmp_path: Path) -> None:
    ours, theirs = Pki(tmp_path / "ours"), Pki(tmp_path / "theirs")
    good, bad = ours.pair("vdsm"), theirs.pair("vdsm")
    async with bare_host(TlsFiles(good.key, good.cert, ours.ca)) as host:
        files: dict[str, Any] = {
            "vdsm_ssl": "true",
            "vdsm.key_file": str(good.key),
            "vdsm.cert_file": str(good.cert),
            "vdsm.ca_file": str(ours.ca),
        }
        assert "domain" in await host.deploy(dry=True, **files)
        # We don't know its CA; it does not know ours.
        for wrong in (
            {"vdsm.ca_file": str(theirs.ca)},
            {"vdsm.key_file": str(bad.key), "vdsm.cert_file": str(bad.cert)},
        ):
            with pytest.raises(SetupFailed, match=r"can't be reached: .*(?i:certificate|CA)"):
                await host.deploy(**{**files, **wrong})
        assert host.volumes() == {}
