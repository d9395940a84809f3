# SPDX-License-Identifier: Apache-2.0
"""The steps of `ha-agent leave`: this host stops to be a host of its cluster.

    look at this host        the engine VM is not here, nor the lease; another host lives
    local maintenance        so that the VM does not come here any more
    stop the services        agent and broker, and not at the next boot either
    connect the storage      only where the host was booted in the middle of a leave
    give the host id back    the slot is cleared, sanlock's host id is free
    disconnect the storage   unless the engine, or a VM of this host, needs it
    remove hosted-engine.conf    what was in it is kept beside it

The broker is asked while it runs: it alone knows who has the lease. Once that was answered and
local maintenance is on, the journal notes "quiet"; with the agent stopped then, nothing on this
host starts the VM, and a re-run after a kill goes on without a broker, unless somebody ended the
maintenance before the host id was free. hosted-engine.conf goes
last, since all that a re-run needs is in it. Local maintenance ends with it: it was ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Protocol

from ha_agent import maintenance_file
from ha_agent.broker.snapshot import Snapshot
from ha_agent.broker.storage.lane import StorageFault
from ha_agent.errors import DeadlineExceeded, EnvironmentFault
from ha_agent.maintenance_text import AGENT_SILENT_SECONDS
from ha_agent.ports import Clock
from ha_agent.setup.host_files import keep_copy, remove_file
from ha_agent.setup.join.host_register import HostRegister
from ha_agent.setup.journal import Journal
from ha_agent.setup.services import OUR_AGENT, OUR_BROKER, OUR_SOCKET, OUR_UNITS, Services
from ha_agent.setup.step import Found, Say, SetupFailed, SetupRefused, Step

QUIET, RELEASED, DISCONNECTED = "quiet", "released", "disconnected"
_MAINTENANCE_SECONDS = 60.0
_LOOK_SECONDS = 0.5


class OwnBroker(Protocol):
    """This host's broker."""

    async def picture(self) -> Snapshot:
        """Return what it knows. Raises EnvironmentFault when it does not answer."""
        ...

    async def set_local_maintenance(self) -> None:
        """Set local maintenance. Raises EnvironmentFault."""
        ...


class OwnStorage(Protocol):
    """This host's connection to the storage domain."""

    async def connect(self) -> str:
        """Have it connected, and say so. Raises EnvironmentFault."""
        ...

    async def release(self) -> str:
        """Disconnect it unless somebody needs it, and say what was done. EnvironmentFault."""
        ...


@dataclass(frozen=True)
class LeavePlan:
    """What a leave is given. `conf_path` is hosted-engine.conf, `state_dir` the daemons' own;
    `last`: the last host may leave, too; `services` None: units are not touched."""

    conf_path: Path
    state_dir: Path
    host_id: int
    broker: OwnBroker
    storage: OwnStorage
    register: HostRegister
    journal: Journal
    clock: Clock
    services: Optional[Services]
    last: bool = False


def why_not(picture: Snapshot, last: bool) -> str:
    """Say why this host must not leave now, "" when it may."""
    first = "run `ha-agent maintenance local --wait` first"
    if picture.lease.ours:
        return f"this host owns the engine VM: {first}"
    if picture.agent.engine_status.get("vm") == "up" or picture.agent.vm_seen:
        return f"the engine VM is on this host: {first}"
    if picture.lease.state in ("unknown", "unreadable"):
        return f"it is not known who owns the engine VM: {picture.lease.detail}"
    others = [one for one in picture.hosts if one.host_id != picture.host_id and one.alive]
    if not others and not last:
        return (
            "no other host of this cluster is alive, so nothing runs the engine VM when this one"
            " leaves: add --last if that is meant"
        )
    return ""


def is_maintained(picture: Snapshot) -> bool:
    """Whether the agent, if one reports, knows of local maintenance."""
    made_at = picture.agent.made_at
    silent = made_at is None or picture.made_at - made_at > AGENT_SILENT_SECONDS
    return silent or picture.agent.stopped or picture.agent.local_maintenance


class _Quiet:
    """What the first two steps share: whether they lie behind us."""

    def __init__(self, plan: LeavePlan) -> None:
        self._plan = plan

    async def _is_behind(self) -> bool:
        journal = self._plan.journal
        if journal.get(QUIET) is None:
            return False
        # Who ended the maintenance since may have had the VM here. At the end we do it ourselves.
        path = self._plan.state_dir / maintenance_file.FILE_NAME
        if journal.get(RELEASED) is None and not maintenance_file.read(path).active:
            return False
        if self._plan.services is None:
            return not await self._answers()
        state = (await self._plan.services.states((OUR_AGENT,)))[OUR_AGENT]
        return not state.running

    async def _answers(self) -> bool:
        """Whether the broker runs: without it no agent of this host writes or starts anything.
        One that hangs may go on."""
        try:
            await self._plan.broker.picture()
        except DeadlineExceeded:
            return True
        except EnvironmentFault:
            return False
        return True

    async def _picture(self) -> Snapshot:
        try:
            return await self._plan.broker.picture()
        except EnvironmentFault as fault:
            raise SetupRefused(
                "it can't be told whether the engine VM is here, as the broker does not answer:"
                f" start {OUR_BROKER} ({fault})"
            ) from fault


class LookAtHost(_Quiet):
    """Refuses as long as this host is needed."""

    name, title = "host", "look at this host"

    async def look(self) -> Found:
        """Raises SetupRefused."""
        if await self._is_behind():
            return Found(True, "its agent is stopped already")
        picture = await self._picture()
        why = why_not(picture, self._plan.last)
        if why:
            raise SetupRefused(why)
        return Found(True, "the engine VM is not here")

    async def do(self, _say: Say) -> str:
        """There is nothing to do."""
        return "looked at"


class SetMaintenance(_Quiet):
    """Sets local maintenance."""

    name, title = "maintenance", "put this host into local maintenance"

    async def look(self) -> Found:
        """It is in the file, and the agent knows."""
        if await self._is_behind():
            return Found(True, "its agent is stopped already")
        path = self._plan.state_dir / maintenance_file.FILE_NAME
        if not maintenance_file.read(path).active:
            return Found(False, "it is not in local maintenance")
        if not is_maintained(await self._picture()):
            return Found(False, "its agent has not taken notice yet")
        return Found(True, "it is in local maintenance")

    async def do(self, say: Say) -> str:
        """Set it, and wait until the agent has taken notice."""
        clock = self._plan.clock
        await self._plan.broker.set_local_maintenance()
        ends_at = clock.now() + _MAINTENANCE_SECONDS
        while not (await self.look()).done:
            if clock.now() >= ends_at:
                raise SetupFailed(f"the agent takes no notice for {_MAINTENANCE_SECONDS:g} s")
            say("the agent has not taken notice yet")
            await clock.sleep(_LOOK_SECONDS)
        return "this host is in local maintenance"


class StopUnits(_Quiet):
    """Stops our daemons."""

    name, title = "units", "stop and disable the services"

    async def look(self) -> Found:
        """They neither run nor are enabled."""
        services = self._plan.services
        if services is None:
            gone = await self._is_behind()
            return Found(gone, "they do not run" if gone else "agent and broker run")
        states = await services.states(OUR_UNITS)
        left = [one.text for one in states.values() if one.running or one.enabled]
        return Found(not left, "; ".join(left) or "none of them runs")

    async def do(self, _say: Say) -> str:
        """Look a last time, then stop the agent before the broker."""
        if not await self._is_behind():
            picture = await self._picture()
            why = why_not(picture, self._plan.last)
            if why:
                raise SetupRefused(why)
            self._plan.journal.note(QUIET, "yes")
        services = self._plan.services
        if services is None:
            raise SetupFailed("stop agent and broker yourself now, and run this again")
        await services.stop((OUR_AGENT,))
        await services.stop((OUR_SOCKET, OUR_BROKER))
        await services.disable(OUR_UNITS)
        return f"{', '.join(OUR_UNITS)} are stopped and disabled"


class ConnectStorage:
    """Has the storage connected for the next step: nothing does it on a host whose daemons are
    stopped, once that was booted."""

    name, title = "connect", "connect the storage"

    def __init__(self, plan: LeavePlan) -> None:
        self._plan = plan

    async def look(self) -> Found:
        """Look whether the slots are there."""
        if self._plan.journal.get(RELEASED) is not None:
            return Found(True, "it is needed no more")
        try:
            await self._plan.register.standing()
        except StorageFault as fault:
            if fault.errno_name == "ENOENT":
                return Found(False, "it is not connected")
            raise
        return Found(True, "it is connected")

    async def do(self, _say: Say) -> str:
        """Ask VDSM."""
        return await self._plan.storage.connect()


class GiveIdBack:
    """Clears this host's slot."""

    name, title = "host-id", "give the host id back"

    def __init__(self, plan: LeavePlan) -> None:
        self._plan = plan

    async def look(self) -> Found:
        """Look at the slots; where the storage is gone by now, the journal must do."""
        host_id = self._plan.host_id
        try:
            standing = await self._plan.register.standing()
        except StorageFault as fault:
            if fault.errno_name != "ENOENT":
                raise
            if self._plan.journal.get(RELEASED) is not None:
                return Found(True, f"host id {host_id} was given back")
            return Found(False, f"host id {host_id}: the storage is not connected")
        if host_id in standing.ours:
            return Found(False, f"host id {host_id} is this host's")
        return Found(self._plan.journal.get(RELEASED) is not None, f"host id {host_id} is free")

    async def do(self, _say: Say) -> str:
        """Give it back; a slot that is free already still has sanlock's host id."""
        text = await self._plan.register.give_back(self._plan.host_id)
        self._plan.journal.note(RELEASED, "yes")
        return text


class DisconnectStorage:
    """Has the storage disconnected."""

    name, title = "storage", "disconnect the storage"

    def __init__(self, plan: LeavePlan) -> None:
        self._plan = plan

    async def look(self) -> Found:
        """What VDSM has connected can't be asked: the journal tells whether it was undone."""
        text = self._plan.journal.get(DISCONNECTED)
        return Found(text is not None, text or "it may be connected")

    async def do(self, _say: Say) -> str:
        """Ask VDSM."""
        text = await self._plan.storage.release()
        self._plan.journal.note(DISCONNECTED, text)
        return text


class RemoveConf:
    """Takes hosted-engine.conf away."""

    name, title = "conf", "remove hosted-engine.conf"

    def __init__(self, plan: LeavePlan) -> None:
        self._plan = plan

    async def look(self) -> Found:
        """It is there or it is not."""
        there = self._plan.conf_path.exists()
        return Found(not there, f"{self._plan.conf_path} is {'there' if there else 'not there'}")

    async def do(self, _say: Say) -> str:
        """Keep a copy, end local maintenance, remove it."""
        kept = keep_copy(self._plan.conf_path, "left")
        path = self._plan.state_dir / maintenance_file.FILE_NAME
        state = maintenance_file.read(path)
        if state.active:
            others = maintenance_file.LocalMaintenance(others=state.others)
            maintenance_file.write(path, others)
        remove_file(self._plan.conf_path)
        return f"what was in it is in {kept}"


def leave_steps(plan: LeavePlan) -> Sequence[Step]:
    """Return the steps of a leave."""
    return [
        LookAtHost(plan),
        SetMaintenance(plan),
        StopUnits(plan),
        ConnectStorage(plan),
        GiveIdBack(plan),
        DisconnectStorage(plan),
        RemoveConf(plan),
    ]
