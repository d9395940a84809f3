# SPDX-License-Identifier: Apache-2.0
"""A libvirtd of a test's own: real QEMU driver, unprivileged, in folders of its own.

libvirtd run by root is the system's; so root runs it as `nobody`, in session mode. Whoever calls
sees one more thing than an administrator: nothing on this machine outside the folder changes.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

import pytest

from ha_agent.clock import SystemClock

CLOCK = SystemClock()
LIMIT_SECONDS = 60.0
USER = "nobody"
PROGRAMS = ("libvirtd", "qemu-system-x86_64")


def lacking() -> str:
    """Return what keeps these tests from running here, "" for nothing."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    programs = [name for name in PROGRAMS if not shutil.which(name, path=path)]
    if programs:
        return f"needs {', '.join(programs)}: apt-get install libvirt-daemon qemu-system-x86"
    if importlib.util.find_spec("libvirt") is None:
        return "needs libvirt's Python binding for this Python: apt-get install python3-libvirt"
    return ""


needs_libvirtd = pytest.mark.skipif(bool(lacking()), reason=lacking())


def as_user() -> tuple[list[str], int]:
    """Return what runs a program unprivileged, and the user id."""
    if os.getuid() != 0:
        return [], os.getuid()
    user = pwd.getpwnam(USER)
    groups = ["--clear-groups", "--regid", str(user.pw_gid)]
    return ["setpriv", "--reuid", str(user.pw_uid), *groups], user.pw_uid


def give(path: Path) -> None:
    """Have libvirtd's user own a folder with all that is in it."""
    _command, uid = as_user()
    if os.getuid() == 0:
        for found in (path, *path.rglob("*")):
            os.chown(found, uid, -1)
    path.chmod(0o755)


class PrivateLibvirtd:
    """One host's libvirtd, with its QEMUs and helpers."""

    def __init__(self, folder: Path, cache: Path, lock_manager: str = "") -> None:
        """`cache` keeps what libvirt asked QEMU about itself: seconds, the first time."""
        self.folder = folder
        self._cache = cache
        self._process: Optional[subprocess.Popen[bytes]] = None
        for name in ("run", "c/libvirt", "data"):
            (folder / name).mkdir(parents=True)
        lines = ['stdio_handler = "file"', "remember_owner = 0"]
        if lock_manager:
            lines.append(f'lock_manager = "{lock_manager}"')
        (folder / "c/libvirt/qemu.conf").write_text("\n".join(lines) + "\n")
        give(folder)

    @property
    def socket(self) -> Path:
        return self.folder / "run/libvirt/libvirt-sock"

    @property
    def uri(self) -> str:
        return f"qemu+unix:///session?socket={self.socket}"

    def start(self) -> None:
        """Start it, and wait until it listens."""
        command, _uid = as_user()
        environment = {
            "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin",
            "HOME": str(self.folder),
            "XDG_RUNTIME_DIR": str(self.folder / "run"),
            "XDG_CONFIG_HOME": str(self.folder / "c"),
            "XDG_DATA_HOME": str(self.folder / "data"),
            "XDG_CACHE_HOME": str(self._cache),
            "LIBVIRT_LOG_OUTPUTS": "3:stderr",
        }
        environment |= {k: v for k, v in os.environ.items() if k.startswith("SANLOCK_")}
        self.socket.unlink(missing_ok=True)
        with (self.folder / "libvirtd.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "libvirtd"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
        ends_at = CLOCK.now() + LIMIT_SECONDS
        while not self.socket.exists():
            said = (self.folder / "libvirtd.log").read_text()[-2000:]
            assert self._process.poll() is None, f"libvirtd ended: {said}"
            assert CLOCK.now() < ends_at, f"libvirtd does not listen: {said}"
            CLOCK.block(0.02)

    def send(self, number: int) -> None:
        """Send libvirtd a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """End libvirtd only; its QEMUs go on."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(20)
            self._process = None

    def qemus(self) -> list[int]:
        """Return the QEMUs of this libvirtd."""
        return [pid for pid in self.pids() if b"qemu-system" in _arguments(pid)[0]]

    def pids(self) -> list[int]:
        """Return the processes that name the folder in an argument or in a pid file of it."""
        marker = f"{self.folder}/".encode()
        found = []
        for name in os.listdir("/proc"):
            if not name.isdigit() or int(name) == os.getpid():
                continue
            if any(marker in argument for argument in _arguments(int(name))):
                found.append(int(name))
        for path in self.folder.glob("run/libvirt/*.pid"):
            pid = path.read_text().strip()
            if pid.isdigit() and _is_ours(int(pid), path.stem):
                found.append(int(pid))
        return found

    def kill_qemu(self) -> None:
        """SIGKILL to the VM."""
        for pid in self.qemus():
            os.kill(pid, signal.SIGKILL)

    def power_cut(self) -> None:
        """End everything at once: libvirtd first, so that nothing is started meanwhile."""
        self.kill()
        for _time in range(3):  # what had just been forked has its arguments by then
            for pid in self.pids():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            CLOCK.block(0.01)


def _arguments(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return [b""]


def _is_ours(pid: int, program: str) -> bool:
    return program.encode() in _arguments(pid)[0]


@contextlib.contextmanager
def libvirt_folder() -> Iterator[Path]:
    """Make a folder that libvirtd's user can get at; pytest's own are closed to others."""
    folder = Path(tempfile.mkdtemp(prefix="ha-virt-", dir="/tmp"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def private_libvirtd(
    folder: Path, cache: Path, lock_manager: str = ""
) -> Iterator[PrivateLibvirtd]:
    """Run one; nothing of it is left afterwards."""
    made = PrivateLibvirtd(folder, cache, lock_manager)
    try:
        made.start()
        yield made
    finally:
        with contextlib.suppress(AssertionError, ProcessLookupError):
            made.send(signal.SIGCONT)
        made.power_cut()
