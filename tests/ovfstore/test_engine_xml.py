# SPDX-License-Identifier: Apache-2.0
"""EngineXml: left alone when sound, repaired where only exclusivity is missing, else refused."""

from __future__ import annotations

import pathlib
import re

import pytest
from lxml import etree

from ha_agent.ovfstore.engine_xml import judge_engine_xml
from ha_agent.ovfstore.ovf_parse import parse_ovf

SAMPLES = pathlib.Path(__file__).resolve().parents[3] / "shared" / "data" / "ovf"
VM = "11111111-2222-4333-8444-555555555555"
DOMAIN = "5d000000-0000-4000-8000-000000000001"
VOLUME = "d2000000-0000-4000-8000-00000000000b"
LEASE = (
    f"<lease><key>{VOLUME}</key><lockspace>{DOMAIN}</lockspace>"
    f'<target path="LEASE-PATH:{VOLUME}:{DOMAIN}" offset="LEASE-OFFSET:{VOLUME}:{DOMAIN}"/>'
    "</lease>"
)
SHARED = "<ovirt-vm:shared>exclusive</ovirt-vm:shared>"
POOL = "<ovirt-vm:poolID>00000000-0000-0000-0000-000000000000</ovirt-vm:poolID>"
SOUND = (
    '<?xml version="1.0" encoding="UTF-8"?><domain type="kvm"'
    f' xmlns:ovirt-vm="http://ovirt.org/vm/1.0"><name>engine</name><uuid>{VM}</uuid>'
    '<devices><graphics type="vnc" passwd="*****" passwdValidTo="1970-01-01T00:00:01"/>'
    '<disk type="file" device="cdrom"><target dev="sdc" bus="sata"/></disk>'
    '<disk type="file" device="disk"><target dev="vda" bus="virtio"/><boot order="1"/></disk>'
    f"{LEASE}</devices><metadata><ovirt-vm:vm><launchPaused>false</launchPaused>"
    f'<ovirt-vm:device devtype="disk" name="vda">{POOL}'
    f"<ovirt-vm:volumeID>{VOLUME}</ovirt-vm:volumeID>"
    f"{SHARED}<ovirt-vm:imageID>d2000000-0000-4000-8000-000000000001</ovirt-vm:imageID>"
    f"<ovirt-vm:domainID>{DOMAIN}</ovirt-vm:domainID></ovirt-vm:device></ovirt-vm:vm></metadata>"
    "</domain>"
)


def judge(text: str) -> tuple[etree._Element, str, tuple[str, ...]]:
    verdict = judge_engine_xml(text, vm_uuid=VM, storage_domain_uuid=DOMAIN)
    assert verdict.xml is not None, verdict.refusal
    return etree.fromstring(verdict.xml.encode()), verdict.xml, verdict.notes


def assert_leased(root: etree._Element) -> None:
    leases = [
        lease
        for lease in root.findall("devices/lease")
        if (lease.findtext("key"), lease.findtext("lockspace")) == (VOLUME, DOMAIN)
    ]
    assert len(leases) == 1
    target = leases[0].find("target")
    assert target is not None
    assert target.get("path") == f"LEASE-PATH:{VOLUME}:{DOMAIN}"
    assert target.get("offset") == f"LEASE-OFFSET:{VOLUME}:{DOMAIN}"
    shared = root.findall(".//{http://ovirt.org/vm/1.0}shared")
    assert [element.text for element in shared] == ["exclusive"]
    pools = root.findall(".//{http://ovirt.org/vm/1.0}poolID")
    assert [element.text for element in pools] == ["00000000-0000-0000-0000-000000000000"]


def metadata_of(name: str, volume: str) -> str:
    return (
        f'<ovirt-vm:device devtype="disk" name="{name}">{POOL}'
        f"<ovirt-vm:volumeID>{volume}</ovirt-vm:volumeID>"
        "<ovirt-vm:imageID>d1000000-0000-4000-8000-000000000001</ovirt-vm:imageID>"
        f"<ovirt-vm:domainID>{DOMAIN}</ovirt-vm:domainID></ovirt-vm:device>"
    )


def test_sound_xml_is_returned_to_the_byte() -> None:
    root, text, notes = judge(SOUND)
    assert (text, notes) == (SOUND, ())
    verdict = judge_engine_xml(SOUND, vm_uuid=VM, storage_domain_uuid=DOMAIN)
    assert verdict.volume_uuid == VOLUME
    assert_leased(root)


@pytest.mark.parametrize(
    ("old", "new", "note"),
    [
        (LEASE, "", "added the lease of volume"),
        (LEASE, LEASE.replace(VOLUME, VM), "added the lease of volume"),
        (LEASE, LEASE.replace(f"<lockspace>{DOMAIN}", f"<lockspace>{VM}"), "added the lease"),
        (f'path="LEASE-PATH:{VOLUME}:{DOMAIN}"', "", "no usable target"),
        (f'"LEASE-PATH:{VOLUME}:{DOMAIN}"', '"LEASE-PATH:x:y"', "no usable target"),
        (f'"LEASE-OFFSET:{VOLUME}:{DOMAIN}"', '"-1"', "no usable target"),
        (SHARED, "", "shared=exclusive now, was (missing)"),
        (SHARED, SHARED.replace("exclusive", "false"), "shared=exclusive now, was false"),
        (SHARED, "<ovirt-vm:shared/>", "shared=exclusive now, was (empty)"),
        (POOL, "", "blank pool now, had (missing)"),
        (POOL, POOL.replace("00000000-", "5a38bfb2-"), "blank pool now, had 5a38bfb2"),
        (' passwdValidTo="1970-01-01T00:00:01"', "", "VNC had no passwdValidTo"),
        (' passwdValidTo="1970-01-01T00:00:01"', ' passwdValidTo=""', "VNC had no passwdValidTo"),
        ("<launchPaused>false", "<launchPaused>true", "launchPaused was true"),
        ("<launchPaused>false", "<launchPaused>1", "launchPaused was true"),
        (
            "<launchPaused>false</launchPaused>",
            "<ovirt-vm:launchPaused>True</ovirt-vm:launchPaused>",
            "launchPaused was true",
        ),
        (LEASE, LEASE + LEASE, "was there more than once"),
    ],
)
def test_what_is_missing_is_repaired_and_said(old: str, new: str, note: str) -> None:
    assert SOUND.count(old) == 1
    root, text, notes = judge(SOUND.replace(old, new))
    assert note in notes[0]
    # VDSM could not fill in the lease of another volume or domain.
    other = [said for said in notes[1:] if "which is no disk's volume" in said]
    assert len(other) == len(notes) - 1 == ("added" in note and bool(new))
    assert_leased(root)
    again = judge(text)
    assert again[1:] == (text, ())


def test_metadata_without_namespace_is_understood() -> None:
    """Engines before 4.3 wrote the children of ovirt-vm:vm without their namespace."""
    plain = SOUND.replace("<ovirt-vm:device", "<device").replace("</ovirt-vm:device", "</device")
    for name in ("poolID", "volumeID", "shared", "imageID", "domainID"):
        plain = plain.replace(f"ovirt-vm:{name}>", f"{name}>")
    assert judge(plain)[1:] == (plain, ())
    repaired = judge(plain.replace("<shared>exclusive", "<shared>none"))
    assert repaired[0].findtext(".//shared") == "exclusive"
    assert repaired[2] == ("EngineXml repaired: disk vda is shared=exclusive now, was none",)


def test_the_lease_of_a_volume_that_the_leaf_is_based_on_is_replaced() -> None:
    parent = "d2000000-0000-4000-8000-00000000000a"
    root, text, notes = judge(SOUND.replace(LEASE, LEASE.replace(VOLUME, parent)))
    assert_leased(root)
    assert parent not in text
    assert any(f"removed the lease {parent}" in note for note in notes)


def test_leases_of_the_vm_and_of_other_disks_are_kept() -> None:
    """The engine writes where the VM's own lease is; VDSM fills in that of each disk."""
    other = "d1000000-0000-4000-8000-00000000000a"
    own = (
        f"<lease><key>{VM}</key><lockspace>{VM}</lockspace>"
        '<target path="/rhev/xleases" offset="3145728"/></lease>'
    )
    disk = '<disk device="disk"><target dev="vdb"/></disk>'
    text = SOUND.replace("<devices>", "<devices>" + disk)
    text = text.replace(LEASE, own + LEASE + LEASE.replace(VOLUME, other))
    text = text.replace("<launchPaused>", metadata_of("vdb", other) + "<launchPaused>")
    assert judge(text)[1:] == (text, ())


def test_a_real_path_of_a_lease_is_kept() -> None:
    real = re.sub(r'path="[^"]*" offset="[^"]*"', 'path="/rhev/x.lease" offset="0"', SOUND)
    assert judge(real)[1:] == (real, ())


@pytest.mark.parametrize(
    ("old", "new", "refusal"),
    [
        (f"<uuid>{VM}", "<uuid>99999999-2222-4333-8444-555555555555", "it is of VM 99999999"),
        (f"<uuid>{VM}</uuid>", "", r"it is of VM \(none\)"),
        ("<devices>", "<device>", "not well-formed"),
        ("devices>", "hardware>", "it has 0 elements devices"),
        ("<devices>", "<devices/><devices>", "it has 2 elements devices"),
        ("domain", "network", "its root element"),
        ('name="vda"', 'name="vdb"', "no disk with image, volume and domain ids"),
        (f"<ovirt-vm:domainID>{DOMAIN}", "<ovirt-vm:domainID>", "no disk with image"),
        ("</lease>", '</lease><interface><boot order="1"/></interface>', "have boot order 1"),
        ("<name>engine", "<!DOCTYPE x><name>engine", "not allowed"),
    ],
)
def test_what_cannot_be_repaired_is_refused(old: str, new: str, refusal: str) -> None:
    assert old in SOUND
    verdict = judge_engine_xml(SOUND.replace(old, new), vm_uuid=VM, storage_domain_uuid=DOMAIN)
    assert verdict.xml is None
    assert re.search(refusal, verdict.refusal)


def test_of_several_disks_the_boot_disk_is_leased() -> None:
    first = '<disk device="disk"><target dev="vdb"/><boot order="2"/></disk>'
    metadata = metadata_of("vdb", "d1000000-0000-4000-8000-00000000000a")
    text = SOUND.replace("<devices>", "<devices>" + first).replace(LEASE, "")
    text = text.replace("<launchPaused>", metadata + "<launchPaused>")
    root, _, notes = judge(text)
    assert len(notes) == 1
    assert root.findtext("devices/lease/key") == VOLUME


def test_another_storage_domain_is_noted() -> None:
    verdict = judge_engine_xml(SOUND, vm_uuid=VM, storage_domain_uuid=VM)
    assert verdict.xml == SOUND
    assert f"is on storage domain {DOMAIN}, not on {VM}" in verdict.notes[0]


def test_the_predecessors_sample_without_lease_is_repaired() -> None:
    path = SAMPLES / "predecessor_v4.2_no_lease.ovf"
    if not path.exists():
        pytest.skip("no sample data beside this checkout")
    vm = parse_ovf(path.read_bytes(), where="x")
    assert vm.engine_xml is not None
    # The sample's EngineXml is of another VM than its OVF; of its own VM it can be repaired.
    own_uuid = "b36a34f1-d1c2-4585-ae8f-33e05e4d3c19"
    domain = "a2ec0146-37d4-4c1d-901e-7ed89cd009ff"
    verdict = judge_engine_xml(vm.engine_xml, vm_uuid=own_uuid, storage_domain_uuid=domain)
    assert verdict.xml is not None
    root = etree.fromstring(verdict.xml.encode())
    assert root.findtext("devices/lease/key") == "596f868e-6519-456d-96a0-b78a1b2eea91"
    assert root.findtext("devices/lease/lockspace") == domain
    assert len(verdict.notes) == 3  # shared, pool, lease
