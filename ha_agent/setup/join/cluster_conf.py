# SPDX-License-Identifier: Apache-2.0
"""A cluster's shared configuration as a host reads it that joins or leaves: found, and checked.

hosted-engine.conf in the configuration volume must be whole, about the storage that it is on, and
of the cluster that this host belonged to, if it did; and the daemons must be able to use it, with
what this host's own ha-agent.conf says besides. It reads only.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional

from ha_agent.broker.sanlock.times import SanlockTimes
from ha_agent.broker.storage.server_source import lease_volume
from ha_agent.compat import conf_writer, hosted_engine_conf
from ha_agent.compat.hosted_engine_conf import HostedEngineConf
from ha_agent.config.schema import Config
from ha_agent.errors import BadInput
from ha_agent.setup.host_files import read_file
from ha_agent.setup.join.cluster_source import ClusterSource, SharedConfiguration
from ha_agent.setup.join.host_register import RegisterPlace
from ha_agent.setup.join.sanlock_id import SanlockSpace
from ha_agent.setup.step import SetupFailed, SetupRefused
from ha_agent.setup.upgrade.predecessor_host import HOSTED_ENGINE_CONF

HOST_ID = "host_id"
SHARED_NAME = "hosted-engine.conf"


@dataclass(frozen=True)
class ClusterConf:
    """The cluster's configuration, checked. `text` is the shared hosted-engine.conf, `settings`
    what it makes of this host (with a host id that is not its own yet)."""

    shared: SharedConfiguration
    conf: HostedEngineConf
    text: str
    settings: Config
    status_path: str


class Cluster:
    """Reads the cluster's configuration once it can be read, and keeps it."""

    def __init__(
        self,
        root: Path,
        source: ClusterSource,
        settings_of: Callable[[str], Config],
        given: Optional[HostedEngineConf] = None,
    ) -> None:
        """`root` is where the host's files are; `settings_of` reads a hosted-engine.conf as the
        daemons will; `given` is a copy of one that the operator gave, of the same cluster."""
        self._root = root
        self._source = source
        self._settings_of = settings_of
        self._given = given
        self._known: Optional[ClusterConf] = None

    async def read(self) -> Optional[ClusterConf]:
        """Return it; None while the storage is not there. Raises SetupRefused, BadInput."""
        if self._known is None and (await self._source.look()).done:
            self._known = await self._read()
        return self._known

    async def peek(self) -> Optional[ClusterConf]:
        """Return it; None also where it is refused, which another step tells."""
        try:
            return await self.read()
        except SetupRefused:
            return None

    async def known(self) -> ClusterConf:
        """Return it. Raises SetupFailed while the storage is not there."""
        found = await self.read()
        if found is None:
            raise SetupFailed("the storage is not there any more")
        return found

    async def _read(self) -> ClusterConf:
        shared = await self._source.read()
        where = f"{SHARED_NAME} in configuration volume {shared.volume}"
        data = shared.files.get(SHARED_NAME)
        if data is None:
            raise SetupRefused(f"{where} is missing: was the cluster deployed to its end?")
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise BadInput("is not UTF-8 text", where=where, offset=error.start) from None
        conf = hosted_engine_conf.parse(text, where)
        check_whole(conf, shared.domain_uuid)
        if self._given is not None:
            check_same_cluster(conf, self._given)
        own = own_conf(self._root)
        if own is not None:
            check_same_cluster(conf, own)
        settings = self._settings_of(conf_writer.set_keys(text, {HOST_ID: "1"}, where=where))
        storage = settings.storage
        check_place(shared, storage.domain_path)
        status_path = await self._source.volume_path(storage.status_image, storage.status_volume)
        lease = lease_volume(storage, settings.lease.backend, settings.sanlock.path)
        if lease is not None:
            path = await self._source.volume_path(lease.image, lease.volume)
            if path != lease.path:
                raise SetupRefused(f"VDSM has the lease's volume at {path}, not {lease.path}")
        return ClusterConf(shared, conf, text, settings, status_path)


def check_whole(conf: HostedEngineConf, domain_uuid: str) -> None:
    """Raise SetupRefused or BadInput unless the file is whole, and about this storage domain."""
    if conf.uuid("sdUUID") != domain_uuid:
        raise SetupRefused(
            f"{conf.where} is about storage domain {conf.uuid('sdUUID')}, but is on {domain_uuid}"
        )
    conf.uuid("vmid")
    if "metadata" not in conf.volumes():
        raise conf.fault("metadata_volume_UUID", "is missing")


def check_place(shared: SharedConfiguration, domain_path: Path) -> None:
    """Raise SetupRefused where the daemons would look for the domain elsewhere than it is."""
    found = shared.domain_path
    if found is not None and os.path.normpath(found) != os.path.normpath(domain_path):
        raise SetupRefused(
            f"the storage domain is at {found} here, but at {domain_path} by the cluster's"
            f" configuration: give [storage] domain_path = {found} in this host's ha-agent.conf,"
            " or mount it there"
        )


def check_same_cluster(conf: HostedEngineConf, other: HostedEngineConf) -> None:
    """Raise SetupRefused unless both files are of one cluster."""
    for key, what in (("vmid", "engine VM"), ("sdUUID", "storage domain")):
        if conf.uuid(key) != other.uuid(key):
            raise SetupRefused(
                f"{other.where} is of another cluster: its {what} is {other.uuid(key)}, here it is"
                f" {conf.uuid(key)}"
            )


def own_conf(root: Path) -> Optional[HostedEngineConf]:
    """Return this host's hosted-engine.conf, None where there is none. Raises BadInput,
    EnvironmentFault."""
    path = root / HOSTED_ENGINE_CONF
    data = read_file(path)
    if not data:
        return None
    try:
        return hosted_engine_conf.parse(data.decode("utf-8"), str(path))
    except UnicodeDecodeError as error:
        raise BadInput("is not UTF-8 text", where=str(path), offset=error.start) from None


def own_id(conf: Optional[HostedEngineConf]) -> Optional[int]:
    """Return the host id in a hosted-engine.conf; None where it has none that can be one."""
    text = "" if conf is None else conf.values.get(HOST_ID, "")
    return int(text) if text.isdecimal() and len(text) < 6 and int(text) > 0 else None


def place_of(settings: Config, status_path: str) -> RegisterPlace:
    """Return where a cluster's register of hosts is, by its configuration."""
    storage, lease, sanlock = settings.storage, settings.lease, settings.sanlock
    domain, vm_uuid = storage.domain_path, settings.engine.vm_uuid
    ids_path = domain / "dom_md" / "ids"
    if storage.is_block:
        ids_path = Path("/dev") / storage.domain_uuid / "ids"
    # The server of NFS version 3 never frees the locks of a host that died.
    has_locks = not storage.is_block and storage.domain_type != "nfs3"
    space = None
    if lease.backend == "sanlock":
        times = SanlockTimes(sanlock.io_timeout_seconds, sanlock.watchdog_fire_seconds)
        space = SanlockSpace(str(sanlock.path), sanlock.lockspace, times)
    return RegisterPlace(
        status_path=status_path,
        hosts_path=str(domain / "ha_agent" / f"{vm_uuid}.hosts") if has_locks else "",
        lease_path="" if space else str(lease.path),
        ids_path=str(ids_path),
        max_hosts=storage.max_hosts,
        io_deadline_seconds=2 * storage.io_deadline_seconds,
        host_alive_seconds=settings.status.host_alive_seconds,
        settle_seconds=2 * storage.io_deadline_seconds,
        sanlock=space,
    )
