# SPDX-License-Identifier: Apache-2.0
"""The devices of a vm.conf, kind by kind."""

from __future__ import annotations

from typing import Optional

import pytest

from ha_agent.errors import BadInput
from ha_agent.ovfstore.codes import DiskInterface, NicModel
from ha_agent.ovfstore.model import Device, Disk, Nic
from ha_agent.ovfstore.vmconf_devices import DevicesRead, read_devices
from ha_agent.ovfstore.vmconf_grammar import parse_vm_conf

IMAGE = "f270b541-a113-4815-b72e-b0ec3e1ed6b6"
VOLUME = "19cc3c17-5c81-4750-b807-09db88a67ad5"
DOMAIN = "2164faa8-b18b-4036-b686-5a6eec95081b"
BLANK = "00000000-0000-0000-0000-000000000000"
IDS = f"imageID:{IMAGE},volumeID:{VOLUME}"


def read(*lines: str, is_q35: bool = False, domain: Optional[str] = None) -> DevicesRead:
    conf = parse_vm_conf("\n".join(lines), where="F")
    return read_devices(conf, is_q35=is_q35, storage_domain_uuid=domain, where="F")


def disk(fields: str) -> Disk:
    return read(f"devices={{{fields},{IDS},device:disk,type:disk}}").disks[0]


def device(fields: str, *, is_q35: bool = False) -> Device:
    return read(f"devices={{{fields}}}", is_q35=is_q35).devices[0]


def test_a_disk_with_all_that_a_line_can_say() -> None:
    assert disk(
        f"iface:scsi,format:cow,domainID:{DOMAIN.upper()},readonly:true,shared:shared,"
        "discard:true,alias:ua-1,bootOrder:2,address:{type:drive,unit:1},"
        "specParams:{pinToIoThread:1},custom:{k:v}"
    ) == Disk(
        image_uuid=IMAGE,
        volume_uuid=VOLUME,
        storage_domain_uuids=(DOMAIN,),
        volume_format="COW",
        interface=DiskInterface.VIRTIO_SCSI,
        is_boot=True,
        boot_order=2,
        is_read_only=True,
        is_shareable=True,
        passes_discard=True,
        device_alias="ua-1",
        address=(("type", "drive"), ("unit", "1")),
        spec_params=(("pinToIoThread", "1"),),
        custom_properties=(("k", "v"),),
    )


def test_a_disk_with_the_least() -> None:
    found = read(f"drive={{{IDS}}}", domain=DOMAIN.upper())
    assert found.disks == [
        Disk(IMAGE, VOLUME, storage_domain_uuids=(DOMAIN,), is_boot=True, boot_order=1)
    ]
    assert f"no disk has a bootOrder: {IMAGE} is booted from" in found.notes
    assert any("taken to be on storage domain" in note for note in found.notes)
    unknown = read(f"drive={{{IDS}}}")
    assert unknown.disks[0].storage_domain_uuids == ()
    assert f"disk {IMAGE}: its storage domain is not given" in unknown.notes


def test_the_lowest_order_is_the_boot_disk() -> None:
    other = "aaaaaaaa-1111-2222-3333-444444444444"
    found = read(
        f"devices={{type:disk,bootOrder:3,{IDS}}}",
        f"devices={{type:disk,bootOrder:2,imageID:{other},volumeID:{other}}}",
    ).disks
    assert [(item.is_boot, item.boot_order) for item in found] == [(False, 3), (True, 2)]


def test_a_flat_drive_and_a_path_are_disks() -> None:
    found = read(
        f"drive=pool:{BLANK},domain:{DOMAIN},image:{IMAGE},volume:{VOLUME}",
        f"imageFile=/rhev/data-center/{BLANK}/{DOMAIN}/images/{VOLUME}/{IMAGE}",
    ).disks
    assert [(item.image_uuid, item.volume_uuid) for item in found] == [
        (IMAGE, VOLUME),
        (VOLUME, IMAGE),
    ]
    assert {item.storage_domain_uuids for item in found} == {(DOMAIN,)}
    assert found[1].interface is DiskInterface.IDE


def test_a_direct_lun() -> None:
    found = read(f"devices={{type:disk,device:lun,GUID:3600a,deviceId:{IMAGE},bootOrder:1}}")
    assert found.disks == [Disk(IMAGE, lun_id="3600a", is_boot=True, boot_order=1)]


def test_ide_is_sata_on_q35() -> None:
    line = f"devices={{type:disk,iface:ide,domainID:{DOMAIN},bootOrder:1,{IDS}}}"
    assert read(line).disks[0].interface is DiskInterface.IDE
    found = read(line, is_q35=True)
    assert found.disks[0].interface is DiskInterface.SATA
    assert f"disk {IMAGE} is SATA, not IDE: a q35 machine has no IDE" in found.notes


CDROM = "devices={device:cdrom,iface:ide,path:/x.iso,readonly:true,address:{bus:1},type:disk}"


def test_an_ide_cdrom_of_a_q35_machine_is_sata() -> None:
    found = read(CDROM, is_q35=True)
    assert found.devices == [Device("", 15, "disk", "cdrom", is_read_only=True)]
    assert found.notes == [
        "the CD-ROM drive is SATA, not IDE, and its address is left to libvirt:"
        " a q35 machine has no IDE",
        "line 1, device disk cdrom: not used: path=/x.iso",
    ]
    kept = read(CDROM).devices[0]
    assert kept.address == (("bus", "1"),)
    assert read("cdrom=/x.iso").devices == [Device("", 15, "disk", "cdrom")]


def test_a_nic_with_all_that_a_line_can_say() -> None:
    found = read(
        "devices={nicModel:pv,macAddr:00:16:3e:35:83:68,linkActive:false,network:net,bootOrder:4,"
        "deviceId:7,device:bridge,type:interface,filter:vdsm-no-mac-spoofing,alias:net0}",
        "devices={nicModel:e1000e,network:,type:interface}",
    )
    assert found.nics == [
        Nic("7", "nic1", NicModel.PV, "net", None, "00:16:3e:35:83:68", False, boot_order=4,
            device_alias="net0"),
        Nic("", "nic2", NicModel.E1000E),
    ]  # fmt: skip
    assert found.notes == [
        "network interface 00:16:3e:35:83:68 is named nic1",
        "line 1, device interface bridge: not used: filter=vdsm-no-mac-spoofing",
        "network interface (no MAC) is named nic2",
    ]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "device:scsi,model:virtio-scsi,type:controller",
            Device("", 0, "controller", "virtio-scsi"),
        ),
        (
            "device:usb,model:piix3-uhci,index:0,type:controller",
            Device("", 0, "controller", "usb",
                   spec_params=(("index", "0"), ("model", "piix3-uhci"))),
        ),
        (
            "device:console,specParams:{consoleType:serial},type:console,deviceId:6,alias:console0",
            Device("6", 0, "console", "console", device_alias="console0",
                   spec_params=(("consoleType", "serial"),)),
        ),
        ("device:vga,type:video", Device("", 20, "video", "vga", monitors=1)),
        ("device:vnc,type:graphics", Device("", 26, "graphics", "vnc")),
        (
            "device:virtio,specParams:{source:random},model:virtio,type:rng",
            Device("", 0, "rng", "virtio", spec_params=(("source", "random"),)),
        ),
        ("device:memballoon,type:balloon", Device("", 0, "balloon", "memballoon")),
    ],
)  # fmt: skip
def test_other_devices(line: str, expected: Device) -> None:
    assert device(line) == expected


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("devices=text", "line 1: device: 'text' has no fields"),
        ("devices=", "line 1: device: '' has no fields"),
        ("devices={device:disk}", "line 1: device type: a device without a type"),
        ("drive={imageID:1}", "drive imageID: '1' is not a UUID"),
        (f"drive={{imageID:{IMAGE}}}", "a disk without volumeID or GUID"),
        (f"drive={{volumeID:{VOLUME}}}", "drive imageID: a disk without its uuid"),
        ("drive={GUID:1}", "drive deviceId: a disk without its uuid"),
        (f"drive={{{IDS},iface:floppy}}", "drive iface: 'floppy' is none of virtio"),
        (f"drive={{{IDS},format:vmdk}}", "drive format: 'vmdk' is none of raw"),
        (f"drive={{{IDS},shared:transient}}", "drive shared: 'transient' is none of"),
        (f"drive={{{IDS},bootOrder:x}}", "drive bootOrder: 'x' is no whole number"),
        ("hda=/tmp/image", "line 1: hda: is no path"),
        ("hda=/a/images/b/c", "hda imageID: 'b' is not a UUID"),
        ("devices={type:interface,nicModel:ne2k}", "interface nicModel: 'ne2k' is none of"),
        ("devices={type:interface,macAddr:zz}", "interface macAddr: 'zz' is no MAC address"),
        ("devices={type:rng,model:isa}", "rng model: is not virtio"),
    ],
)
def test_what_cannot_be_converted_is_refused(line: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        read(line)


def test_a_disk_that_is_there_twice_is_refused() -> None:
    with pytest.raises(BadInput, match=f"line 2: drive: disk {IMAGE} is in the file already"):
        read(f"drive={{{IDS}}}", f"drive={{imageID:{IMAGE},volumeID:{IMAGE}}}")


def test_what_nothing_uses_is_told() -> None:
    found = read(
        f"devices={{type:disk,index:0,domainID:{DOMAIN},poolID:{DOMAIN},deviceId:{VOLUME},"
        f"bootOrder:1,optional:false,{IDS}}}"
    )
    assert found.notes[:2] == [
        "line 1, device disk: deviceId differs from imageID and is not used",
        "line 1, device disk: poolID is not used: the pool is the blank one",
    ]
    assert found.notes[-1] == "line 1, device disk: not used: index=0, optional=false"
