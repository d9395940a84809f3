# SPDX-License-Identifier: Apache-2.0
"""The OVF_STORE over two whole hosts: read, changed, killed over, damaged, and made."""

from __future__ import annotations

import re
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Callable

import pytest

from demo.hosts import Host
from ha_agent.ovfstore.approval import identity_of
from tests.e2e.lone import (
    IN_USE,
    STORAGE_ONLY,
    described,
    done,
    edited,
    eventually,
    failed,
    in_use,
    one_json,
    read_ovf,
    says,
    started,
    store_volumes,
    tear,
    without_store,
    write_ovf,
)

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]


def failed_output(host: Host, *arguments: str) -> str:
    """Run a command whose exit code is part of its answer, and return that."""
    ended = host.cli(*arguments)
    assert (ended.returncode, ended.stderr) == (1, "")
    return ended.stdout


def members_of(volume: Path) -> list[str]:
    """Return the names as GNU tar lists them."""
    listed = subprocess.run(
        ["tar", "-tf", str(volume)], capture_output=True, text=True, timeout=30, check=True
    )
    return listed.stdout.split()


def content_of(volume: Path, name: str) -> bytes:
    """Return a member as GNU tar reads it; of two of that name it would print both."""
    read = subprocess.run(
        ["tar", "-xOf", str(volume), name], capture_output=True, timeout=30, check=True
    )
    return read.stdout


# --- put, history, diff, rollback ---------------------------------------------------------


def test_what_one_host_puts_the_other_has_and_a_rollback_takes_back(
    host: Host, twin: Host, tmp_path: Path
) -> None:
    old = read_ovf(host.domain)
    write_ovf(host.domain, old, others=200)
    started(host, twin)
    listed = done(host, "store", "list")
    assert all(volume.name in listed for volume in store_volumes(host.domain))
    assert done(host, "store", "verify").count("the archive is whole: 203 members") == 2

    new = edited(host.domain, old, memory_mib=300)
    file = tmp_path / "new.ovf"
    file.write_bytes(new)
    said = done(host, "store", "put", str(file))
    assert f"definition {identity_of(new)} is in the store" in said
    written = [int(n) for n in re.findall(r": (\d+) bytes written", said)]
    archives = [int(n) for n in re.findall(r"archive of (\d+) bytes", said)]
    assert len(written) == len(archives) == 2
    assert max(written) < 64 * 1024 < 3_000_000 < min(archives)
    name = f"{host.domain.vm_uuid}.ovf"
    for volume in store_volumes(host.domain):
        assert members_of(volume).count(name) == 1
        assert content_of(volume, name) == new
        with tarfile.open(volume) as tar:
            assert tar.getnames().count(name) == 1
        assert described(volume)["Updated"] is True
    assert len({described(v)["Last Updated"] for v in store_volumes(host.domain)}) == 1

    assert in_use(twin) == new
    assert "put by user" in done(host, "ovf", "history")
    assert len(done(twin, "ovf", "history").splitlines()) == 3
    assert "-> 300 MiB" in done(twin, "ovf", "diff", "1", "2")
    assert "no difference" in done(host, "ovf", "diff", "current", str(file))

    done(host, "ovf", "rollback", "1")
    assert in_use(twin) == in_use(host) == old
    assert done(host, "ovf", "history").count("rollback") == 2  # how, and from where
    assert done(twin, "store", "verify").count(identity_of(old)) == 2


def test_a_definition_is_looked_into_wherever_it_is(host: Host) -> None:
    started(host)
    domain, volume = host.domain, str(store_volumes(host.domain)[1])
    told = [
        done(host, "ovf", "translate", *source, "--to", "json")
        for source in (("--store",), ("--volume", volume))
    ]
    assert told[0] == told[1]
    assert one_json(told[0])["uuid"] == domain.vm_uuid
    xml = done(host, "ovf", "translate", "--store", "--to", "xml")
    assert f"<uuid>{domain.vm_uuid}</uuid>" in xml
    assert "<lease>" in xml
    assert f"vmId={domain.vm_uuid}" in done(host, "ovf", "translate", "--store", "--to", "vmconf")
    vm_conf = (host.folder / "run" / "vm.conf").read_text()
    assert f"vmId={domain.vm_uuid}\n" in vm_conf
    assert done(host, "ovf", "translate", "--volume", volume, "--to", "ovf").encode() == (
        read_ovf(domain)
    )
    explained = done(host, "ovf", "explain", "--volume", volume)
    assert "used " in explained
    other = host.cli("ovf", "explain", "--volume", volume, "--vm", domain.uuid)
    assert (other.returncode, other.stdout) == (1, "")
    assert f"no member '{domain.uuid}.ovf'" in other.stderr
    listed = one_json(done(host, "store", "list", "--json"))
    assert len(listed["copies"]) == 2
    assert one_json(done(host, "store", "verify", "--json"))["good"] is True


def test_a_put_of_what_is_there_writes_nothing(host: Host, tmp_path: Path) -> None:
    started(host)
    file = tmp_path / "same.ovf"
    file.write_bytes(read_ovf(host.domain))
    before = [described(volume) for volume in store_volumes(host.domain)]
    assert "bytes written" not in done(host, "store", "put", str(file))
    assert [described(volume) for volume in store_volumes(host.domain)] == before


# --- a store that is not there ------------------------------------------------------------


def test_a_store_is_made_and_filled_and_a_host_gets_its_first_definition(
    host: Host, twin: Host, tmp_path: Path
) -> None:
    file = tmp_path / "vm.ovf"
    file.write_bytes(read_ovf(host.domain))
    without_store(host.domain)
    host.start(STORAGE_ONLY)
    twin.start(STORAGE_ONLY)
    for one in (host, twin):
        says(one, "no OVF_STORE volume")
    assert "`ha-agent store create` makes two" in done(host, "store", "list")
    assert "`ha-agent store create`" in failed(host, "store", "put", str(file))
    said = done(host, "store", "create")
    assert said.count("made image") == 2
    for volume in store_volumes(host.domain):
        assert volume.name in said
        assert described(volume)["Updated"] is False
    assert failed(twin, "refresh")
    assert "made" not in done(host, "store", "create")

    done(host, "store", "put", str(file))
    says(twin, IN_USE)
    assert in_use(twin) == file.read_bytes()
    assert done(twin, "store", "verify").count("the archive is whole") == 2


def test_one_copy_alone_is_not_written_until_there_is_a_second(host: Host, tmp_path: Path) -> None:
    shutil.rmtree(store_volumes(host.domain)[1].parent)
    started(host)
    old = in_use(host)
    file = tmp_path / "new.ovf"
    file.write_bytes(edited(host.domain, old, memory_mib=300))
    before = store_volumes(host.domain)[0].read_bytes()
    assert "only one copy" in failed_output(host, "store", "verify")
    assert "`ha-agent store create` makes the second" in failed(host, "store", "put", str(file))
    assert store_volumes(host.domain)[0].read_bytes() == before
    assert done(host, "store", "create").count("made image") == 1
    assert in_use(host) == old
    done(host, "store", "put", str(file))
    assert done(host, "store", "verify").count(identity_of(file.read_bytes())) == 2
    assert len(store_volumes(host.domain)) == 2


# --- backup -------------------------------------------------------------------------------


def test_a_backup_of_one_host_is_rolled_back_to_on_another(
    host: Host, twin: Host, tmp_path: Path
) -> None:
    old = read_ovf(host.domain)
    started(host)
    file, backup = tmp_path / "new.ovf", tmp_path / "backup.tar"
    file.write_bytes(edited(host.domain, old, memory_mib=300))
    done(host, "store", "put", str(file))
    assert "2 versions are in" in done(host, "ovf", "export", str(backup))
    assert members_of(backup) == ["000001.ovf", "000001.json", "000002.ovf", "000002.json"]

    started(twin)
    assert "added to this host's history: 2" in done(twin, "ovf", "import", str(backup))
    assert "none: all were here already" in done(twin, "ovf", "import", str(backup))
    assert in_use(twin) == file.read_bytes()
    done(twin, "ovf", "rollback", "2")
    assert in_use(host) == in_use(twin) == old


# --- never lost ---------------------------------------------------------------------------


def zeroed(volume: Path) -> None:
    volume.write_bytes(bytes(volume.stat().st_size))


@pytest.mark.parametrize("damage", [tear, zeroed])
def test_the_last_good_one_outlives_both_copies(
    host: Host, damage: Callable[[Path], None]
) -> None:
    started(host)
    good = in_use(host)
    for volume in store_volumes(host.domain):
        damage(volume)
    assert "no copy of the OVF_STORE can be used" in failed(host, "refresh")
    says(host, "the last good one, accepted", "ago, is used")
    assert done(host, "store", "get").encode() == good
    assert "the archive is whole" not in failed_output(host, "store", "verify")
    broker = host.daemons["ha-broker"]
    broker.kill()
    broker.wait(10)
    host.start(["ha-broker"])
    says(host, "the last good one, accepted", "from this host's history, version 1")
    assert in_use(host) == good
    # What may still be saved from the copies is not written over; a person can start anew.
    assert "whole" in failed(host, "ovf", "rollback", "1")
    without_store(host.domain)
    done(host, "store", "create")
    done(host, "ovf", "rollback", "1")
    assert "last good" not in says(host, IN_USE)


def test_a_copy_of_a_store_that_comes_back_is_used_again(host: Host, tmp_path: Path) -> None:
    started(host)
    good = in_use(host)
    kept = [shutil.copy(volume, tmp_path) for volume in store_volumes(host.domain)]
    for volume in store_volumes(host.domain):
        zeroed(volume)
    failed(host, "refresh")
    for volume, copy in zip(store_volumes(host.domain), kept):
        shutil.copyfile(copy, volume)
    done(host, "refresh")
    assert "last good" not in says(host, IN_USE)
    assert in_use(host) == good


def test_a_damaged_version_of_the_history_hides_no_other(host: Host, tmp_path: Path) -> None:
    started(host)
    old = in_use(host)
    file = tmp_path / "new.ovf"
    file.write_bytes(edited(host.domain, old, memory_mib=300))
    done(host, "store", "put", str(file))
    broker = host.daemons["ha-broker"]
    broker.kill()
    broker.wait(10)
    for volume in store_volumes(host.domain):
        zeroed(volume)
    newest = host.folder / "state" / "definitions" / "000002.ovf"
    newest.write_bytes(newest.read_bytes()[:100])
    host.start(["ha-broker"])
    says(host, "the last good one, accepted", "from this host's history, version 1")
    assert in_use(host) == old
    told = host.cli("ovf", "history")
    assert "version 2 of this host's history is damaged" in told.stderr
    assert len(told.stdout.splitlines()) == 2


def test_without_vdsm_nothing_is_lost_or_written(host: Host, tmp_path: Path) -> None:
    started(host)
    old = in_use(host)
    file = tmp_path / "new.ovf"
    file.write_bytes(edited(host.domain, old, memory_mib=300))
    host.daemons.pop("ha-vdsm").kill()
    before = [volume.read_bytes() for volume in store_volumes(host.domain)]
    for arguments in (("put", str(file)), ("list",), ("verify",), ("create",)):
        assert "VDSM" in failed(host, "store", *arguments)
    assert "VDSM" in failed(host, "refresh")
    assert in_use(host) == old
    says(host, "VDSM", identity_of(old))
    assert [volume.read_bytes() for volume in store_volumes(host.domain)] == before
    host.start(["ha-vdsm"])
    eventually(
        lambda: host.cli("store", "put", str(file)).returncode == 0, "the put does not succeed"
    )
    assert in_use(host) == file.read_bytes()
