# SPDX-License-Identifier: Apache-2.0
"""The definitions of the engine VM as a simulated broker holds them: identities, and no more.

It is read from the store when the broker starts and once a minute, or pushed by the engine; the
last one read stays in use while the store can't be read. What was read is this host's history.
As in broker/definition/starts.py, one that an engine became healthy with is proven, on this host
or by what a status block says, this host's disk remembers both, and one that is not proven gives
way to the newest in the history that is, when the agent asks for that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable

from ha_agent.broker.snapshot import DefinitionEntry, HostEntry, Report
from ha_agent.broker_port import BrokerRefused
from ha_agent.ports import DomainDefinition

if TYPE_CHECKING:
    from ha_agent.sim.host import SimHost

_FIRST_READ_SECONDS = 0.3
_REFRESH_SECONDS = 60.0
_RETRY_SECONDS = 5.0
_MEMORY_MIB = 4096


class SimDefinition:
    """What a broker knows of definitions. `hosts` gives what the status blocks say;
    `on_change(entry)` puts what is known on the board."""

    def __init__(
        self,
        host: SimHost,
        hosts: Callable[[], tuple[HostEntry, ...]],
        on_change: Callable[[DefinitionEntry], None],
    ) -> None:
        self._host = host
        self._hosts = hosts
        self._on_change = on_change
        self._identity = ""
        self._running = ""

    async def run(self) -> None:
        """Read the store for ever."""
        await self._host.clock.sleep(_FIRST_READ_SECONDS)
        while True:
            if self._readable:
                self._accept(self._host.world.definition)
            self._identity = self._host.known_definition
            self._tell()
            await self._host.clock.sleep(_REFRESH_SECONDS if self._identity else _RETRY_SECONDS)

    def pushed(self, identity: str) -> None:
        """The engine pushes a definition; it is read from the store at once."""
        if self._readable:
            self._accept(identity)
            self._identity = identity
            self._tell()

    def heard(self, report: Report) -> None:
        """The agent says what runs here, and how the engine in it does."""
        proven, identity = self._host.proven_definitions, report.running_definition
        good = report.engine_status.get("health") == "good"
        if identity and good and proven[-1:] != [identity]:
            self._host.proven_definitions = [*(one for one in proven if one != identity), identity]
        elsewhere = self._host.proven_elsewhere
        said = {host.proven for host in self._hosts()}
        self._host.proven_elsewhere = elsewhere | said.intersection(self._host.definitions)
        if (
            identity != self._running
            or proven is not self._host.proven_definitions
            or elsewhere != self._host.proven_elsewhere
        ):
            self._running = identity
            self._tell()

    def proven_here(self) -> str:
        """Return what an engine became healthy with on this host last."""
        proven = self._host.proven_definitions
        return proven[-1] if proven else ""

    def hand_out(self, fallback: bool) -> DomainDefinition:
        """Return what to start from: its identity stands for its XML. Raises BrokerRefused."""
        if not self._identity:
            raise BrokerRefused("not_ready", "no definition of the engine VM")
        identity = (self._fallback if fallback else "") or self._identity
        return DomainDefinition(identity, identity)

    @property
    def _readable(self) -> bool:
        return "definition-gone" not in self._host.faults and self._host.path.calm

    @property
    def _fallback(self) -> str:
        here, elsewhere = set(self._host.proven_definitions), self._host.proven_elsewhere
        if self._identity in here:
            return ""
        proven = here if self._identity in elsewhere else here | elsewhere
        return next((one for one in reversed(self._host.definitions) if one in proven), "")

    def _accept(self, identity: str) -> None:
        if self._host.definitions[-1:] != [identity]:
            self._host.definitions.append(identity)

    def _tell(self) -> None:
        stale = not self._readable
        self._on_change(
            DefinitionEntry(
                available=bool(self._identity),
                identity=self._identity,
                memory_mib=_MEMORY_MIB,
                stale=stale and bool(self._identity),
                problem="the store can't be read" if stale else "",
                running=self._running,
                fallback=self._fallback,
            )
        )
