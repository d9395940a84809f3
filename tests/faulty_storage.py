# SPDX-License-Identifier: Apache-2.0
"""Shared storage that misbehaves on command: a folder, seen through a FUSE mount.

Each mount is a process of its own (`python -m tests.faulty_storage`), one for each host, and all
of them mirror the same folder: so one host's storage can hang while the others' is fine. A
process that waits in here is in state D and can't be killed until it gets its answer, as on a
hung NFS mount.

Locks go to the folder's own file system, one open file for each that the kernel has on the mount:
so they are between mounts what NFSv4's are between hosts. O_DIRECT is accepted, with the kernel's
own rules for a FUSE mount.

Commands are JSON objects, one a connection to the control socket, and so are the answers:

    {"faults": [{"operations": ["write"], "path": "*.lease", "hang": true, …}, …]}   replaces all
    {"release": 0}                  lets what hangs go on, or fail with that errno
    {"drop_locks": true}            takes all locks away, as a server does from a host long silent
    {}                              {"hanging": [[operation, path], …], "calls": {operation: n}}
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import errno
import fcntl
import itertools
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable, Optional

import pytest

from ha_agent import ofd_lock
from ha_agent.clock import SystemClock
from tests.storage_faults import Fault, Faults

CLOCK = SystemClock()
LIMIT_SECONDS = 20.0
ROOT = Path(__file__).parents[1]
_NOT_OURS = os.O_DIRECT | os.O_SYNC | os.O_DSYNC


class Mirror:
    """The operations of a mount that mirrors the folder `root`, as mfusepy calls them."""

    use_ns = True

    def __init__(self, root: str, faults: Faults) -> None:
        self.root = root
        self.faults = faults
        self.paths: dict[int, str] = {}  # by descriptor of ours, or by number of an open folder
        self.owners: dict[int, int] = {}  # of the locks of each descriptor
        self.folder_numbers = itertools.count(1 << 32)

    def init_with_config(self, _conn: Any, config: Any) -> None:
        config.use_ino = 1
        config.hard_remove = 1
        config.nullpath_ok = 1

    def _real(self, operation: str, path: str) -> str:
        self.faults.meet(operation, path)
        return self.root + path

    def getattr(self, path: Optional[str], fi: Any = None) -> dict[str, Any]:
        if path is not None:
            status = os.lstat(self._real("stat", path))
        else:
            self.faults.meet("stat", self.paths[fi.fh])
            status = os.fstat(fi.fh)
        names = ("mode", "nlink", "uid", "gid", "size", "ino", "blocks", "blksize")
        found = {f"st_{name}": getattr(status, f"st_{name}") for name in names}
        times = ("atime", "mtime", "ctime")
        found.update({f"st_{name}": getattr(status, f"st_{name}_ns") for name in times})
        return found

    def opendir(self, path: str) -> int:
        number = next(self.folder_numbers)
        self.paths[number] = path
        return number

    def readdir(self, _path: Optional[str], fh: int) -> list[tuple[str, dict[str, int], int]]:
        # Without an inode number the C library takes an entry for a deleted one.
        entries = list(os.scandir(self._real("list", self.paths[fh])))
        found = [(entry.name, {"st_ino": entry.inode()}, 0) for entry in entries]
        return [(".", {"st_ino": 1}, 0), ("..", {"st_ino": 1}, 0), *found]

    def releasedir(self, _path: Optional[str], fh: int) -> int:
        del self.paths[fh]
        return 0

    def statfs(self, path: str) -> dict[str, int]:
        found = os.statvfs(self._real("stat", path))
        names = ("bsize", "frsize", "blocks", "bfree", "bavail", "files", "ffree", "namemax")
        return {f"f_{name}": getattr(found, f"f_{name}") for name in names}

    def open(self, path: str, fi: Any) -> int:
        fi.fh = os.open(self._real("open", path), fi.flags & ~_NOT_OURS)
        self.paths[fi.fh] = path
        return 0

    def create(self, path: str, mode: int, fi: Any) -> int:
        flags = (fi.flags & ~_NOT_OURS) | os.O_CREAT
        fi.fh = os.open(self._real("create", path), flags, mode)
        os.fchown(fi.fh, *_caller())
        self.paths[fi.fh] = path
        return 0

    def read(self, _path: Optional[str], size: int, offset: int, fi: Any) -> bytes:
        self.faults.meet("read", self.paths[fi.fh])
        return os.pread(fi.fh, size, offset)

    def write(self, _path: Optional[str], data: bytes, offset: int, fi: Any) -> int:
        fd = fi.fh
        self.faults.meet(
            "write", self.paths[fd], lambda count: os.pwrite(fd, data[:count], offset)
        )
        return os.pwrite(fd, data, offset)

    def lock(self, _path: Optional[str], fi: Any, cmd: int, lock: Any) -> int:
        fd, flock = fi.fh, lock.contents
        if not self.paths[fd].endswith(".lease"):
            # QEMU's own locks of its image: a second guard, which would hide a missing first.
            flock.l_type = fcntl.F_UNLCK
            return 0
        # At the close of any copy of a descriptor libfuse gives back the locks of that
        # process, as POSIX wants it; these here belong to the open file and outlive it.
        if flock.l_type == fcntl.F_UNLCK and self.owners.get(fd) != fi.lock_owner:
            return 0
        self.faults.meet("lock", self.paths[fd])
        if cmd != fcntl.F_GETLK:
            self.owners[fd] = fi.lock_owner
        result = _lock(fd, cmd, flock)
        if cmd != fcntl.F_GETLK:
            # libfuse keeps a list of its own of what this is after the call, and never hears that
            # an open file's lock ends with a killed process: it would show it to all others.
            flock.l_type = fcntl.F_UNLCK
        return result

    def fsync(self, _path: Optional[str], _datasync: int, fi: Any) -> int:
        self.faults.meet("fsync", self.paths[fi.fh])
        return 0

    def fsyncdir(self, _path: Optional[str], _datasync: int, fh: int) -> int:
        self.faults.meet("fsync", self.paths[fh])
        return 0

    def release(self, _path: Optional[str], fi: Any) -> int:
        del self.paths[fi.fh]
        self.owners.pop(fi.fh, None)
        os.close(fi.fh)
        return 0

    def truncate(self, path: Optional[str], length: int, fi: Any = None) -> int:
        if path is not None:
            os.truncate(self._real("truncate", path), length)
        else:
            self.faults.meet("truncate", self.paths[fi.fh])
            os.ftruncate(fi.fh, length)
        return 0

    def fallocate(self, _path: Optional[str], mode: int, offset: int, length: int, fi: Any) -> int:
        self.faults.meet("truncate", self.paths[fi.fh])
        if mode:
            raise OSError(errno.EOPNOTSUPP, "no such mode")
        os.posix_fallocate(fi.fh, offset, length)
        return 0

    def unlink(self, path: str) -> int:
        os.unlink(self._real("unlink", path))
        return 0

    def mkdir(self, path: str, mode: int) -> int:
        os.mkdir(self._real("mkdir", path), mode)
        os.chown(self.root + path, *_caller())
        return 0

    def rmdir(self, path: str) -> int:
        os.rmdir(self._real("rmdir", path))
        return 0

    def rename(self, old: str, new: str) -> int:
        os.rename(self._real("rename", old), self.root + new)
        return 0

    def link(self, target: str, source: str) -> int:
        os.link(self.root + source, self._real("link", target))
        return 0

    def chmod(self, path: str, mode: int) -> int:
        os.chmod(self._real("chmod", path), mode & 0o7777)
        return 0

    def chown(self, path: str, uid: int, gid: int) -> int:
        wanted = [-1 if number == 0xFFFFFFFF else number for number in (uid, gid)]
        os.chown(self._real("chmod", path), *wanted)
        return 0

    def utimens(self, path: str, times: Optional[tuple[int, int]] = None) -> int:
        real = self._real("chmod", path)
        if times is None:
            os.utime(real)
        else:
            os.utime(real, ns=times)
        return 0

    def drop_locks(self) -> None:
        for fd in [number for number in self.paths if number < 1 << 32]:
            with contextlib.suppress(OSError):
                ofd_lock.unlock(fd, 0, 0)


def _caller() -> tuple[int, int]:
    """Return user and group of the process whose call this is."""
    import mfusepy

    uid, gid, _pid = mfusepy.fuse_get_context()
    return uid, gid


def _lock(fd: int, cmd: int, lock: Any) -> int:
    """Do a lock call of the kernel on the folder's file; owners are open files, as with OFD."""
    length = lock.l_len if 0 <= lock.l_start + lock.l_len < 2**63 - 1 else 0
    if cmd == fcntl.F_GETLK:
        if not ofd_lock.is_locked(fd, lock.l_start, length):
            lock.l_type = fcntl.F_UNLCK
        return 0
    if lock.l_type == fcntl.F_UNLCK:
        ofd_lock.unlock(fd, lock.l_start, length)
        return 0
    flock = ofd_lock._FLOCK.pack(lock.l_type, os.SEEK_SET, lock.l_start, length, 0)
    fcntl.fcntl(fd, ofd_lock._F_OFD_SETLK, flock)
    return 0


def _serve_control(path: str, faults: Faults, drop_locks: Callable[[], None]) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen()
        while True:
            connection, _peer = listener.accept()
            with connection, connection.makefile("rwb") as stream:
                command = json.loads(stream.readline())
                if "faults" in command:
                    faults.set([Fault(**fault) for fault in command["faults"]])
                if command.get("drop_locks"):
                    drop_locks()
                if "release" in command:
                    faults.release(command["release"])
                stream.write(json.dumps(faults.report()).encode() + b"\n")


def main() -> None:
    """Serve the mount until it is unmounted or killed."""
    import mfusepy

    parser = argparse.ArgumentParser()
    for name in ("folder", "mount", "control"):
        parser.add_argument(name)
    arguments = parser.parse_args()
    faults = Faults()
    operations = type("Operations", (Mirror, mfusepy.Operations), {})
    mirror = operations(arguments.folder, faults)
    control = (arguments.control, faults, mirror.drop_locks)
    threading.Thread(target=_serve_control, args=control, daemon=True).start()
    # Whole writes of up to 1 MiB in one call; nothing is remembered, since others change it, too.
    options = {"attr_timeout": 0, "entry_timeout": 0, "negative_timeout": 0, "max_threads": 64}
    # Other users than root may come, and the kernel looks at owner and mode.
    options.update(allow_other=True, default_permissions=True)

    class Fuse(mfusepy.FUSE):  # type: ignore[misc]  # it ships no types
        def truncate_fuse_3(self, path: Any, length: int, file: Any) -> int:
            # mfusepy leaves the open file out, which is all there is for ftruncate(2).
            return int(self.ftruncate(path, length, file))

    Fuse(mirror, arguments.mount, foreground=True, raw_fi=True, **options)


class FaultyStorage:
    """One mount, for tests: what hangs, fails or tears is said here."""

    def __init__(self, mount: Path, control: Path, process: subprocess.Popen[bytes]) -> None:
        self.mount = mount
        self._control = control
        self._process = process

    def set(self, *faults: Fault) -> None:
        """Let these faults be in force and no others; what hangs already goes on hanging."""
        self._command({"faults": [dataclasses.asdict(fault) for fault in faults]})

    def release(self, number: int = 0, *, drop_locks: bool = False) -> None:
        """End all faults, and what hangs: it is done now, or fails with that errno."""
        self._command({"faults": [], "release": number, "drop_locks": drop_locks})

    def drop_locks(self) -> None:
        """Take the locks away from whoever has one through this mount."""
        self._command({"drop_locks": True})

    def hanging(self) -> list[tuple[str, str]]:
        """Return (operation, path) of all that hangs."""
        return [(operation, path) for operation, path in self._command({})["hanging"]]

    def calls(self) -> dict[str, int]:
        """Return how often each operation was called so far."""
        return dict(self._command({})["calls"])

    def _command(self, command: dict[str, Any]) -> dict[str, Any]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(LIMIT_SECONDS)
            sock.connect(str(self._control))
            sock.sendall(json.dumps(command).encode() + b"\n")
            answer: dict[str, Any] = json.loads(sock.makefile().readline())
            return answer

    def is_mounted(self) -> bool:
        """Whether the kernel has the mount; asks not the mount itself, which may hang."""
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        return any(line.split(" ")[4] == str(self.mount) for line in mounts)


@contextlib.contextmanager
def faulty_storage(folder: Path, mount: Path) -> Iterator[FaultyStorage]:
    """Mount `folder` at `mount`, which is made; afterwards nothing of it is left."""
    pytest.importorskip("mfusepy", reason="needs mfusepy and libfuse3")
    if not os.access("/dev/fuse", os.R_OK | os.W_OK) or os.getuid() != 0:
        pytest.skip("needs root and /dev/fuse")
    mount.mkdir()
    control = mount.with_name(f"{mount.name}.control")
    arguments = [str(folder), str(mount), str(control)]
    with mount.with_name(f"{mount.name}.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.faulty_storage", *arguments],
            cwd=ROOT,
            stdout=log,
            stderr=log,
        )
    storage = FaultyStorage(mount, control, process)
    try:
        ends_at = CLOCK.now() + LIMIT_SECONDS
        while not (control.exists() and storage.is_mounted()):
            assert process.poll() is None, log.name
            assert CLOCK.now() < ends_at, "the mount does not come"
            CLOCK.block(0.02)
        yield storage
    finally:
        # The end of the server ends the connection: what waits in the kernel gets ENOTCONN.
        process.kill()
        process.wait(10)
        if storage.is_mounted():
            subprocess.run(["umount", "--lazy", str(mount)], check=True, timeout=10)


if __name__ == "__main__":
    main()
