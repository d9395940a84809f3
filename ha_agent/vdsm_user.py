# SPDX-License-Identifier: Apache-2.0
"""The user that the daemons run as, and what root's commands do so that it can use their files.

oVirt's storage domains, VDSM's key and the configuration belong to vdsm:kvm, 36:36 on its hosts.
Agent and broker are this user. Set-up and the embedded VDSM are root's: what they make for the
daemons is given to this user, and what they do on shared storage they do as this user, because a
file server may trust no root (NFS root_squash).

On a host without such a user, and for who is not root, all of it does nothing.
"""

from __future__ import annotations

import contextlib
import ctypes
import grp
import os
import pwd
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

USER, GROUP = "vdsm", "kvm"

Owner = Optional["tuple[int, int]"]
"""User and group id; None: leave it as it is."""


def vdsm_owner() -> Owner:
    """Return the ids of vdsm:kvm, None where there is no such user or we may give it nothing."""
    try:
        ids = pwd.getpwnam(USER).pw_uid, grp.getgrnam(GROUP).gr_gid
    except KeyError:
        return None
    return ids if os.geteuid() == 0 else None


def give(path: Path, owner: Owner) -> None:
    """Make a file or folder `owner`'s. Raises OSError."""
    if owner is not None:
        os.chown(path, *owner, follow_symlinks=False)


def make_folder(path: Path, owner: Owner, *, mode: int = 0o755) -> None:
    """Make a folder that is missing, and those above it, for `owner`. Raises OSError."""
    for folder in (*reversed(path.parents), path):
        try:
            folder.mkdir(mode=mode)
        except FileExistsError:
            continue
        give(folder, owner)


def inherit(path: Path) -> None:
    """Give what root has made to the owner of its folder, as that owner would have made it.

    Raises OSError.
    """
    if os.geteuid() == 0:
        folder = path.parent.stat()
        give(path, (folder.st_uid, folder.st_gid))


def process_of(owner: Owner) -> dict[str, Any]:
    """Return the arguments of subprocess.Popen that let it be `owner`, with the user's groups."""
    if owner is None:
        return {}
    uid, gid = owner
    try:
        groups = os.getgrouplist(pwd.getpwuid(uid).pw_name, gid)
    except KeyError:
        groups = []
    return {"user": uid, "group": gid, "extra_groups": groups}


@contextlib.contextmanager
def as_user(owner: Owner) -> Iterator[None]:
    """Let this thread, and no other, touch files as `owner` would (setfsuid(2))."""
    if owner is None:
        yield
        return
    libc = ctypes.CDLL(None)
    libc.setfsgid(owner[1])
    libc.setfsuid(owner[0])
    try:
        yield
    finally:
        libc.setfsuid(os.geteuid())
        libc.setfsgid(os.getegid())
