# SPDX-License-Identifier: Apache-2.0
"""The shared storage: one folder, which each host reaches by a way of its own. ports.Storage.

    .lab-work/lab/storage/share/        a tmpfs of its own, so that it can be full
    .lab-work/lab/hostN/storage/        the same through FUSE (tests/faulty_storage.py), one
                                        process for each host; in the host it is /srv/ha-lab
    /dev/loopX                          kind "block" only: a loop device for each host, direct
                                        I/O, over share/block.img through that host's FUSE mount;
                                        in the host it is /dev/ha-lab-lease

So one host's storage can hang, fail or lose its locks while the others' is sound, and a raw block
device with it. Who waits in it is in state D, beyond SIGKILL, as on a hung NFS mount. Locks are
passed on to the one folder, so they are between hosts what NFSv4's are; not through the loop
devices, and none is asked for there. The kernel checks owner and mode, as a file server would.

A host's way is there while the host has power: `plug` makes it, `unplug` ends its process, and
with it what was under way and did not come to the storage.

Kind "block" is for sanlock: lockspace and lease on a raw device. The domain itself, with its
volumes, stays a file domain: the embedded VDSM serves no block domain (that takes LVM, which is
the real VDSM's), and the broker takes its volumes from VDSM.

What fsync promises is not tested here: this machine keeps its power.
"""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Optional

from lab.plan import HOSTS, LabPlan
from lab.ports import LabError
from lab.tools import call, must, unmount, wait_gone, wait_until
from tests.faulty_storage import FaultyStorage
from tests.storage_faults import Fault

SHARE_THERE = "/srv/ha-lab"
BLOCK_THERE = "/dev/ha-lab-lease"
KINDS = ("file", "block")
# VDSM's user and group, everywhere.
OWNER = 36
# `ha-agent deploy` wants room for a real engine's volumes; what is not written takes none.
SHARE_MIB = 4096
BLOCK_BYTES = 8 * 1024 * 1024
MOUNT_DEADLINE_SECONDS = 30.0
_ROOT = Path(__file__).parents[1]
_ALL = (
    *("stat", "list", "open", "create", "read", "write", "lock", "fsync", "truncate", "unlink"),
    *("mkdir", "rmdir", "rename", "link", "chmod"),
)


class LabStorage:
    """The storage of one lab. `disk` and `disk_texts` are known once a disk was told."""

    def __init__(self, plan: LabPlan, kind: str = "file") -> None:
        if kind not in KINDS:
            raise LabError(f"storage {kind!r}: one of {', '.join(KINDS)}")
        self.kind = kind
        self._plan = plan
        self._mounted: dict[str, FaultyStorage] = {}
        self._servers: dict[str, subprocess.Popen[bytes]] = {}
        self._loops: dict[str, Path] = {}
        self._was: dict[Path, os.stat_result] = {}
        self._disk: Optional[Path] = None

    @property
    def share(self) -> Path:
        """The folder itself, where nothing hangs."""
        return self._plan.work / "storage" / "share"

    @property
    def disk(self) -> Path:
        """The engine VM's disk, where nothing hangs. Raises LabError before there is one."""
        if self._disk is None:
            raise LabError("the engine VM has no disk yet")
        return self._disk

    @property
    def disk_texts(self) -> tuple[str, ...]:
        """What the name of an open descriptor of that disk ends in (/proc/PID/fd/N)."""
        return (os.path.relpath(self.disk, self.share),)

    def disk_is(self, domain: str, image: str, volume: str) -> None:
        """Tell which volume is the engine VM's disk."""
        self._disk = self.share / domain / "images" / image / volume

    # With the hosts' power ------------------------------------------------------------------

    def make(self) -> None:
        """Make it, empty. Raises LabError."""
        folder = self.share.parent
        folder.mkdir()
        must(["mount", "-t", "tmpfs", "-o", f"size={SHARE_MIB}m", "ha-lab-share", str(folder)])
        self.share.mkdir()
        os.chown(self.share, OWNER, OWNER)
        self.share.chmod(0o775)
        if self.kind == "block":
            with (self.share / "block.img").open("wb") as file:
                file.truncate(BLOCK_BYTES)
        for number in range(1, HOSTS + 1):
            self._mount_point(f"host{number}").mkdir(parents=True)

    def binds(self, host: str) -> Mapping[str, Path]:
        """Return what the host's container shares: path there -> path here; while plugged in."""
        found = {SHARE_THERE: self._mount_point(host)}
        if host in self._loops:
            found[BLOCK_THERE] = self._loops[host]
        return found

    def plug(self, host: str) -> None:
        """Make the host's way to it. Raises LabError."""
        self.unplug(host)
        self._mounted[host] = self._mount(host)
        if self.kind == "block":
            image = self._mount_point(host) / "block.img"
            command = ["losetup", "--find", "--show", "--direct-io=on", str(image)]
            self._loops[host] = loop = Path(must(command).strip())
            # As oVirt's rules of udev do with a logical volume.
            self._was[loop] = loop.stat()
            os.chown(loop, OWNER, OWNER)
            loop.chmod(0o660)

    def unplug(self, host: str) -> None:
        """Take it away: what hangs in it fails, what was not written yet never is."""
        self._mounted.pop(host, None)
        server, loop = self._servers.pop(host, None), self._loops.pop(host, None)
        end_server(self._pid_file(host))
        if server is not None:
            server.wait(MOUNT_DEADLINE_SECONDS)
        if loop is not None:
            call(["losetup", "--detach", str(loop)])
            was = self._was.pop(loop)
            os.chown(loop, was.st_uid, was.st_gid)
            loop.chmod(stat.S_IMODE(was.st_mode))
        unmount(self._mount_point(host))

    def _mount_point(self, host: str) -> Path:
        return self._plan.work / host / "storage"

    def _pid_file(self, host: str) -> Path:
        return self._plan.work / host / "storage.pid"

    def _mount(self, host: str) -> FaultyStorage:
        mount = self._mount_point(host)
        control = mount.with_name("storage.control")
        control.unlink(missing_ok=True)
        words = [sys.executable, "-m", "tests.faulty_storage"]
        words += [str(path) for path in (self.share, mount, control)]
        with mount.with_name("storage.log").open("ab") as log:
            process = subprocess.Popen(
                words,
                cwd=_ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._servers[host] = process
        self._pid_file(host).write_text(f"{process.pid}\n")
        storage = FaultyStorage(mount, control, process)

        def is_there() -> bool:
            if process.poll() is not None:
                raise LabError(f"no storage for {host}: see {log.name}")
            return control.exists() and storage.is_mounted()

        wait_until(is_there, MOUNT_DEADLINE_SECONDS, f"{host} has no storage")
        return storage

    def remove(self) -> None:
        """Leave nothing of it."""
        for number in range(1, HOSTS + 1):
            self.unplug(f"host{number}")
        unmount(self.share.parent)

    # Faults ----------------------------------------------------------------------------------

    def hang(self, host: str) -> None:
        """All calls of this host wait in the kernel until `mend`."""
        self._of(host).set(Fault(_ALL, hang=True))

    def delay(self, host: str, delay_seconds: float) -> None:
        """All calls of this host take so much longer."""
        self._of(host).set(Fault(_ALL, delay_seconds=delay_seconds))

    def fail(self, host: str, number: int) -> None:
        """All calls of this host fail with this errno."""
        self._of(host).set(Fault(_ALL, errno=number))

    def drop_locks(self, host: str) -> None:
        """Take this host's locks away, as a server does from a client that is long silent."""
        self._of(host).drop_locks()

    def mend(self, host: str, number: int = 0) -> None:
        """End all faults; what hangs is done now, or fails with that errno."""
        self._of(host).release(number)

    def hanging(self, host: str) -> list[tuple[str, str]]:
        """Return (operation, path) of all calls that hang."""
        return self._of(host).hanging()

    def _of(self, host: str) -> FaultyStorage:
        if host not in self._mounted:
            raise LabError(f"{host} has no storage: it has no power")
        return self._mounted[host]

    def fill(self) -> None:
        """Leave not a byte free for new blocks: the file system shrinks to what is in it."""
        found = os.statvfs(self.share)
        self._resize((found.f_blocks - found.f_bfree) * found.f_frsize // 1024)

    def empty(self) -> None:
        """Give it the room that it had."""
        self._resize(SHARE_MIB * 1024)

    def _resize(self, size_kib: int) -> None:
        must(["mount", "-o", f"remount,size={size_kib}k", str(self.share.parent)])


def end_server(pid_file: Path) -> None:
    """End the FUSE process whose pid is in the file, if it still is one."""
    try:
        pid = int(pid_file.read_text())
        descriptor = os.pidfd_open(pid)
    except (OSError, ValueError):
        return
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if b"tests.faulty_storage" in words:
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            if not wait_gone(descriptor, MOUNT_DEADLINE_SECONDS):
                raise LabError(f"the storage's process {pid} does not end")
    except (FileNotFoundError, ProcessLookupError):
        return
    finally:
        os.close(descriptor)
