# SPDX-License-Identifier: Apache-2.0
"""What the engine may do to what its own VM stands on, and what the answer says."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha_agent.broker import can_do as module
from ha_agent.broker.can_do import CanDoFacts, Verdict, can_do, can_do_facts
from ha_agent.broker.snapshot import HostEntry, LeaseEntry, Snapshot
from ha_agent.instant import Instant
from ha_agent.ovfstore.locate import StoreCopy
from ha_agent.ovfstore.model import VmDefinition
from ha_agent.ovfstore.translate import domain_xml
from ha_agent.ovfstore.xml_input import OvfError
from tests.ovfstore.built_domain import DOMAIN, VM

DATA_DOMAIN = "5d000000-0000-4000-8000-000000000002"
OTHER = "0e000000-0000-4000-8000-00000000000f"
BOOT_IMAGE = "d2000000-0000-4000-8000-000000000001"
BOOT_VOLUME = "d2000000-0000-4000-8000-00000000000b"
DATA_IMAGE = "d1000000-0000-4000-8000-000000000001"
LUN = "d3000000-0000-4000-8000-000000000001"
STATUS_IMAGE = "5a57a705-0000-4000-8000-000000000001"
STATUS_VOLUME = "5a57a705-0000-4000-8000-000000000002"
STORE = StoreCopy(
    "0F000000-0000-4000-8000-000000000001", "0f000000-0000-4000-8000-000000000002", "{}"
)
VOLUMES = {STATUS_IMAGE.upper(): "the hosts' status blocks", STATUS_VOLUME: "the same"}
ALPHA = HostEntry(1, "alpha.example", alive=True, score=3400)
BETA = HostEntry(2, "beta.example", alive=True, score=2400)
ACTIONS = {
    "storage_domain.detach", "storage_domain.maintenance", "storage_domain.remove",
    "disk.remove", "disk.detach", "disk.move",
    "ovf_store.remove", "vm.remove", "host.maintenance", "host.remove",
}  # fmt: skip


def facts(
    *hosts: HostEntry,
    lease: Optional[LeaseEntry] = None,
    vm: VmDefinition = VM,
    defined: bool = True,
    listed: bool = True,
) -> CanDoFacts:
    snapshot = Snapshot(
        1,
        1,
        "alpha.example",
        VM.uuid,
        Instant(0.0),
        hosts=hosts,
        lease=lease or LeaseEntry(state="held", ours=True, host_id=1),
    )
    return can_do_facts(
        snapshot,
        vm if defined else None,
        domain_xml(vm, storage_domain_uuid=DOMAIN) if defined else None,
        storage_domain_uuid=DOMAIN.upper(),
        volumes=VOLUMES,
        store_copies=(STORE,) if listed else None,
    )


FACTS = facts(ALPHA, BETA)


def ask(action: str, known: CanDoFacts = FACTS, **values: str) -> str:
    """The code; that it is documented, and that the sentence says something, holds for all."""
    verdict = can_do(action, values, known)
    assert verdict.allowed is (verdict.code in ("not_concerned", "allowed"))
    assert re.search(rf"^    {verdict.code} +(yes|no) ", module.__doc__ or "", re.MULTILINE)
    assert len(verdict.sentence) >= 20
    return verdict.code


# Storage domains, VM and disks -----------------------------------------------------------


@pytest.mark.parametrize("verb", ["detach", "remove", "maintenance"])
def test_storage_domains(verb: str) -> None:
    action = f"storage_domain.{verb}"
    assert ask(action, storage_domain=DOMAIN) == "hosted_engine_domain"
    assert ask(action, storage_domain=f" {DOMAIN.upper()} ") == "hosted_engine_domain"
    assert ask(action, storage_domain=DATA_DOMAIN) == "engine_vm_disk"
    assert ask(action, storage_domain=OTHER) == "not_concerned"
    undefined = facts(ALPHA, BETA, defined=False)
    assert ask(action, undefined, storage_domain=OTHER) == "unknown_state"
    assert ask(action, undefined, storage_domain=DOMAIN) == "hosted_engine_domain"


def test_a_disk_that_is_not_plugged_is_on_its_domain_all_the_same() -> None:
    disks = [dataclasses.replace(disk, is_plugged=disk.is_boot) for disk in VM.disks]
    vm = dataclasses.replace(VM, disks=tuple(disks))
    known = facts(ALPHA, BETA, vm=vm)
    assert ask("storage_domain.detach", known, storage_domain=DATA_DOMAIN) == "engine_vm_disk"
    assert ask("disk.remove", known, disk=DATA_IMAGE) == "engine_vm_disk"


def test_the_engine_vm() -> None:
    assert ask("vm.remove", vm=VM.uuid.upper()) == "engine_vm"
    assert ask("vm.remove", vm=OTHER) == "not_concerned"


@pytest.mark.parametrize(
    ("disk", "removed", "detached"),
    [
        (BOOT_IMAGE, "engine_vm_disk", "engine_vm_disk"),
        (BOOT_VOLUME, "engine_vm_disk", "engine_vm_disk"),
        (DATA_IMAGE, "engine_vm_disk", "allowed"),
        (LUN, "engine_vm_disk", "allowed"),
        (STATUS_IMAGE, "hosted_engine_volume", "hosted_engine_volume"),
        (STATUS_VOLUME, "hosted_engine_volume", "hosted_engine_volume"),
        (STORE.image_uuid, "ovf_store", "ovf_store"),
        (STORE.volume_uuid, "ovf_store", "ovf_store"),
        (OTHER, "not_concerned", "not_concerned"),
    ],
)
def test_disks(disk: str, removed: str, detached: str) -> None:
    assert ask("disk.remove", disk=disk) == removed
    assert ask("disk.detach", disk=disk.upper()) == ask("disk.move", disk=disk) == detached


@pytest.mark.parametrize("disk_type", ["HEMD", "HESD", "heci"])
def test_a_disk_of_the_hosted_engine_is_known_by_its_type(disk_type: str) -> None:
    assert ask("disk.remove", disk=OTHER, disk_type=disk_type) == "hosted_engine_volume"
    here = {"disk": OTHER, "disk_type": disk_type, "storage_domain": DOMAIN}
    assert ask("disk.remove", FACTS, **here) == "hosted_engine_volume"
    # What an old hosted engine left behind on another domain is nobody's.
    elsewhere = {**here, "storage_domain": DATA_DOMAIN}
    assert ask("disk.remove", FACTS, **elsewhere) == "not_concerned"
    assert ask("disk.remove", disk=OTHER, disk_type="DATA") == "not_concerned"


@pytest.mark.parametrize("action", ["disk.remove", "disk.detach", "disk.move"])
def test_disks_while_something_is_not_known(action: str) -> None:
    undefined, unlisted = facts(ALPHA, defined=False), facts(ALPHA, listed=False)
    for unknown in (undefined, unlisted):
        assert ask(action, unknown, disk=OTHER) == "unknown_state"
        assert ask(action, unknown, disk=STATUS_IMAGE) == "hosted_engine_volume"
    assert ask(action, undefined, disk=STORE.image_uuid) == "ovf_store"
    assert ask(action, unlisted, disk=BOOT_IMAGE) == "engine_vm_disk"
    # The OVF_STORE is on the hosted engine's domain, while a disk of the VM may be anywhere.
    assert ask(action, unlisted, disk=OTHER, storage_domain=DATA_DOMAIN) == "not_concerned"
    assert ask(action, undefined, disk=OTHER, storage_domain=DATA_DOMAIN) == "unknown_state"
    assert ask(action, unlisted, disk=OTHER, storage_domain=DOMAIN) == "unknown_state"


def test_ovf_stores() -> None:
    assert ask("ovf_store.remove", disk=STORE.image_uuid) == "ovf_store"
    assert ask("ovf_store.remove", storage_domain=DOMAIN) == "ovf_store"
    assert ask("ovf_store.remove", storage_domain=DATA_DOMAIN) == "not_concerned"
    assert ask("ovf_store.remove", disk=OTHER) == "not_concerned"
    assert ask("ovf_store.remove") == "bad_object"
    unlisted = facts(ALPHA, listed=False)
    assert ask("ovf_store.remove", unlisted, disk=OTHER) == "unknown_state"
    assert ask("ovf_store.remove", unlisted, storage_domain=DOMAIN) == "ovf_store"
    there = {"disk": OTHER, "storage_domain": DATA_DOMAIN}
    assert ask("ovf_store.remove", unlisted, **there) == "not_concerned"


# Hosts -----------------------------------------------------------------------------------


def changed(host: HostEntry, **values: Any) -> HostEntry:
    return dataclasses.replace(host, **values)


UNABLE = {
    "it does not live": changed(BETA, alive=False),
    "its agent was stopped": changed(BETA, stopped=True),
    "it is in local maintenance": changed(BETA, maintenance=True),
    "its score is 0": changed(BETA, score=0),
}


def test_a_host_that_another_can_stand_in_for() -> None:
    for values in ({"host_id": "1"}, {"host": "Alpha.Example"}, {"host_id": "2"}):
        assert ask("host.maintenance", FACTS, **values) == "allowed"
    assert "beta.example (id 2)" in can_do("host.maintenance", {"host_id": "1"}, FACTS).sentence
    assert ask("host.remove", host_id="1") == "host_runs_engine"
    assert ask("host.remove", host_id="2") == "allowed"


@pytest.mark.parametrize("why", UNABLE)
def test_the_last_able_host(why: str) -> None:
    known = facts(ALPHA, UNABLE[why], lease=LeaseEntry(state="free", host_id=1))
    for action in ("host.maintenance", "host.remove"):
        verdict = can_do(action, {"host_id": "1"}, known)
        assert verdict.code == "last_able_host"
        assert f"beta.example (id 2): {why}" in verdict.sentence
        assert ask(action, known, host_id="2") == "allowed"
    alone = facts(ALPHA, lease=LeaseEntry(state="free"))
    assert "there is no other" in can_do("host.maintenance", {"host_id": "1"}, alone).sentence


@pytest.mark.parametrize("why", UNABLE)
def test_the_only_able_host_while_an_unable_one_owns_the_vm(why: str) -> None:
    """Nobody could take the VM from it: it must not be sent away either."""
    lease = LeaseEntry(state="held", host_id=2)
    known = facts(changed(ALPHA, score=0), UNABLE[why], lease=lease)
    assert ask("host.maintenance", known, host_id="2") == "last_able_host"
    assert ask("host.maintenance", known, host_id="1") == "allowed"
    unread = facts(changed(ALPHA, score=0), UNABLE[why], lease=LeaseEntry())
    assert ask("host.maintenance", unread, host_id="2") == "unknown_state"


def test_hosts_of_which_nothing_is_known() -> None:
    silent = facts(changed(ALPHA, alive=False), changed(BETA, alive=False))
    for known in (facts(), silent):
        for action in ("host.maintenance", "host.remove"):
            assert ask(action, known, host_id="1") == "unknown_state"
    for state in ("unknown", "unreadable"):
        unread = facts(ALPHA, BETA, lease=LeaseEntry(state=state, host_id=2))
        assert ask("host.remove", unread, host_id="1") == "unknown_state"
        assert ask("host.maintenance", unread, host_id="1") == "allowed"
    expired = facts(ALPHA, BETA, lease=LeaseEntry(state="expired", host_id=2))
    assert ask("host.remove", expired, host_id="2") == "host_runs_engine"


def test_a_host_without_hosted_engine() -> None:
    assert ask("host.maintenance", host_id="7") == "not_concerned"
    assert ask("host.remove", host_id="7") == "not_concerned"
    # By a name it can't be told from a hosted-engine host that the engine calls otherwise.
    assert ask("host.maintenance", host="gamma") == "bad_object"
    twins = facts(ALPHA, changed(BETA, host_name=ALPHA.host_name))
    assert ask("host.maintenance", twins, host=ALPHA.host_name) == "bad_object"


# Questions that can't be answered --------------------------------------------------------


def test_an_unknown_action_is_told_the_known_ones() -> None:
    for action in ("", "disk.paint", "DISK.REMOVE"):
        verdict = can_do(action, {}, FACTS)
        assert (verdict.allowed, verdict.code) == (False, "unknown_action")
        assert all(known in verdict.sentence for known in ACTIONS)
    table = (module.__doc__ or "").partition("denied with")[2].partition("code ")[0]
    assert set(re.findall(r"^    ([a-z_]+\.[a-z]+) ", table, re.MULTILINE)) == ACTIONS


@pytest.mark.parametrize("action", sorted(ACTIONS))
def test_an_object_must_say_what_it_is(action: str) -> None:
    assert ask(action) == "bad_object"
    for key in ("disk", "vm", "storage_domain", "host_id", "host"):
        assert ask(action, FACTS, **{key: "x"}) == "bad_object"
        assert ask(action, FACTS, **{key: ""}) == "bad_object"
    assert ask("disk.remove", disk=OTHER, storage_domain="x") == "bad_object"
    assert ask("host.remove", host_id="9" * 5000) == "bad_object"


def test_a_definition_that_nothing_could_start_from_gives_no_facts() -> None:
    snapshot = Snapshot(1, 1, "alpha", VM.uuid, Instant(0.0))
    domain = dataclasses.replace(domain_xml(VM, storage_domain_uuid=DOMAIN), xml="<domain/>")
    with pytest.raises(OvfError, match="no disk"):
        can_do_facts(snapshot, VM, domain, storage_domain_uuid=DOMAIN, volumes={}, store_copies=())


KEYS = ("disk", "vm", "storage_domain", "host_id", "host", "disk_type", "other")
VALUES = st.one_of(st.sampled_from([DOMAIN, BOOT_IMAGE, VM.uuid, "1", "2", "HESD"]), st.text())


@given(
    st.one_of(st.sampled_from(sorted(ACTIONS)), st.text()),
    st.dictionaries(st.sampled_from(KEYS), VALUES),
    st.booleans(),
    st.booleans(),
)
def test_any_question_has_an_answer(
    action: str, values: Mapping[str, str], defined: bool, listed: bool
) -> None:
    verdict = can_do(action, values, facts(ALPHA, BETA, defined=defined, listed=listed))
    assert isinstance(verdict, Verdict)
    assert verdict.sentence
