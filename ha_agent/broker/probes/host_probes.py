# SPDX-License-Identifier: Apache-2.0
"""This host's own measurements: each probe in a loop of its own, all of them as one Part.

    network         a test of the administrator's choice      [network]
    bridge          the management bridge                     [network] bridge, [probes]
    CPU load        without the engine VM's own               [probes]
    memory          what there is for the engine VM           [probes]
    storage domain  as the broker and VDSM reach it           [probes]

What blocks runs aside (aside.py), in a thread of that probe's own: a process that hangs in the
kernel takes one probe with it, and status says which. The agent judges, over several samples
(fsm/trends.py). Only a change of what people or the agent would act on wakes who waits for the
board; the figures are read with the picture (`live`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any, Callable, Optional

from ha_agent.broker.part import Part
from ha_agent.broker.probes import bridge, domain, load, memory, network
from ha_agent.broker.probes.aside import Aside
from ha_agent.broker.probes.engine_process import EngineProcess
from ha_agent.broker.probes.entries import (
    bridge_entry,
    cpu_entry,
    domain_entry,
    memory_entry,
    network_entry,
)
from ha_agent.broker.probes.loop import GRACE_SECONDS, Clock, ProbeLoop
from ha_agent.broker.probes.names import Names
from ha_agent.config.schema import Config
from ha_agent.errors import EnvironmentFault
from ha_agent.vdsm.client.answers import DomainVitals
from ha_agent.waiting import within

Vitals = Callable[[Sequence[str]], Awaitable[dict[str, DomainVitals]]]
"""Vdsm.storage_vitals: of these domains, by id."""


class HostProbes:
    """The probes of one host, and what they found.

    `update(network=..., bridge=..., domain=...)` is called when one of these says something
    else; `own_reads` tells how the broker's reading of the status blocks does, `vitals` asks VDSM.
    """

    def __init__(
        self,
        config: Config,
        clock: Clock,
        *,
        update: Callable[..., None],
        own_reads: Callable[[], domain.OwnReads],
        vitals: Vitals,
    ) -> None:
        self._config = config
        self._clock = clock
        self._update = update
        self._own_reads = own_reads
        self._vitals = vitals
        net = config.network
        self._test = network.NetworkTest(net.test, net.address, net.port)
        self._network = self._network_loop()
        self._bridge = self._bridge_loop()
        self._cpu = self._cpu_loop()
        self._memory = self._memory_loop()
        self._domain = self._domain_loop()

    def part(self) -> Part:
        """Return the probes as a feature of the broker: no verbs, only work."""
        work = [self._cpu.run, self._memory.run, self._domain.run]
        if self._test.kind != "none":
            work.append(self._network.run)
        if self._config.network.bridge:
            work.append(self._bridge.run)
        return Part("probes", work=tuple(work))

    def live(self) -> dict[str, Any]:
        """Return the snapshot's parts as of the last samples."""
        return {
            "network": network_entry(self._test, self._network.samples),
            "bridge": bridge_entry(self._config.network.bridge, self._bridge.samples),
            "cpu": cpu_entry(self._cpu.samples),
            "memory": memory_entry(self._memory.samples),
            "domain": domain_entry(self._domain.samples),
        }

    # The loops ---------------------------------------------------------------------------

    def _network_loop(self) -> ProbeLoop[network.ProbeResult]:
        config, names = self._config.network, Names()
        return ProbeLoop(
            "network",
            lambda: network.probe(self._test, config.deadline_seconds, names),
            interval_seconds=config.interval_seconds,
            # A test ends itself at its deadline; this is for one that does not.
            deadline_seconds=config.deadline_seconds + GRACE_SECONDS,
            clock=self._clock,
            history=config.samples,
            on_change=lambda _sample: self._update(
                network=network_entry(self._test, self._network.samples)
            ),
        )

    def _bridge_loop(self) -> ProbeLoop[bridge.BridgeState]:
        config, name = self._config.probes, self._config.network.bridge
        aside = Aside("look at the bridge")

        return ProbeLoop(
            "bridge",
            lambda: aside.call(lambda: bridge.look(name)),
            interval_seconds=config.bridge_interval_seconds,
            deadline_seconds=config.bridge_deadline_seconds,
            clock=self._clock,
            on_change=lambda _sample: self._update(
                bridge=bridge_entry(name, self._bridge.samples)
            ),
        )

    def _cpu_loop(self) -> ProbeLoop[Optional[load.Load]]:
        config = self._config.probes
        meter = load.LoadMeter(EngineProcess(self._config.engine.vm_uuid))
        aside = Aside("reading of the CPUs' counters")
        return ProbeLoop(
            "CPU load",
            lambda: aside.call(meter.look),
            interval_seconds=config.cpu_load_interval_seconds,
            deadline_seconds=config.cpu_load_deadline_seconds,
            clock=self._clock,
            history=config.cpu_load_samples,
        )

    def _memory_loop(self) -> ProbeLoop[memory.Memory]:
        config = self._config.probes
        process = EngineProcess(self._config.engine.vm_uuid)
        aside = Aside("look at the memory")
        return ProbeLoop(
            "memory",
            lambda: aside.call(lambda: memory.look(process)),
            interval_seconds=config.memory_interval_seconds,
            deadline_seconds=config.memory_deadline_seconds,
            clock=self._clock,
        )

    def _domain_loop(self) -> ProbeLoop[domain.DomainState]:
        config = self._config.probes
        return ProbeLoop(
            "storage domain",
            self._look_at_domain,
            interval_seconds=config.domain_interval_seconds,
            deadline_seconds=config.domain_deadline_seconds + GRACE_SECONDS,
            clock=self._clock,
        )

    async def _look_at_domain(self) -> domain.DomainState:
        config, uuid = self._config, self._config.storage.domain_uuid
        try:
            told = await within(config.probes.domain_deadline_seconds, self._vitals([uuid]))
        except (EnvironmentFault, asyncio.TimeoutError):
            told = {}
        # As old as this is what a reader that is on time may have.
        late_seconds = 3 * config.status.read_interval_seconds + config.storage.io_deadline_seconds
        now = self._clock.now()
        return domain.judge(self._own_reads(), told.get(uuid), now, late_seconds)
