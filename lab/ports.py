# SPDX-License-Identifier: Apache-2.0
"""What the cases, the observer and the report need of the lab: hosts, storage, network.

The real ones are booted containers; tests/lab/ has small ones of memory. Nothing here boots,
mounts or decides.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Optional, Protocol


class LabError(Exception):
    """The lab itself does not work: a host does not boot, a tool is missing. No verdict on us."""


class Host(Protocol):
    """One booted host: a container with systemd as its PID 1."""

    @property
    def name(self) -> str:
        """Its host name, "host1"."""
        ...

    @property
    def number(self) -> int:
        """Its host id in the cluster."""
        ...

    @property
    def leader(self) -> Optional[int]:
        """The pid of its PID 1, as this machine has it; None while it has no power."""
        ...

    @property
    def address(self) -> str:
        """Its address on the bridge."""
        ...

    def run(
        self, *arguments: str, deadline_seconds: float = 60.0, text: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run a program there as its root does, with `text` as its input, and return how it ended,
        whatever that is."""
        ...

    def must(self, *arguments: str, deadline_seconds: float = 60.0, text: str = "") -> str:
        """The same for one that has to succeed; returns what it printed. Raises LabError."""
        ...

    def journal_text(self, since_unix_seconds: float = 0.0, *arguments: str) -> str:
        """Its journal from a moment on, also while it has no power."""
        ...

    def power_cut(self) -> None:
        """End everything on it at once, QEMU too, as if it lost its power."""
        ...

    def boot(self) -> None:
        """Switch it on; returns at once, not when it is up."""
        ...

    def wait_up(self, deadline_seconds: float = 120.0) -> None:
        """Wait until systemd there has started all that is enabled. Raises LabError."""
        ...

    def freeze(self) -> None:
        """Stop everything on it where it is, as a machine that is suspended."""
        ...

    def thaw(self) -> None:
        """Let it go on."""
        ...

    def fake_clock(self, units: Sequence[str]) -> None:
        """Restart these units so that `jump_clock` reaches them."""
        ...

    def jump_clock(self, offset_seconds: float) -> None:
        """Set the calendar clock of those units this far from the real one, at once."""
        ...

    def real_clock(self, units: Sequence[str]) -> None:
        """Give these units this machine's clock again; restarts them."""
        ...


class Storage(Protocol):
    """The shared storage, with a path of its own for each host, which can fail apart."""

    @property
    def kind(self) -> str:
        """ "file" or "block"."""
        ...

    @property
    def disk(self) -> Path:
        """The engine VM's disk past all that may hang: where only this machine sees it."""
        ...

    @property
    def disk_texts(self) -> tuple[str, ...]:
        """Any of these is in the name of an open descriptor of that disk (/proc/PID/fd/N)."""
        ...

    def hang(self, host: str) -> None:
        """All calls of this host wait in the kernel until `mend`."""
        ...

    def fail(self, host: str, number: int) -> None:
        """All calls of this host fail with this errno."""
        ...

    def drop_locks(self, host: str) -> None:
        """Take this host's locks away, as a server does from a client that is long silent."""
        ...

    def mend(self, host: str, number: int = 0) -> None:
        """End it; what hangs is done now, or fails with that errno."""
        ...

    def fill(self) -> None:
        """Leave not a byte free for new blocks."""
        ...

    def empty(self) -> None:
        """Take away what `fill` has written."""
        ...


class Network(Protocol):
    """The bridge that joins the hosts."""

    @property
    def engine_address(self) -> str:
        """Where this machine reaches the engine's page over the bridge: ADDRESS."""
        ...

    def cut(self, host: str) -> None:
        """Pull the host's cable; what runs on it loses the bridge as well."""
        ...

    def join(self, host: str) -> None:
        """Plug it in again."""
        ...


class Cluster(Protocol):
    """Three hosts that are set up, and what they share."""

    @property
    def hosts(self) -> Mapping[str, Host]:
        """By name."""
        ...

    @property
    def storage(self) -> Storage:
        """What they share."""
        ...

    @property
    def network(self) -> Network:
        """What joins them."""
        ...

    @property
    def vm_uuid(self) -> str:
        """The engine VM."""
        ...
