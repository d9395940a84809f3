# SPDX-License-Identifier: Apache-2.0
"""The real agent while VDSM sends EVENTS_A_SECOND events about its VM: how late is its loop?

    python -m bench.vdsm_flood [CONFIG]     the agent's process; a line of JSON each second:
        {"lag_seconds": longest, "events": heard, "processor_seconds": …}

VDSM is vdsm_responder.py, and each event shows another status than the one before, so that all of
them are news. Agent and broker are real, and the broker is flooded alike, as by a VDSM: it sends
to all who subscribed. "lag" is by how much a sleep of 5 ms in the agent's loop was late at worst
in each second; a tick is late by no more. It stands against the same of a process with nothing
to do (no CONFIG), which is what this machine does to everybody.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Callable, Optional

from bench.cluster import NotMeasured
from bench.report import WORST, Bound, Row
from bench.vdsm_calls import (
    EVENTS_A_SECOND,
    LAG_LIMIT_SECONDS,
    blank_host,
    line_of,
    process_of,
    responder,
)
from bench.vdsm_responder import VM
from ha_agent import log as logs
from ha_agent.agent import Agent
from ha_agent.clock import SystemClock
from ha_agent.config import layers
from ha_agent.vdsm.jsonrpc import Event
from ha_agent.vdsm_port import VdsmHypervisor

NAME = "bench.vdsm_flood"
SECONDS = 20
SETTLE_SECONDS = 3
LEAST_SHARE = 0.8  # of the events: with fewer it was no flood
_PERIOD_SECONDS = 0.005


def measure(_work: Path, say: Callable[[str], None]) -> list[Row]:
    """Flood an agent for SECONDS. Raises NotMeasured."""
    with responder(None, EVENTS_A_SECOND) as port:
        drop_in = f"[vdsm]\nport = {port}\n[engine]\nvm_uuid = {VM}\n"
        with blank_host(drop_in) as host:
            host.start(["ha-broker"])
            with process_of(NAME, str(host.config)) as agent, process_of(NAME) as idler:
                pairs = [
                    [json.loads(line_of(process, "it ended")) for process in (agent, idler)]
                    for _ in range(SETTLE_SECONDS + SECONDS)
                ][SETTLE_SECONDS:]
    lines = [told for told, _idle in pairs]
    heard = sum(line["events"] for line in lines) / SECONDS
    processor = sum(line["processor_seconds"] for line in lines) / SECONDS
    say(f"vdsm-flood: the agent heard {heard:.0f} events a second, {processor:.0%} of a core")
    if heard < LEAST_SHARE * EVENTS_A_SECOND:
        raise NotMeasured(f"{heard:.0f} events a second came, not {EVENTS_A_SECOND}")
    lags = tuple(line["lag_seconds"] for line in lines)
    return [
        Row(
            f"agent's loop, {EVENTS_A_SECOND} events a second: lag",
            lags,
            "a process with nothing to do",
            tuple(idle["lag_seconds"] for _told, idle in pairs),
            Bound(WORST, LAG_LIMIT_SECONDS),
        )
    ]


class Ears:
    """Counts what the agent's hypervisor hears."""

    def __init__(self) -> None:
        self.heard = 0

    def put_on(self, agent: Agent) -> None:
        """Count what this agent hears from now on."""
        port = agent._hypervisor.port
        assert isinstance(port, VdsmHypervisor)
        self._hears = port.hears
        vars(port)["hears"] = self._count

    def _count(self, event: Event) -> bool:
        self.heard += 1
        return self._hears(event)


async def watched(config: Optional[Path]) -> None:
    """Run the agent, or nothing, until killed, and say how late this loop is."""
    ears = Ears()
    running: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    if config is not None:
        agent = Agent(layers.load([config], {layers.ROOT_VARIABLE: str(config.parent)}))
        ears.put_on(agent)
        running = asyncio.ensure_future(agent.run())
    while not running.done():
        heard, processor, begun = ears.heard, time.process_time(), time.perf_counter()
        longest, woken = 0.0, begun
        while woken - begun < 1.0:
            await asyncio.sleep(_PERIOD_SECONDS)
            before, woken = woken, time.perf_counter()
            longest = max(longest, woken - before - _PERIOD_SECONDS)
        told = {
            "lag_seconds": longest,
            "events": ears.heard - heard,
            "processor_seconds": time.process_time() - processor,
        }
        print(json.dumps(told), flush=True)
    running.result()


if __name__ == "__main__":
    logs.setup("error", "ha-agent", clock=SystemClock())
    asyncio.run(watched(Path(sys.argv[1]) if len(sys.argv) > 1 else None))
