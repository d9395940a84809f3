# SPDX-License-Identifier: Apache-2.0
"""Where the ownership lease of an upgraded cluster is: decided once, made once, for all hosts.

The first host that is upgraded decides; the others read it in the shared hosted-engine.conf.

    block domain                        sanlock, in a volume of its own: byte-range locks on a
                                        device reach nobody but this host
    file domain whose mount keeps       sanlock, in a file: such as NFSv3, or nolock
      locks on the host
    any other file domain               lockfile

A cluster that was set up by us may have it elsewhere, and other times: its shared
hosted-engine.conf says so, and a host that comes to it takes all of that (`shared_settings`).
A place that holds anything but zeros is never written over: another host made it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from ha_agent.broker.lease.rules import LeaseFormatError, decode
from ha_agent.broker.sanlock.place import (
    LEADER_BYTES,
    PLACE_BYTES,
    RESOURCE_OFFSET,
    decode_leader,
)
from ha_agent.broker.storage.lane import StorageFault
from ha_agent.config.schema import SanlockConfig
from ha_agent.config.storage import BLOCK_DOMAIN_TYPES, block_volume_at, locks_are_shared
from ha_agent.errors import BadInput
from ha_agent.setup.step import Found, Say, SetupRefused
from ha_agent.setup.upgrade.check import shared_files
from ha_agent.setup.upgrade.ground import Ground, Pair
from ha_agent.setup.upgrade.predecessor_host import BACKEND_KEY, parse_conf

SANLOCK_PATH_KEY = "ha_agent_sanlock_path"
_PATH_KEYS = {"lockfile": "ha_agent_lease_path", "sanlock": SANLOCK_PATH_KEY}
_OUR_PREFIX = "ha_agent_"
LEASE_VOLUME = "ha-agent lease"
# Behind the description of a volume that is being filled: nobody else takes it for the lease.
MAKING = " (ha-agent upgrade is making it)"
_NAME = "lease"
# LVM gives 128 MiB at least; VDSM's own volumes are no smaller.
_VOLUME_BYTES = 128 << 20


@dataclass(frozen=True)
class LeasePlace:
    """The back end, and where; `path` is "" for a volume that is still to be made. `told`: the
    shared configuration names the place."""

    backend: str
    path: str
    on_block: bool = False
    told: bool = False

    @property
    def keys(self) -> dict[str, str]:
        """Our keys in hosted-engine.conf."""
        keys = {BACKEND_KEY: self.backend}
        if self.on_block or self.told:
            keys[_PATH_KEYS[self.backend]] = self.path
        return keys


async def lease_place(ground: Ground, mount_options: str) -> LeasePlace:
    """Return the cluster's place: what the shared configuration says, else what fits the domain.

    `mount_options` are those that the domain is really mounted with. Raises SetupRefused.
    """
    said = await _shared_keys(ground)
    kind = ground.facts.conf.domain_type
    on_block = kind in BLOCK_DOMAIN_TYPES
    backend = said.get(BACKEND_KEY, "")
    if not backend:
        options = ",".join((mount_options, ground.facts.conf.values.get("mnt_options", "")))
        shares = locks_are_shared("lockfile", options) and not _is_nfs3(ground)
        backend = "lockfile" if shares and not on_block else "sanlock"
    elif backend not in _PATH_KEYS:
        raise SetupRefused(f"{BACKEND_KEY}={backend!r:.40} in the shared configuration is unknown")
    told_path = said.get(_PATH_KEYS[backend], "")
    if told_path:
        pair = block_volume_at(ground.domain_path, Path(told_path)) if on_block else None
        if pair is not None:
            await ground.path_of(pair)  # a boot or VDSM may have taken it away
        return LeasePlace(backend, told_path, on_block, told=True)
    if not on_block:
        ending = "lease" if backend == "lockfile" else "sanlock"
        path = ground.domain_path / "ha_agent" / f"{ground.facts.vm_uuid}.{ending}"
        return LeasePlace(backend, str(path))
    volume = await _lease_volume(ground)
    path_text = "" if volume is None else await ground.path_of(volume)
    return LeasePlace(backend, path_text, on_block=True)


class MakeLease:
    """Makes the lock file, or sanlock's lockspace and lease, where there is none."""

    name = "lease"
    reads: Sequence[str] = ("the place of the ownership lease",)
    writes: Sequence[str] = ("the place of the ownership lease, when it is empty",)

    def __init__(self, ground: Ground, mount_options: str) -> None:
        self._ground = ground
        self._mount_options = mount_options
        self.title = "make the ownership lease on shared storage"

    async def look(self) -> Found:
        """Raise SetupRefused where the place holds something else."""
        place = await lease_place(self._ground, self._mount_options)
        if not place.path:
            await self._ask_daemon(place)
            await self._ground.access()
            return Found(False, "a volume for sanlock is to be made")
        if place.backend == "sanlock":
            return await self._look_sanlock(place)
        seconds = self._ground.io_seconds
        try:
            block = await self._ground.lane.call("lease_read", seconds, path=place.path)
        except StorageFault as error:
            if error.errno_name == "ENOENT":
                return Found(False, f"there is no {place.path}")
            raise
        if not any(block):
            return Found(False, f"{place.path} is empty")
        try:
            record = decode(block, place.path)
        except LeaseFormatError as error:
            raise SetupRefused(f"{error}; nothing is written over it") from error
        return Found(True, f"lock file {place.path}: {record.state}, epoch {record.epoch}")

    async def do(self, say: Say) -> str:  # noqa: ARG002
        """Make it; another host may do the same at this moment."""
        ground = self._ground
        place = await lease_place(ground, self._mount_options)
        if place.backend == "lockfile":
            await ground.lane.call("lease_initialise", ground.io_seconds, path=place.path)
            return f"lock file {place.path}"
        if place.path:
            return await self._initialise(place.path)
        volume = await ground.make_volume(
            _NAME, size_bytes=_VOLUME_BYTES, disk_type="DATA", description=LEASE_VOLUME + MAKING
        )
        await ground.zero(_NAME, volume, PLACE_BYTES // 4096)
        text = await self._initialise(await ground.path_of(volume))
        await ground.describe(volume, LEASE_VOLUME)
        return text

    async def _initialise(self, path: str) -> str:
        """Have sanlock write lockspace and lease where there are only zeros."""
        ground, section = self._ground, SanlockConfig(path=Path(path))
        await ground.lane.call(
            "sanlock_initialise",
            ground.io_seconds,
            lockspace=section.lockspace,
            path=path,
            resource=ground.facts.vm_uuid,
            io_timeout_seconds=section.io_timeout_seconds,
        )
        return f"lockspace and lease of sanlock in {path}"

    async def _look_sanlock(self, place: LeasePlace) -> Found:
        """Raise SetupRefused for a place that is neither empty nor the engine VM's lease."""
        try:
            answer = await self._ground.lane.call(
                "read_slots",
                self._ground.io_seconds,
                path=place.path,
                slots=[0, RESOURCE_OFFSET // 4096],
            )
        except StorageFault as error:
            if error.errno_name != "ENOENT":
                raise
            if place.on_block:
                raise SetupRefused(
                    f"the cluster's lease is in {place.path}, which is not on this host"
                ) from error
            await self._ask_daemon(place)
            return Found(False, f"there is no {place.path}")
        lockspace, resource = (bytes(entry.get("data", b"")) for entry in answer["slots"])
        if not any(lockspace) and not any(resource):
            await self._ask_daemon(place)
            return Found(False, f"{place.path} is empty")
        try:
            leader = decode_leader(resource[:LEADER_BYTES], place.path)
        except BadInput as error:
            raise SetupRefused(f"{error}; nothing is written over it") from error
        if leader.resource != self._ground.facts.vm_uuid:
            raise SetupRefused(f"{place.path} is the lease of another VM, {leader.resource!r:.60}")
        if not any(lockspace):
            raise SetupRefused(
                f"{place.path} has the lease, but no lockspace: whoever made it was cut off."
                " Write zeros over it, or remove the file, when no host uses it"
            )
        return Found(True, f"sanlock's place {place.path} is there")

    async def _ask_daemon(self, place: LeasePlace) -> None:
        """Raise EnvironmentFault when no sanlock daemon answers: said before any change."""
        await self._ground.lane.call(
            "sanlock_look",
            self._ground.io_seconds,
            lockspace=SanlockConfig(path=Path(place.path)).lockspace,
            host_id=self._ground.facts.host_id,
            # The daemon looks its lockspaces up by name, id and path; any that is one will do.
            path=place.path or f"/run/vdsm/storage/{self._ground.facts.domain_uuid}",
            resource=self._ground.facts.vm_uuid,
            holder_pid=0,
            read=False,
        )


async def shared_settings(ground: Ground) -> dict[str, str]:
    """Return our own settings in the shared configuration: they are the cluster's."""
    said = await _shared_keys(ground)
    return {key: value for key, value in said.items() if key.startswith(_OUR_PREFIX)}


async def _shared_keys(ground: Ground) -> Mapping[str, str]:
    pair = await ground.conf_volume()
    files = {} if pair is None else await shared_files(ground, pair)
    data = files.get("hosted-engine.conf")
    if data is None:
        return {}
    return parse_conf(data, "the shared hosted-engine.conf").values


async def _lease_volume(ground: Ground) -> Optional[Pair]:
    found = [info for info in await ground.volumes() if info.description == LEASE_VOLUME]
    if len(found) > 1:
        names = ", ".join(info.volume_id for info in found)
        raise SetupRefused(f"several volumes are described as {LEASE_VOLUME!r}: {names}")
    return (found[0].image_id, found[0].volume_id) if found else None


def _is_nfs3(ground: Ground) -> bool:
    conf = ground.facts.conf
    return conf.domain_type == "nfs3" or conf.values.get("nfs_version", "").lstrip("v") == "3"


def mount_options_of(path: Path, mounts: str) -> str:
    """Return the options of the file system that `path` is on, by the text of /proc/self/mounts.

    A path that is on none of them has none. Raises BadInput for a text of another form.
    """
    best, options = "", ""
    for line in mounts.splitlines():
        words = line.split(" ")
        if len(words) < 4:
            raise BadInput("is no table of mounts", where="/proc/self/mounts")
        point = words[1].replace("\\040", " ")
        inside = str(path) == point or str(path).startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, options = point, words[3]
    return options
