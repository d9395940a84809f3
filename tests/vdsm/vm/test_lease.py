# SPDX-License-Identifier: Apache-2.0
"""The VM lease: a lock on an open file description."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ha_agent.vdsm.deadline import StorageThreads
from ha_agent.vdsm.domain.model import Lease
from ha_agent.vdsm.vm import lease as vm_lease
from ha_agent.vdsm.vm_status import LockFailure, lock_failure


def test_a_second_holder_is_refused_in_this_process_too(tmp_path: Path) -> None:
    path = tmp_path / "v.lease"
    path.touch()
    held = vm_lease.take(path)
    with pytest.raises(vm_lease.LeaseRefused) as refused:
        vm_lease.take(path)
    # The client's table of lock failures knows our words, which are VDSM's.
    assert lock_failure(str(refused.value)) == LockFailure.HELD_BY_OTHER_HOST
    os.close(held)
    os.close(vm_lease.take(path))


def test_opening_and_closing_the_file_elsewhere_does_not_free_it(tmp_path: Path) -> None:
    path = tmp_path / "v.lease"
    path.touch()
    held = vm_lease.take(path)
    with path.open("rb"):
        pass  # a POSIX lock would be gone now
    with pytest.raises(vm_lease.LeaseRefused):
        vm_lease.take(path)
    os.close(held)


def test_the_lock_goes_on_in_a_child_and_ends_with_it(tmp_path: Path) -> None:
    path = tmp_path / "v.lease"
    path.touch()
    held = vm_lease.take(path)
    assert fcntl.fcntl(held, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    child = subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[held]
    )
    os.close(held)
    try:
        with pytest.raises(vm_lease.LeaseRefused):
            vm_lease.take(path)
    finally:
        child.kill()
        child.communicate()
    os.close(vm_lease.take(path))


@pytest.mark.parametrize(
    ("magic", "is_refused"),
    [(b"", False), (bytes(512), False), (bytes.fromhex("10202112") + bytes(508), True)],
    ids=["empty", "zeros", "lockspace"],
)
async def test_a_domain_of_hosts_with_sanlock_is_refused(
    tmp_path: Path, magic: bytes, is_refused: bool
) -> None:
    """Two kinds of VM lease on one domain would not keep each other's VM out."""
    domain = tmp_path / "domain-uuid"
    (domain / "dom_md").mkdir(parents=True)
    (domain / "images" / "i").mkdir(parents=True)
    (domain / "dom_md" / "ids").write_bytes(magic)
    path = domain / "images" / "i" / "v.lease"
    path.touch()
    lease = Lease("v", "domain-uuid", str(path))
    leases = vm_lease.LockFileLeases(StorageThreads(), 10.0)
    if not is_refused:
        (await leases.prepare([lease], ["qemu"], is_paused=False)).close()
        return
    with pytest.raises(vm_lease.LeaseRefused, match="must be sanlock here") as refused:
        await leases.prepare([lease], ["qemu"], is_paused=False)
    assert lock_failure(str(refused.value)) == LockFailure.LOCKSPACE_NOT_JOINED
    os.close(vm_lease.take(path))


def test_a_missing_lease_is_not_made_up(tmp_path: Path) -> None:
    with pytest.raises(vm_lease.LeaseRefused) as refused:
        vm_lease.take(tmp_path / "v.lease")
    assert lock_failure(str(refused.value)) == LockFailure.LOCKSPACE_NOT_JOINED
    assert not (tmp_path / "v.lease").exists()


def test_who_has_the_lock_is_told_by_its_process(tmp_path: Path) -> None:
    lease, other = tmp_path / "a.lease", tmp_path / "b.lease"
    for path in (lease, other):
        path.touch()
    holder = vm_lease.take(lease)
    reader = os.open(other, os.O_RDONLY)  # open here, but not locked here
    try:
        assert vm_lease.has_lock(os.getpid(), lease)
        assert not vm_lease.has_lock(os.getpid(), other)
        assert not vm_lease.has_lock(os.getppid(), lease)
        assert not vm_lease.has_lock(os.getpid(), tmp_path / "none.lease")
    finally:
        os.close(holder)
        os.close(reader)
    assert not vm_lease.has_lock(os.getpid(), lease)
