# SPDX-License-Identifier: Apache-2.0
"""A machine with Debian 12 and nothing else on it, to install packages on.

What debootstrap makes is kept in .cache/debian-12, with the archives of our packages'
dependencies from Debian; a test writes on an overlay of it. The machine boots systemd in a
container (systemd-nspawn) without any network, so that nothing can come from elsewhere. One lab
of containers runs at a time on a machine: they share a lock file.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Optional

import pytest

from lab.tools import call, must, unmount, wait_gone, wait_until

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache"
BASE = CACHE / "debian-12"
LAB_LOCK = Path("/tmp/ha-lab.lock")
MACHINE = "ha-lab-debian"
CGROUP = Path("/sys/fs/cgroup/unified") / MACHINE
# systemd and what it talks over; all else has to come with our packages.
_INCLUDED = "ca-certificates,dbus,systemd-sysv"
_MAKE_SECONDS, _BOOT_SECONDS, _END_SECONDS = 900.0, 120.0, 60.0
_PROGRAMS = ("debootstrap", "systemd-nspawn", "nsenter")
_ENVIRONMENT = (
    *("env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8"),
    "DEBIAN_FRONTEND=noninteractive",
)


class CleanMachine:
    """The machine while it runs. `root` is its root folder as this machine sees it."""

    def __init__(self, root: Path, leader: int) -> None:
        self.root = root
        self.leader = leader

    def run(
        self, *words: str, deadline_seconds: float = 120.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a program there as root; however it ends."""
        return call(self._inside(words), deadline_seconds=deadline_seconds)

    def must(self, *words: str, deadline_seconds: float = 120.0) -> str:
        """Run one that has to succeed, and return what it printed."""
        return must(self._inside(words), deadline_seconds=deadline_seconds)

    def _inside(self, words: Sequence[str]) -> list[str]:
        enter = ["nsenter", f"--target={self.leader}", "--all", "--root", "--wd"]
        return [*enter, "--", *_ENVIRONMENT, *words]

    def put(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file there."""
        there = self.root / path.lstrip("/")
        there.parent.mkdir(parents=True, exist_ok=True)
        there.write_text(text)
        there.chmod(mode)


def make_base(packages: Sequence[Path]) -> None:
    """Make the base where there is none, and fetch the archives that the packages need.

    Skips the test where this machine can't.
    """
    if os.geteuid() != 0:
        pytest.skip("needs root")
    lacking = [name for name in _PROGRAMS if shutil.which(name) is None]
    if lacking:
        pytest.skip(f"needs {', '.join(lacking)}: apt-get install debootstrap systemd-container")
    CACHE.mkdir(exist_ok=True)
    if not BASE.exists():
        making = CACHE / "debian-12.making"
        # One that was killed may have left these mounted.
        for name in ("proc", "sys", "dev"):
            unmount(making / name)
        shutil.rmtree(making, ignore_errors=True)
        words = ["debootstrap", "--variant=minbase", f"--include={_INCLUDED}", "bookworm"]
        must([*words, str(making)], deadline_seconds=_MAKE_SECONDS)
        making.rename(BASE)
    # Where all is fetched already this only looks.
    inside = [
        *("systemd-nspawn", "--quiet", f"--machine={MACHINE}", "--register=no"),
        *("--keep-unit", "--pipe", f"--directory={BASE}"),
        f"--bind-ro={packages[0].parent}:/mnt",
        *("--resolv-conf=copy-host", "--", *_ENVIRONMENT),
    ]
    names = [f"/mnt/{path.name}" for path in packages]
    install = ["apt-get", "install", "-y", "--no-install-recommends", "--download-only"]
    fetched = call([*inside, *install, *names], deadline_seconds=_MAKE_SECONDS)
    if fetched.returncode != 0:
        must([*inside, "apt-get", "update"], deadline_seconds=_MAKE_SECONDS)
        must([*inside, *install, *names], deadline_seconds=_MAKE_SECONDS)


@contextlib.contextmanager
def clean_machine(work: Path, folders: Sequence[tuple[str, Path]]) -> Iterator[CleanMachine]:
    """Boot one. `folders` of this machine are there, read-only: path there, path here."""
    with LAB_LOCK.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        root = _mount(work)
        process = None
        try:
            process = _boot(root, work / "console.log", folders)
            yield CleanMachine(root, _wait_up(process, work / "console.log"))
        finally:
            _end(process)
            unmount(root)


def _mount(work: Path) -> Path:
    for name in ("upper", "work", "root"):
        (work / name).mkdir(parents=True)
    hosts = work / "upper/etc/hosts"
    hosts.parent.mkdir()
    # The installer of Debian makes it, and debootstrap does not.
    hosts.write_text("127.0.0.1 localhost\n")
    layers = f"lowerdir={BASE},upperdir={work / 'upper'},workdir={work / 'work'}"
    must(["mount", "-t", "overlay", MACHINE, "-o", layers, str(work / "root")])
    return work / "root"


def _boot(
    root: Path, console: Path, folders: Sequence[tuple[str, Path]]
) -> subprocess.Popen[bytes]:
    CGROUP.mkdir(exist_ok=True)
    words = [
        *("systemd-nspawn", "--quiet", "--boot", f"--directory={root}", f"--machine={MACHINE}"),
        *("--keep-unit", "--register=no", "--link-journal=no", "--resolv-conf=off"),
        *("--timezone=off", "--private-network", "--console=read-only"),
        *(f"--bind-ro={here}:{there}" for there, here in folders),
    ]
    program = 'echo $$ >"$0/cgroup.procs" && exec "$@"'
    with console.open("wb") as log:
        return subprocess.Popen(
            ["sh", "-c", program, str(CGROUP), *words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
            start_new_session=True,
        )


def _wait_up(process: subprocess.Popen[bytes], console: Path) -> int:
    leader = 0

    def is_up() -> bool:
        nonlocal leader
        leader = _leader(process.pid)
        if not leader:
            assert process.poll() is None, console.read_text(errors="replace")
            return False
        enter = ["nsenter", f"--target={leader}", "--all", "--root", "--wd", "--"]
        state = call([*enter, "/usr/bin/systemctl", "is-system-running"]).stdout.strip()
        return state in ("running", "degraded")

    wait_until(is_up, _BOOT_SECONDS, "the container is not up")
    return leader


def _leader(supervisor: int) -> int:
    """Return the container's PID 1 as this machine has it, 0 while there is none."""
    with contextlib.suppress(OSError):
        children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
        for child in children:
            status = Path(f"/proc/{child}/status").read_text()
            numbers = next(line for line in status.splitlines() if line.startswith("NSpid:"))
            if numbers.split()[1:][1:] == ["1"]:
                return int(child)
    return 0


def _end(process: Optional[subprocess.Popen[bytes]]) -> None:
    """End all that runs there, at once."""
    if process is None:
        return
    pidfd = os.pidfd_open(process.pid)
    try:
        with contextlib.suppress(OSError):
            (CGROUP / "cgroup.kill").write_text("1")
        process.send_signal(signal.SIGKILL)
        wait_gone(pidfd, _END_SECONDS)
        process.wait(_END_SECONDS)
    finally:
        os.close(pidfd)
    with contextlib.suppress(OSError):
        for folder in sorted(CGROUP.rglob("*/"), reverse=True):
            folder.rmdir()
        CGROUP.rmdir()
