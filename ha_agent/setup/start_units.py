# SPDX-License-Identifier: Apache-2.0
"""Last step of a deploy and of a join: enable and start our units.

Where that can't be, as on a host without systemd, it says what to run instead.
"""

from __future__ import annotations

from ha_agent.errors import EnvironmentFault
from ha_agent.setup.services import OUR_UNITS, Services
from ha_agent.setup.step import Found, Say

_HINT = "run `systemctl enable --now " + " ".join(OUR_UNITS) + "`"


class StartUnits:
    """Agent and broker run, now and after each boot."""

    name, title = "units", "enable and start the daemons"

    def __init__(self, services: Services, *, start: bool) -> None:
        self._services = services
        self._start = start

    async def look(self) -> Found:
        """A host without systemd or without the units is told what to run."""
        if not self._start:
            return Found(True, f"left to you, by --no-start: {_HINT}")
        try:
            states = await self._services.states(OUR_UNITS)
        except EnvironmentFault:
            told = "systemd does not answer: have `ha-broker` and `ha-agent run` started otherwise"
            return Found(True, f"left to you, {told}")
        missing = [state.name for state in states.values() if not state.exists]
        if missing:
            return Found(
                True, f"left to you, there is no {', '.join(missing)}: install them, {_HINT}"
            )
        left = [state.text for state in states.values() if not (state.running and state.enabled)]
        return Found(not left, "; ".join(left) or "they run, and are enabled")

    async def do(self, say: Say) -> str:
        """Enable first: what is started is enabled after a kill between both, too."""
        del say
        await self._services.enable(OUR_UNITS)
        await self._services.start(OUR_UNITS)
        return "they run, and are enabled"
