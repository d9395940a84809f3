# SPDX-License-Identifier: Apache-2.0
"""The broker's side of the fence: the deadline that the guard process (fence.py) watches.

`<run_dir>/fence.deadline` says when the engine VM on this host must be dead unless the lease
is renewed before. One JSON object, and blanks where it was longer before:

    {"vm_uuid": "…", "boot_id": "…", "fence_at": 1234.5, "epoch": 7}

`fence_at` is CLOCK_BOOTTIME in seconds, so the file means something only on the boot that it
names. A missing file means that nothing is armed. A passed deadline stays in force: as long as
the file is there, the VM may not run on this host. `"final": true` is there when the lease was
abandoned: no broker adopts that epoch any more.

The file is replaced by rename. Where the disk is full it is written in place, which needs no
block: a lease that is renewed on storage must not end its VM for want of a block in /run. The
guard may then read half of each, so that such a text has a sum, `"crc32"`, over its other values;
what is no JSON or has another sum says nothing, and what was armed before stays armed.

A guard outlives an upgrade of the package, and then reads what a newer broker writes: keys may be
added, and none of these may get another name or meaning.

The order that makes it safe (lease/cycle.py holds it): the record is on storage, then the
deadline is armed, then anybody is told; it is disarmed when the VM is confirmed gone.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import subprocess
import sys
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Optional, Protocol

from ha_agent import ofd_lock
from ha_agent.atomic_file import replace_file
from ha_agent.errors import BadInput, EnvironmentFault
from ha_agent.instant import Instant

DEADLINE_NAME = "fence.deadline"
RESULT_NAME = "fence.result"
LOCK_NAME = "fence.lock"
LOG_NAME = "fence.log"

_MAX_BYTES = 4096
_SUM = "crc32"
_PROC = Path("/proc")


@dataclass(frozen=True)
class FenceDeadline:
    """When, by CLOCK_BOOTTIME, the VM must be dead, and under which epoch that was said.

    `final`: this epoch is not renewed any more, also not by the broker's next start.
    """

    vm_uuid: str
    boot_id: str
    fence_at: Instant
    epoch: int
    final: bool = False


class Fence(Protocol):
    """What ends the VM when we don't renew; `GuardFence` is the real one."""

    def arm(self, fence_at: Instant, epoch: int, *, final: bool = False) -> None: ...

    def disarm(self) -> None: ...

    def armed(self) -> Optional[FenceDeadline]: ...


def read_deadline(run_dir: Path) -> Optional[FenceDeadline]:
    """Return what is armed, or None. Raises BadInput for a file that is not a deadline."""
    return read_deadline_file(run_dir / DEADLINE_NAME)


def read_deadline_file(path: Path) -> Optional[FenceDeadline]:
    """As `read_deadline`, by the file's own name."""
    try:
        with path.open("rb") as file:
            values = json.loads(file.read(_MAX_BYTES).decode())
        deadline = FenceDeadline(
            vm_uuid=str(values["vm_uuid"]),
            boot_id=str(values["boot_id"]),
            fence_at=Instant(float(values["fence_at"])),
            epoch=int(values["epoch"]),
            final=bool(values.get("final", False)),
        )
        if values.get(_SUM, _sum(deadline)) != _sum(deadline):
            raise ValueError("its sum is wrong")
        return deadline
    except FileNotFoundError:
        return None
    except OSError as error:
        raise EnvironmentFault(f"{path}: {error}") from error
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise BadInput(f"not a fence deadline: {error!r}", where=str(path)) from None


def write_deadline(run_dir: Path, deadline: FenceDeadline) -> None:
    """Arm: replace the file at once, or write it in place on a full disk. Raises OSError.

    Not synced: after a crash of the machine there is no VM left to fence, and the boot id has
    changed.
    """
    path = run_dir / DEADLINE_NAME
    try:
        replace_file(path, (json.dumps(_values(deadline)) + "\n").encode(), sync=False)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        values = {**_values(deadline), _SUM: _sum(deadline)}
        if not _write_in_place(path, (json.dumps(values) + "\n").encode()):
            raise


def _write_in_place(path: Path, content: bytes) -> bool:
    """Write into the file that is there; tells whether it is there, and says so, afterwards."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        # One write: between a truncation and a write the guard would read nothing.
        content = content.ljust(os.fstat(fd).st_size)
        if os.pwrite(fd, content, 0) != len(content):
            return False
    finally:
        os.close(fd)
    # The guard may have retired the file meanwhile. It looks at what it has put aside before it
    # removes it, and puts a later deadline back: what is there now was read by it, or will be.
    with contextlib.suppress(FileNotFoundError):
        return path.read_bytes() == content
    return False


def _values(deadline: FenceDeadline) -> dict[str, object]:
    values = {**asdict(deadline), "fence_at": deadline.fence_at.boottime_seconds}
    if not deadline.final:
        # A guard that outlives an update of the package knows the file as it was before.
        del values["final"]
    return values


def _sum(deadline: FenceDeadline) -> int:
    return zlib.crc32(json.dumps(_values(deadline)).encode())


class GuardFence:
    """Arms and disarms the deadline of one run folder, and keeps its guard process alive."""

    def __init__(
        self,
        run_dir: Path,
        vm_uuid: str,
        boot_id: str,
        qemu_marker: str = "",
        proc: Path = _PROC,
    ) -> None:
        """`qemu_marker`: only QEMU processes with it in an argument are this host's ("": all).

        For several hosts on one machine (demo, tests), where one host's guard must not end
        another host's VM.
        """
        self._run_dir = run_dir
        self._vm_uuid = vm_uuid
        self._boot_id = boot_id
        self._qemu_marker = qemu_marker
        self._proc = proc
        self._guard: Optional[subprocess.Popen[bytes]] = None

    def arm(self, fence_at: Instant, epoch: int, *, final: bool = False) -> None:
        """Set the deadline and see to it that a guard watches it.

        Raises EnvironmentFault when either can't be done: then nobody may be told that we own
        the lease.
        """
        deadline = FenceDeadline(self._vm_uuid, self._boot_id, fence_at, epoch, final)
        try:
            write_deadline(self._run_dir, deadline)
            # File first, guard second: a guard that is about to leave lets go of its lock and
            # then looks at the file again, so one of the two sees the other.
            self.ensure_guard()
        except OSError as error:
            raise EnvironmentFault(f"fence can't be armed in {self._run_dir}: {error}") from error

    def disarm(self) -> None:
        """Remove the deadline; the guard stays. Raises EnvironmentFault."""
        try:
            (self._run_dir / DEADLINE_NAME).unlink()
        except FileNotFoundError:
            pass
        except OSError as error:
            raise EnvironmentFault(
                f"fence can't be disarmed in {self._run_dir}: {error}"
            ) from error

    def armed(self) -> Optional[FenceDeadline]:
        """Return the deadline in force on this boot, or None. Raises EnvironmentFault."""
        try:
            deadline = read_deadline(self._run_dir)
        except BadInput as error:
            raise EnvironmentFault(str(error)) from error
        if deadline is None or deadline.boot_id != self._boot_id:
            return None
        return deadline

    def result(self) -> str:
        """Return what the guard did last, for status: its JSON as text, "" when it never did."""
        with contextlib.suppress(OSError):
            return (self._run_dir / RESULT_NAME).read_text("utf-8").strip()
        return ""

    def ensure_guard(self) -> None:
        """Start the guard process unless one runs in this run folder. Raises OSError."""
        if self._guard is not None and self._guard.poll() is None:
            return
        fd = os.open(self._run_dir / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if ofd_lock.is_locked(fd, 0, 1):
                return
        finally:
            os.close(fd)
        self._see_others()
        command = [sys.executable, "-I", "-m", "ha_agent.broker.lease.fence"]
        command += ["--run-dir", str(self._run_dir), "--broker-pid", str(os.getpid())]
        if self._qemu_marker:
            command += ["--qemu-marker", self._qemu_marker]
        with (self._run_dir / LOG_NAME).open("ab") as log:
            # A session of its own, and none of our descriptors: what ends the broker must not
            # end its guard. (Under systemd the unit's KillMode=process does the rest.)
            self._guard = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _see_others(self) -> None:
        """Raise OSError where the guard, which is not root, would not find QEMU, which may be.

        Mounted with hidepid=, /proc has no entries of others, or none that can be entered
        (proc(5)): the VM would look gone.
        """
        try:
            os.stat(self._proc / "1" / "cmdline")
        except OSError as error:
            raise OSError(
                error.errno, f"{self._proc} hides other users' processes (hidepid=), QEMU's too"
            ) from error
