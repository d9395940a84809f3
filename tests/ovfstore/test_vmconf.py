# SPDX-License-Identifier: Apache-2.0
"""vm.conf's text: the line that VDSM's hook reads, devices, and nothing that its grammar bends."""

from __future__ import annotations

import base64
import dataclasses
import pathlib
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from ha_agent.ovfstore.codes import BiosType, DiskInterface, DisplayType, NicModel
from ha_agent.ovfstore.model import Device, Disk, Nic, NumaNode, Pairs, VmDefinition
from ha_agent.ovfstore.ovf_build import build_ovf
from ha_agent.ovfstore.ovf_parse import parse_ovf
from ha_agent.ovfstore.translate import domain_xml
from ha_agent.ovfstore.vmconf import vm_conf_text
from ha_agent.ovfstore.vmconf_grammar import Value, parse_vm_conf
from ha_agent.ovfstore.vmconf_read import definition_from_vm_conf
from tests.ovfstore.definitions import definitions

HECONF = pathlib.Path(__file__).resolve().parents[3] / "shared/data/volumes/heconf.tar"
UUID = "11111111-2222-4333-8444-555555555555"
VOLUME = "d2000000-0000-4000-8000-00000000000b"
DOMAIN = "d3000000-0000-4000-8000-00000000000c"

VM = VmDefinition(
    uuid=UUID,
    name="HostedEngine",
    memory_mib=2048,
    sockets=2,
    cores_per_socket=2,
    threads_per_core=2,
    max_vcpus=16,
    cpu_model="Nehalem,+ibpb,-hle",
    emulated_machine="pc-q35-rhel9.6.0",
    bios_type=BiosType.Q35_SEA_BIOS,
    display_type=DisplayType.VGA,
    cpu_pinning="0#0-1_2#3",
    user_properties=(("hugepages", "2048"),),
    disks=(
        Disk(UUID, VOLUME, storage_domain_uuids=(DOMAIN,), volume_format="COW", boot_order=1),
        Disk(VOLUME, lun_id="3600a", is_shareable=True),
        Disk(DOMAIN, VOLUME, is_plugged=False),
    ),
    nics=(Nic("7", "nic1", NicModel.E1000E, "ovirtmgmt", mac="00:16:3e:00:00:01"),),
    devices=(
        Device("8", 15, "disk", "cdrom", is_read_only=True),
        Device("9", 0, "controller", "virtio-scsi", spec_params=(("index", "0"),)),
        Device("10", 20, "video", "vga", monitors=1, spec_params=(("vram", "8192"),)),
        Device("11", 26, "graphics", "vnc"),
        Device("12", 0, "rng", "virtio", spec_params=(("source", "urandom"),)),
    ),
    numa_nodes=(NumaNode(0, (0, 1, 2, 3), 2048),),
)


def read(text: str) -> VmDefinition:
    conf = parse_vm_conf(text, where="vm.conf")
    return definition_from_vm_conf(conf, where="vm.conf")[0]


def test_the_lines_of_an_engine_vm() -> None:
    ids = f"poolID:00000000-0000-0000-0000-000000000000,volumeID:{VOLUME},imageID:{UUID}"
    assert vm_conf_text(VM).splitlines() == [
        f"vmId={UUID}",
        "memSize=2048",
        "vmName=HostedEngine",
        "smp=8",
        "smpCoresPerSocket=2",
        "smpThreadsPerCore=2",
        "maxVCpus=16",
        "cpuType=Nehalem,+ibpb,-hle",
        "emulatedMachine=pc-q35-rhel9.6.0",
        "display=vnc",
        "cpuPinning={0:0-1,2:3}",
        f"devices={{index:0,iface:virtio,format:cow,{ids},domainID:{DOMAIN},deviceId:{UUID},"
        "readonly:false,optional:false,device:disk,shared:exclusive,propagateErrors:off,"
        "type:disk,specParams:{},bootOrder:1}",
        f"devices={{index:1,iface:virtio,format:raw,GUID:3600a,deviceId:{VOLUME},readonly:false,"
        "optional:false,device:disk,shared:shared,propagateErrors:off,type:disk,specParams:{}}",
        "devices={nicModel:e1000e,macAddr:00:16:3e:00:00:01,linkActive:true,network:ovirtmgmt,"
        "deviceId:7,device:bridge,type:interface,specParams:{}}",
        "devices={device:cdrom,type:disk,iface:sata,path:,shared:false,deviceId:8,readonly:true,"
        "specParams:{}}",
        "devices={device:scsi,type:controller,model:virtio-scsi,index:0,deviceId:9,specParams:{}}",
        "devices={device:vga,type:video,deviceId:10,specParams:{vram:8192}}",
        "devices={device:vnc,type:graphics,deviceId:11,specParams:{}}",
        "devices={device:virtio,type:rng,model:virtio,deviceId:12,specParams:{source:urandom}}",
        "guestNumaNodes={nodeIndex:0,cpus:0-3,memory:2048}",
        "custom_hugepages=2048",
    ]


def test_the_domain_xml_is_base64() -> None:
    last = vm_conf_text(VM, "<domain>é</domain>").splitlines()[-1]
    key, _, value = last.partition("=")
    assert key == "xmlBase64"
    assert base64.b64decode(value).decode() == "<domain>é</domain>"
    assert vm_conf_text(VM, "x" * 3_000_000) == vm_conf_text(VM)


def test_a_host_cpu_is_named_as_vdsm_does() -> None:
    text = vm_conf_text(dataclasses.replace(VM, uses_host_cpu=True))
    assert "cpuType=hostPassthrough\n" in text
    assert "Nehalem" not in text


@pytest.mark.parametrize("name", ["Our Engine", "a#b", "x\nvmId=other", "None", "", "a\0b"])
def test_a_name_that_the_grammar_would_change_is_left_out(name: str) -> None:
    text = vm_conf_text(dataclasses.replace(VM, name=name))
    assert "vmName" not in text
    assert text == vm_conf_text(VM).replace("vmName=HostedEngine\n", "")


def test_a_network_that_broke_the_predecessors_file() -> None:
    nic = dataclasses.replace(VM.nics[0], network="net'#1")
    conf = parse_vm_conf(vm_conf_text(dataclasses.replace(VM, nics=(nic,))), where="F")
    (found,) = [item.value for item in conf.all("devices") if "nicModel" in item.value]
    assert isinstance(found, dict)
    assert "network" not in found
    assert found["macAddr"] == "00:16:3e:00:00:01"


def test_what_braces_cannot_hold_is_left_out() -> None:
    vm = dataclasses.replace(
        VM,
        cpu_pinning="0#0,2",
        numa_nodes=(NumaNode(0, (0, 2), 1024), NumaNode(1, (1, 3), 1024)),
        user_properties=(("a b", "1"), ("c", "x y"), ("d", "1,2}")),
        devices=(
            Device("1", 0, "odd kind", "x"),
            Device("2", 0, "rng", "a,b", address=(("slot", "1"), ("bus", "}"))),
            Device("3", 0, "rng", "x", spec_params=(("a", "1"), ("a/b", "2"), ("c", "{"))),
        ),
    )
    lines = vm_conf_text(vm).splitlines()
    assert not [line for line in lines if line.startswith(("cpuPinning", "guestNuma"))]
    assert lines[-3:] == [
        "devices={type:rng,model:virtio,deviceId:2,specParams:{}}",
        "devices={device:x,type:rng,model:virtio,deviceId:3,specParams:{a:1}}",
        "custom_d=1,2}",
    ]


def test_reading_back_gives_what_a_vm_conf_can_say() -> None:
    back = read(vm_conf_text(VM))
    boot, lun = back.disks
    assert boot == dataclasses.replace(VM.disks[0], is_boot=True)
    assert (lun.lun_id, lun.image_uuid, lun.is_shareable) == ("3600a", VOLUME, True)
    assert back.nics == VM.nics
    assert back.devices == VM.devices
    for name in ("uuid", "name", "memory_mib", "vcpus", "max_vcpus", "cpu_model", "cpu_pinning",
                 "emulated_machine", "display_type", "user_properties", "numa_nodes"):  # fmt: skip
        assert getattr(back, name) == getattr(VM, name)


# --- any definition ----------------------------------------------------------------------

TEXTS = st.text(max_size=8) | st.sampled_from(["a b", "a#", "a,b", "}", "{", "x'\"y", "=", ":"])
OPTIONAL_TEXTS = st.none() | TEXTS
UUIDS = st.uuids().map(str)
PAIRS: st.SearchStrategy[Pairs] = st.lists(st.tuples(TEXTS, TEXTS), max_size=3).map(tuple)
DISKS = st.builds(
    Disk,
    image_uuid=UUIDS,
    volume_uuid=UUIDS,
    storage_domain_uuids=st.lists(UUIDS, max_size=2).map(tuple),
    volume_format=st.sampled_from(["RAW", "COW", "Unassigned"]),
    interface=st.sampled_from(DiskInterface),
    boot_order=st.integers(0, 3),
    is_read_only=st.booleans(),
    is_shareable=st.booleans(),
    device_alias=TEXTS,
    address=PAIRS,
    spec_params=PAIRS,
)
NICS = st.builds(
    Nic,
    device_uuid=TEXTS,
    name=TEXTS,
    model=st.sampled_from(NicModel),
    network=OPTIONAL_TEXTS,
    mac=OPTIONAL_TEXTS,
    device=TEXTS,
    is_plugged=st.booleans(),
    address=PAIRS,
    custom_properties=PAIRS,
)
DEVICES = st.builds(
    Device,
    device_uuid=TEXTS,
    resource_type=st.just(0),
    kind=TEXTS | st.sampled_from(["controller", "video", "graphics", "rng", "disk"]),
    device=TEXTS | st.sampled_from(["virtio-scsi", "cdrom"]),
    address=PAIRS,
    spec_params=PAIRS,
    device_alias=TEXTS,
)
VMS = st.builds(
    VmDefinition,
    uuid=UUIDS,
    name=TEXTS,
    memory_mib=st.integers(1, 1 << 30),
    sockets=st.integers(1, 16),
    cores_per_socket=st.integers(1, 4),
    threads_per_core=st.integers(1, 2),
    max_vcpus=st.integers(1, 300),
    cpu_model=OPTIONAL_TEXTS,
    emulated_machine=OPTIONAL_TEXTS,
    cpu_pinning=OPTIONAL_TEXTS,
    boot_sequence=st.none() | st.integers(-1, 20),
    user_properties=PAIRS,
    disks=st.lists(DISKS, max_size=3).map(tuple),
    nics=st.lists(NICS, max_size=2).map(tuple),
    devices=st.lists(DEVICES, max_size=3).map(tuple),
)


def devices_of(text: str, name: str) -> list[dict[str, Value]]:
    found = [entry.value for entry in parse_vm_conf(text, where="F").all("devices")]
    return [dict(value) for value in found if not isinstance(value, str) and name in value]


@given(VMS)
def test_any_definition_gives_a_file_that_parses(vm: VmDefinition) -> None:
    text = vm_conf_text(vm)
    conf = parse_vm_conf(text, where="F")
    assert text.startswith(f"vmId={vm.uuid}\nmemSize={vm.memory_mib}\n")
    smp = conf.last("smp")
    assert smp is not None
    assert smp.value == str(vm.vcpus)
    found = devices_of(text, "volumeID")
    assert [(item["imageID"], item["volumeID"]) for item in found] == [
        (disk.image_uuid, disk.volume_uuid) for disk in vm.disks
    ]


@given(definitions())
def test_any_definition_gives_a_file_that_is_a_definition(vm: VmDefinition) -> None:
    text = vm_conf_text(vm, vm.engine_xml)
    assert text.startswith(f"vmId={vm.uuid}\nmemSize={vm.memory_mib}\n")
    back = read(text)
    assert (back.uuid, back.memory_mib, back.vcpus) == (vm.uuid, vm.memory_mib, vm.vcpus)
    assert [disk.volume_uuid for disk in back.disks if disk.volume_uuid] == [
        disk.volume_uuid for disk in vm.disks if disk.volume_uuid and disk.is_plugged
    ]
    assert back.engine_xml == (vm.engine_xml or None)
    assert read(vm_conf_text(back, back.engine_xml)) == back


# --- any vm.conf -------------------------------------------------------------------------

WORDS = st.text(alphabet="abzAZ019._-é", min_size=1, max_size=6)
NUMBERS = st.integers(0, 99).map(str)
FLAGS = st.sampled_from(["true", "false", "True", ""])
ADDRESSES = st.dictionaries(st.sampled_from(["type", "slot", "bus"]), st.just("0x01"))
SPECS = st.recursive(
    st.dictionaries(st.sampled_from("abc"), WORDS, max_size=2),
    lambda inner: st.dictionaries(st.sampled_from("abcd"), inner | WORDS, max_size=3),
    max_leaves=4,
)
COMMON = {
    "alias": WORDS,
    "address": ADDRESSES,
    "specParams": SPECS,
    "bootOrder": NUMBERS,
    "deviceId": UUIDS,
    "readonly": FLAGS,
    "unknown": WORDS,
    "custom": st.dictionaries(st.sampled_from("ab"), WORDS),
}
DISK_LINES = st.fixed_dictionaries(
    {"type": st.just("disk"), "imageID": UUIDS, "volumeID": UUIDS},
    optional={
        **COMMON,
        "iface": st.sampled_from(["virtio", "scsi", "ide", "sata", "spapr_vscsi", "virtio_scsi"]),
        "format": st.sampled_from(["raw", "cow"]),
        "domainID": UUIDS,
        "poolID": UUIDS,
        "shared": st.sampled_from(["exclusive", "true", "none", "shared"]),
        "discard": FLAGS,
    },
)
NIC_LINES = st.fixed_dictionaries(
    {"type": st.just("interface")},
    optional={
        **COMMON,
        "device": st.sampled_from(["bridge", "hostdev"]),
        "nicModel": st.sampled_from(["pv", "virtio", "e1000", "rtl8139", "e1000e", "spapr-vlan"]),
        "macAddr": st.sampled_from(["00:16:3e:35:83:68", "AA:16:3e:35:83:68"]),
        "network": WORDS,
        "linkActive": FLAGS,
    },
)
OTHER_LINES = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["controller", "video", "graphics", "console", "balloon", "odd"]),
        "device": st.sampled_from(["scsi", "usb", "vga", "qxl", "cdrom", "spice", ""]),
    },
    optional={
        **COMMON,
        "index": NUMBERS,
        "model": st.sampled_from(["virtio-scsi", "piix3-uhci", "none"]),
        "ports": NUMBERS,
    },
)
CDROM_LINES = st.fixed_dictionaries(
    {"type": st.just("disk"), "device": st.just("cdrom")},
    optional={**COMMON, "iface": st.sampled_from(["ide", "sata", "scsi"]), "path": WORDS},
)
KEYS = st.fixed_dictionaries(
    {"vmId": UUIDS, "memSize": st.integers(1, 1 << 20).map(str)},
    optional={
        "vmName": WORDS,
        "smp": st.integers(1, 64).map(str),
        "maxVCpus": st.integers(1, 128).map(str),
        "display": st.sampled_from(["vnc", "qxl", "qxlnc"]),
        "cpuType": WORDS,
        "emulatedMachine": st.sampled_from(["pc", "pc-q35-rhel9.6.0", "pc-i440fx-rhel7.6.0"]),
        "boot": st.sampled_from(["c", "dc", "nd"]),
        "launchPaused": FLAGS,
        "maxMemSize": st.integers(1, 9999).map(str),
        "memGuaranteedSize": NUMBERS,
        "keyboardLayout": WORDS,
        "kernel": WORDS,
        "cpuPinning": st.dictionaries(NUMBERS, st.sampled_from(["0", "0-1", "^2"])),
        "custom_a": WORDS | st.just(""),
        "custom_hugepages": NUMBERS,
        "timeOffset": NUMBERS,
        "xmlBase64": st.sampled_from(["PGRvbWFpbi8+"]),
    },
)


def as_text(value: Value) -> str:
    if isinstance(value, str):
        return value
    return "{" + ",".join(f"{name}:{as_text(inner)}" for name, inner in value.items()) + "}"


@given(KEYS, st.lists(DISK_LINES | NIC_LINES | OTHER_LINES | CDROM_LINES, max_size=5))
def test_vm_conf_to_vm_to_vm_conf_is_a_fixed_point(
    keys: dict[str, Value], devices: list[dict[str, Value]]
) -> None:
    lines = [f"{key}={as_text(value)}" for key, value in keys.items()]
    lines += [f"devices={as_text(fields)}" for fields in devices]
    first = read("\n".join(lines))
    text = vm_conf_text(first, first.engine_xml)
    second = read(text)
    assert second == first
    assert vm_conf_text(second, second.engine_xml) == text


@given(KEYS, st.lists(DISK_LINES | NIC_LINES | OTHER_LINES | CDROM_LINES, max_size=5))
def test_a_converted_definition_becomes_an_ovf(
    keys: dict[str, Value], devices: list[dict[str, Value]]
) -> None:
    lines = [f"{key}={as_text(value)}" for key, value in keys.items()]
    lines += [f"devices={as_text(fields)}" for fields in devices]
    vm = read("\n".join(lines))
    assert parse_ovf(build_ovf(vm), where="F") == vm


@pytest.mark.skipif(not HECONF.exists(), reason="the sample volumes are not here")
def test_the_predecessors_own_file() -> None:
    with tarfile.open(HECONF) as archive:
        member = archive.extractfile("vm.conf")
        assert member is not None
        data = member.read()
    vm, notes = definition_from_vm_conf(parse_vm_conf(data, where="F"), where="F")
    assert vm.uuid == "82a24281-8a25-4772-b9c9-45971e811cb3"
    assert [disk.is_boot for disk in vm.disks] == [True]
    assert [nic.network for nic in vm.nics] == ["ovirtmgmt"]
    assert "line 4, device disk cdrom: not used: index=2, shared=false" in notes
    assert read(vm_conf_text(vm)) == vm


def test_a_q35_vm_with_an_ide_cdrom_becomes_a_domain_with_sata() -> None:
    cdrom = "devices={device:cdrom,iface:ide,address:{type:drive,bus:1},readonly:true,type:disk}\n"
    text = vm_conf_text(dataclasses.replace(VM, devices=VM.devices[1:], user_properties=()))
    domain = domain_xml(read(text + cdrom), storage_domain_uuid=DOMAIN)
    root = etree.fromstring(domain.xml.encode())
    found = [disk for disk in root.findall("devices/disk") if disk.get("device") == "cdrom"]
    assert [disk.find("target").get("bus") for disk in found] == ["sata"]  # type: ignore[union-attr]
    assert root.find("devices/lease") is not None
