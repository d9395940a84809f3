# SPDX-License-Identifier: Apache-2.0
"""The first steps of an upgrade: is all in order, and a backup of what will be touched.

Nothing of the host or of shared storage is changed here.
"""

from __future__ import annotations

from collections.abc import Sequence

from ha_agent.broker.blocks import codec
from ha_agent.broker.blocks.codec import BlockError, BlockTooNew
from ha_agent.errors import BadInput
from ha_agent.ovfstore.conf_volume import decode_conf_volume
from ha_agent.setup.services import OUR_UNITS, PREDECESSOR_UNITS
from ha_agent.setup.step import Found, Say, SetupFailed, SetupRefused
from ha_agent.setup.upgrade import predecessor_host as host
from ha_agent.setup.upgrade.backup import Backup, ToKeep, UnitEntry, make_backup, newest_backup
from ha_agent.setup.upgrade.ground import Ground, Pair

CONF_VOLUME, OVF_MEMBER = "configuration volume", "OVF of the engine VM"
_NEEDED = ("metadata", "lockspace", "vm_disk")


class CheckHost:
    """Looks only: VDSM answers, the volumes are this cluster's, the host id is this host's."""

    name = "check"
    title = "check VDSM, the storage domain and this host's id"
    reads: Sequence[str] = ("VDSM", "the storage domain's volumes", "this host's status block")
    writes: Sequence[str] = ()

    def __init__(self, ground: Ground) -> None:
        self._ground = ground

    async def look(self) -> Found:
        """Raise SetupRefused for what stands in the way."""
        ground, facts = self._ground, self._ground.facts
        await ground.vdsm.ping2()
        await ground.vdsm.domain_info(facts.domain_uuid)
        for name in _NEEDED:
            pair = facts.volumes.get(name)
            if pair is not None and await ground.volume(pair) is None:
                raise SetupRefused(
                    f"{facts.conf.where} names {name} volume {pair[1]}, and storage domain"
                    f" {facts.domain_uuid} has none such: is it another cluster's?"
                )
        slot = await self._slot()
        vm = await ground.vdsm.vm_stats(facts.vm_uuid)
        status = "" if vm is None else vm.status_text or "unknown"
        where = f"is here, status {status}" if status else "does not run here"
        return Found(True, f"host id {facts.host_id}, {slot}; engine VM {facts.vm_uuid} {where}")

    async def do(self, say: Say) -> str:  # noqa: ARG002
        """Never needed: what `look` does not refuse is in order."""
        return "nothing to do"

    async def _slot(self) -> str:
        facts, ours = self._ground.facts, self._ground.host_name
        data = await self._ground.slot(facts.volumes["metadata"], facts.host_id)
        try:
            block = codec.decode(data, slot=facts.host_id)
        except BlockTooNew as error:
            raise SetupRefused(
                f"a newer version wrote this host's status block: {error}"
            ) from None
        except BlockError as error:
            return f"whose status block is damaged ({error}) and will be written anew"
        if block is None:
            return "whose status block is empty"
        if not _same_host(block.host_name, ours):
            raise SetupRefused(
                f"host id {facts.host_id} is used by host {block.host_name} (its status block),"
                f" and this host is {ours}: correct host_id in {facts.conf.where}"
            )
        return f"whose status block is this host's ({block.host_name})"


class KeepBackup:
    """Keeps files, units and what is on the volumes, before the first change."""

    name = "backup"
    title = "keep a backup of all that will be touched"
    reads: Sequence[str] = (*host.FILES, CONF_VOLUME, OVF_MEMBER, "the units' state")
    writes: Sequence[str] = ("the state folder's setup/backup-<when>/",)

    def __init__(self, ground: Ground) -> None:
        self._ground = ground

    async def look(self) -> Found:
        """Done when a whole backup of this host's upgrade is there."""
        backup = newest_backup(self._ground.setup_dir)
        if backup is None:
            return Found(False, f"there is none in {self._ground.setup_dir}")
        # The facts are the backup's own; the file may be of another set-up since.
        kept, path = backup.manifest, self._ground.root / host.HOSTED_ENGINE_CONF
        data = host.read_files(self._ground.root, (host.HOSTED_ENGINE_CONF,))
        for now in data.values():
            conf = host.parse_conf(now, str(path))
            said = conf.uuid("vmid"), conf.uuid("sdUUID"), host.host_id_of(conf)
            if said != (kept.vm_uuid, kept.domain_uuid, kept.host_id):
                raise SetupRefused(
                    f"{path} is of host {said[2]} of engine VM {said[0]} on storage domain"
                    f" {said[1]}, and {backup.folder}, the backup of an upgrade that was not put"
                    f" back, of host {kept.host_id} of {kept.vm_uuid} on {kept.domain_uuid}: move"
                    " that away when it is not needed any more, or correct the file"
                )
        return Found(True, str(backup.folder))

    async def do(self, say: Say) -> str:  # noqa: ARG002
        """Make it. Raises SetupFailed, EnvironmentFault; nothing else was touched then."""
        ground, facts = self._ground, self._ground.facts
        volumes: list[tuple[str, str, str, bytes]] = []
        pair = await ground.conf_volume()
        if pair is not None:
            volumes.append((CONF_VOLUME, *pair, await ground.conf_archive(pair)))
        volumes += await self._ovf()
        states = await ground.services.states((*PREDECESSOR_UNITS, *OUR_UNITS))
        wanted = ToKeep(
            host_id=facts.host_id,
            vm_uuid=facts.vm_uuid,
            domain_uuid=facts.domain_uuid,
            kind=facts.era.name,
            # ha.conf is kept too, but what it says of maintenance since then stays.
            files=[(name, name != host.HA_CONF) for name in host.FILES],
            volumes=volumes,
            units={
                name: UnitEntry(unit.enabled, unit.running)
                for name, unit in states.items()
                if unit.exists and not unit.is_other
            },
        )
        ground.setup_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        backup = make_backup(ground.setup_dir, ground.root, wanted, now=ground.clock.wall())
        return str(backup.folder)

    async def _ovf(self) -> list[tuple[str, str, str, bytes]]:
        verdict = await self._ground.writer().verify()
        return [
            (OVF_MEMBER, one.ranked.copy.image_uuid, one.ranked.copy.volume_uuid, one.document)
            for one in verdict.copies[:1]
            if one.document is not None
        ]


def backup_in_force(ground: Ground) -> Backup:
    """Return the backup; the steps behind KeepBackup have one. Raises SetupFailed."""
    backup = newest_backup(ground.setup_dir)
    if backup is None:
        raise SetupFailed(f"there is no backup in {ground.setup_dir}")
    return backup


async def shared_files(ground: Ground, pair: Pair) -> dict[str, bytes]:
    """Return the configuration volume's files, none for a volume never written.

    Raises SetupRefused when it is another cluster's or no configuration, EnvironmentFault.
    """
    archive = await ground.conf_archive(pair)
    if not any(archive):
        return {}
    where = f"configuration volume {pair[1]}"
    try:
        files = decode_conf_volume(archive, where=where)
        data = files.get("hosted-engine.conf")
        if data is None:
            raise SetupRefused(f"{where} has no hosted-engine.conf")
        conf = host.parse_conf(data, f"hosted-engine.conf in {where}")
        said = conf.uuid("vmid"), conf.uuid("sdUUID")
    except BadInput as error:
        raise SetupRefused(f"{error}; nothing is written over it") from error
    facts = ground.facts
    if said != (facts.vm_uuid, facts.domain_uuid):
        raise SetupRefused(
            f"{where} is of engine VM {said[0]} on storage domain {said[1]}, and this host is of"
            f" {facts.vm_uuid} on {facts.domain_uuid}"
        )
    return files


def _same_host(one: str, other: str) -> bool:
    """Tell whether two names are one host's; a short name is its long one's first part."""
    one, other = one.lower(), other.lower()
    return one == other or other.partition(".")[0] == one or one.partition(".")[0] == other
