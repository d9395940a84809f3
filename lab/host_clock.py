# SPDX-License-Identifier: Apache-2.0
"""A calendar clock of its own for some daemons of a lab host, that jumps while they run.

A container shares this machine's calendar clock: time namespaces have only the monotonic ones, and
setting it would move it for everybody. So units are restarted with jump_clock.c preloaded, which
adds an offset to what CLOCK_REALTIME tells them. Files' times, the journal's, and those of other
processes stay this machine's. It ends with the host's power.

    /usr/lib/ha-lab-clock.so                        built here, copied there
    /run/ha-lab-clock                               8 bytes, nanoseconds: written in place
    /run/systemd/system/UNIT.d/ha-lab-clock.conf    preloads it
"""

from __future__ import annotations

import shutil
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from lab.tools import must

LIBRARY = "usr/lib/ha-lab-clock.so"
OFFSET_FILE = "run/ha-lab-clock"
RESTART_DEADLINE_SECONDS = 120.0
_SOURCE = Path(__file__).with_name("jump_clock.c")
_DROP_IN = f"""\
[Service]
Environment=LD_PRELOAD=/{LIBRARY} HA_LAB_CLOCK=/{OFFSET_FILE}
"""


class ClockHost(Protocol):
    """What this needs of a host."""

    @property
    def folder(self) -> Path:
        """What it has on this machine."""
        ...

    @property
    def root(self) -> Path:
        """Its root folder as this machine sees it."""
        ...

    def must(self, *arguments: str, deadline_seconds: float = 60.0, text: str = "") -> str:
        """Run a program there that has to succeed."""
        ...

    def file_there(self, name: str) -> Path:
        """A file of it, in /run too, as this machine reaches it."""
        ...


def build(into: Path) -> Path:
    """Compile the library. Raises LabError."""
    command = ["gcc", "-O2", "-shared", "-fPIC", "-o", str(into), str(_SOURCE), "-ldl"]
    must(command)
    return into


def fake(host: ClockHost, units: Sequence[str]) -> None:
    """Restart these units with a clock of their own, which is right for now. Raises LabError."""
    library = build(host.folder / "clock.so")
    shutil.copy(library, host.root / LIBRARY)
    jump(host, 0.0)
    for unit in units:
        host.must("install", "-D", "-m", "644", "/dev/stdin", _drop_in(unit), text=_DROP_IN)
    _restart(host, units)


def jump(host: ClockHost, offset_seconds: float) -> None:
    """Set their clock this far from the real one, at once. Raises LabError, OSError."""
    path = host.file_there(OFFSET_FILE)
    offset = struct.pack("=q", round(offset_seconds * 1e9))
    # In place, and in one write: the daemons have this very file mapped.
    with path.open("r+b" if path.exists() else "wb", buffering=0) as file:
        file.write(offset)
    path.chmod(0o644)


def real(host: ClockHost, units: Sequence[str]) -> None:
    """Restart these units with this machine's clock again. Raises LabError."""
    host.must("rm", "-f", *map(_drop_in, units))
    _restart(host, units)


def _drop_in(unit: str) -> str:
    return f"/run/systemd/system/{unit}.d/ha-lab-clock.conf"


def _restart(host: ClockHost, units: Sequence[str]) -> None:
    host.must("systemctl", "daemon-reload")
    host.must("systemctl", "restart", "--", *units, deadline_seconds=RESTART_DEADLINE_SECONDS)
