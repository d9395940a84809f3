# SPDX-License-Identifier: Apache-2.0
"""Domain XML built from the OVF: what VDSM and libvirt get for each part of a definition."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from ha_agent.ovfstore.codes import BiosType, DiskInterface, DisplayType, NicModel
from ha_agent.ovfstore.domain_build import build_domain_xml
from ha_agent.ovfstore.model import Device, Disk, VmDefinition
from ha_agent.ovfstore.ovf_parse import parse_ovf

DATA = pathlib.Path(__file__).resolve().parents[1] / "data" / "engine_vm.ovf"
VM = parse_ovf(DATA.read_bytes(), where="F")
I440FX = dataclasses.replace(
    VM, emulated_machine="pc-i440fx-rhel7.6.0", bios_type=BiosType.I440FX_SEA_BIOS
)
DOMAIN = "5d000000-0000-4000-8000-000000000001"
OVIRT = "{http://ovirt.org/vm/1.0}"


def built(vm: VmDefinition = VM) -> etree._Element:
    return etree.fromstring(build_domain_xml(vm, storage_domain_uuid=DOMAIN)[0].encode())


def notes(vm: VmDefinition) -> str:
    return "\n".join(build_domain_xml(vm, storage_domain_uuid=DOMAIN)[1])


def attribute(root: etree._Element, path: str, name: str) -> Optional[str]:
    element = root.find(path)
    assert element is not None, path
    return element.get(name)


def disks(root: etree._Element, device: str = "disk") -> dict[str, etree._Element]:
    found = {}
    for disk in root.findall("devices/disk"):
        if disk.get("device") == device:
            found[attribute(disk, "target", "dev") or ""] = disk
    return found


def without(kind: str, vm: VmDefinition = VM) -> VmDefinition:
    kept = tuple(device for device in vm.devices if device.kind != kind)
    return dataclasses.replace(vm, devices=kept)


def test_identity_memory_and_cpus() -> None:
    root = built()
    assert (root.findtext("name"), root.findtext("uuid")) == (VM.name, VM.uuid)
    assert root.findtext("memory") == root.findtext("currentMemory") == str(2048 * 1024)
    assert root.findtext("maxMemory") == str(8192 * 1024)
    assert attribute(root, "vcpu", "current") == "8"
    assert root.findtext("vcpu") == "16"  # 17 is no whole number of sockets of 2 x 2
    topology = root.find("cpu/topology")
    assert topology is not None
    assert dict(topology.items()) == {"sockets": "4", "cores": "2", "threads": "2"}
    assert "maximum of virtual CPUs is 16, not 17" in notes(VM)
    assert root.findtext("cpu/model") == "Nehalem"
    features = [(item.get("name"), item.get("policy")) for item in root.findall("cpu/feature")]
    assert features == [("ibpb", "require"), ("hle", "disable")]
    assert attribute(root, "memoryBacking/hugepages/page", "size") == "2048"


def test_host_cpu_models() -> None:
    for model, uses_host, mode in (
        (None, True, "host-passthrough"),
        ("hostPassthrough", False, "host-passthrough"),
        ("hostModel", False, "host-model"),
        (None, False, None),
    ):
        vm = dataclasses.replace(VM, cpu_model=model, uses_host_cpu=uses_host)
        root = built(vm)
        assert attribute(root, "cpu", "mode") == mode
        assert root.find("cpu/model") is None


def test_numa_nodes_or_one_for_memory_hot_plug() -> None:
    cells = built().findall("cpu/numa/cell")
    assert [(cell.get("cpus"), cell.get("memory")) for cell in cells] == [
        ("0-3", "1048576"),
        ("4-7", "1048576"),
    ]
    alone = dataclasses.replace(VM, numa_nodes=())
    assert attribute(built(alone), "cpu/numa/cell", "cpus") == "0-15"
    plain = built(dataclasses.replace(alone, max_memory_mib=2048))
    assert plain.find("cpu/numa") is None
    assert plain.find("maxMemory") is None


def test_disks_come_in_boot_order_with_the_right_targets() -> None:
    root = built()
    found = disks(root)
    assert list(found) == ["vda", "sda", "sdb"]
    boot = found["vda"]
    assert attribute(boot, "source", "file") == (
        f"/rhev/data-center/00000000-0000-0000-0000-000000000000/{DOMAIN}/images"
        "/d2000000-0000-4000-8000-000000000001/d2000000-0000-4000-8000-00000000000b"
    )
    assert attribute(boot, "target", "bus") == "virtio"
    assert attribute(boot, "driver", "type") == "qcow2"
    assert attribute(boot, "boot", "order") == "1"
    assert boot.findtext("serial") == "d2000000-0000-4000-8000-000000000001"
    assert attribute(found["sda"], "target", "bus") == "scsi"
    assert found["sda"].find("boot") is None
    assert attribute(found["sdb"], "source", "dev") == (
        "/dev/mapper/36001405000000000000000000000000a"
    )
    assert attribute(root, "devices/interface/boot", "order") == "2"


def test_metadata_for_vdsm() -> None:
    block = built().find(f"metadata/{OVIRT}vm")
    assert block is not None
    devices = {item.get("name"): item for item in block.findall(f"{OVIRT}device")}
    assert {etree.QName(child).localname: child.text for child in devices["vda"]} == {
        "poolID": "00000000-0000-0000-0000-000000000000",
        "domainID": DOMAIN,
        "imageID": "d2000000-0000-4000-8000-000000000001",
        "volumeID": "d2000000-0000-4000-8000-00000000000b",
        "shared": "exclusive",
    }
    assert devices["sda"].findtext(f"{OVIRT}domainID") == "5d000000-0000-4000-8000-000000000002"
    assert devices["sdb"].findtext(f"{OVIRT}GUID") == "36001405000000000000000000000000a"
    assert block.findtext(f"{OVIRT}clusterVersion") == "4.7"
    assert block.findtext(f"{OVIRT}custom/{OVIRT}sap_agent") == "true"
    assert block.findtext(f"{OVIRT}launchPaused") == "false"
    assert block.findtext(f"{OVIRT}minGuaranteedMemoryMb") == "1024"


def test_the_lease_is_the_boot_disks_volume() -> None:
    root = built()
    (lease,) = root.findall("devices/lease")
    volume = "d2000000-0000-4000-8000-00000000000b"
    assert (lease.findtext("key"), lease.findtext("lockspace")) == (volume, DOMAIN)
    assert attribute(lease, "target", "path") == f"LEASE-PATH:{volume}:{DOMAIN}"
    assert attribute(lease, "target", "offset") == f"LEASE-OFFSET:{volume}:{DOMAIN}"


def test_a_disk_without_domain_is_on_the_hosted_engines() -> None:
    disk = Disk("d1000000-0000-4000-8000-000000000001", "d1000000-0000-4000-8000-00000000000a")
    root = built(dataclasses.replace(VM, disks=(disk,)))
    assert root.findtext("devices/lease/lockspace") == DOMAIN
    assert "no disk has a boot order" in notes(dataclasses.replace(VM, disks=(disk,)))


@pytest.mark.parametrize(
    ("bios", "secure", "template"),
    [
        (BiosType.Q35_OVMF, "no", "/usr/share/OVMF/OVMF_VARS.fd"),
        (BiosType.Q35_SECURE_BOOT, "yes", "/usr/share/OVMF/OVMF_VARS.secboot.fd"),
    ],
)
def test_uefi(bios: BiosType, secure: str, template: str) -> None:
    root = built(dataclasses.replace(VM, bios_type=bios))
    assert attribute(root, "os/loader", "secure") == secure
    assert attribute(root, "os/loader", "type") == "pflash"
    assert attribute(root, "os/nvram", "template") == template
    assert attribute(root, "features/smm", "state") == "on"
    assert attribute(root, "devices/tpm", "model") == "tpm-crb"


def test_seabios_has_no_loader_and_no_tpm() -> None:
    vm = dataclasses.replace(VM, bios_type=BiosType.Q35_SEA_BIOS)
    root = built(vm)
    assert root.find("os/loader") is None
    assert root.find("features/smm") is None
    assert root.find("devices/tpm") is None
    assert "the TPM is left out" in notes(vm)


def test_the_cdrom_is_sata_on_q35_and_ide_on_i440fx() -> None:
    assert {
        name: attribute(disk, "target", "bus") for name, disk in disks(built(), "cdrom").items()
    } == {"sdc": "sata"}
    assert list(disks(built(I440FX), "cdrom")) == ["hdc"]
    assert attribute(disks(built(I440FX), "cdrom")["hdc"], "address", "bus") == "1"
    assert "CD-ROM sdc does not fit" in notes(VM)  # an IDE address in a q35 machine


def test_a_disk_never_takes_the_cdroms_name() -> None:
    image = [
        Disk(
            f"d{n}000000-0000-4000-8000-000000000001",
            f"d{n}000000-0000-4000-8000-00000000000a",
            interface=DiskInterface.SATA,
        )
        for n in range(1, 6)
    ]
    root = built(dataclasses.replace(VM, disks=tuple(image)))
    assert list(disks(root)) == ["sda", "sdb", "sdd", "sde", "sdf"]


def test_an_ide_disk_on_q35_becomes_sata() -> None:
    changed = tuple(dataclasses.replace(disk, interface=DiskInterface.IDE) for disk in VM.disks)
    vm = dataclasses.replace(VM, disks=changed)
    assert attribute(disks(built(vm))["sda"], "target", "bus") == "sata"
    assert "is SATA, not IDE" in notes(vm)
    ide = built(dataclasses.replace(vm, emulated_machine="pc-i440fx-rhel7.6.0"))
    assert list(disks(ide)) == ["hda", "hdb", "hdd"]


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


def test_addresses_that_do_not_fit_are_left_to_libvirt() -> None:
    assert attribute(disks(built())["vda"], "address", "bus") == "0x06"
    assert disks(built(I440FX))["vda"].find("address") is None
    assert "disk vda does not fit" in notes(I440FX)
    twice = tuple(dataclasses.replace(nic, address=VM.nics[0].address) for nic in VM.nics)
    vm = dataclasses.replace(VM, nics=twice)
    assert "NIC nic2 is taken twice" in notes(vm)
    bent = dataclasses.replace(VM.nics[0], address=(("slot", "zero"), ("type", "pci")))
    assert "NIC nic1 does not fit" in notes(dataclasses.replace(VM, nics=(bent,)))


def test_boot_orders_have_no_duplicates() -> None:
    changed = tuple(dataclasses.replace(disk, boot_order=7) for disk in VM.disks)
    root = built(dataclasses.replace(VM, disks=changed))
    orders = [element.get("order") for element in root.iter("boot")]
    assert sorted(orders, key=str) == ["1", "2", "3", "4"]


@given(
    st.text(st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="\ufffe\uffff"))
)
def test_names_with_quotes_blanks_and_markup_stay_text(name: str) -> None:
    root = built(dataclasses.replace(VM, name=name, nics=()))
    assert (root.findtext("name") or "") == name


@pytest.mark.parametrize("vm", [VM, I440FX, dataclasses.replace(VM, cpu_model=None)])
def test_libvirts_own_schema_accepts_it(vm: VmDefinition) -> None:
    schema = pathlib.Path("/usr/share/libvirt/schemas/domain.rng")
    if not schema.exists():
        pytest.skip("libvirt's schemas are not installed (Debian: libvirt0)")
    # VDSM replaces the lease's placeholders, and makes the bridge for NICs without network.
    root = built(dataclasses.replace(vm, nics=vm.nics[:1]))
    for target in root.iterfind("devices/lease/target"):
        target.set("offset", "0")
    relaxng = etree.RelaxNG(etree.parse(str(schema)))
    assert relaxng.validate(root), relaxng.error_log


def test_an_empty_cdrom_has_a_source_without_file() -> None:
    source = disks(built(), "cdrom")["sdc"].find("source")
    assert source is not None
    assert source.get("file") is None


def test_many_disks_get_two_letters() -> None:
    image = tuple(
        Disk(f"d0000000-0000-4000-8000-{n:012}", f"d1000000-0000-4000-8000-{n:012}")
        for n in range(30)
    )
    names = list(disks(built(dataclasses.replace(VM, disks=image))))
    assert names[25:] == ["vdz", "vdaa", "vdab", "vdac", "vdad"]
