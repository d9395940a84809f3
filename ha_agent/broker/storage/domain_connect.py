# SPDX-License-Identifier: Apache-2.0
"""Has VDSM connect the hosted engine's storage, and prepare the volume with the status blocks.

After a boot nothing is mounted or logged in to, and the engine, which could order it, is not up
yet. So each time that VDSM has come up, when the broker starts and while the status blocks can't
be read, this is done, in this order:

    look      is the domain there? from the monitor's memory, or VDSM looks and renews its links
    connect   if it is not: mount or log in, and look again. Block storage: have VDSM look for
              devices, and look again
    prepare   the status volume, and the lease's where it has one of its own: on block storage
              nothing else makes it readable, and a VDSM that starts takes away what nobody has
              open. The OVF_STORE and the configuration volume are prepared by who reads them,
              each time: the engine takes them away (facts/ovf-and-volumes.md, 1.3)
    the rest  connections that were not needed for that: the other portals of an iSCSI target
    monitor   domain_monitor.py asks for it as soon as the domain was seen, or all was tried

Every step is harmless where it was done before. What fails is tried again, later and later; of
connections only those that failed. A call that VDSM did not answer in time most likely still has
one of VDSM's eight threads: after one nothing is asked for minutes.

Nothing is ever undone by itself: a VM or a lease may need it. In local maintenance nothing is
begun, as in domain_monitor.py; `connect_now` and `release` are orders of an operator. It never
touches storage itself, and a call that hangs keeps nobody else waiting.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Awaitable, Mapping, Sequence
from typing import Callable, Optional, Protocol

from ha_agent.errors import DeadlineExceeded, EnvironmentFault
from ha_agent.instant import Instant
from ha_agent.vdsm.client.answers import DomainVitals
from ha_agent.vdsm.client.answers_connect import BlockDevice, ConnectionStatus, DomainSpace
from ha_agent.vdsm.client.storage_server import Connection, DomainType, StorageServer
from ha_agent.vdsm.errors import VdsmBadAnswer, VdsmCallFailed, VdsmCode

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 1.0
_FIRST_PAUSE_SECONDS, _LAST_PAUSE_SECONDS = 2.0, 60.0
# VDSM itself gives up on a mount or a login after some minutes.
HANG_PAUSE_SECONDS, _LAST_HANG_PAUSE_SECONDS = 300.0, 1200.0
# Reading fails for other reasons, too, and those pass without our help.
UNREAD_SECONDS = 30.0
_SHOWN_DOMAINS = 5


class Clock(Protocol):
    """What is needed of ports.Clock."""

    def now(self) -> Instant: ...

    async def sleep(self, duration_seconds: float) -> None: ...


class Vdsm(Protocol):
    """What is needed of vdsm.verbs.Vdsm."""

    async def storage_vitals(
        self, domain_ids: Sequence[str] = ()
    ) -> Mapping[str, DomainVitals]: ...

    async def domain_space(self, domain_id: str) -> DomainSpace: ...

    async def storage_domains(self) -> list[str]: ...

    async def block_devices(self, domain_type: DomainType) -> list[BlockDevice]: ...

    async def connect_storage_server(self, server: StorageServer) -> list[ConnectionStatus]: ...

    async def disconnect_storage_server(self, server: StorageServer) -> list[ConnectionStatus]: ...

    async def prepare_image(self, domain_id: str, image_id: str, volume_id: str) -> str: ...

    async def teardown_image(self, domain_id: str, image_id: str, volume_id: str = "") -> None: ...

    async def stop_monitoring_domain(self, domain_id: str) -> bool: ...


@dataclasses.dataclass(frozen=True)
class WantedVolume:
    """A volume, and the path at which it is looked for once it is prepared."""

    image: str
    volume: str
    path: str


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What is to be there. `server` None: the system mounts the domain, nothing is connected;
    `fault` says why it is not known what to connect, "" where it is. `status_path` is where the
    broker looks for the volume that is prepared; `lease` is the lease's own volume, if any."""

    domain_uuid: str
    status_image: str
    status_volume: str
    status_path: str
    is_block: bool
    server: Optional[StorageServer] = None
    fault: str = ""
    lease: Optional[WantedVolume] = None

    @property
    def volumes(self) -> tuple[tuple[str, str, WantedVolume], ...]:
        """The volumes: what each is, and the key that says where it is looked for."""
        status = WantedVolume(self.status_image, self.status_volume, self.status_path)
        both = [("status volume", "[storage] domain_path makes it", status)]
        if self.lease is not None:
            both.append(("lease's volume", "[sanlock] path is", self.lease))
        return tuple(both)


class DomainConnect:
    """Keeps one domain connected, as long as somebody runs `run`."""

    def __init__(
        self,
        vdsm: Vdsm,
        wanted: Wanted,
        *,
        clock: Clock,
        in_maintenance: Callable[[], bool],
        is_unread: Callable[[], bool],
    ) -> None:
        """`is_unread`: status blocks or lease can't be read. Make it in a running loop."""
        self._vdsm = vdsm
        self._wanted = wanted
        self._clock = clock
        self._in_maintenance = in_maintenance
        self._is_unread = is_unread
        self._busy = asyncio.Lock()
        self._life = 0  # counts how often VDSM came up
        self._open: tuple[Connection, ...] = ()
        self._seen = self._tried = False
        self._tries = 0
        self._again_at: Optional[Instant] = None  # None: nothing is left to do
        self._well_since: Optional[Instant] = None
        self.problem = ""
        """Why the domain is not connected in full, in words; "" where it is."""
        self.connected()

    @property
    def server(self) -> Optional[StorageServer]:
        """What is connected, None where nothing is."""
        return self._wanted.server

    def connected(self) -> None:
        """VDSM has come up: all has to be looked at again."""
        server = self._wanted.server
        self._life += 1
        self._open = () if server is None else server.connections
        self._seen = self._tried = False
        self._tries = 0
        self._again_at = self._clock.now()

    def may_monitor(self) -> bool:
        """Whether it is the monitor's turn: the domain was seen, or all was tried once."""
        return not self._in_maintenance() and (self._seen or self._tried)

    async def run(self) -> None:
        """Look whether there is something to do, until cancelled."""
        while True:
            await self.keep()
            await self._clock.sleep(INTERVAL_SECONDS)

    async def keep(self) -> None:
        """Do what is due, if anything."""
        now = self._clock.now()
        if self._in_maintenance():
            # Others may disconnect it now; afterwards all is looked at again.
            if not self._busy.locked():
                self.problem = ""
                self.connected()
            return
        if self._again_at is None:
            well_since = self._well_since
            if not self._is_unread() or (well_since and now - well_since < UNREAD_SECONDS):
                return
            self._seen = False
        elif now < self._again_at:
            return
        async with self._busy:
            await self._round(self._in_maintenance)

    # Orders of an operator ---------------------------------------------------------------

    async def connect_now(self) -> str:
        """Do it once, also in local maintenance; returns what is wrong, "" for nothing."""
        async with self._busy:
            self.connected()
            return await self._round(lambda: False)

    async def release(self, refuse_if_needed: Callable[[], Awaitable[None]]) -> str:
        """Undo it all. `refuse_if_needed` raises where somebody needs the storage, or may soon:
        it is asked once it is our turn, and last before the storage goes. Either may be minutes
        after the order.

        Returns what went wrong, "" for nothing. Raises EnvironmentFault.
        """
        wanted = self._wanted
        async with self._busy:
            await refuse_if_needed()
            self.connected()
            if not await self._vdsm.stop_monitoring_domain(wanted.domain_uuid):
                return "the engine has the domain in its pool: put the host into maintenance there"
            for what, _, one in wanted.volumes:
                try:
                    await self._vdsm.teardown_image(wanted.domain_uuid, one.image, one.volume)
                except VdsmCallFailed as error:
                    # Not there, or open in sanlock: that loses it with the storage, and nobody
                    # holds a lease here any more.
                    log.info("the %s is not torn down: %s", what, error)
            if wanted.server is None:
                return ""
            await refuse_if_needed()
            statuses = await self._vdsm.disconnect_storage_server(wanted.server)
            server = wanted.server
            return "; ".join(
                f"{server.name_of(one.connection_id)}: {one.why}" for one in statuses if one.code
            )

    # The steps ---------------------------------------------------------------------------

    async def _round(self, stop: Callable[[], bool]) -> str:
        """Do all that is left; returns what is wrong, and sets when to try again."""
        life = self._life
        troubles: list[str] = []
        pause_seconds = min(_LAST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2.0 ** min(self._tries, 8))
        try:
            await self._steps(troubles, lambda: stop() or life != self._life)
        except EnvironmentFault as fault:
            troubles.append(str(fault))
            if isinstance(fault, DeadlineExceeded):
                hangs = HANG_PAUSE_SECONDS * 2.0 ** min(self._tries, 8)
                pause_seconds = min(_LAST_HANG_PAUSE_SECONDS, hangs)
            elif _is_recovering(fault):
                pause_seconds = _FIRST_PAUSE_SECONDS
        if life != self._life:
            return "VDSM was restarted meanwhile"
        self._tried = True
        self._tell("; ".join(troubles))
        self._tries = self._tries + 1 if troubles else 0
        now = self._clock.now()
        self._again_at = now + pause_seconds if troubles else None
        self._well_since = None if troubles else now
        return self.problem

    async def _steps(self, troubles: list[str], stop: Callable[[], bool]) -> None:
        """Raises EnvironmentFault where going on makes no sense."""
        why = await self._look()
        was_absent = bool(why)
        if why and not stop():
            server = self._wanted.server
            self._open = () if server is None else server.connections
            await self._connect(troubles)
            why = await self._look_anew()
        if why:
            troubles.insert(0, why)
        elif not stop():
            await self._prepare(troubles)
            if not was_absent and not stop():
                await self._connect(troubles)
        if self._wanted.fault:
            troubles.append(self._wanted.fault)

    async def _look(self) -> str:
        """Look whether the domain is there; returns why it is not."""
        uuid = self._wanted.domain_uuid
        vitals = (await self._vdsm.storage_vitals([uuid])).get(uuid)
        if vitals is None or not (vitals.actual and vitals.valid):
            try:
                await self._vdsm.domain_space(uuid)
            except (VdsmCallFailed, VdsmBadAnswer) as error:
                return _said(error)
        self._seen = True
        return ""

    async def _look_anew(self) -> str:
        """The same after connecting; where it is not there, say what is instead."""
        wanted = self._wanted
        why = await self._look()
        if not why:
            return ""
        try:
            if wanted.is_block and wanted.server is not None:
                devices = await self._vdsm.block_devices(wanted.server.domain_type)
                why = await self._look()
                return why and f"{why}; VDSM sees {_devices(devices)}"
            others = await self._vdsm.storage_domains()
        except (VdsmCallFailed, VdsmBadAnswer) as error:
            _said(error)
            return why
        seen = ", ".join(others[:_SHOWN_DOMAINS]) or "no domain"
        return f"{why}; VDSM sees {seen}"

    async def _connect(self, troubles: list[str]) -> None:
        """Connect what is not connected yet."""
        server = self._wanted.server
        if server is None or not self._open:
            return
        left = dataclasses.replace(server, connections=self._open)
        try:
            statuses = await self._vdsm.connect_storage_server(left)
        except (VdsmCallFailed, VdsmBadAnswer) as error:
            troubles.append(_said(error))
            return
        good = {one.connection_id for one in statuses if not one.code}
        why = {one.connection_id: one.why for one in statuses}
        self._open = tuple(one for one in left.connections if one.id not in good)
        troubles += [
            f"{one.name} is not connected: {why.get(one.id, 'VDSM does not say why')}"
            for one in self._open
        ]

    async def _prepare(self, troubles: list[str]) -> None:
        wanted = self._wanted
        for what, key, one in wanted.volumes:
            try:
                path = await self._vdsm.prepare_image(wanted.domain_uuid, one.image, one.volume)
            except (VdsmCallFailed, VdsmBadAnswer) as error:
                troubles.append(f"the {what} {one.volume}: {_said(error)}")
                continue
            # The link of a file domain's volume is another way to the same file.
            if wanted.is_block and path != one.path:
                troubles.append(f"VDSM has the {what} at {path}, but {key} {one.path}")

    def _tell(self, problem: str) -> None:
        if problem and problem != self.problem:
            log.warning("storage domain %s: %s", self._wanted.domain_uuid, problem)
        elif not problem and (self.problem or self._well_since is None):
            log.info("storage domain %s is there, its volumes too", self._wanted.domain_uuid)
        self.problem = problem


def _is_recovering(fault: EnvironmentFault) -> bool:
    return isinstance(fault, VdsmCallFailed) and fault.code == VdsmCode.RECOVERY_IN_PROGRESS


def _said(error: EnvironmentFault) -> str:
    """Return what VDSM said; raise it again where it says that it has not come up yet."""
    if _is_recovering(error):
        raise error
    return str(error)


def _devices(devices: Sequence[BlockDevice]) -> str:
    if not devices:
        return "no LUN"
    shown = ", ".join(f"{one.guid} ({one.paths_up} of {one.paths} paths)" for one in devices[:3])
    return f"{len(devices)} LUNs: {shown}" if len(devices) > 3 else shown
