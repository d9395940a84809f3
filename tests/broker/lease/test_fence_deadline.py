# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ha_agent import ofd_lock
from ha_agent.broker.lease.fence_deadline import (
    DEADLINE_NAME,
    LOCK_NAME,
    LOG_NAME,
    FenceDeadline,
    GuardFence,
    read_deadline,
    write_deadline,
)
from ha_agent.errors import BadInput, EnvironmentFault
from ha_agent.instant import Instant

DEADLINE = FenceDeadline("vm-1", "boot-1", Instant(12345.678901), 7)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    assert read_deadline(tmp_path) is None
    write_deadline(tmp_path, DEADLINE)
    assert read_deadline(tmp_path) == DEADLINE
    assert os.listdir(tmp_path) == [DEADLINE_NAME]


def test_a_final_deadline_says_so_and_others_read_as_they_always_did(tmp_path: Path) -> None:
    final = dataclasses.replace(DEADLINE, final=True)
    write_deadline(tmp_path, final)
    assert read_deadline(tmp_path) == final
    write_deadline(tmp_path, DEADLINE)
    assert set(json.loads((tmp_path / DEADLINE_NAME).read_text())) == {
        "vm_uuid", "boot_id", "fence_at", "epoch",
    }  # fmt: skip


NO_EPOCH = '{"vm_uuid": "x", "boot_id": "b", "fence_at": 1, "epoch": 1e999}'


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "7", "null", '{"vm_uuid": "x"}', "\xff", "x" * 9999, "[" * 4000, NO_EPOCH],
)
def test_a_file_that_is_no_deadline_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / DEADLINE_NAME).write_text(text, "latin-1")
    with pytest.raises(BadInput, match=DEADLINE_NAME):
        read_deadline(tmp_path)
    with pytest.raises(EnvironmentFault, match=DEADLINE_NAME):
        GuardFence(tmp_path, "vm-1", "boot-1").armed()


def test_only_this_boots_deadline_is_in_force(tmp_path: Path) -> None:
    write_deadline(tmp_path, DEADLINE)
    assert GuardFence(tmp_path, "vm-1", "boot-1").armed() == DEADLINE
    assert GuardFence(tmp_path, "vm-1", "boot-2").armed() is None


def test_arming_beside_a_running_guard_starts_no_second(tmp_path: Path) -> None:
    lock_fd = os.open(tmp_path / LOCK_NAME, os.O_RDWR | os.O_CREAT)
    try:
        assert ofd_lock.try_lock(lock_fd, 0, 1)  # as a guard does
        fence = GuardFence(tmp_path, "vm-1", "boot-1")
        fence.arm(DEADLINE.fence_at, 7)
        assert fence.armed() == DEADLINE
        fence.disarm()
        fence.disarm()
        assert fence.armed() is None
        assert fence.result() == ""
    finally:
        os.close(lock_fd)


def test_a_fence_that_can_not_be_armed_says_so(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match="can't be armed"):
        GuardFence(tmp_path / "missing", "vm-1", "boot-1").arm(Instant(1.0), 7)


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A run folder with a deadline, on a file system of which not a byte is free."""
    if os.getuid() != 0:
        pytest.skip("mounting a tmpfs needs root")
    folder = tmp_path / "run"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True, timeout=10).returncode != 0:
        pytest.skip("no mount here")
    try:
        write_deadline(folder, DEADLINE)
        with contextlib.suppress(OSError), (folder / "ballast").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        with pytest.raises(OSError, match="No space left"):
            (folder / "another").write_bytes(b"x")
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True, timeout=10)


@pytest.mark.parametrize("change", [3.0, 1e-3, 1e9, -12000.0])
def test_a_full_disk_keeps_no_renewed_lease_from_being_armed(
    full_disk: Path, change: float
) -> None:
    """The guard would end a VM whose lease is renewed, for want of a block on this host."""
    later = dataclasses.replace(DEADLINE, fence_at=DEADLINE.fence_at + change)
    write_deadline(full_disk, later)
    assert read_deadline(full_disk) == later
    write_deadline(full_disk, dataclasses.replace(later, final=True))
    assert read_deadline(full_disk) == dataclasses.replace(later, final=True)
    write_deadline(full_disk, DEADLINE)
    assert read_deadline(full_disk) == DEADLINE


def test_half_of_an_old_and_half_of_a_new_deadline_is_none(full_disk: Path) -> None:
    """The guard may look while the file is written in place."""
    path = full_disk / DEADLINE_NAME
    texts = []
    for fence_at in (19999.75, 20002.25):
        deadline = dataclasses.replace(DEADLINE, fence_at=Instant(fence_at))
        write_deadline(full_disk, deadline)
        texts.append(path.read_bytes())
    old, new = texts
    assert len(old) == len(new)
    for cut in range(len(old)):
        for torn in (old[:cut] + new[cut:], new[:cut] + old[cut:]):
            with path.open("rb+") as file:
                file.write(torn)
            if torn in (old, new):
                assert read_deadline(full_disk) is not None
                continue
            with pytest.raises(BadInput, match="not a fence deadline"):
                read_deadline(full_disk)


def test_on_a_full_disk_nothing_new_is_armed(full_disk: Path) -> None:
    (full_disk / DEADLINE_NAME).unlink()
    with contextlib.suppress(OSError), (full_disk / "more").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    with pytest.raises(OSError, match="No space left"):
        write_deadline(full_disk, DEADLINE)
    assert read_deadline(full_disk) is None


def test_a_guard_that_would_not_find_qemu_is_none(tmp_path: Path) -> None:
    """As with hidepid=2: a process of another user has no entry."""
    (tmp_path / "proc").mkdir()
    fence = GuardFence(tmp_path, "vm-1", "boot-1", proc=tmp_path / "proc")
    with pytest.raises(EnvironmentFault, match="hides other users' processes"):
        fence.arm(Instant(1.0), 7)
    assert not (tmp_path / LOG_NAME).exists()
