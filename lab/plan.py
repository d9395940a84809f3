# SPDX-License-Identifier: Apache-2.0
"""The names and addresses of one lab. Pure.

Whatever the lab makes on this machine has a name that begins with "ha-lab-", so that what a killed
run has left can be found (clean.py). Labs with different HA_LAB_NAME are apart in all of it:

    name              ""                "u"
    bridge            ha-lab-br0        ha-lab-u-br0
    container, cgroup ha-lab-h1         ha-lab-u-h1
    cable             vb-ha-lab-h1      vb-ha-lab-u-h1       as systemd-nspawn calls it
    folder            .lab-work/lab     .lab-work/lab-u
    network           10.77.0.0/24      10.77.N.0/24         N from 1 to 254, from the name

In the network .1 to .3 are the hosts, .10 is the engine VM wherever it runs, .254 is this machine.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lab.ports import LabError

NAME_VARIABLE = "HA_LAB_NAME"
PREFIX = "ha-lab-"
HOSTS = 3
ENGINE_NAME = "engine.ha-lab.test"
PREFIX_LENGTH = 24
_ENGINE_NUMBER = 10
_OBSERVER_NUMBER = 254
# The kernel's limit of an interface's name is 15 bytes: "vb-ha-lab-xx-h1".
_NAME = re.compile(r"[a-z0-9]{0,2}")


@dataclass(frozen=True)
class LabPlan:
    """One lab. `work` is its folder, on which a tmpfs of its own is mounted."""

    name: str
    work: Path

    @property
    def prefix(self) -> str:
        """What the names of all that it makes begin with."""
        return f"{PREFIX}{self.name}-" if self.name else PREFIX

    @property
    def bridge(self) -> str:
        """The bridge between the hosts."""
        return f"{self.prefix}br0"

    def machine(self, number: int) -> str:
        """A host's container, and its cgroup."""
        return f"{self.prefix}h{number}"

    def cable(self, number: int) -> str:
        """This machine's end of a host's cable, a port of the bridge."""
        return f"vb-{self.machine(number)}"

    def host_address(self, number: int) -> str:
        """Where the host is."""
        return self._address(number)

    @property
    def engine_address(self) -> str:
        """Where the engine VM is."""
        return self._address(_ENGINE_NUMBER)

    @property
    def observer_address(self) -> str:
        """Where this machine is; the hosts' gateway."""
        return self._address(_OBSERVER_NUMBER)

    def _address(self, last: int) -> str:
        third = zlib.crc32(self.name.encode()) % 254 + 1 if self.name else 0
        return f"10.77.{third}.{last}"


def plan_for(environment: Mapping[str, str], root: Path) -> LabPlan:
    """Return the plan for what HA_LAB_NAME says; `root` is the checkout. Raises LabError."""
    name = environment.get(NAME_VARIABLE, "")
    if not _NAME.fullmatch(name):
        raise LabError(f"{NAME_VARIABLE}={name!r}: at most two of a-z and 0-9")
    return LabPlan(name, root / ".lab-work" / ("lab-" + name if name else "lab"))


def is_ours(name: str) -> bool:
    """Say if a name on this machine is one of some lab's."""
    return name.startswith(PREFIX) or name.startswith(f"vb-{PREFIX}")
