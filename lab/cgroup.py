# SPDX-License-Identifier: Apache-2.0
"""A host's cgroup: all its processes, systemd-nspawn included, to be killed or frozen at once.

They are in the unified hierarchy, in one folder with the container's name. The kernel's
cgroup.kill and cgroup.freeze reach every process below, also one that is just being forked.
"""

from __future__ import annotations

from pathlib import Path

from lab.ports import LabError

CGROUPS = Path("/sys/fs/cgroup/unified")
if not CGROUPS.is_dir():  # where there is no hierarchy of the first version
    CGROUPS = Path("/sys/fs/cgroup")


def kill_all(cgroup: Path) -> None:
    """SIGKILL to every process in it."""
    _write(cgroup / "cgroup.kill", "1")


def freeze(cgroup: Path, frozen: bool) -> None:
    """Stop every process in it where it is, or let them go on."""
    _write(cgroup / "cgroup.freeze", "1" if frozen else "0")


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text)
    except FileNotFoundError:
        return


def is_empty(cgroup: Path) -> bool:
    """Whether no process is in the cgroup, or in one below it."""
    try:
        return "populated 0" in (cgroup / "cgroup.events").read_text()
    except FileNotFoundError:
        return True


def remove_cgroup(cgroup: Path) -> None:
    """Remove a cgroup, and those below it, that have no process. Raises LabError."""
    try:
        for path in sorted((p for p in cgroup.rglob("*") if p.is_dir()), reverse=True):
            path.rmdir()
        cgroup.rmdir()
    except FileNotFoundError:
        return
    except OSError as error:
        raise LabError(f"{error.filename}: {error.strerror}") from None
