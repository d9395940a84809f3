# SPDX-License-Identifier: Apache-2.0
"""Whether locks on a disk's file are seen by other hosts, as far as this host can tell.

A lock that stays on the host that took it is there when it is looked for, on both hosts: looking
for it (vm_lock.py) proves nothing then, and QEMU would run twice. So what this host knows of the
disk is asked before: block devices, whose locks belong to the device node of one host, and
the mounts' types and options in /proc/self/mountinfo (proc_pid_mountinfo(5)):

    36 35 0:45 / /mnt/domain rw,relatime shared:1 - nfs4 server:/export rw,vers=4.2,local_lock=none
                 mount point                        type                super options

A directory of a file system of this host alone is let through: no other host has its files.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from ha_agent.errors import EnvironmentFault

_MOUNTS = Path("/proc/self/mountinfo")
# Those of FUSE that carry locks to all hosts; the kernel keeps those of any other to itself when
# it does not say otherwise (FUSE_POSIX_LOCKS of include/uapi/linux/fuse.h).
_FUSE_WITH_LOCKS = ("fuse.glusterfs", "fuse.ceph", "fuse.ceph-fuse")
# A guest's view of its host's folder: virtiofsd has locks off, and so has 9p.
_OF_A_HYPERVISOR = ("9p", "virtiofs")


def require_shared_locks(path: str, mounts: Path = _MOUNTS) -> None:
    """Raise EnvironmentFault where a lock on the file keeps no other host out. Blocks."""
    try:
        real = os.path.realpath(path)
        if stat.S_ISBLK(os.stat(real).st_mode):
            why = "it is a block device"
        else:
            why = why_local(mounts.read_text(encoding="utf-8", errors="surrogateescape"), real)
    except OSError as error:
        raise EnvironmentFault(f"{path}: {error.strerror}") from error
    if why:
        raise EnvironmentFault(
            f"{path}: {why}, so locks on it keep no other host out; [libvirt] vm_lease = sanlock"
            " is for it"
        )


def why_local(mountinfo: str, path: str) -> str:
    """Return why locks on the file stay on this host, "" where they don't. Pure."""
    kind, options = _mount_of(mountinfo, path)
    if kind.startswith("nfs"):
        version = next((one[5:] for one in options if one.startswith("vers=")), "")
        if not version.startswith("4"):
            return f"it is on NFS version {version or 'unknown'}"
    if kind.startswith("fuse") and kind not in _FUSE_WITH_LOCKS:
        return f"it is on {kind}, whose locks may stay on this host"
    if kind in _OF_A_HYPERVISOR:
        return f"it is on {kind}, whose locks stay on this host"
    if kind in ("cifs", "smb3") and "nobrl" in options:
        return f"it is on {kind} with nobrl"
    return ""


def _mount_of(mountinfo: str, path: str) -> tuple[str, frozenset[str]]:
    """Return type and options of the mount that has the path: of the deepest the newest."""
    best, found = -1, ("", frozenset[str]())
    for point, kind, options in _mounts(mountinfo):
        inside = point == "/" or path == point or path.startswith(f"{point}/")
        if inside and len(point) >= best:
            best, found = len(point), (kind, options)
    return found


def _mounts(mountinfo: str) -> Iterator[tuple[str, str, frozenset[str]]]:
    for line in mountinfo.split("\n"):
        before, dash, after = line.partition(" - ")
        if dash:
            point = re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), before.split(" ")[4])
            kind, _source, options = after.split(" ", 2)
            yield point, kind, frozenset(options.split(","))
