# SPDX-License-Identifier: Apache-2.0
"""The steps that change something: shared storage first, this host's file last.

What other hosts, the predecessor's among them, read on shared storage they go on reading: its
tools skip keys that they don't know. Until the units are switched (switch_over.py) nothing of
this looks any different to the agents that run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Optional

from ha_agent import __version__
from ha_agent.broker.store.check import CopyCheck, StoreVerdict
from ha_agent.broker.store.claim import StoreRefusal
from ha_agent.broker.store.shared_config import DISK_TYPE, OLD_DESCRIPTION
from ha_agent.compat.conf_writer import set_keys, write_conf
from ha_agent.errors import BadInput
from ha_agent.ovfstore.approval import Approval, format_approval, identity_of, parse_approval
from ha_agent.ovfstore.conf_volume import ARCHIVE_BYTES, decode_conf_volume, encode_conf_volume
from ha_agent.ovfstore.guard import GuardFacts, HostCapacity
from ha_agent.ovfstore.ovf_parse import parse_ovf
from ha_agent.setup.step import Found, Say, SetupFailed, SetupRefused
from ha_agent.setup.upgrade import predecessor_host as host
from ha_agent.setup.upgrade.check import CONF_VOLUME, backup_in_force, shared_files
from ha_agent.setup.upgrade.definition import (
    convert_vm_conf,
    read_vm_conf,
    refuse_what_the_guard_refuses,
)
from ha_agent.setup.upgrade.ground import Ground, HostFacts, Pair
from ha_agent.setup.upgrade.lease import lease_place, shared_settings
from ha_agent.setup.upgrade.predecessor_host import HostKind

CONF_VOLUME_BYTES = 1 << 30
RUNNING_VM_CONF = "/var/run/ovirt-hosted-engine-ha/vm.conf"
_LOCK_WAIT_SECONDS = 2.0
_SHARED = "hosted-engine.conf"
_PUT_BEGUN = "definition_put"
_CONF = "conf"
# The archive and the record behind it, and some more.
_CONF_SLOTS = 32


class MakeConfVolume:
    """Makes the configuration volume of a cluster that comes from 3.5."""

    name = "conf-volume"
    title = "make the configuration volume"
    reads: Sequence[str] = ("the storage domain's volumes",)
    writes: Sequence[str] = ("a volume of 1 GiB, unless there is one",)

    def __init__(self, ground: Ground) -> None:
        self._ground = ground

    async def look(self) -> Found:
        """Done when there is one."""
        pair = await self._ground.conf_volume()
        if pair is not None and await self._is_half_made(pair):
            return Found(False, f"volume {pair[1]} is half made")
        if pair is not None:
            return Found(True, f"volume {pair[1]}")
        await self._ground.access()
        return Found(False, "there is none")

    async def do(self, say: Say) -> str:  # noqa: ARG002
        """Make it. Raises SetupRefused where VDSM lets this host make none."""
        pair = await self._ground.make_volume(
            _CONF,
            size_bytes=CONF_VOLUME_BYTES,
            disk_type=DISK_TYPE,
            description=OLD_DESCRIPTION,
        )
        if await self._is_half_made(pair):
            await self._ground.zero(_CONF, pair, _CONF_SLOTS)
        return f"volume {pair[1]}"

    async def _is_half_made(self, pair: Pair) -> bool:
        if not self._ground.is_half_made(_CONF, pair):
            return False
        # Another host may have found it since, and filled it.
        try:
            decode_conf_volume(await self._ground.conf_archive(pair), where=pair[1])
        except BadInput:
            return True
        return False


class StoreDefinition:
    """Puts the engine VM's OVF into the OVF_STORE where the engine has not done it."""

    name = "definition"
    title = "see that the OVF_STORE has the engine VM's definition"
    reads: Sequence[str] = ("the OVF_STORE", "vm.conf where that has no OVF of the engine VM")
    writes: Sequence[str] = ("the OVF_STORE, when it has no OVF of the engine VM",)

    def __init__(self, ground: Ground) -> None:
        self._ground = ground

    async def look(self) -> Found:
        """Raise SetupRefused when no definition is there that could be used."""
        verdict, good = await self._in_store()
        facts = await self._guard_facts()
        if good is None:
            _, where, notes = await self._converted(facts)
            await self._ground.access()
            return Found(False, f"there is none; {where} can be converted: {'; '.join(notes)}")
        assert good.document is not None  # a good copy has one
        where = f"the OVF in volume {good.ranked.copy.volume_uuid}"
        vm = parse_ovf(good.document, where=where, expect_uuid=self._ground.facts.vm_uuid)
        approved = _approved(good.document, good.approval, where)
        codes = refuse_what_the_guard_refuses(
            vm, facts, (*approved, *self._ground.accepted), where=where
        )
        text = f"OVF {identity_of(good.document)} of {vm.name} is there"
        if self._ground.journal.get(_PUT_BEGUN) is not None and not verdict.is_good:
            return Found(False, f"{text}, not in all copies: a run was ended in the middle")
        # Where the engine's own OVF is accepted against the guard, every host has to be told.
        return Found(set(codes) <= set(approved), text)

    async def do(self, say: Say) -> str:
        """Make the store if there is none, and put the OVF there."""
        ground = self._ground
        facts = await self._guard_facts()
        _, good = await self._in_store()
        document = good.document if good is not None else None
        if document is None:
            document, where, notes = await self._converted(facts)
            for note in notes:
                say(f"{where}: {note}")
        vm = parse_ovf(document, where="the OVF", expect_uuid=ground.facts.vm_uuid)
        codes = refuse_what_the_guard_refuses(vm, facts, ground.accepted, where="the OVF")
        ground.journal.note(_PUT_BEGUN, identity_of(document))
        writer = ground.writer()
        made = await writer.create()
        _refuse(made.refusal)
        approval = None
        if codes:
            when = ground.clock.wall().iso()
            approval = format_approval(
                Approval(identity_of(document), codes, "ha-agent upgrade", when)
            )
        put = await writer.put(document, approval, "ha-agent upgrade")
        _refuse(put.refusal)
        return f"OVF {put.identity} in {len(put.copies)} copies"

    async def _in_store(self) -> tuple[StoreVerdict, Optional[CopyCheck]]:
        """Return all copies, and the best that has the engine VM's OVF. Raises SetupRefused for
        a store whose state is not known, EnvironmentFault."""
        verdict = await self._ground.writer().verify()
        if verdict.problems:
            raise SetupRefused(f"the OVF_STORE is not all known: {'; '.join(verdict.problems)}")
        for one in verdict.copies:
            if one.fault is not None:
                raise one.fault
        return verdict, next((one for one in verdict.copies if one.is_good), None)

    async def _converted(self, facts: GuardFacts) -> tuple[bytes, str, tuple[str, ...]]:
        """Return the OVF that vm.conf becomes, what vm.conf it was, and notes."""
        ground = self._ground
        data, where = await self._vm_conf()
        told = ground.facts
        ids = {"where": where, "domain_uuid": told.domain_uuid, "vm_uuid": told.vm_uuid}
        vm, _ = read_vm_conf(data, **ids)
        capacities = {}
        for disk in vm.disks:
            if disk.volume_uuid is None:
                continue
            info = await ground.volume((disk.image_uuid, disk.volume_uuid))
            if info is None:
                raise SetupRefused(
                    f"{where}: its disk {disk.image_uuid}, volume {disk.volume_uuid}, is not on"
                    f" storage domain {told.domain_uuid}"
                )
            if info.capacity_bytes is not None:
                capacities[disk.volume_uuid] = info.capacity_bytes
        converted = convert_vm_conf(data, capacities=capacities, **ids)
        refuse_what_the_guard_refuses(converted.vm, facts, ground.accepted, where=where)
        return converted.ovf, where, converted.notes

    async def _vm_conf(self) -> tuple[bytes, str]:
        facts = self._ground.facts
        if facts.era is HostKind.OLD and host.VM_CONF in facts.files:
            return facts.files[host.VM_CONF], str(self._ground.root / host.VM_CONF)
        pair = await self._ground.conf_volume()
        files = {} if pair is None else await shared_files(self._ground, pair)
        if "vm.conf" not in files:
            raise SetupRefused(
                "there is no definition of the engine VM: no OVF in the OVF_STORE, no vm.conf in"
                " the configuration volume, and none on this host"
            )
        return files["vm.conf"], "vm.conf in the configuration volume"

    async def _guard_facts(self) -> GuardFacts:
        facts = self._ground.facts
        has = await self._ground.vdsm.host_capabilities()
        capacity = HostCapacity(
            facts.host_id, self._ground.host_name, has.memory_mib, has.cpu_threads
        )
        machines = has.emulated_machines or None
        return GuardFacts(facts.domain_uuid, facts.vm_uuid, (capacity,), machines)


class ShareConfiguration:
    """Fills the configuration volume, or adds our keys to the hosted-engine.conf in it."""

    name = "shared-configuration"
    title = "put the shared configuration into the configuration volume"
    reads: Sequence[str] = (CONF_VOLUME, "answers.conf, broker.conf and vm.conf of 3.5")
    writes: Sequence[str] = (CONF_VOLUME,)

    def __init__(self, ground: Ground, mount_options: str) -> None:
        self._ground = ground
        self._mount_options = mount_options

    async def look(self) -> Found:
        """Done when the shared hosted-engine.conf has our keys."""
        pair = await self._ground.conf_volume()
        if pair is None:
            self._archive(self._new_files({}))  # said now, when it does not fit
            return Found(False, "there is no configuration volume yet")
        files = await shared_files(self._ground, pair)
        if not files:
            self._archive(self._new_files({}))
            return Found(False, "the volume is empty")
        conf = host.parse_conf(files[_SHARED], f"{_SHARED} in volume {pair[1]}")
        backend = conf.values.get(host.BACKEND_KEY)
        if backend is None:
            return Found(False, f"it has no {host.BACKEND_KEY}; other keys stay as they are")
        return Found(True, f"{host.BACKEND_KEY}={backend}")

    async def do(self, say: Say) -> str:  # noqa: ARG002
        """Write it, unless somebody else writes at this moment."""
        ground = self._ground
        pair = await ground.conf_volume()
        if pair is None:
            raise SetupFailed("there is no configuration volume")
        before = await ground.conf_archive(pair)
        # Read after that: what another host decides from now on makes the write fail.
        place = await lease_place(ground, self._mount_options)
        files = await shared_files(ground, pair)
        if files:
            where = f"{_SHARED} in volume {pair[1]}"
            text = set_keys(files[_SHARED].decode("utf-8"), place.keys, where=where)
            files = {**files, _SHARED: text.encode("utf-8")}
        else:
            keys = {"conf_image_UUID": pair[0], "conf_volume_UUID": pair[1], **place.keys}
            files = self._new_files(keys)
        self._archive(files)  # refused here, when it does not fit
        answer = await ground.lane.call(
            "write_conf_volume",
            ground.io_seconds,
            path=await ground.path_of(pair),
            files=files,
            expected=hashlib.sha256(before.ljust(ARCHIVE_BYTES, b"\0")).hexdigest(),
            lock_wait_seconds=_LOCK_WAIT_SECONDS,
        )
        if not answer["done"]:
            raise SetupFailed("somebody else changed the configuration volume; run it again")
        return f"{len(files)} files in volume {pair[1]}"

    def _new_files(self, keys: Mapping[str, str]) -> dict[str, bytes]:
        """Return the five files of a cluster that kept them on its hosts."""
        facts = self._ground.facts
        kept = facts.files
        conf = local_conf(kept[host.HOSTED_ENGINE_CONF], facts.conf.where, of_35(facts, keys))
        return {
            "version": __version__.encode(),
            "fhanswers.conf": kept.get(host.ANSWERS_CONF, b"[environment:default]\n"),
            _SHARED: conf,
            "broker.conf": kept.get(host.OLD_BROKER_CONF) or kept.get(host.BROKER_CONF, b"\n"),
            "vm.conf": kept.get(host.VM_CONF, b"\n"),
        }

    def _archive(self, files: Mapping[str, bytes]) -> bytes:
        try:
            return encode_conf_volume(files, self._ground.clock.wall())
        except BadInput as error:
            raise SetupRefused(str(error)) from error


class RewriteLocal:
    """Gives this host's hosted-engine.conf our keys, and of 3.5 the place of the shared one."""

    name = "local-configuration"
    reads: Sequence[str] = (host.HOSTED_ENGINE_CONF,)
    writes: Sequence[str] = (host.HOSTED_ENGINE_CONF,)

    def __init__(self, ground: Ground, mount_options: str) -> None:
        self._ground = ground
        self._mount_options = mount_options
        self.title = f"rewrite {ground.root / host.HOSTED_ENGINE_CONF}"

    async def look(self) -> Found:
        """Done when the file says all of it."""
        now, wanted = await self._now(), await self._wanted()
        if wanted is None:
            return Found(False, "it will get our keys when the lease is made")
        changed = sorted(set(wanted.splitlines()) - set(now.splitlines()))
        if now == wanted:
            return Found(True, "it has our keys")
        text = b", ".join(line for line in changed if b"password" not in line)
        return Found(False, f"it gets {text.decode('utf-8', 'replace')}")

    async def do(self, say: Say) -> str:  # noqa: ARG002
        """Replace it in one piece; its mode and owner stay."""
        wanted = await self._wanted()
        if wanted is None:
            raise SetupFailed("the lease or the configuration volume is missing")
        path = self._ground.root / host.HOSTED_ENGINE_CONF
        backup_in_force(self._ground).note_left(host.HOSTED_ENGINE_CONF, wanted)
        write_conf(path, wanted.decode("utf-8"))
        return str(path)

    async def _now(self) -> bytes:
        files = host.read_files(self._ground.root, (host.HOSTED_ENGINE_CONF,))
        data = files.get(host.HOSTED_ENGINE_CONF)
        if data is None:
            raise SetupRefused(
                f"{self._ground.root / host.HOSTED_ENGINE_CONF} is gone; `ha-agent downgrade` has"
                " it, with --force"
            )
        return data

    async def _wanted(self) -> Optional[bytes]:
        pair = await self._ground.conf_volume()
        place = await lease_place(self._ground, self._mount_options)
        if pair is None or not place.path:
            return None
        facts, now = self._ground.facts, await self._now()
        where = str(self._ground.root / host.HOSTED_ENGINE_CONF)
        own = host.parse_conf(now, where).values
        told = await shared_settings(self._ground)
        # What this host says otherwise of itself stays; where the lease is, is the cluster's.
        keys = {key: value for key, value in told.items() if key not in own}
        keys.update(place.keys)
        if facts.era is HostKind.OLD:
            keys = of_35(facts, {"conf_image_UUID": pair[0], "conf_volume_UUID": pair[1], **keys})
        return local_conf(now, where, keys)


def local_conf(data: bytes, where: str, keys: Mapping[str, str]) -> bytes:
    """Return a hosted-engine.conf with `keys` in it, all else as it was. Raises BadInput."""
    conf = host.parse_conf(data, where)
    wanted = {key: value for key, value in keys.items() if conf.values.get(key) != value}
    return set_keys(data.decode("utf-8"), wanted, where=where).encode("utf-8")


def of_35(facts: HostFacts, keys: Mapping[str, str]) -> dict[str, str]:
    """Return the keys that a hosted-engine.conf of 3.5 gets besides `keys`.

    The pool of its own is no more; vm.conf is the one that the broker writes.
    """
    more = {"conf": RUNNING_VM_CONF, "spUUID": host.BLANK_POOL}
    if host.VM_CONF in facts.files and "vm_disk_vol_id" not in facts.conf.values:
        vm, _ = read_vm_conf(
            facts.files[host.VM_CONF],
            where=host.VM_CONF,
            domain_uuid=facts.domain_uuid,
            vm_uuid=facts.vm_uuid,
        )
        for disk in vm.disks_in_boot_order()[:1]:
            more["vm_disk_id"] = disk.image_uuid
            more["vm_disk_vol_id"] = disk.volume_uuid or ""
    return {**more, **keys}


def _refuse(refusal: Optional[StoreRefusal]) -> None:
    if refusal is not None:
        raise SetupRefused(refusal.sentence)


def _approved(document: bytes, approval: Optional[bytes], where: str) -> tuple[str, ...]:
    """Return the codes that are approved beside the OVF, for that very document."""
    if approval is None:
        return ()
    try:
        found = parse_approval(approval, where=f"the approval beside {where}")
    except BadInput:
        return ()
    return found.codes if found.identity == identity_of(document) else ()
