# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from ha_agent.errors import EnvironmentFault
from ha_agent.virt.lock_reach import require_shared_locks, why_local
from tests.loop_device import loop_device

DISK = "/data/my domain/images/i/v"


def mounts(kind: str, options: str = "rw") -> str:
    return (
        "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n"
        f"36 27 0:45 / /data/my\\040domain rw,relatime shared:1 - {kind} source {options}\n"
        "37 27 0:46 / /data/my rw - tmpfs tmpfs rw\n"
    )


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("nfs4", "rw,vers=4.2,local_lock=none"),
        ("fuse.glusterfs", "rw,user_id=0"),
        ("ceph", "rw"),
        ("gfs2", "rw"),
        ("ext4", "rw"),
    ],
)
def test_locks_that_other_hosts_see(kind: str, options: str) -> None:
    assert why_local(mounts(kind, options), DISK) == ""


@pytest.mark.parametrize(
    ("kind", "options", "why"),
    [
        ("nfs", "rw,vers=3,nolock,local_lock=all", "NFS version 3"),
        ("nfs", "rw,vers=3,local_lock=none", "NFS version 3"),
        ("fuse.sshfs", "rw", "fuse.sshfs"),
        ("fuse", "rw", "fuse"),
        ("9p", "rw", "9p"),
        ("virtiofs", "rw", "virtiofs"),
        ("cifs", "rw,nobrl", "nobrl"),
    ],
)
def test_locks_that_stay_here(kind: str, options: str, why: str) -> None:
    assert why in why_local(mounts(kind, options), DISK)


def test_the_newest_of_mounts_on_one_point_counts() -> None:
    text = mounts("nfs4", "rw,vers=4.2") + mounts("fuse.sshfs").split("\n")[1] + "\n"
    assert "sshfs" in why_local(text, DISK)


def test_a_file_of_this_host_is_let_through_and_a_missing_one_is_not(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(16))
    require_shared_locks(str(disk))
    with pytest.raises(EnvironmentFault, match="No such file"):
        require_shared_locks(str(tmp_path / "gone"))


@pytest.mark.root
def test_a_block_device_is_refused_behind_any_name(tmp_path: Path) -> None:
    """Its lock is the device node's, which no other host has."""
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(1 << 20))
    with loop_device(disk, 512) as device:
        link = tmp_path / "link"
        link.symlink_to(device)
        with pytest.raises(EnvironmentFault, match=r"block device.*vm_lease = sanlock"):
            require_shared_locks(str(link))
