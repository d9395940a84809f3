# SPDX-License-Identifier: Apache-2.0
"""The configuration volume as a real file, written by real processes that are killed."""

from __future__ import annotations

import io
import os
import pathlib
import subprocess
import sys
import tarfile

import msgpack
import pytest

from ha_agent.broker.storage import worker as storage_worker
from ha_agent.broker.storage.directio import open_file
from ha_agent.broker.store import conf_volume_ops
from ha_agent.errors import BadInput, DeadlineExceeded
from ha_agent.instant import WallTime
from ha_agent.ofd_lock import try_lock
from ha_agent.ovfstore import conf_volume

OLD = {name: f"{name} old\n".encode() for name in conf_volume.FILE_NAMES}
NEW = {name: f"{name} new\n".encode() * 99 for name in conf_volume.FILE_NAMES}


@pytest.fixture
def path(tmp_path: pathlib.Path) -> str:
    """A volume as an old tool leaves it on file storage: cut to the archive's size."""
    path = tmp_path / "volume"
    path.write_bytes(conf_volume.encode_conf_volume(OLD, WallTime(0.0)))
    return str(path)


def files(path: str) -> dict[str, bytes]:
    value = conf_volume_ops.read_conf_volume(path)["files"]
    assert isinstance(value, dict)
    return value


def test_files_are_written_and_read_back(path: str) -> None:
    before = conf_volume_ops.read_conf_volume(path)
    assert before["files"] == OLD
    assert (before["notes"], before["pending"]) == ([], False)
    done = conf_volume_ops.write_conf_volume(path, NEW, before["identity"], 5.0)
    assert done["done"]
    after = conf_volume_ops.read_conf_volume(path)
    assert (after["files"], after["identity"], after["pending"]) == (NEW, done["identity"], False)
    assert msgpack.unpackb(msgpack.packb(after)) == after


def test_old_tools_read_it(path: str) -> None:
    conf_volume_ops.write_conf_volume(path, NEW, None, 5.0)
    for name in conf_volume.FILE_NAMES:
        run = subprocess.run(
            f"dd if='{path}' bs=4k status=none | tar -xOf - {name}",
            shell=True,
            capture_output=True,
            check=True,
        )
        assert run.stdout == NEW[name]
    with tarfile.open(path) as archive:
        assert archive.getnames() == list(conf_volume.FILE_NAMES)


def test_an_old_tools_write_is_read(path: str) -> None:
    conf_volume_ops.write_conf_volume(path, NEW, None, 5.0)
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name in reversed(conf_volume.FILE_NAMES):
            info = tarfile.TarInfo(name)
            info.size = 6
            archive.addfile(info, io.BytesIO(b"theirs"))
    for more in ([], ["conv=notrunc"]):
        subprocess.run(
            ["dd", f"of={path}", "bs=4k", "status=none", *more],
            input=made.getvalue().ljust(conf_volume.ARCHIVE_BYTES, b"\0"),
            check=True,
        )
        assert files(path) == dict.fromkeys(conf_volume.FILE_NAMES, b"theirs")
        assert conf_volume_ops.write_conf_volume(path, NEW, None, 5.0)["done"]
        assert files(path) == NEW


def test_a_write_over_anothers_is_refused(path: str) -> None:
    seen = conf_volume_ops.read_conf_volume(path)["identity"]
    conf_volume_ops.write_conf_volume(path, NEW, seen, 5.0)
    answer = conf_volume_ops.write_conf_volume(path, OLD, seen, 5.0)
    assert not answer["done"]
    assert answer["identity"] == conf_volume_ops.read_conf_volume(path)["identity"]
    assert files(path) == NEW


def test_the_lock_is_waited_for_until_the_deadline(path: str) -> None:
    with open_file(path, write=True) as other:
        assert try_lock(other.fd, 0, conf_volume.ARCHIVE_BYTES)
        with pytest.raises(DeadlineExceeded, match="lock on the configuration volume"):
            conf_volume_ops.write_conf_volume(path, NEW, None, 0.02)
    assert files(path) == OLD
    assert conf_volume_ops.write_conf_volume(path, NEW, None, 5.0)["done"]


def test_what_does_not_fit_changes_nothing(path: str) -> None:
    with pytest.raises(BadInput, match="don't fit"):
        conf_volume_ops.write_conf_volume(path, {**NEW, "vm.conf": b"x" * 20_000}, None, 5.0)
    assert files(path) == OLD


def test_a_volume_that_is_not_there_or_empty(path: str, tmp_path: pathlib.Path) -> None:
    with pytest.raises(FileNotFoundError):
        conf_volume_ops.write_conf_volume(str(tmp_path / "none"), NEW, None, 5.0)
    os.truncate(path, 0)
    with pytest.raises(BadInput, match="empty"):
        conf_volume_ops.read_conf_volume(path)
    conf_volume_ops.write_conf_volume(path, NEW, None, 5.0)
    assert files(path) == NEW


# A worker whose storage takes no byte beyond a limit: the write that would pass it stops there.
LIMITED = """
import resource, sys
from ha_agent.broker.store import conf_volume_ops
path, limit = sys.argv[1], int(sys.argv[2])
files = dict(zip(sys.argv[3::2], (text.encode() for text in sys.argv[4::2])))
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
conf_volume_ops.write_conf_volume(path, files, None, 5.0)
"""


@pytest.mark.parametrize("limit", [65536, 65536 + 4096, 65536 + 3 * 4096])
def test_a_full_storage_leaves_the_old_files(path: str, limit: int) -> None:
    arguments = [text for name in NEW for text in (name, NEW[name].decode())]
    run = subprocess.run(
        [sys.executable, "-c", LIMITED, path, str(limit), *arguments],
        capture_output=True,
        check=False,
    )
    assert run.returncode != 0
    assert files(path) == OLD
    assert conf_volume_ops.write_conf_volume(path, NEW, None, 5.0)["done"]
    assert files(path) == NEW


@pytest.mark.parametrize("writes", [1, 2])
def test_a_writer_that_was_killed_between_two_writes(path: str, writes: int) -> None:
    new = conf_volume.encode_conf_volume(NEW, WallTime(5.0))
    with open_file(path, write=True) as file:
        archive = file.read(0, conf_volume.ARCHIVE_BYTES)
        for offset, data in conf_volume.plan_writes(archive, b"", new)[:writes]:
            file.write_blocks(offset, data)
    found = conf_volume_ops.read_conf_volume(path)
    assert (found["files"], found["pending"]) == (NEW, True)
    assert conf_volume_ops.write_conf_volume(path, OLD, found["identity"], 5.0)["done"]
    assert files(path) == OLD


def test_the_worker_offers_both() -> None:
    for name, operation in conf_volume_ops.OPERATIONS.items():
        assert storage_worker.OPERATIONS[name] is operation


class Changing:
    """A volume that a writer is at work on: it takes its next step before each read."""

    def __init__(self, states: list[tuple[bytes, bytes]]) -> None:
        self._states = states

    def read(self, offset: int, length_bytes: int) -> bytes:
        archive, record = self._states.pop(0) if len(self._states) > 1 else self._states[0]
        return archive if offset == 0 else record


def test_who_reads_while_another_writes_has_no_torn_archive() -> None:
    """Archive half written, then the record wiped: both looks at once would never see that."""
    old = conf_volume.encode_conf_volume(OLD, WallTime(0.0))
    new = conf_volume.encode_conf_volume(NEW, WallTime(5.0))
    torn = new[:4096] + old[4096:]
    record = conf_volume.plan_writes(old, b"", new)[0][1].ljust(conf_volume.RECORD_BYTES, b"\0")
    wiped = bytes(conf_volume.RECORD_BYTES)
    writing = [(torn, record), (new, wiped), (new, wiped)]
    areas = conf_volume_ops.settled_areas(Changing(writing))
    assert conf_volume.current_archive(*areas) == (new, False)
    killed = conf_volume_ops.settled_areas(Changing([(torn, record)]))
    assert conf_volume.current_archive(*killed) == (new, True)
