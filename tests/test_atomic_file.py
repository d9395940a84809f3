# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from ha_agent.atomic_file import replace_file


@pytest.mark.parametrize("sync", [True, False])
def test_a_file_is_made_and_replaced(tmp_path: Path, sync: bool) -> None:
    path = tmp_path / "file"
    replace_file(path, b"one", sync=sync)
    assert path.read_bytes() == b"one"
    replace_file(path, b"2", sync=sync)
    assert path.read_bytes() == b"2"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o666])
def test_the_mode_is_what_was_asked_for(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"")
    path.chmod(0o640)
    before = os.umask(0o077)
    try:
        replace_file(path, b"one", mode=mode)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_who_has_the_old_file_open_keeps_the_whole_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old" * 1000)
    with path.open("rb") as old:
        replace_file(path, b"new")
        assert old.read() == b"old" * 1000


def test_a_reader_never_sees_a_part(tmp_path: Path) -> None:
    path = tmp_path / "file"
    contents = [bytes([letter]) * 200_000 for letter in b"ab"]
    replace_file(path, contents[0])
    done = threading.Event()

    def write() -> None:
        for number in range(100):
            replace_file(path, contents[number % 2], sync=False)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not done.is_set():
        assert path.read_bytes() in contents
    writer.join()


def test_what_fails_leaves_the_old_file_and_no_draft(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    path.mkdir()
    (path / "inside").write_bytes(b"old")
    with pytest.raises(OSError, match="folder"):
        replace_file(path, b"new")
    assert (path / "inside").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["folder"]


def test_without_a_folder_it_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        replace_file(tmp_path / "none" / "file", b"new")


def test_a_draft_that_a_killed_process_left_is_no_hindrance(tmp_path: Path) -> None:
    path = tmp_path / "file"
    (tmp_path / f".file.{os.getpid()}").write_bytes(b"half of a longer text")
    replace_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["file"]


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"old")
    link = tmp_path / "link"
    link.symlink_to(target)
    replace_file(link, b"new")
    assert target.read_bytes() == b"old"
    assert not link.is_symlink()


def test_a_draft_that_somebody_has_laid_there_is_not_written_through(tmp_path: Path) -> None:
    """Root writes in folders of the daemons' user, too: their links are not root's to follow."""
    other = tmp_path / "other"
    other.write_bytes(b"not ours")
    (tmp_path / f".file.{os.getpid()}").symlink_to(other)
    replace_file(tmp_path / "file", b"new", owner=(36, 36) if os.geteuid() == 0 else None)
    assert other.read_bytes() == b"not ours"
    assert other.stat().st_uid == os.geteuid()
    assert (tmp_path / "file").read_bytes() == b"new"
    assert not (tmp_path / "file").is_symlink()
