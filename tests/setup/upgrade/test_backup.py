# SPDX-License-Identifier: Apache-2.0
"""A backup is whole or not there."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ha_agent.errors import BadInput, HaAgentError
from ha_agent.instant import WallTime
from ha_agent.setup.upgrade.backup import (
    Backup,
    ToKeep,
    UnitEntry,
    digest,
    make_backup,
    newest_backup,
)
from tests.broker.store_world import (
    DOMAIN,
    VM,
)
from tests.setup.upgrade_hosts import of_4x


@contextlib.contextmanager
def small_file_system(folder: Path) -> Iterator[None]:
    """Mount a file system of 64 KiB there that has some bytes left, if this user may."""
    if os.geteuid() != 0:
        pytest.skip("mounting a tmpfs needs root")
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False, timeout=20).returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        (folder / "ballast").write_bytes(bytes(52 * 1024))
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True, timeout=20)


async def test_a_full_disk_stops_before_the_first_change(tmp_path: Path) -> None:
    machine = of_4x(tmp_path)
    machine.state.parent.mkdir(exist_ok=True)
    await machine.upgrade(dry_run=True)
    machine.setup_dir.mkdir(parents=True)
    with small_file_system(machine.setup_dir):
        with pytest.raises(HaAgentError, match="No space left on device"):
            await machine.upgrade()
        assert machine.points == []
        assert newest_backup(machine.setup_dir) is None
        assert [path.name for path in machine.setup_dir.glob(".backup*")] == []


def kept(tmp_path: Path) -> Backup:
    (tmp_path / "root/etc").mkdir(parents=True)
    (tmp_path / "root/etc/a").write_text("old")
    (tmp_path / "setup").mkdir()
    wanted = ToKeep(
        1, VM, DOMAIN, "OLD", [("etc/a", True), ("etc/b", True)],
        [("a volume", "image", "volume", b"bytes")], {"x.service": UnitEntry(True, False)},
    )  # fmt: skip
    return make_backup(tmp_path / "setup", tmp_path / "root", wanted, now=WallTime(1e9))


def test_what_is_kept_is_read_back(tmp_path: Path) -> None:
    kept(tmp_path)
    backup = newest_backup(tmp_path / "setup")
    assert backup is not None
    assert backup.folder.name == "backup-20010909T014640Z"
    assert (backup.file("etc/a"), backup.file("etc/b")) == (b"old", None)
    assert backup.content(backup.manifest.volumes[0]) == b"bytes"
    assert backup.manifest.units == {"x.service": UnitEntry(True, False)}
    assert backup.folder.stat().st_mode & 0o777 == 0o700
    backup.note_left("etc/a", b"new")
    backup.note_left("etc/a", b"newer")
    assert backup.left() == {"etc/a": (digest(b"new"), digest(b"newer"))}
    backup.mark_restored()
    assert newest_backup(tmp_path / "setup") is None


def test_two_in_one_second(tmp_path: Path) -> None:
    first = kept(tmp_path)
    first.mark_restored()
    wanted = ToKeep(1, VM, DOMAIN, "OLD", [], [], {})
    again = make_backup(tmp_path / "setup", tmp_path / "root", wanted, now=WallTime(1e9))
    newest = newest_backup(tmp_path / "setup")
    assert newest is not None
    assert newest.folder == again.folder


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"path": "etc/a"', '"path": "../../etc/passwd"'),
        ('"path": "etc/a"', '"path": "/etc/passwd"'),
        ('"copy": "files/0"', '"copy": "../files/0"'),
        ('"format": 1', '"format": 2'),
        ('"files": [', '"files": 7, "was": ['),
        ("{", "", ),
    ],
)  # fmt: skip
def test_a_damaged_manifest_is_told_with_its_name(old: str, new: str, tmp_path: Path) -> None:
    manifest = kept(tmp_path).folder / "manifest.json"
    text = manifest.read_text()
    assert old in text
    manifest.write_text(text.replace(old, new, 1))
    with pytest.raises(BadInput, match=re.escape(str(manifest))):
        newest_backup(tmp_path / "setup")


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o701, 0o777])
def test_one_that_others_may_read_or_write_is_not_used(mode: int, tmp_path: Path) -> None:
    folder = kept(tmp_path).folder
    folder.chmod(mode)
    with pytest.raises(BadInput, match=r"open to others.*chmod 0700"):
        newest_backup(tmp_path / "setup")
    folder.chmod(0o700)
    assert newest_backup(tmp_path / "setup") is not None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_one_that_is_somebody_elses_is_not_used(tmp_path: Path) -> None:
    os.chown(kept(tmp_path).folder, 36, 36)
    with pytest.raises(BadInput, match=f"chown {os.geteuid()}"):
        newest_backup(tmp_path / "setup")


def test_what_a_person_has_put_beside_them_is_none(tmp_path: Path) -> None:
    folder = kept(tmp_path).folder
    folder.with_name(f"{folder.name}.tar.gz").write_bytes(b"x")
    folder.with_name("backup-of-mine").mkdir()
    found = newest_backup(tmp_path / "setup")
    assert found is not None
    assert found.folder == folder


def test_a_link_is_not_gone_to(tmp_path: Path) -> None:
    folder = kept(tmp_path).folder
    folder.rename(tmp_path / "moved")
    folder.symlink_to(tmp_path / "moved")
    with pytest.raises(BadInput, match="link"):
        newest_backup(tmp_path / "setup")


def test_a_state_folder_that_is_a_link_is_an_administrators_choice(tmp_path: Path) -> None:
    kept(tmp_path)
    (tmp_path / "setup").rename(tmp_path / "elsewhere")
    (tmp_path / "setup").symlink_to(tmp_path / "elsewhere")
    assert newest_backup(tmp_path / "setup") is not None


def test_no_secret_is_readable_whatever_the_umask_and_the_files_mode(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        folder = kept(tmp_path).folder
        newest = newest_backup(tmp_path / "setup")
        assert newest is not None
        newest.note_left("etc/a", b"new")
    finally:
        os.umask(old)
    assert folder.stat().st_mode & 0o077 == 0
    open_to_others = [p for p in folder.rglob("*") if p.is_file() and p.stat().st_mode & 0o077]
    assert open_to_others == []
