# SPDX-License-Identifier: Apache-2.0
"""What the hosted engine's high availability says, as VDSM passes it on to the engine.

VDSM asks the package `ovirt_hosted_engine_ha`, where there is one (facts/vdsm.md, "How VDSM calls
the HA package"); so does this, with the same calls, and as VDSM it looks for the package once.
Where there is none, or another one than the distribution in haclient/, haStats say "not
configured" and Host.setHaMaintenanceMode is refused with code 40; what the package raises is
code 61.

    Host.getStats                 haStats {configured, active, score, globalMaintenance,
                                  localMaintenance}; haScore if configured
    Host.getCapabilities          hostedEngineDeployed
    Host.setHaMaintenanceMode     mode GLOBAL or LOCAL, whatever its case

It must not import ha_agent.broker. The package blocks, and is imported and asked in a thread.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Optional, TypeVar

from ha_agent.errors import EnvironmentFault
from ha_agent.vdsm.deadline import StorageThreads
from ha_agent.vdsm.errors import VdsmCode
from ha_agent.vdsm.refusal import Refusal

if TYPE_CHECKING:
    from ovirt_hosted_engine_ha.client.client import HAClient

log = logging.getLogger(__name__)
T = TypeVar("T")

# As VDSM: lib/vdsm/host/api.py, lib/vdsm/API.py.
_ASK_SECONDS = 5.0
_CHANGE_SECONDS = 60.0
# The package keeps its own deadline; this is for one that does not.
_MARGIN_SECONDS = 2.0
_MODES = ("global", "local")
_NO_PACKAGE = "Resource unavailable"
_NOT_SET = "Failed to set Hosted Engine HA policy"


@dataclass(frozen=True)
class HaPlace:
    """Where this host's broker is, and this host's id: what the package finds in files else."""

    socket: Path
    host_id: int


class HaInfo:
    """Asks the package. `place` None: this host is none of a hosted engine."""

    def __init__(self, threads: StorageThreads, place: Optional[HaPlace]) -> None:
        self._threads = threads
        self._place = place
        self._problem = ""
        self._has_looked = False
        self._found: Optional[HAClient] = None

    async def stats(self) -> dict[str, Any]:
        """Return haStats, and haScore where configured. An HA that fails is told as not active."""
        found: dict[str, Any] = {
            "configured": False,
            "active": False,
            "score": 0,
            "globalMaintenance": False,
            "localMaintenance": False,
        }
        client = await self._client()
        if client is not None and client.get_local_host_id():
            found["configured"] = True
            found.update(await self._asked(client))
        answer: dict[str, Any] = {"haStats": found}
        if found["configured"]:
            answer["haScore"] = found["score"]
        return answer

    async def is_deployed(self) -> bool:
        """Return hostedEngineDeployed."""
        client = await self._client()
        return client is not None and client.is_deployed()

    async def set_maintenance(self, mode: str, enabled: bool) -> dict[str, Any]:
        """Answer Host.setHaMaintenanceMode. Raises Refusal."""
        client = await self._client()
        if client is None:
            raise Refusal(VdsmCode.RESOURCE_UNAVAILABLE, _NO_PACKAGE)
        if mode.lower() not in _MODES:
            raise Refusal(VdsmCode.HA_POLICY_NOT_SET, _NOT_SET)
        asked = client

        def work() -> str:
            from ovirt_hosted_engine_ha.lib.exceptions import RequestError

            try:
                asked.set_maintenance_mode(mode.upper(), enabled, timeout=_CHANGE_SECONDS)
            except (OSError, RequestError) as error:
                return str(error)
            return ""

        log.info("setting Hosted Engine HA %s maintenance to %s", mode.lower(), enabled)
        try:
            fault = await self._run("setting maintenance", _CHANGE_SECONDS, work)
        except EnvironmentFault as error:
            fault = str(error)
        if fault:
            log.warning("Hosted Engine HA %s maintenance is not set: %s", mode.lower(), fault)
            raise Refusal(VdsmCode.HA_POLICY_NOT_SET, _NOT_SET)
        # What VDSM answers where others answer true [run]; no schema says it.
        return {"code": 0, "message": "Done"}

    async def _client(self) -> Optional[HAClient]:
        place = self._place
        if place is None or self._has_looked:
            return self._found

        def load() -> Optional[HAClient]:
            try:
                from ovirt_hosted_engine_ha.client.client import HAClient
                from ovirt_hosted_engine_ha.env.settings import Settings
            except ImportError as error:
                log.debug("no HA package: %s", error)
                return None
            return HAClient(settings=Settings(str(place.socket), place.host_id))

        try:
            self._found = await self._run("loading the HA package", _ASK_SECONDS, load)
        except EnvironmentFault as error:
            log.warning("%s", error)
            return None
        self._has_looked = True
        return self._found

    async def _asked(self, client: HAClient) -> dict[str, Any]:
        def work() -> tuple[dict[str, Any], str]:
            from ovirt_hosted_engine_ha.lib.exceptions import RequestError

            try:
                return _picked(client.get_all_stats(timeout=_ASK_SECONDS), client), ""
            except (OSError, RequestError) as error:
                return {}, str(error)

        try:
            found, problem = await self._run("asking the HA broker", _ASK_SECONDS, work)
        except EnvironmentFault as error:
            found, problem = {}, str(error)
        if problem and problem != self._problem:
            log.warning("no Hosted Engine HA information: %s", problem)
        self._problem = problem
        return found

    async def _run(self, what: str, seconds: float, work: Callable[[], T]) -> T:
        return await self._threads.run(what, seconds + _MARGIN_SECONDS, work)


def _picked(stats: dict[int, dict[str, Any]], client: HAClient) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if 0 in stats:
        found["globalMaintenance"] = stats[0].get(client.GlobalMdFlags.MAINTENANCE, False)
    host = stats.get(client.get_local_host_id() or 0)
    if host is not None:
        found["active"] = host["live-data"]
        found["score"] = host["score"]
        found["localMaintenance"] = host["maintenance"]
    return found
