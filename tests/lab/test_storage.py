# SPDX-License-Identifier: Apache-2.0
"""The lab's storage: each host's way fails apart, locks are between hosts, and it can be full."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ha_agent import ofd_lock
from lab.plan import LabPlan
from lab.ports import LabError
from lab.storage import BLOCK_THERE, OWNER, SHARE_THERE, LabStorage
from lab.tools import mounts, wait_until

pytestmark = [pytest.mark.root]


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[LabStorage]:
    pytest.importorskip("mfusepy", reason="needs mfusepy and libfuse3")
    if os.getuid() != 0 or not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("needs root and /dev/fuse")
    plan = LabPlan("tt", tmp_path / "lab")
    plan.work.mkdir()
    made = LabStorage(plan)
    try:
        made.make()
        for host in ("host1", "host2"):
            made.plug(host)
        yield made
    finally:
        made.remove()
    assert not [path for path in mounts() if path.startswith(str(tmp_path))]


def way(storage: LabStorage, host: str) -> Path:
    return storage.binds(host)[SHARE_THERE]


def test_hosts_see_one_folder(storage: LabStorage) -> None:
    (way(storage, "host1") / "a").write_text("x")
    assert (way(storage, "host2") / "a").read_text() == "x"
    assert (storage.share / "a").read_text() == "x"
    assert (os.stat(way(storage, "host1")).st_uid, OWNER) == (OWNER, 36)


def test_one_host_fails_the_other_does_not(storage: LabStorage) -> None:
    (storage.share / "a").write_text("x")
    storage.fail("host1", errno.EIO)
    with pytest.raises(OSError, match="Input/output error"):
        (way(storage, "host1") / "a").read_text()
    assert (way(storage, "host2") / "a").read_text() == "x"
    storage.mend("host1")
    assert (way(storage, "host1") / "a").read_text() == "x"


def test_what_hangs_goes_on_when_mended(storage: LabStorage) -> None:
    storage.hang("host1")
    path = way(storage, "host1") / "a"
    writer = threading.Thread(target=path.write_text, args=("late",), daemon=True)
    writer.start()
    wait_until(lambda: bool(storage.hanging("host1")), 20.0, "nothing hangs")
    assert not (storage.share / "a").exists()
    storage.mend("host1")
    writer.join(20.0)
    assert (storage.share / "a").read_text() == "late"


def test_what_hangs_at_a_power_cut_never_comes(storage: LabStorage) -> None:
    storage.hang("host1")
    failed = threading.Event()

    def write() -> None:
        try:
            (way_there / "a").write_text("late")
        except OSError:
            failed.set()

    way_there = way(storage, "host1")
    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    wait_until(lambda: bool(storage.hanging("host1")), 20.0, "nothing hangs")
    storage.unplug("host1")
    assert failed.wait(20.0)
    assert not (storage.share / "a").exists()
    with pytest.raises(LabError, match="no power"):
        storage.mend("host1")


def test_a_lock_of_one_host_keeps_the_other_out_until_it_is_dropped(storage: LabStorage) -> None:
    first = os.open(way(storage, "host1") / "vm.lease", os.O_RDWR | os.O_CREAT, 0o660)
    second = os.open(way(storage, "host2") / "vm.lease", os.O_RDWR)
    try:
        assert ofd_lock.try_lock(first, 0, 1)
        assert not ofd_lock.try_lock(second, 0, 1)
        storage.drop_locks("host1")
        assert ofd_lock.try_lock(second, 0, 1)
    finally:
        os.close(first)
        os.close(second)


def test_full_is_full_until_it_is_emptied(storage: LabStorage) -> None:
    path = way(storage, "host1") / "a"
    path.write_bytes(b"x" * 4096)
    storage.fill()
    with pytest.raises(OSError, match="No space left"):
        path.with_name("b").write_bytes(bytes(1 << 20))
    assert path.read_bytes() == b"x" * 4096
    storage.empty()
    path.with_name("b").write_bytes(bytes(1 << 20))


def test_the_disk_is_named_as_a_descriptor_of_it_is(storage: LabStorage) -> None:
    with pytest.raises(LabError, match="no disk"):
        _ = storage.disk
    storage.disk_is("d", "i", "v")
    storage.disk.parent.mkdir(parents=True)
    (way(storage, "host1") / "d/images/i/v").write_text("x")
    with (way(storage, "host1") / "d/images/i/v").open() as file:
        name = os.readlink(f"/proc/self/fd/{file.fileno()}")
    assert name.endswith(storage.disk_texts)
    assert storage.disk.read_text() == "x"


def test_another_kind_is_refused() -> None:
    with pytest.raises(LabError, match="one of file, block"):
        LabStorage(LabPlan("", Path("/w")), "nfs")


@pytest.mark.parametrize("hung", ["host1", "host2"])
def test_a_raw_device_is_one_for_all_and_hangs_for_one(tmp_path: Path, hung: str) -> None:
    pytest.importorskip("mfusepy", reason="needs mfusepy and libfuse3")
    if os.getuid() != 0 or not os.access("/dev/loop-control", os.R_OK | os.W_OK):
        pytest.skip("needs root and loop devices")
    plan = LabPlan("tt", tmp_path / "lab")
    plan.work.mkdir()
    storage = LabStorage(plan, "block")
    other = {"host1": "host2", "host2": "host1"}[hung]
    try:
        storage.make()
        for host in (hung, other):
            storage.plug(host)
        status = storage.binds(hung)[BLOCK_THERE].stat()
        assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (OWNER, OWNER, 0o660)
        _write_sector(storage.binds(hung)[BLOCK_THERE], b"a")
        assert _read_sector(storage.binds(other)[BLOCK_THERE]) == b"a"
        storage.fail(hung, errno.EIO)
        with pytest.raises(OSError, match="Input/output error"):
            _read_sector(storage.binds(hung)[BLOCK_THERE])
        _write_sector(storage.binds(other)[BLOCK_THERE], b"b")
        storage.mend(hung)
        assert _read_sector(storage.binds(hung)[BLOCK_THERE]) == b"b"
    finally:
        storage.remove()


@contextlib.contextmanager
def _aligned(content: bytes) -> Iterator[memoryview]:
    """Yield memory that direct I/O takes: a page's boundary is where a mapping begins."""
    with mmap.mmap(-1, len(content)) as mapped:
        mapped.write(content)
        with memoryview(mapped) as view:
            yield view


def _write_sector(device: Path, byte: bytes) -> None:
    with _aligned(byte * 4096) as buffer:
        descriptor = os.open(device, os.O_WRONLY | os.O_DIRECT)
        try:
            assert os.pwrite(descriptor, buffer, 0) == 4096
        finally:
            os.close(descriptor)


def _read_sector(device: Path) -> bytes:
    with _aligned(bytes(4096)) as buffer:
        descriptor = os.open(device, os.O_RDONLY | os.O_DIRECT)
        try:
            assert os.preadv(descriptor, [buffer], 0) == 4096
        finally:
            os.close(descriptor)
        return bytes(buffer[:1])
