# SPDX-License-Identifier: Apache-2.0
"""Which XML a definition starts from, and that there never is one without a lease."""

from __future__ import annotations

import dataclasses
import pathlib

import pytest
from hypothesis import HealthCheck, given, settings
from lxml import etree

from ha_agent.ovfstore.engine_xml import judge_engine_xml
from ha_agent.ovfstore.model import VmDefinition
from ha_agent.ovfstore.ovf_build import build_ovf
from ha_agent.ovfstore.ovf_parse import parse_ovf
from ha_agent.ovfstore.translate import domain_xml, with_engine_xml
from ha_agent.ovfstore.xml_input import OvfError
from tests.ovfstore.vm_variants import VARIANTS, startable, vms

DATA = pathlib.Path(__file__).resolve().parents[1] / "data" / "engine_vm.ovf"
SAMPLES = pathlib.Path(__file__).resolve().parents[3] / "shared" / "data" / "ovf"
VM = parse_ovf(DATA.read_bytes(), where="F")
DOMAIN = "5d000000-0000-4000-8000-000000000001"


def test_without_engine_xml_it_is_built_and_the_result_is_sound_engine_xml() -> None:
    built = domain_xml(VM, storage_domain_uuid=DOMAIN)
    assert built.source == "ovf"
    verdict = judge_engine_xml(built.xml, vm_uuid=VM.uuid, storage_domain_uuid=DOMAIN)
    assert (verdict.xml, verdict.notes) == (built.xml, ())
    used = domain_xml(
        dataclasses.replace(VM, engine_xml=built.xml), storage_domain_uuid=DOMAIN.upper()
    )
    assert (used.xml, used.source, used.notes) == (built.xml, "engine_xml", ())


def test_unusable_engine_xml_is_replaced_and_the_reason_said() -> None:
    for text in ("", "<domain/>", "<domain", "<!DOCTYPE a><domain/>"):
        result = domain_xml(dataclasses.replace(VM, engine_xml=text), storage_domain_uuid=DOMAIN)
        assert result.source == "ovf"
        assert result.notes[0].startswith("EngineXml not used: ")


def test_what_only_the_engine_xml_tells_is_not_guessed() -> None:
    """A firmware of the future is no obstacle while its EngineXml is sound, and one without."""
    sound = domain_xml(VM, storage_domain_uuid=DOMAIN).xml
    ovf = build_ovf(dataclasses.replace(VM, engine_xml=sound))
    ovf = ovf.replace(b"<BiosType>3<", b"<BiosType>77<")
    vm = parse_ovf(ovf, where="F")
    assert domain_xml(vm, storage_domain_uuid=DOMAIN).source == "engine_xml"
    unsound = dataclasses.replace(vm, engine_xml="<domain/>")
    with pytest.raises(OvfError, match="77"):
        domain_xml(unsound, storage_domain_uuid=DOMAIN)


def test_an_edit_that_forgot_the_engine_xml_is_told() -> None:
    sound = domain_xml(VM, storage_domain_uuid=DOMAIN).xml
    edited = dataclasses.replace(VM, engine_xml=sound, memory_mib=4096, sockets=1)
    assert domain_xml(edited, storage_domain_uuid=DOMAIN).notes == (
        "the OVF says 4096 MiB of memory, its EngineXml 2048: the EngineXml is started",
        "the OVF says 4 virtual CPUs, its EngineXml 8: the EngineXml is started",
    )


def assert_sound(vm: VmDefinition) -> None:
    """Our own EngineXml is used to the byte, and nothing in it needs repair."""
    made, _ = with_engine_xml(vm, storage_domain_uuid=DOMAIN)
    assert dataclasses.replace(made, engine_xml=vm.engine_xml) == vm
    used = domain_xml(made, storage_domain_uuid=DOMAIN)
    assert (used.source, used.xml) == ("engine_xml", made.engine_xml)
    assert [note for note in used.notes if "is on storage domain" not in note] == []


@pytest.mark.parametrize("name", VARIANTS)
def test_engine_xml_of_our_own_is_sound(name: str) -> None:
    assert_sound(VARIANTS[name])


@settings(max_examples=40)
@given(vms())
def test_engine_xml_of_our_own_is_sound_whatever_the_devices(vm: VmDefinition) -> None:
    assert_sound(vm)


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(startable())
def test_engine_xml_of_our_own_is_sound_whatever_the_texts(vm: VmDefinition) -> None:
    assert_sound(vm)


def test_a_control_character_is_an_error() -> None:
    vm = dataclasses.replace(VM, name="engine\x00")
    with pytest.raises(OvfError, match="can't be written as XML"):
        with_engine_xml(vm, storage_domain_uuid=DOMAIN)


def test_nothing_to_lease_is_an_error() -> None:
    luns = tuple(disk for disk in VM.disks if disk.lun_id)
    unplugged = tuple(dataclasses.replace(disk, is_plugged=False) for disk in VM.disks)
    for disks in ((), luns, unplugged):
        with pytest.raises(OvfError, match="no image disk"):
            domain_xml(dataclasses.replace(VM, disks=disks), storage_domain_uuid=DOMAIN)


@pytest.mark.parametrize(
    "name",
    sorted(path.name for path in SAMPLES.glob("*.ovf")) if SAMPLES.exists() else ["(none)"],
)
def test_samples(name: str) -> None:
    path = SAMPLES / name
    if not path.exists():
        pytest.skip("no sample data beside this checkout")
    vm = parse_ovf(path.read_bytes(), where=name)
    result = domain_xml(vm, storage_domain_uuid="ce880525-a44b-4248-8b63-d9e11b2f123a")
    # The EngineXml of the sample without lease is that of another VM.
    is_sound = vm.engine_xml is not None and "no_lease" not in name
    assert result.source == ("engine_xml" if is_sound else "ovf")
    if is_sound:
        assert result.xml == vm.engine_xml
        # The made-up samples carry the EngineXml of another VM, and that is said.
        strange = [
            note
            for note in result.notes
            if "not a disk of its OVF" in note or "the EngineXml is started" in note
        ]
        assert strange == list(result.notes)
        assert bool(strange) is name.startswith("he")
    root = etree.fromstring(result.xml.encode())
    assert root.findtext("uuid") == vm.uuid
    assert len(root.findall("devices/lease")) == 1
    for graphics in root.findall("devices/graphics"):
        assert graphics.get("passwdValidTo")
    sound = judge_engine_xml(
        result.xml,
        vm_uuid=vm.uuid,
        storage_domain_uuid=root.findtext("devices/lease/lockspace") or "",
    )
    assert sound.notes == ()
