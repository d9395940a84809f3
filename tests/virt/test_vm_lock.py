# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import fcntl
import struct
from pathlib import Path

import pytest

from ha_agent import ofd_lock
from ha_agent.errors import EnvironmentFault
from ha_agent.virt.domain_xml import VirtDomain
from ha_agent.virt.errors import VmLeaseMissing
from ha_agent.virt.place import LeaseKind, Placed
from ha_agent.virt.vm_lock import prove


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk"
    path.write_bytes(bytes(4096))
    return path


def placed(*disks: Path) -> Placed:
    return Placed(VirtDomain("<domain/>", ()), tuple(map(str, disks)), (), False)


def test_image_is_proved_by_qemus_shared_lock_only(disk: Path) -> None:
    with disk.open("r+b") as file:
        assert ofd_lock.try_lock(file.fileno(), 0, 1)
        with pytest.raises(VmLeaseMissing, match="its file system may have none"):
            prove(LeaseKind.IMAGE, placed(disk), 1)
        shared = struct.pack("hhqqi4x", fcntl.F_RDLCK, 0, 201, 1, 0)
        fcntl.fcntl(file, 37, shared)
        prove(LeaseKind.IMAGE, placed(disk), 1)


def test_lockd_is_proved_by_the_first_byte_of_every_disk(disk: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(bytes(4096))
    with disk.open("r+b") as file, other.open("r+b") as second:
        assert ofd_lock.try_lock(file.fileno(), 0, 1)
        with pytest.raises(VmLeaseMissing, match=f"{other}: virtlockd has no lock"):
            prove(LeaseKind.LOCKD, placed(disk, other), 1)
        assert ofd_lock.try_lock(second.fileno(), 0, 1)
        prove(LeaseKind.LOCKD, placed(disk, other), 1)


def test_a_vm_without_disks_has_nothing_that_keeps_another_out() -> None:
    with pytest.raises(VmLeaseMissing, match="no disk"):
        prove(LeaseKind.IMAGE, placed(), 1)


def test_a_disk_that_is_not_there_proves_nothing(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match="No such file"):
        prove(LeaseKind.IMAGE, placed(tmp_path / "gone"), 1)
