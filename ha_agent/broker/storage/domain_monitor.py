# SPDX-License-Identifier: Apache-2.0
"""Keeps the hosted engine's storage domain monitored by VDSM.

With its monitor VDSM, the real or the embedded one, joins the domain's lockspace by this host's
id, and without that no VM lease by sanlock can be had. VDSM forgets its monitors when it restarts,
so it is asked again and again; asking is answered from VDSM's memory. The monitor is never stopped
here: a VM may have its lease by it.

Nor is it asked for in local maintenance: the engine, which puts a host into it, has VDSM end its
monitors then, so that storage can be disconnected and sanlock stopped; who asks for them again
would hold the host's id against that. The host id is the one that the engine gave the host
(vds_spm_id), which [host] id is, too: VDSM takes no other as long as a monitor runs.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Callable, Protocol

from ha_agent.broker.part import Part
from ha_agent.errors import EnvironmentFault

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 2.0


class Clock(Protocol):
    """What is needed of ports.Clock."""

    async def sleep(self, duration_seconds: float) -> None: ...


class Vdsm(Protocol):
    """What is needed of vdsm.verbs.Vdsm; all raise EnvironmentFault."""

    async def storage_vitals(self, domain_ids: Sequence[str] = ()) -> Mapping[str, Any]: ...

    async def start_monitoring_domain(self, domain_id: str, host_id: int) -> None: ...


class DomainMonitor:
    """Has VDSM monitor one domain."""

    def __init__(
        self,
        vdsm: Vdsm,
        domain_uuid: str,
        host_id: int,
        clock: Clock,
        may_ask: Callable[[], bool],
    ) -> None:
        self._may_ask = may_ask
        self._vdsm = vdsm
        self._domain_uuid = domain_uuid
        self._host_id = host_id
        self._clock = clock
        self._trouble = ""

    async def run(self) -> None:
        """Look and ask, until cancelled."""
        while True:
            await self.keep()
            await self._clock.sleep(INTERVAL_SECONDS)

    async def keep(self) -> None:
        """Ask for the monitor if VDSM has none."""
        trouble = ""
        if not self._may_ask():
            return
        try:
            if self._domain_uuid not in await self._vdsm.storage_vitals([self._domain_uuid]):
                await self._vdsm.start_monitoring_domain(self._domain_uuid, self._host_id)
                log.info("VDSM monitors storage domain %s now", self._domain_uuid)
        except EnvironmentFault as fault:
            trouble = str(fault)
        if trouble and trouble != self._trouble:
            log.warning("storage domain %s is not monitored: %s", self._domain_uuid, trouble)
        self._trouble = trouble


def domain_monitor_part(
    vdsm: Vdsm, domain_uuid: str, host_id: int, clock: Clock, may_ask: Callable[[], bool]
) -> Part:
    """Build the feature. `may_ask`: not in local maintenance, and the domain is connected or
    that was tried (domain_connect.py)."""
    keeper = DomainMonitor(vdsm, domain_uuid, host_id, clock, may_ask)
    return Part("domain_monitor", work=(keeper.run,))
