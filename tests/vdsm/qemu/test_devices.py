# SPDX-License-Identifier: Apache-2.0
"""Disks, network cards and other devices on QEMU's command line."""

from __future__ import annotations

import pytest

from ha_agent.vdsm.qemu.placement import UnsupportedDevice
from tests.vdsm.command_line import NIC, build, device, image, values
from tests.vdsm.embedded import make_xml


def test_the_disk_is_direct_locked_and_first_to_boot() -> None:
    node = image(build())
    assert node["driver"] == "raw"
    assert node["file"]["filename"] == "/storage/disk"
    assert node["file"]["locking"] == "on"
    assert node["file"]["cache"] == {"direct": True, "no-flush": False}
    assert device(build(), "virtio-blk-pci").endswith(",werror=stop,rerror=stop,bootindex=1")


def test_io_follows_what_the_storage_can_do() -> None:
    native = make_xml().replace("io='threads'", "io='native'")
    assert image(build(native))["file"]["aio"] == "native"
    cached = build(native, no_direct_io=frozenset({"vda"}))
    assert image(cached)["file"]["aio"] == "threads"
    assert image(cached)["file"]["cache"]["direct"] is False
    assert any("no direct I/O" in note for note in cached.notes)


def test_a_path_with_a_comma_and_a_quote_stays_whole() -> None:
    assert image(build(disk_paths={"vda": '/a,b"c'}))["file"]["filename"] == '/a,b"c'


@pytest.mark.parametrize(
    ("bus", "target", "machine", "model"),
    [
        ("scsi", "sda", "pc", "scsi-hd,bus=scsi0.0"),
        ("ide", "hdc", "pc", "ide-hd,bus=ide.1,unit=0"),
        ("ide", "hdc", "q35", "ide-hd,bus=ide.2"),
        ("sata", "sdb", "q35", "ide-hd,bus=ide.1"),
        ("sata", "sdb", "pc", "ide-hd,bus=ahci0.1"),
    ],
)
def test_buses(bus: str, target: str, machine: str, model: str) -> None:
    xml = make_xml().replace("dev='vda' bus='virtio'", f"dev='{target}' bus='{bus}'")
    command = build(xml.replace("machine='pc'", f"machine='{machine}'"), disk_paths={target: "/d"})
    assert any(value.startswith(model) for value in values(command, "-device"))


def test_an_empty_cdrom() -> None:
    cdrom = (
        "<disk type='file' device='cdrom'><source file=''/><target dev='hdc' bus='ide'/>"
        "<driver name='qemu' type='raw' error_policy='report'/><readonly/></disk>"
    )
    command = build(make_xml(devices=cdrom))
    assert device(command, "ide-cd") == "ide-cd,bus=ide.1,unit=0,id=hdc"
    assert len(values(command, "-blockdev")) == 1


def test_networks() -> None:
    mac = "<mac address='00:16:3e:00:00:01'/>"
    command = build(make_xml(devices=NIC.format("net", "virtio", mac)))
    assert values(command, "-netdev") == ["user,id=net0,hostfwd=tcp:127.0.0.1:18080-:80"]
    assert device(command, "virtio-net-pci").endswith("id=nic0,netdev=net0,mac=00:16:3e:00:00:01")
    command = build(make_xml(devices=NIC.format("vdsm-lan", "e1000e", "")))
    assert values(command, "-netdev") == ["bridge,id=net0,br=br0"]
    down = build(make_xml(devices=NIC.format("lan", "e1000", "<link state='down'/>")))
    assert values(down, "-netdev") == []
    assert "network card 0 has its link down" in down.notes


@pytest.mark.parametrize(
    ("devices", "named"),
    [
        (NIC.format("storage", "virtio", ""), "network 'storage' is not among"),
        (NIC.format("net", "ne2k_pci", ""), "model 'ne2k_pci'"),
        ("<hostdev type='pci'/>", "<hostdev> pci"),
        (
            "<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>",
            "<tpm> tpm-crb needs swtpm",
        ),
        ("<tpm model='tpm-crb'><backend type='passthrough'/></tpm>", "<tpm> tpm-crb passthrough"),
        ("<filesystem type='mount'/>", "<filesystem> mount"),
    ],
)
def test_what_the_guest_would_miss_is_refused_by_name(devices: str, named: str) -> None:
    with pytest.raises(UnsupportedDevice) as error:
        build(make_xml(devices=devices))
    assert named in str(error.value)


def test_what_only_costs_comfort_is_noted() -> None:
    devices = "<sound model='ich6'/><video><model type='qxl'/></video><graphics type='spice'/>"
    command = build(make_xml(devices=devices))
    assert device(command, "VGA")
    assert {
        "device <sound> ich6 is left out",
        "video qxl is not in this QEMU, VGA is used",
        "graphics spice is left out",
    } <= set(command.notes)


def test_pci_addresses_on_q35_get_their_root_ports() -> None:
    address = "<address type='pci' bus='0x03' slot='0x00' function='0x0'/>"
    port = (
        "<controller type='pci' model='pcie-root-port' index='1'>"
        "<address type='pci' bus='0x00' slot='0x02' function='0x0' multifunction='on'/>"
        "</controller>"
    )
    xml = make_xml(devices=port + NIC.format("net", "virtio", address))
    command = build(xml.replace("machine='pc'", "machine='q35'"))
    devices = values(command, "-device")
    assert devices[0].endswith("port=1,addr=0x2.0x0,multifunction=on")
    assert devices[1] == "pcie-root-port,id=pci.3,bus=pcie.0,chassis=3,port=3"
    assert devices[2].endswith("bus=pci.3,addr=0x0.0x0")
    assert devices[3].startswith("virtio-blk-pci")
