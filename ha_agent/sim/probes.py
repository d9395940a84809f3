# SPDX-License-Identifier: Apache-2.0
"""A simulated broker's probes: what they would find on this host, in the rhythm of the real ones.

The entries are those of broker/probes/entries.py, made from the host's faults instead of
samples: the rules about samples are the agent's, and run as they are.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Callable, Optional

from ha_agent.broker.snapshot import BridgeEntry, CpuEntry, MemoryEntry, NetworkEntry
from ha_agent.sim.dice import Dice

if TYPE_CHECKING:
    from ha_agent.sim.host import SimHost

# As the configuration's defaults have them.
_NETWORK_INTERVAL_SECONDS = 10.0
_NETWORK_SAMPLES = 5
NO_NETWORK = frozenset(("network-lost", "cable-out"))
"""Faults by which no test of a host's network passes."""
_FIGURES_INTERVAL_SECONDS = 15.0
_CPU_SAMPLES = 20
_CPU_LOAD = 0.1
_MEMORY_MIB = 32768.0


class SimProbes:
    """One host's probes, and what they found; `update` as in broker/probes/host_probes.py."""

    def __init__(self, host: SimHost, dice: Dice, update: Callable[..., None]) -> None:
        self._host = host
        self._dice = dice
        self._update = update
        self._tests: deque[bool] = deque(maxlen=_NETWORK_SAMPLES)
        self._loads: deque[float] = deque(maxlen=_CPU_SAMPLES)
        self._live: dict[str, Any] = {}
        self._up: Optional[bool] = None

    def live(self) -> dict[str, Any]:
        """Return the snapshot's parts as of the last samples."""
        return self._live

    async def test_network(self) -> None:
        """Test the network for ever."""
        clock = self._host.clock
        share_before: Optional[float] = None
        while True:
            begun = clock.now()
            faults = self._host.faults
            lost = not faults.keys().isdisjoint(NO_NETWORK)
            lost = lost or self._dice.chance(faults.get("network-flaky", 0.0))
            self._tests.append(not lost)
            share = self._tests.count(False) / len(self._tests)
            entry = NetworkEntry(share, "no answer" if lost else "", begun)
            self._live["network"] = entry
            if share != share_before:
                share_before = share
                self._update(network=entry)
            await clock.sleep(_NETWORK_INTERVAL_SECONDS)

    async def measure(self) -> None:
        """Take the host's figures for ever."""
        clock = self._host.clock
        while True:
            now, faults = clock.now(), self._host.faults
            self._loads.append(faults.get("cpu-load", _CPU_LOAD))
            bridge = BridgeEntry("bridge-down" not in faults, "", now)
            self._live.update(
                bridge=bridge,
                cpu=CpuEntry(sum(self._loads) / len(self._loads), "", now),
                memory=MemoryEntry(int(faults.get("memory-free", _MEMORY_MIB)), "", now),
            )
            if bridge.up is not self._up:
                self._up = bridge.up
                self._update(bridge=bridge)
            await clock.sleep(_FIGURES_INTERVAL_SECONDS)
