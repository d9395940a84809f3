# SPDX-License-Identifier: Apache-2.0
"""What this host has: memory, CPU threads and machine types, as VDSM tells them.

    VDSM connected  -> Host.getCapabilities, once
    no good answer  -> again after 5 s, 10 s, 20 s, ... 5 min, or when VDSM is connected anew

It takes VDSM some seconds and changes with a new kernel, QEMU or memory only, which all restart
VDSM. So it is asked seldom, in the background, and nothing waits for it: what is not known yet
is None. The status block tells the other hosts (blocks/monitor.py); `guard_facts` puts together
what the guard judges a definition against.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import Callable, Optional

from ha_agent.broker.snapshot import Snapshot
from ha_agent.errors import EnvironmentFault
from ha_agent.ovfstore.guard import GuardFacts, HostCapacity
from ha_agent.vdsm.client.answers import HostCapabilities
from ha_agent.waiting import wait_for_event

log = logging.getLogger(__name__)

_FIRST_PAUSE_SECONDS = 5.0
_LAST_PAUSE_SECONDS = 300.0
_FIRST_ANSWER_SECONDS = 30.0


class CapacityKeeper:
    """Keeps `current`: what VDSM said last, None before it ever did."""

    def __init__(self, ask: Callable[[], Awaitable[HostCapabilities]]) -> None:
        """`ask` is Vdsm.host_capabilities: it has a deadline, and raises EnvironmentFault."""
        self._ask = ask
        self._connected = asyncio.Event()
        self._problem = ""
        self._told = asyncio.Event()
        self._told.set()
        self.current: Optional[HostCapabilities] = None

    def connected(self) -> None:
        """VDSM is there, perhaps anew: ask it. For VdsmClient's `on_connected`."""
        self._connected.set()
        if self.current is None:
            self._told.clear()

    async def first_answer(self) -> None:
        """Wait for the first good answer of a VDSM that is there, but not for long, and once.

        So that a restart of the broker does not make every definition small enough.
        """
        if not await wait_for_event(self._told, _FIRST_ANSWER_SECONDS):
            self._told.set()

    async def run(self) -> None:
        """Ask for ever, as the module says."""
        while True:
            await self._connected.wait()
            self._connected.clear()
            pause_seconds = _FIRST_PAUSE_SECONDS
            while not await self._ask_once():
                if await wait_for_event(self._connected, pause_seconds):
                    break
                pause_seconds = min(2 * pause_seconds, _LAST_PAUSE_SECONDS)

    async def _ask_once(self) -> bool:
        try:
            told = await self._ask()
        except EnvironmentFault as fault:
            if str(fault) != self._problem:
                log.warning("this host's capacity is not known from VDSM: %s", fault)
            self._problem = str(fault)
            return False
        self._problem = ""
        self._told.set()
        if told != self.current:
            log.info("this host has %s MiB, %s CPU threads", told.memory_mib, told.cpu_threads)
        self.current = told
        return True


def guard_facts(
    snapshot: Snapshot, *, storage_domain_uuid: str, capabilities: Optional[HostCapabilities]
) -> GuardFacts:
    """Return what the guard judges a definition against, from the picture in memory.

    `capabilities` are this host's, which counts as live whatever its status block says.
    """
    memory_mib = None if capabilities is None else capabilities.memory_mib
    cpu_threads = None if capabilities is None else capabilities.cpu_threads
    machines = frozenset() if capabilities is None else capabilities.emulated_machines
    ours = HostCapacity(snapshot.host_id, snapshot.host_name, memory_mib, cpu_threads)
    others = tuple(
        HostCapacity(host.host_id, host.host_name, host.memory_mib, host.cpu_threads)
        for host in snapshot.hosts
        if host.alive and host.host_id != snapshot.host_id
    )
    return GuardFacts(
        storage_domain_uuid=storage_domain_uuid,
        vm_uuid=snapshot.vm_uuid,
        hosts=(ours, *others),
        machines=machines or None,
    )
