# SPDX-License-Identifier: Apache-2.0
"""The steps up to an active storage domain: a host, import, attachment, activation."""

from __future__ import annotations

from typing import Optional, Union

from ha_agent.engine.faults import EngineFault, EngineRefused
from ha_agent.engine.step_base import EngineStep, Run
from ha_agent.engine.storage import host_storage, same_connection
from ha_agent.engine.target import choose
from ha_agent.engine.views import Domain, Target
from ha_agent.setup.step import Found, SetupFailed, SetupRefused

# Of StorageDomainStatus: what somebody has put it into, and where activating helps.
_AT_REST = ("maintenance", "inactive")


class FindHost(EngineStep):
    """Finds data centre, cluster and host; the other steps ask it for them."""

    name = "host"
    title = "find a host that is Up"

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._target: Optional[Target] = None

    async def observe(self) -> Found:
        found = await self._choose()
        if isinstance(found, str):
            return Found(False, found)
        return Found(
            True,
            f"host {found.host.name}, data centre {found.data_center.name}, "
            f"cluster {found.cluster.name}",
        )

    async def advance(self) -> str:
        found = await self._choose()
        return found if isinstance(found, str) else ""

    async def target(self) -> Target:
        """Return what was found. Raises SetupFailed when there is nothing yet."""
        if self._target is None:
            found = await self._choose()
            if isinstance(found, str):
                raise SetupFailed(found)
        assert self._target is not None  # _choose keeps what it returns
        return self._target

    async def _choose(self) -> Union[Target, str]:
        engine = self.engine
        found = choose(
            self.wanted,
            await engine.domain(self.wanted.domain_uuid),
            await engine.data_centers(),
            await engine.clusters(),
            await engine.hosts(),
        )
        self._target = None if isinstance(found, str) else found
        return found


class DomainStep(EngineStep):
    """A step that goes by what the engine says of our storage domain."""

    def __init__(self, run: Run, host: FindHost) -> None:
        super().__init__(run)
        self.host = host

    async def domain(self) -> Optional[Domain]:
        """Return the domain as the engine has it now."""
        return await self.engine.domain(self.wanted.domain_uuid)


class ImportDomain(DomainStep):
    """Makes the domain known to the engine."""

    name = "import"
    title = "import the storage domain"

    async def observe(self) -> Found:
        domain = await self.domain()
        if domain is None:
            if self.wanted.server is None:
                raise SetupRefused(
                    "the engine does not know storage domain "
                    f"{self.wanted.domain_uuid}, and the configuration does not say how it is "
                    "connected: set [storage] connection, or keep hosted-engine.conf"
                )
            host_storage(self.wanted.server)
            return Found(False, f"the engine does not know {self.wanted.domain_uuid}")
        return Found(True, f"the engine knows it as {domain.name}")

    async def advance(self) -> str:
        if await self.domain() is not None:
            return ""
        if self.wanted.server is None:  # gone since the look, which refuses that
            raise SetupFailed("the engine has forgotten the storage domain")
        storage = host_storage(self.wanted.server)
        kept = same_connection(await self.engine.connections(), storage)
        target = await self.host.target()
        self.run.say(f"importing it through host {target.host.name}")
        try:
            made = await self.request(
                "it does not know the storage domain",
                lambda: self.engine.import_domain(
                    self.wanted.domain_uuid, storage, kept.id if kept else "", target.host.id
                ),
            )
        except EngineRefused as refused:
            raise SetupFailed(_explained(refused, target.host.name)) from refused
        if made.lower() != self.wanted.domain_uuid:
            raise EngineFault(
                f"the engine imported storage domain {made} from this connection, not "
                f"{self.wanted.domain_uuid}; remove it in the engine without formatting it"
            )
        return "the engine takes the storage domain in"


def _explained(refused: EngineRefused, host: str) -> str:
    # Without a domain at the connection the engine wants a name to make one; see api.py.
    if refused.code == 400 and "name" in f"{refused.reason} {refused.detail}".lower():
        return (
            f"host {host} finds no storage domain at the connection of our configuration, and "
            f"nothing was made there ({refused})"
        )
    return str(refused)


class AttachDomain(DomainStep):
    """Attaches the domain to the data centre."""

    name = "attach"
    title = "attach the storage domain"

    async def observe(self) -> Found:
        domain = await self.domain()
        if domain is None:
            return Found(False, "it is not imported yet")
        if domain.data_center_id:
            return Found(True, f"attached, {domain.status or 'in an unknown state'}")
        return Found(False, f"the engine says {domain.status}")

    async def advance(self) -> str:
        domain = await self.domain()
        if domain is None:
            return "the engine does not list the storage domain yet"
        if domain.data_center_id:
            return ""
        if domain.status not in ("unattached", "unknown"):
            return f"the storage domain is {domain.status}"
        target = await self.host.target()
        await self.request(
            f"the storage domain is still {domain.status}",
            lambda: self.engine.attach(self.wanted.domain_uuid, target.data_center.id),
        )
        return f"the engine attaches it to data centre {target.data_center.name}"


class ActivateDomain(DomainStep):
    """Activates the domain, or waits until the engine has."""

    name = "activate"
    title = "activate the storage domain"

    async def observe(self) -> Found:
        domain = await self.domain()
        if domain is None or not domain.data_center_id:
            return Found(False, "it is not attached yet")
        return Found(domain.status == "active", f"it is {domain.status or 'in an unknown state'}")

    async def advance(self) -> str:
        domain = await self.domain()
        if domain is None or not domain.data_center_id:
            raise SetupFailed("somebody detached the storage domain meanwhile")
        if domain.status == "active":
            return ""
        if domain.status in _AT_REST:
            center = domain.data_center_id
            await self.request(
                f"the storage domain is {domain.status}",
                lambda: self.engine.activate(self.wanted.domain_uuid, center),
            )
            return f"the engine activates it; it was in {domain.status}"
        return f"the storage domain is {domain.status or 'in an unknown state'}"
