# SPDX-License-Identifier: Apache-2.0
"""The flood as a client of ours gets it, and the process that tells how late a loop is."""

from __future__ import annotations

import json

from bench.vdsm_calls import line_of, process_of, responder
from bench.vdsm_flood import NAME
from bench.vdsm_responder import VM
from ha_agent.clock import SystemClock
from ha_agent.vdsm.client.client import VdsmClient
from ha_agent.vdsm.client.vm_watch import VmWatch


async def test_each_event_of_the_flood_is_news() -> None:
    with responder(None, 5000) as port:
        client = VdsmClient("127.0.0.1", port, clock=SystemClock(), uniform=lambda: 0.5)
        client.start()
        watch, news = VmWatch(VM), 0
        for _ in range(200):
            watch, is_news = watch.event(await client.next_event())
            news += is_news
        await client.close()
    assert news == 200


def test_an_idle_loop_is_measured() -> None:
    with process_of(NAME) as process:
        told = json.loads(line_of(process, "it ended"))
    assert told["lag_seconds"] > 0
    assert told["events"] == 0
