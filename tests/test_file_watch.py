# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import logging
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ha_agent.file_watch import FileWatch

# Longer than any test may last: with it, only inotify can be what saw the change.
NEVER_SECONDS = 3600.0
QUICK_SECONDS = 0.02


class Watched:
    """A watch and the paths that it told."""

    def __init__(self, poll_interval_seconds: float, *files: Path, folders: tuple[Path, ...] = ()):
        self.told: asyncio.Queue[Path] = asyncio.Queue()
        self.watch = FileWatch(
            files,
            self.told.put_nowait,
            poll_interval_seconds=poll_interval_seconds,
            folders=folders,
        )

    def polls(self) -> bool:
        return self.watch.polls

    async def next(self) -> Path:
        return await asyncio.wait_for(self.told.get(), 5)

    async def nothing(self) -> None:
        """Give what is under way time to arrive, then see that nothing did."""
        await asyncio.sleep(0.1)
        assert self.told.empty(), self.told.get_nowait()


@contextmanager
def watched(
    poll_interval_seconds: float, *files: Path, folders: tuple[Path, ...] = ()
) -> Iterator[Watched]:
    it = Watched(poll_interval_seconds, *files, folders=folders)
    try:
        yield it
    finally:
        it.watch.close()


def replace(path: Path, text: str) -> None:
    """Write as an atomic writer does."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text)
    os.replace(temporary, path)


@pytest.fixture(params=["inotify", "polling"])
def interval_seconds(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> float:
    """Run a test with inotify and without the library."""
    if request.param == "inotify":
        return NEVER_SECONDS
    monkeypatch.setitem(sys.modules, "pyinotify", None)
    return QUICK_SECONDS


async def test_replace_remove_and_create(tmp_path: Path, interval_seconds: float) -> None:
    path = tmp_path / "ha.conf"
    path.write_text("1")
    with watched(interval_seconds, path) as it:
        replace(path, "3")
        assert await it.next() == path
        replace(path, "4")
        assert await it.next() == path
        path.unlink()
        assert await it.next() == path
        replace(path, "5")
        assert await it.next() == path
        path.rename(tmp_path / "away")
        assert await it.next() == path
        await it.nothing()


async def test_other_files_are_not_told(tmp_path: Path, interval_seconds: float) -> None:
    with watched(interval_seconds, tmp_path / "a") as it:
        (tmp_path / "b").write_text("x")
        await it.nothing()


async def test_folder_tells_of_its_conf_files(tmp_path: Path, interval_seconds: float) -> None:
    folder = tmp_path / "c.conf.d"
    folder.mkdir()
    with watched(interval_seconds, tmp_path / "c.conf", folders=(folder,)) as it:
        replace(folder / "10.conf", "x")
        assert await it.next() == folder
        (folder / "readme.txt").write_text("x")
        await it.nothing()
        (folder / "10.conf").unlink()
        assert await it.next() == folder


async def test_folder_made_later_is_watched(tmp_path: Path, interval_seconds: float) -> None:
    folder = tmp_path / "c.conf.d"
    with watched(interval_seconds, tmp_path / "c.conf", folders=(folder,)) as it:
        folder.mkdir()
        await it.nothing()
        replace(folder / "10.conf", "x")
        assert await it.next() == folder


async def test_folder_that_is_replaced_is_still_watched(
    tmp_path: Path, interval_seconds: float
) -> None:
    folder = tmp_path / "c.conf.d"
    folder.mkdir()
    replace(folder / "10.conf", "x")
    with watched(interval_seconds, tmp_path / "c.conf", folders=(folder,)) as it:
        folder.rename(tmp_path / "old")
        assert await it.next() == folder
        folder.mkdir()
        await it.nothing()
        replace(folder / "20.conf", "x")
        assert await it.next() == folder


async def test_no_callback_after_close(tmp_path: Path, interval_seconds: float) -> None:
    path = tmp_path / "a"
    with watched(interval_seconds, path) as it:
        pass
    path.write_text("x")
    await it.nothing()


async def test_a_rewrite_of_the_same_size_in_the_same_instant_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("True ")
    status = path.stat()
    with watched(NEVER_SECONDS, path) as it:
        path.write_text("False")
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert await it.next() == path


async def test_a_file_name_that_is_not_utf8_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with watched(NEVER_SECONDS, path) as it:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff")).write_text("x")
        path.write_text("x")
        assert await it.next() == path
        await asyncio.sleep(0.05)
        replace(path, "y")
        assert await it.next() == path


async def test_directory_that_comes_later_is_polled_for_and_then_watched(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "later" / "a"
    with caplog.at_level(logging.INFO), watched(QUICK_SECONDS, path) as it:
        await asyncio.sleep(0.1)
        assert it.polls()
        path.parent.mkdir()
        path.write_text("x")
        assert await it.next() == path
        await asyncio.sleep(0.1)
        assert not it.polls()
    assert [record.getMessage() for record in caplog.records] == [
        f"{path.parent} is not there; looked at every 0.02 s"
    ]


async def test_directory_that_is_removed_and_made_again(tmp_path: Path) -> None:
    path = tmp_path / "state" / "a"
    path.parent.mkdir()
    path.write_text("x")
    with watched(QUICK_SECONDS, path) as it:
        path.unlink()
        path.parent.rmdir()
        assert await it.next() == path
        path.parent.mkdir()
        path.write_text("y")
        assert await it.next() == path


async def test_missing_library_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "pyinotify", None)
    with watched(QUICK_SECONDS, tmp_path / "a") as it:
        await asyncio.sleep(0.1)
        assert it.polls()
    [record] = caplog.records
    assert "pyinotify can't be used" in record.getMessage()
    assert "files are looked at every 0.02 s" in record.getMessage()


async def test_inotify_out_of_descriptors_falls_back_to_polling(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a"
    with watched(NEVER_SECONDS, path):
        pass  # pyinotify is imported: the limit below is for inotify alone
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        it = Watched(QUICK_SECONDS, path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    try:
        assert it.polls()
        path.write_text("x")
        assert await it.next() == path
    finally:
        it.watch.close()
    assert "inotify can't be used" in caplog.text
