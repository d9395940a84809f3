# SPDX-License-Identifier: Apache-2.0
"""The bridge that joins the hosts, and this machine as the observer. Implements ports.Network.

Each host's cable is a veth pair: `vb-ha-lab-hN` here, a port of the bridge, and host0 there. A
cable is pulled by setting this end down: the host sees no carrier. It comes with the host's power
and goes with it, so a host that boots while its cable is pulled has it in again.
"""

from __future__ import annotations

from pathlib import Path

from lab.plan import PREFIX_LENGTH, LabPlan
from lab.tools import call, must


class LabNetwork:
    """The network of one lab."""

    def __init__(self, plan: LabPlan) -> None:
        self._plan = plan

    @property
    def engine_address(self) -> str:
        """Where the engine VM is reached."""
        return self._plan.engine_address

    def make(self) -> None:
        """Make the bridge. Raises LabError."""
        bridge = self._plan.bridge
        # Snooping would keep multicast, such as a search for a neighbour, from new ports.
        options = ["forward_delay", "0", "mcast_snooping", "0"]
        must(["ip", "link", "add", bridge, "type", "bridge", *options])
        address = f"{self._plan.observer_address}/{PREFIX_LENGTH}"
        must(["ip", "address", "add", address, "dev", bridge])
        must(["ip", "link", "set", bridge, "up"])

    def cut(self, host: str) -> None:
        """Pull the host's cable. Raises LabError while it has no power."""
        self._set(host, "down")

    def join(self, host: str) -> None:
        """Plug it in again. Raises LabError while the host has no power."""
        self._set(host, "up")

    def _set(self, host: str, state: str) -> None:
        must(["ip", "link", "set", self._plan.cable(int(host[len("host") :])), state])

    def remove(self) -> None:
        """Take the bridge away."""
        if Path("/sys/class/net", self._plan.bridge).exists():
            call(["ip", "link", "delete", self._plan.bridge])
