# SPDX-License-Identifier: Apache-2.0
"""The history's files: whole or not there, whatever fails, and readable whatever was damaged."""

from __future__ import annotations

import errno
import functools
import io
import os
import resource
import subprocess
import tarfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Optional

import pytest

from demo.domain import engine_vm
from ha_agent.errors import BadInput, EnvironmentFault
from ha_agent.instant import WallTime
from ha_agent.ovfstore.backup import build_backup
from ha_agent.ovfstore.history import History, Listing
from ha_agent.ovfstore.ovf_build import build_ovf
from ha_agent.ovfstore.version import Version

DOMAIN, VM, IMAGE, VOLUME = (str(uuid.UUID(int=number)) for number in range(1, 5))
NOW = WallTime(1795340851.5)


def keep(history: History, document: bytes, **changes: Any) -> Version:
    fields: dict[str, Any] = {
        "accepted_at": NOW,
        "source": "volume x",
        "how": "read",
        "vm_name": "HostedEngine",
        "memory_mib": 4096,
        **changes,
    }
    return history.add(document, **fields)


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path / "state" / "definitions", keep=3)


def documents(history: History) -> list[bytes]:
    return [history.document(version.number) for version in history.versions()]


def files(history: History) -> list[str]:
    return sorted(os.listdir(history.folder))


def test_without_a_folder_there_is_no_history(history: History) -> None:
    assert history.listing() == Listing((), ())
    assert history.newest() is None
    with pytest.raises(EnvironmentFault, match=r"000001\.json can't be read"):
        history.document(1)


def test_what_is_added_is_there_for_the_next_process(history: History) -> None:
    version = keep(
        history,
        b"one",
        how="forced",
        last_updated="Sun Nov 22 05:16:23 UTC 2026",
        approved=("too_big",),
    )
    again = History(history.folder)
    assert again.newest() == version
    assert again.document(version.number) == b"one"
    assert (version.number, version.identity) == (1, version.sha256[:12])
    assert files(history) == ["000001.json", "000001.ovf"]
    assert {path.stat().st_mode & 0o777 for path in history.folder.iterdir()} == {0o600}


def test_the_newest_again_is_nothing_new_and_an_older_one_again_is(history: History) -> None:
    first = keep(history, b"one")
    assert keep(history, b"one", accepted_at=NOW + 60, source="volume y") == first
    keep(history, b"two")
    again = keep(history, b"one")
    assert (again.number, again.sha256) == (3, first.sha256)
    assert documents(history) == [b"one", b"two", b"one"]


def test_only_the_last_are_kept_and_numbers_only_grow(history: History) -> None:
    for number in range(1, 8):
        assert keep(history, b"%d" % number).number == number
    assert documents(history) == [b"5", b"6", b"7"]
    assert len(files(history)) == 6
    assert keep(History(history.folder, keep=1), b"8").number == 8
    assert documents(history) == [b"8"]
    assert keep(History(history.folder, keep=0), b"9").number == 9
    assert documents(history) == [b"9"]


def test_a_strange_name_is_noted_as_far_as_it_can_be_shown(history: History) -> None:
    version = keep(history, b"one", vm_name="a\u00a0\x9b\ud800b", source="/x\ny")
    assert (version.vm_name, version.source) == ("a???b", "/x?y")
    assert history.newest() == version


# Damage ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("suffix", "content", "reason"),
    [
        ("json", b"{", "not JSON"),
        ("json", b"", "not JSON"),
        ("json", b" " * 100_000, "more than 65536 bytes"),
        ("ovf", b"tw", "SHA-256"),
        ("ovf", b"", "SHA-256"),
        ("ovf", None, "No such file"),
    ],
)
def test_a_damaged_version_is_said_and_left_out(
    history: History, suffix: str, content: Optional[bytes], reason: str
) -> None:
    for document in (b"one", b"two"):
        keep(history, document)
    path = history.folder / f"000002.{suffix}"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    listing = history.listing()
    assert [version.number for version in listing.versions] == [1]
    assert len(listing.faults) == 1
    assert "version 2" in listing.faults[0]
    assert reason in listing.faults[0]
    newest = history.newest()
    assert newest is not None
    assert newest.number == 1
    with pytest.raises((BadInput, EnvironmentFault), match=reason):
        history.document(2)
    assert keep(history, b"three").number == 3


def test_a_version_under_another_number_is_damaged(history: History) -> None:
    keep(history, b"one")
    for suffix in ("json", "ovf"):
        (history.folder / f"000001.{suffix}").rename(history.folder / f"000009.{suffix}")
    assert "it says it is version 1" in history.listing().faults[0]


def test_a_damaged_version_goes_when_it_is_old(history: History) -> None:
    for number in range(1, 4):
        keep(history, b"%d" % number)
    (history.folder / "000002.ovf").write_bytes(b"damaged")
    keep(history, b"4")
    assert history.listing().faults
    assert documents(history) == [b"1", b"3", b"4"]
    keep(history, b"5")
    assert not history.listing().faults
    assert len(files(history)) == 6
    assert documents(history) == [b"3", b"4", b"5"]


def test_orphans_go_and_what_is_not_ours_stays(history: History) -> None:
    keep(history, b"one")
    others = ["notes.txt", "000001.ovf.bak", "0000001.json"]
    for name in [*others, "000002.ovf", ".000002.json.4711"]:
        (history.folder / name).write_bytes(b"x")
    assert documents(history) == [b"one"]
    assert keep(history, b"two").number == 2
    ours = [f"{number:06}.{suffix}" for number in (1, 2) for suffix in ("json", "ovf")]
    assert files(history) == sorted([*ours, *others])
    assert documents(history) == [b"one", b"two"]


# A disk that fails ----------------------------------------------------------------------

CALLS = ("open", "fchmod", "fsync", "replace")


@contextmanager
def failing_at(number: int, code: int) -> Iterator[list[str]]:
    """The `number`th call, from 0, of those that write fails, and each later one, too."""
    made: list[str] = []
    with pytest.MonkeyPatch.context() as patch:

        def failing(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any, **options: Any) -> Any:
                made.append(name)
                if len(made) > number:
                    raise OSError(code, os.strerror(code))
                return real(*args, **options)

            return call

        for name in CALLS:
            patch.setattr(os, name, failing(name, getattr(os, name)))
        yield made


def test_the_first_version_survives_a_power_cut_with_its_folder(history: History) -> None:
    synced = []
    real = os.fsync

    def fsync(fd: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{fd}"))
        real(fd)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        keep(history, b"one")
    folders = [str(history.folder.parent), str(history.folder)]
    assert [path for path in synced if path in folders] == [folders[0], folders[1], folders[1]]
    assert len(synced) == 5


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_whatever_fails_what_was_kept_stays(history: History, code: int) -> None:
    for document in (b"one", b"two", b"three"):
        keep(history, document)
    before = {path.name: path.read_bytes() for path in history.folder.iterdir()}
    for number in range(12):
        with failing_at(number, code), pytest.raises(EnvironmentFault) as caught:
            keep(history, b"four")
        assert os.strerror(code) in str(caught.value)
        assert str(history.folder) in str(caught.value)
        assert {path.name: path.read_bytes() for path in history.folder.iterdir()} == before
        assert documents(history) == [b"one", b"two", b"three"]
    with failing_at(12, code) as made:
        keep(history, b"four")
    # Two files: each opened, its mode set, made durable, renamed, and its folder made durable.
    assert made == ["open", "fchmod", "fsync", "replace", "open", "fsync"] * 2
    assert documents(history) == [b"two", b"three", b"four"]


def test_a_file_that_can_not_grow_is_a_full_disk(history: History) -> None:
    keep(history, b"one")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))
    try:
        with pytest.raises(EnvironmentFault, match="File too large"):
            keep(history, bytes(300_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert documents(history) == [b"one"]
    assert files(history) == ["000001.json", "000001.ovf"]


def test_on_a_full_file_system_what_was_kept_stays(tmp_path: Path) -> None:
    mount = tmp_path / "small"
    mount.mkdir()
    small = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(mount)]
    if os.getuid() != 0 or subprocess.run(small, check=False, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        history = History(mount / "definitions")
        keep(history, b"one")
        with pytest.raises(EnvironmentFault, match="No space left on device"):
            keep(history, bytes(100_000))
        assert documents(history) == [b"one"]
        assert keep(history, b"two").number == 2
    finally:
        subprocess.run(["umount", str(mount)], check=True)


def test_a_folder_that_is_none_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "definitions").write_bytes(b"")
    history = History(tmp_path / "definitions")
    with pytest.raises(EnvironmentFault, match="definitions can't be read: Not a directory"):
        history.listing()
    with pytest.raises(EnvironmentFault, match="Not a directory"):
        keep(history, b"one")


# Backup ---------------------------------------------------------------------------------


@functools.cache  # its network card has a new UUID each time
def ovf_of(memory_mib: int, vm_uuid: str = VM) -> bytes:
    vm = engine_vm(DOMAIN, IMAGE, VOLUME, vm_uuid)
    return build_ovf(replace(vm, memory_mib=memory_mib, engine_xml=None))


def backup_of(history: History) -> bytes:
    """Return what `ha-agent ovf export` writes."""
    return build_backup([(v, history.document(v.number)) for v in history.versions()])


@pytest.fixture
def backup(tmp_path: Path) -> bytes:
    """Of another host, with four versions."""
    other = History(tmp_path / "other")
    for memory_mib in (1024, 2048, 3072, 4096):
        keep(other, ovf_of(memory_mib), approved=("too_big",), memory_mib=1, vm_name="wrong")
    return backup_of(other)


def imported(history: History, backup: bytes, vm_uuid: str = VM) -> tuple[Version, ...]:
    return history.import_backup(backup, where="b.tar", vm_uuid=vm_uuid)


def test_a_backup_is_a_tar_file_with_the_files(history: History) -> None:
    keep(history, b"one")
    with tarfile.open(fileobj=io.BytesIO(backup_of(history))) as archive:
        assert sorted(archive.getnames()) == files(history)
        for name in archive.getnames():
            member = archive.extractfile(name)
            assert member is not None
            assert member.read() == (history.folder / name).read_bytes()


def test_an_import_adds_and_leaves_what_is_in_use(history: History, backup: bytes) -> None:
    current = keep(history, ovf_of(512))
    added = imported(history, backup)
    # As many as are kept, and none of them drives out an accepted one.
    assert [version.memory_mib for version in added] == [2048, 3072, 4096]
    assert [version.number for version in added] == [2, 3, 4]
    assert {(v.how, v.approved, v.vm_name) for v in added} == {("import", (), "HostedEngine")}
    assert "b.tar, version 2, read from volume x" in added[0].source
    assert history.newest() == current
    assert history.versions() == (current, *added)
    # What was imported and is then accepted is a version of its own.
    rolled_back = keep(history, history.document(4), how="rollback")
    assert history.newest() == rolled_back


def test_what_is_here_already_is_not_imported(history: History, backup: bytes) -> None:
    keep(history, ovf_of(3072))
    for expected in ([2048, 4096], []):
        assert [version.memory_mib for version in imported(history, backup)] == expected


def test_an_import_alone_puts_nothing_in_use(history: History, backup: bytes) -> None:
    assert imported(history, backup)
    assert history.newest() is None


def test_imports_and_accepted_ones_are_pruned_apart(history: History, backup: bytes) -> None:
    for number in range(3):
        keep(history, b"%d" % number)
    imported(history, backup)
    for number in range(3, 6):
        keep(history, b"%d" % number)
    hows = [version.how for version in history.versions()]
    assert hows == ["import"] * 3 + ["read"] * 3


def test_a_backup_of_another_vm_is_refused(history: History, backup: bytes) -> None:
    with pytest.raises(BadInput, match=r"b\.tar, 00000\d.ovf"):
        imported(history, backup, str(uuid.UUID(int=99)))
    assert history.versions() == ()


def test_a_damaged_backup_adds_nothing(history: History, backup: bytes) -> None:
    with pytest.raises(BadInput, match=r"b\.tar"):
        imported(history, backup[:-1024])
    assert not history.folder.exists()


@pytest.mark.parametrize("number", [0, 3, 9, 14])
def test_an_import_is_all_or_nothing(history: History, backup: bytes, number: int) -> None:
    keep(history, b"one")
    with failing_at(number, errno.ENOSPC), pytest.raises(EnvironmentFault, match="No space"):
        imported(history, backup)
    assert documents(history) == [b"one"]
    assert files(history) == ["000001.json", "000001.ovf"]
