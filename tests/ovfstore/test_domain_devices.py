# SPDX-License-Identifier: Apache-2.0
"""The devices of a built domain: each kind as VDSM and libvirt want it."""

from __future__ import annotations

import dataclasses

from ha_agent.ovfstore.codes import DisplayType, NicModel
from ha_agent.ovfstore.model import Device
from tests.ovfstore.built_domain import DOMAIN, I440FX, VM, attribute, built, disks, notes, without


def test_the_lease_is_the_boot_disks_volume() -> None:
    root = built()
    (lease,) = root.findall("devices/lease")
    volume = "d2000000-0000-4000-8000-00000000000b"
    assert (lease.findtext("key"), lease.findtext("lockspace")) == (volume, DOMAIN)
    assert attribute(lease, "target", "path") == f"LEASE-PATH:{volume}:{DOMAIN}"
    assert attribute(lease, "target", "offset") == f"LEASE-OFFSET:{volume}:{DOMAIN}"


def test_the_cdrom_is_sata_on_q35_and_ide_on_i440fx() -> None:
    assert {
        name: attribute(disk, "target", "bus") for name, disk in disks(built(), "cdrom").items()
    } == {"sdc": "sata"}
    assert list(disks(built(I440FX), "cdrom")) == ["hdc"]
    assert attribute(disks(built(I440FX), "cdrom")["hdc"], "address", "bus") == "1"
    assert "CD-ROM sdc does not fit" in notes(VM)  # an IDE address in a q35 machine


def test_nics() -> None:
    first, second = built().findall("devices/interface")
    assert attribute(first, "model", "type") == "e1000e"
    assert attribute(first, "source", "bridge") == "ovirtmgmt"
    assert attribute(first, "mac", "address") == "52:54:00:00:00:01"
    assert attribute(first, "link", "state") == "up"
    assert attribute(second, "source", "bridge") == ";vdsmdummy;"
    assert attribute(second, "link", "state") == "down"
    assert second.find("mac") is None
    assert "NIC nic2 has no MAC address" in notes(VM)
    for model in NicModel:
        nic = dataclasses.replace(VM.nics[0], model=model)
        root = built(dataclasses.replace(VM, nics=(nic,)))
        assert attribute(root, "devices/interface/model", "type") in (
            "virtio",
            "rtl8139",
            "e1000",
            "e1000e",
            "spapr-vlan",
        )


def test_graphics_is_vnc_with_a_validity_and_video() -> None:
    root = built()
    (graphics,) = root.findall("devices/graphics")
    assert (graphics.get("type"), graphics.get("passwd")) == ("vnc", "*****")
    assert graphics.get("passwdValidTo") == "1970-01-01T00:00:01"
    assert attribute(graphics, "listen", "network") == "vdsm-ovirtmgmt"
    assert attribute(root, "devices/video/model", "type") == "vga"


def test_spice_becomes_vnc_and_qxl_becomes_vga() -> None:
    devices = (
        Device("x", 26, "graphics", "spice"),
        Device("y", 26, "graphics", "vnc"),
        Device("z", 20, "video", "qxl"),
    )
    vm = dataclasses.replace(VM, devices=devices)
    root = built(vm)
    assert [item.get("type") for item in root.findall("devices/graphics")] == ["vnc"]
    assert attribute(root, "devices/video/model", "type") == "vga"
    assert "VNC, not SPICE" in notes(vm)
    assert "vga, not qxl" in notes(vm)


def test_headless() -> None:
    vm = without(
        "graphics", without("video", dataclasses.replace(VM, display_type=DisplayType.NONE))
    )
    root = built(vm)
    assert root.find("devices/graphics") is None
    assert root.find("devices/video") is None


def test_rng_balloon_console_and_controllers() -> None:
    root = built()
    assert root.findtext("devices/rng/backend") == "/dev/random"
    assert attribute(root, "devices/rng/rate", "bytes") == "64"
    assert attribute(root, "devices/memballoon", "model") == "virtio"
    assert attribute(root, "devices/console/target", "type") == "virtio"
    assert attribute(root, "devices/controller", "model") == "virtio-scsi"
    assert attribute(built(without("balloon")), "devices/memballoon", "model") == "none"
    assert attribute(built(without("controller")), "devices/controller", "type") == "scsi"
    assert built(without("rng")).find("devices/rng") is None
    assert "device sound ich6 is not built" in notes(VM)


def test_an_empty_cdrom_has_a_source_without_file() -> None:
    source = disks(built(), "cdrom")["sdc"].find("source")
    assert source is not None
    assert source.get("file") is None
