# SPDX-License-Identifier: Apache-2.0
"""Takes away what a run has left on this machine, by the names that everything of a lab bears.

In this order: containers (by their cgroups), the storage's processes (by the pid files in the
lab's folder), loop devices over a file of a lab, mounts in .lab-work and under it, bridges and
cables. A lab that runs now is ended as well: one lab at a time holds LOCK.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

from lab.cgroup import CGROUPS, freeze, is_empty, kill_all, remove_cgroup
from lab.plan import PREFIX, is_ours
from lab.ports import LabError
from lab.storage import end_server
from lab.tools import call, mounts, must, unmount, wait_until

LOCK = Path("/tmp/ha-lab.lock")
# What systemd-nspawn leaves there of a container that lost its power.
NSPAWN = Path("/run/systemd/nspawn")
LOCK_DEADLINE_SECONDS = 1800.0
_END_DEADLINE_SECONDS = 30.0


@contextlib.contextmanager
def only_lab(
    say: Callable[[str], None], deadline_seconds: float = LOCK_DEADLINE_SECONDS
) -> Iterator[int]:
    """Be the only lab on this machine; waits for another. Yields the lock's descriptor: a lab that
    is to outlive this process leaves it with its containers. Raises LabError."""
    with LOCK.open("ab") as file:
        if not _lock(file.fileno()):
            say(f"another lab runs on this machine (it holds {LOCK}); waiting for its end")
            say("one that was left running ends with: python -m lab clean")
            # In the queue: asking now and then would lose to everybody who waits in it.
            wait = ["flock", "--wait", f"{deadline_seconds:.0f}", str(file.fileno())]
            if subprocess.run(wait, pass_fds=(file.fileno(),), check=False).returncode != 0:
                raise LabError(f"after {deadline_seconds:g} s {LOCK} is still held")
        yield file.fileno()


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def clean(work_root: Path, say: Callable[[str], None]) -> None:
    """Remove every leftover of every lab; `work_root` is the checkout's .lab-work. Raises
    LabError with what can't be removed."""
    cgroups = [path for path in CGROUPS.glob("*") if is_ours(path.name)]
    for cgroup in cgroups:
        say(f"ending container {cgroup.name}")
        freeze(cgroup, False)
        kill_all(cgroup)
    for pid_file in work_root.glob("*/*/storage.pid"):
        end_server(pid_file)
    for cgroup in cgroups:
        wait_until(
            lambda cgroup=cgroup: is_empty(cgroup),  # type: ignore[misc]
            _END_DEADLINE_SECONDS,
            f"{cgroup.name} has processes that do not end",
        )
        remove_cgroup(cgroup)
    for folder in NSPAWN.glob(f"*/{PREFIX}*"):
        unmount(folder)
        shutil.rmtree(folder)
    for loop in _loops(work_root):
        say(f"detaching {loop}")
        must(["losetup", "--detach", loop])
    for mount in sorted({path for path in mounts() if path.startswith(f"{work_root}/")}):
        if mount in mounts():
            say(f"unmounting {mount}")
            unmount(Path(mount))
    for name in sorted(os.listdir("/sys/class/net")):
        if is_ours(name):
            say(f"deleting interface {name}")
            call(["ip", "link", "delete", name])


def _loops(work_root: Path) -> list[str]:
    """Return the loop devices over a file of some lab."""
    told = json.loads(call(["losetup", "--list", "--json"]).stdout or "{}")
    devices = told.get("loopdevices", [])
    return [device["name"] for device in devices if is_under(device["back-file"], work_root)]


def is_under(back_file: str, folder: Path) -> bool:
    """Whether losetup's name of a file, deleted ones included, is in this folder."""
    return str(back_file or "").startswith(f"{folder}/")
