# SPDX-License-Identifier: Apache-2.0
"""The steps of `ha-agent join`: this host becomes one more host of a cluster that is there.

    look at this host        no agent of ours or of the predecessor's runs here unconfigured
    connect the storage      through VDSM, or it is mounted already (cluster_source.py)
    find the configuration   hosted-engine.conf out of the configuration volume: whole, of this
                             storage, of the cluster that this host belonged to, if it did
    take a host id           host_register.py
    write hosted-engine.conf the shared one with this host's host_id
    write broker.conf        as it is in the configuration volume
    start the daemons        start_units.py

A host id is taken before the file that names it is written: a kill in between leaves a slot with
this host's name, which a re-run finds. What stood in a file that is replaced is kept beside it.
Nothing is written on shared storage but the host's own slot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional

from ha_agent.compat import conf_writer
from ha_agent.errors import BadInput, EnvironmentFault
from ha_agent.setup.host_files import keep_copy, read_file
from ha_agent.setup.join.cluster_conf import HOST_ID, Cluster, ClusterConf, own_conf, own_id
from ha_agent.setup.join.cluster_source import ClusterSource
from ha_agent.setup.join.host_register import HostRegister
from ha_agent.setup.journal import Journal
from ha_agent.setup.services import OUR_AGENT, PREDECESSOR_AGENT, Services
from ha_agent.setup.start_units import StartUnits
from ha_agent.setup.step import Found, Say, SetupFailed, SetupRefused, Step
from ha_agent.setup.upgrade.predecessor_host import BROKER_CONF, HOSTED_ENGINE_CONF
from ha_agent.vdsm_user import vdsm_owner

_LATER = "known when the configuration can be read"


@dataclass(frozen=True)
class JoinPlan:
    """What a join is given. `root` is where the host's files are, `register_of` makes the register
    for a cluster; not `start`: the units are left as they are."""

    root: Path
    source: ClusterSource
    cluster: Cluster
    journal: Journal
    register_of: Callable[[ClusterConf], HostRegister]
    services: Services
    wanted: Optional[int] = None
    start: bool = True


# The steps ------------------------------------------------------------------------------------


class LookAtHost:
    """Refuses a host that has an agent already."""

    name, title = "host", "look at this host"

    def __init__(self, plan: JoinPlan) -> None:
        self._plan = plan

    async def look(self) -> Found:
        """Raises SetupRefused."""
        conf = own_conf(self._plan.root)
        try:
            states = await self._plan.services.states((OUR_AGENT, PREDECESSOR_AGENT))
        except EnvironmentFault:
            states = {}  # a host without systemd has no such units either
        theirs, ours = states.get(PREDECESSOR_AGENT), states.get(OUR_AGENT)
        if theirs is not None and theirs.running and not theirs.is_other:
            raise SetupRefused(
                f"{theirs.text}: this host is of a cluster already; `ha-agent upgrade` takes it"
                " over"
            )
        if ours is not None and ours.running and conf is None:
            raise SetupRefused(
                f"{OUR_AGENT} runs here without {HOSTED_ENGINE_CONF}: it belongs to a cluster by"
                " another configuration, stop it first"
            )
        if conf is not None and conf.values.get("configured", "").lower() == "false":
            return Found(True, "it was a hosted-engine host once")
        return Found(
            True, "no hosted-engine host yet" if conf is None else f"{conf.where} is there"
        )

    async def do(self, _say: Say) -> str:
        """There is nothing to do."""
        return "looked at"


class ConnectStorage:
    """Has the storage connected."""

    name, title = "storage", "connect the storage"

    def __init__(self, plan: JoinPlan) -> None:
        self._source = plan.source

    async def look(self) -> Found:
        """Ask whether it is there."""
        return await self._source.look()

    async def do(self, say: Say) -> str:
        """Connect it."""
        return await self._source.connect(say)


class FindConfiguration:
    """Reads and checks the shared configuration."""

    name, title = "configuration", "find the cluster's configuration"

    def __init__(self, plan: JoinPlan) -> None:
        self._cluster = plan.cluster

    async def look(self) -> Found:
        """Raises SetupRefused, BadInput."""
        found = await self._cluster.read()
        if found is None:
            return Found(False, _LATER)
        vm_uuid = found.settings.engine.vm_uuid
        notes = "".join(f"; {note}" for note in found.shared.notes)
        text = f"engine VM {vm_uuid} on storage domain {found.shared.domain_uuid}{notes}"
        return Found(True, text)

    async def do(self, _say: Say) -> str:
        """The storage went away between two looks, or this would not be called."""
        return f"read from {(await self._cluster.known()).shared.volume}"


class TakeHostId:
    """Gets this host its id."""

    name, title = "host-id", "take a host id"

    def __init__(self, plan: JoinPlan) -> None:
        self._plan = plan
        self._cluster = plan.cluster

    async def look(self) -> Found:
        """The slot has our name, and the journal or hosted-engine.conf its number."""
        found = await self._cluster.peek()
        if found is None:
            return Found(False, _LATER)
        register = self._plan.register_of(found)
        standing = await register.standing()
        for slot in standing.hosts:
            if slot.is_too_new:
                raise SetupRefused(
                    f"this cluster has newer software than this host, which must not join it:"
                    f" {slot.problem}"
                )
        wanted, known = self._plan.wanted, self._known()
        if known in standing.ours and wanted in (None, known):
            return Found(True, f"host id {known} is this host's")
        choice = await register.would_take(wanted, known)
        if choice is None:
            return Found(False, "it is watched first who uses the ids in question")
        word = "this host's from before" if choice.ours else "free"
        return Found(False, f"host id {choice.host_id}, {word}")

    async def do(self, say: Say) -> str:
        """Take it, then note it: the slot tells whose it is if we are killed in between."""
        register = self._plan.register_of(await self._cluster.known())
        host_id = await register.take(self._plan.wanted, self._known(), say)
        self._plan.journal.note(HOST_ID, str(host_id))
        return f"host id {host_id}"

    def _known(self) -> Optional[int]:
        noted = self._plan.journal.get(HOST_ID)
        return int(noted) if noted else own_id(own_conf(self._plan.root))


class WriteConf:
    """Writes this host's hosted-engine.conf."""

    name, title = "conf", "write hosted-engine.conf"

    def __init__(self, plan: JoinPlan) -> None:
        self._plan = plan
        self._cluster = plan.cluster
        self._path = plan.root / HOSTED_ENGINE_CONF

    async def look(self) -> Found:
        """Compare it, whole."""
        wanted, there = await self._wanted(), read_file(self._path)
        if wanted is None:
            return Found(False, _LATER)
        if there == wanted.encode():
            return Found(True, str(self._path))
        return Found(False, f"{self._path}{' (what is there is kept)' if there else ''}")

    async def do(self, _say: Say) -> str:
        """Keep what is there, and write."""
        wanted = await self._wanted()
        if wanted is None:
            raise SetupFailed("no host id was taken")
        kept = keep_copy(self._path, "before-join")
        conf_writer.write_conf(self._path, wanted, owner=vdsm_owner())
        return f"{self._path}{f'; what was there is {kept}' if kept else ''}"

    async def _wanted(self) -> Optional[str]:
        found, host_id = await self._cluster.peek(), self._plan.journal.get(HOST_ID)
        if host_id is None:
            there = own_id(own_conf(self._plan.root))
            host_id = None if there is None else str(there)
        if found is None or host_id is None:
            return None
        return conf_writer.set_keys(found.text, {HOST_ID: host_id}, where=found.conf.where)


class WriteBroker:
    """Writes broker.conf: how mail is sent."""

    name, title = "broker-conf", "write broker.conf"

    def __init__(self, plan: JoinPlan) -> None:
        self._cluster = plan.cluster
        self._path = plan.root / BROKER_CONF

    async def look(self) -> Found:
        """Compare it, whole."""
        found = await self._cluster.peek()
        if found is None:
            return Found(False, _LATER)
        wanted = found.shared.files.get("broker.conf")
        if wanted is None:
            return Found(True, "there is none in the configuration volume")
        return Found(read_file(self._path) == wanted, str(self._path))

    async def do(self, _say: Say) -> str:
        """Keep what is there, and write."""
        data = (await self._cluster.known()).shared.files["broker.conf"]
        kept = keep_copy(self._path, "before-join")
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise BadInput("is not UTF-8 text", where="broker.conf", offset=error.start) from None
        conf_writer.write_conf(self._path, text, owner=vdsm_owner())
        return f"{self._path}{f'; what was there is {kept}' if kept else ''}"


def join_steps(plan: JoinPlan) -> Sequence[Step]:
    """Return the steps of a join."""
    return [
        LookAtHost(plan),
        ConnectStorage(plan),
        FindConfiguration(plan),
        TakeHostId(plan),
        WriteConf(plan),
        WriteBroker(plan),
        StartUnits(plan.services, start=plan.start),
    ]
