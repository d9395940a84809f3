# SPDX-License-Identifier: Apache-2.0
"""VDSM is asked for the monitor whenever it has none."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from ha_agent.broker.storage.domain_monitor import DomainMonitor, domain_monitor_part
from ha_agent.errors import EnvironmentFault


class Vdsm:
    """Knows its monitors until it restarts."""

    def __init__(self) -> None:
        self.monitors: dict[str, int] = {}
        self.started: list[tuple[str, int]] = []
        self.is_down = False

    async def storage_vitals(self, domain_ids: Sequence[str] = ()) -> Mapping[str, Any]:
        if self.is_down:
            raise EnvironmentFault("down")
        return {name: None for name in self.monitors if name in domain_ids}

    async def start_monitoring_domain(self, domain_id: str, host_id: int) -> None:
        self.started.append((domain_id, host_id))
        self.monitors[domain_id] = host_id


class Ended(Exception):
    """The clock's way to end what runs for ever."""


class Clock:
    async def sleep(self, duration_seconds: float) -> None:
        raise Ended(duration_seconds)


async def test_it_is_started_once_and_again_after_a_restart() -> None:
    vdsm = Vdsm()
    keeper = DomainMonitor(vdsm, "sd", 3, Clock(), lambda: True)
    await keeper.keep()
    await keeper.keep()
    assert vdsm.started == [("sd", 3)]
    vdsm.is_down = True
    await keeper.keep()
    vdsm.is_down, vdsm.monitors = False, {}
    await keeper.keep()
    assert vdsm.started == [("sd", 3)] * 2


async def test_in_local_maintenance_it_is_left_as_it_is() -> None:
    """The engine has VDSM end its monitors then, to let go of the host id and the storage."""
    vdsm, maintenance = Vdsm(), [True]
    keeper = DomainMonitor(vdsm, "sd", 3, Clock(), lambda: not maintenance[0])
    await keeper.keep()
    assert vdsm.started == []
    maintenance[0] = False
    await keeper.keep()
    assert vdsm.started == [("sd", 3)]


async def test_it_is_work_of_the_broker() -> None:
    vdsm = Vdsm()
    [work] = domain_monitor_part(vdsm, "sd", 3, Clock(), lambda: True).work
    with contextlib.suppress(Ended):
        await work()
    assert vdsm.monitors == {"sd": 3}
