# SPDX-License-Identifier: Apache-2.0
"""VMs of every kind that a domain is built for, by name, and a strategy for odd ones."""

from __future__ import annotations

import dataclasses
from typing import Any

from hypothesis import strategies as st

from ha_agent.ovfstore.codes import (
    BiosType,
    CpuPinningPolicy,
    DiskInterface,
    DisplayType,
    NicModel,
    ResumeBehavior,
    SerialNumberPolicy,
)
from ha_agent.ovfstore.model import Device, Disk, Nic, NumaNode, Pairs, VmDefinition
from tests.ovfstore.built_domain import DOMAIN, I440FX, VM, without
from tests.ovfstore.definitions import definitions


def uuid(number: int) -> str:
    return f"e0000000-0000-4000-8000-{number:012x}"


def disk(number: int, **fields: Any) -> Disk:
    fields = {"storage_domain_uuids": (DOMAIN,), **fields}
    return Disk(uuid(2 * number), uuid(2 * number + 1), **fields)


def lun(number: int, **fields: Any) -> Disk:
    return Disk(
        uuid(1000 + number), None, f"3600140500000000000000000000000{number:02x}", **fields
    )


def nic(number: int, **fields: Any) -> Nic:
    fields = {"network": "ovirtmgmt", "mac": f"52:54:00:00:01:{number:02x}", **fields}
    return Nic(uuid(2000 + number), f"nic{number}", **fields)


def device(number: int, kind: str, name: str, address: Pairs = (), **spec: str) -> Device:
    return Device(
        uuid(3000 + number), 0, kind, name, address=address, spec_params=tuple(spec.items())
    )


def pci(slot: int, bus: int = 0, function: int = 0, **more: str) -> Pairs:
    place = {"type": "pci", "domain": "0x0000", "bus": f"0x{bus:02x}", "slot": f"0x{slot:02x}"}
    return tuple(sorted({**place, "function": f"0x{function:x}", **more}.items()))


def drive(unit: int, bus: int = 0, controller: int = 0) -> Pairs:
    place = {"controller": controller, "bus": bus, "target": 0, "unit": unit}
    return (*((key, str(value)) for key, value in place.items()), ("type", "drive"))


SMALL = VmDefinition(
    uuid=uuid(1),
    name="engine",
    memory_mib=1024,
    sockets=2,
    cores_per_socket=1,
    threads_per_core=1,
    max_vcpus=4,
    bios_type=BiosType.Q35_SEA_BIOS,
    disks=(disk(1, boot_order=1),),
    nics=(nic(1),),
)
SMALL_PC = dataclasses.replace(SMALL, bios_type=BiosType.I440FX_SEA_BIOS)
CDROM = device(1, "disk", "cdrom")
VNC = device(2, "graphics", "vnc")
VGA = device(3, "video", "vga", vram="16384")
EHCI_PLACE = pci(0x1D, function=7)


def small(**fields: Any) -> VmDefinition:
    return dataclasses.replace(SMALL, **fields)


def small_pc(**fields: Any) -> VmDefinition:
    return dataclasses.replace(SMALL_PC, **fields)


def _disks(*interfaces: DiskInterface) -> tuple[Disk, ...]:
    return tuple(disk(number, interface=bus) for number, bus in enumerate(interfaces, start=1))


_ALL_BUSES = _disks(*(bus for bus in DiskInterface for _ in range(3)))
NUMA = (NumaNode(0, (0, 1), 512, "strict", (0,)), NumaNode(1, (2, 3), 512))

VARIANTS: dict[str, VmDefinition] = {
    "as in the test's OVF": VM,
    "i440fx": I440FX,
    "small q35": SMALL,
    "small i440fx": SMALL_PC,
    "no machine name": small(emulated_machine=None),
    "uefi": small(bios_type=BiosType.Q35_OVMF, devices=(device(1, "tpm", "tpm"),)),
    "secure boot": small(bios_type=BiosType.Q35_SECURE_BOOT, devices=(device(1, "tpm", "tpm"),)),
    "uefi on i440fx": small(bios_type=BiosType.Q35_SECURE_BOOT, emulated_machine="pc-i440fx-7.2"),
    "nvram template": small(
        bios_type=BiosType.Q35_OVMF, user_properties=(("nvram_template", "/usr/x/VARS.fd"),)
    ),
    "numa and more memory": small(numa_nodes=NUMA, max_memory_mib=4096),
    "more memory": small(max_memory_mib=4096),
    "shared hugepages": small(
        numa_nodes=NUMA, predefined_properties=(("hugepages_shared", "true"),)
    ),
    "pinned": small(
        cpu_pinning="0#0_1#1-3,^2_2#^4_3#4,8-9", cpu_pinning_policy=CpuPinningPolicy.MANUAL
    ),
    "dedicated": small(cpu_pinning_policy=CpuPinningPolicy.DEDICATED),
    "many cpus": small(sockets=3, cores_per_socket=4, threads_per_core=2, max_vcpus=300),
    "host cpu": small(uses_host_cpu=True, user_properties=(("extra_cpu_flags", "+x2apic"),)),
    "cpu flags": small(cpu_model="Nehalem,+aes,-aes,x2apic,,+b d"),
    "all buses on q35": small(disks=_ALL_BUSES, devices=(CDROM,)),
    "all buses on i440fx": small_pc(disks=_ALL_BUSES, devices=(CDROM,)),
    "ide is full": small_pc(disks=_disks(*[DiskInterface.IDE] * 6), devices=(CDROM, CDROM)),
    "many sata": small(disks=_disks(*[DiskInterface.SATA] * 9), devices=(CDROM,)),
    "many scsi": small(disks=_disks(*[DiskInterface.VIRTIO_SCSI] * 20), devices=(CDROM,)),
    "drive addresses": small(
        disks=(
            disk(1, interface=DiskInterface.VIRTIO_SCSI, address=drive(1)),
            disk(2, interface=DiskInterface.VIRTIO_SCSI, address=drive(0, controller=1)),
            disk(3, interface=DiskInterface.VIRTIO_SCSI, address=drive(1)),
            disk(4, interface=DiskInterface.VIRTIO_SCSI, address=drive(3, controller=7)),
            disk(5, interface=DiskInterface.SATA, address=drive(2)),
        ),
        devices=(
            dataclasses.replace(CDROM, address=drive(2)),
            device(4, "controller", "virtio-scsi"),
            device(5, "controller", "virtio-scsi", ioThreadId="1"),
        ),
        io_threads=1,
        virtio_scsi_queues=-1,
    ),
    "scsi queues": small(
        disks=_disks(*[DiskInterface.VIRTIO_SCSI] * 2),
        devices=(device(4, "controller", "virtio-scsi"),),
        virtio_scsi_queues=3,
    ),
    "luns": small(
        disks=(
            disk(1, boot_order=2),
            lun(1, boot_order=1, interface=DiskInterface.VIRTIO_SCSI),
            lun(2, interface=DiskInterface.VIRTIO_SCSI, uses_scsi_reservation=True),
            lun(3, is_read_only=True, is_shareable=True),
            dataclasses.replace(lun(4), lun_id="../sda"),
        )
    ),
    "disk flags": small(
        disks=(
            disk(1, is_shareable=True, passes_discard=True),
            disk(2, is_shareable=True, is_read_only=True, volume_format="COW"),
            disk(3, interface=DiskInterface.SATA, is_read_only=True, is_shareable=True),
            disk(4, spec_params=(("pinToIoThread", "2"),)),
        ),
        io_threads=2,
        user_properties=(("viodiskcache", "writeback"),),
    ),
    "headless": small(display_type=DisplayType.NONE),
    "bochs": small(display_type=DisplayType.BOCHS, devices=(VNC, device(4, "video", "bochs"))),
    "several consoles": small(
        devices=(
            VNC,
            device(4, "graphics", "spice"),
            device(5, "video", "qxl"),
            device(6, "video", "qxl"),
            device(7, "console", "console", consoleType="serial"),
            device(8, "console", "console", consoleType="virtio"),
        ),
        vnc_keyboard_layout="de fr",
    ),
    "console socket": small(
        devices=(device(7, "console", "console", consoleType="serial", enableSocket="true"),)
    ),
    "no usb": small(devices=(VNC, VGA, device(4, "controller", "usb", model="none"))),
    "usb 2": small(
        devices=(
            VNC,
            device(4, "controller", "usb", EHCI_PLACE, index="0", model="ich9-ehci1"),
            device(
                *(5, "controller", "usb", pci(0x1D, multifunction="on")),
                index="0",
                model="ich9-uhci1",
            ),
        )
    ),
    "xhci": small(devices=(VNC, device(4, "controller", "usb", model="qemu-xhci", index="0"))),
    "comfort": small(
        devices=(
            device(4, "sound", "ich9"),
            device(5, "sound", "ac97"),
            device(6, "watchdog", "watchdog", model="i6300esb", action="reset"),
            device(7, "watchdog", "watchdog", model="i6300esb", action="bark"),
            device(8, "balloon", "memballoon", model="virtio"),
            device(9, "balloon", "memballoon", model="virtio"),
            device(10, "rng", "virtio", source="hwrng", bytes="1024", period="500"),
            device(11, "rng", "virtio", source="dice", bytes="all"),
            device(12, "smartcard", "smartcard", mode="passthrough", type="spicevmc"),
            device(13, "redir", "spicevmc"),
            device(14, "hostdev", "pci_0000_01_00_0"),
            device(15, "channel", "unix"),
            device(16, "disk", "floppy"),
            device(17, "", ""),
        ),
        has_smartcard=True,
    ),
    "ib700": small_pc(devices=(device(6, "watchdog", "watchdog", model="ib700", action="none"),)),
    "nics": small(
        nics=(
            *(nic(int(model), model=model) for model in NicModel),
            nic(11, device="hostdev", model=NicModel.PCI_PASSTHROUGH),
            nic(12, network=None, mac=None),
            nic(13, network='it\'s a "network" #1', mac="01:00:5e:00:00:01"),
            nic(14, is_linked=False, boot_order=1, custom_properties=(("a", "b"), ("1", "2"))),
            nic(15, is_plugged=False),
        ),
        has_multi_queues=True,
    ),
    "pci addresses": small(
        nics=(
            nic(1, address=pci(0, bus=1)),
            nic(2, address=pci(0, bus=1)),
            nic(3, address=pci(0x1F, function=2)),
            nic(4, address=pci(0, bus=40)),
            nic(5, address=pci(3, function=1)),
            nic(6, address=pci(4, bus=2)),
            nic(7, address=(("slot", "zero"), ("type", "pci"))),
        ),
        devices=(
            device(4, "controller", "pci", index="0", model="pcie-root"),
            device(
                *(5, "controller", "pci", pci(2, multifunction="on")),
                index="1",
                model="pcie-root-port",
            ),
            device(
                *(6, "controller", "pci", pci(2, function=1)), index="2", model="pcie-root-port"
            ),
            device(7, "controller", "pci", index="1", model="pcie-root-port"),
            device(8, "controller", "pci", model="pci-root"),
            device(9, "controller", "sata", pci(0x1F, function=2), index="0"),
            device(10, "controller", "sata", pci(0x1E), index="0"),
            device(11, "controller", "ide", pci(1, function=1), index="0"),
            device(12, "controller", "virtio-serial", pci(5), index="0", ports="16"),
            device(13, "controller", "fdc"),
        ),
    ),
    "pc addresses": small_pc(
        nics=(nic(1, address=pci(3)), nic(2, address=pci(1)), nic(3, address=pci(0, bus=1))),
        devices=(
            VNC,
            device(4, "controller", "usb", pci(1, function=2), index="0", model="piix3-uhci"),
            device(5, "controller", "ide", pci(1, function=1), index="0"),
            device(6, "controller", "ide", index="1"),
            device(7, "controller", "virtio-serial", pci(5), index="0"),
            dataclasses.replace(VGA, address=pci(2)),
            dataclasses.replace(CDROM, address=drive(0, bus=1)),
        ),
    ),
    "texts": small(
        name="a/b\n#'\"<&> äß漢",
        serial_number_policy=SerialNumberPolicy.CUSTOM,
        custom_serial_number="a <b> & 'c'",
        user_properties=(("mac pool", "x"), ("sap_agent", "true")),
        has_boot_menu=True,
        kernel_path="/boot/vmlinuz a",
        initrd_path="/boot/initrd",
        kernel_arguments="root=/dev/vda1 a='b' ro",
        resume_behavior=ResumeBehavior.LEAVE_PAUSED,
        time_zone="Etc/GMT-3",
        lease_domain_uuid=DOMAIN,
        starts_paused=True,
        custom_compat_version="4.3",
        compat_version="4.8",
    ),
    "without devices": without("controller", dataclasses.replace(VM, devices=())),
}

_pci_places = st.builds(
    pci,
    st.sampled_from((0, 1, 2, 3, 4, 0x1D, 0x1F)),
    bus=st.sampled_from((0, 0, 0, 1, 2, 9)),
    function=st.sampled_from((0, 0, 0, 1, 2, 7)),
) | st.builds(pci, st.integers(0, 4), multifunction=st.just("on"))
_drive_places = st.builds(drive, st.integers(0, 7), st.integers(0, 2), st.integers(0, 2))
_places = st.just(()) | _pci_places | _drive_places
_numbers = st.integers(10, 200)
_some_disks = st.builds(
    disk,
    _numbers,
    interface=st.sampled_from(DiskInterface),
    address=_places,
    boot_order=st.integers(0, 3),
    is_boot=st.booleans(),
    is_plugged=st.integers(0, 5).map(bool),
    is_read_only=st.booleans(),
    is_shareable=st.booleans(),
    volume_format=st.sampled_from(("RAW", "COW")),
)
_some_luns = st.builds(
    lun,
    _numbers,
    interface=st.sampled_from(DiskInterface),
    is_read_only=st.booleans(),
    uses_scsi_reservation=st.booleans(),
)
_some_nics = st.builds(
    nic,
    _numbers,
    model=st.sampled_from(NicModel),
    address=_places,
    boot_order=st.integers(0, 3),
    network=st.sampled_from(("ovirtmgmt", None, "two words")),
)
_KINDS = (
    ("controller", "virtio-scsi", ("",)),
    ("controller", "virtio-serial", ("",)),
    ("controller", "ide", ("", "piix3")),
    ("controller", "sata", ("",)),
    ("controller", "usb", ("", "piix3-uhci", "ich9-ehci1", "ich9-uhci1", "qemu-xhci", "none")),
    ("controller", "pci", ("pcie-root-port", "pcie-root", "pci-root", "pci-bridge")),
    ("controller", "pci", ("pcie-root-port", "dmi-to-pci-bridge", "pcie-to-pci-bridge")),
    ("video", "vga", ("",)),
    ("video", "cirrus", ("",)),
    ("graphics", "vnc", ("",)),
    ("disk", "cdrom", ("",)),
    ("rng", "virtio", ("",)),
    ("balloon", "memballoon", ("virtio",)),
    ("watchdog", "watchdog", ("i6300esb",)),
    ("sound", "ich6", ("",)),
    ("console", "console", ("",)),
)


@st.composite
def _some_devices(draw: st.DrawFn) -> Device:
    kind, name, models = draw(st.sampled_from(_KINDS))
    spec = {"model": draw(st.sampled_from(models)), "consoleType": draw(st.just("serial"))}
    if draw(st.booleans()):
        spec["index"] = str(draw(st.integers(0, 3)))
    return device(draw(_numbers), kind, name, draw(_places), **spec)


@st.composite
def vms(draw: st.DrawFn) -> VmDefinition:
    """Return a VM whose devices are possible ones, in impossible numbers and places."""
    disks = draw(st.lists(_some_disks | _some_luns, max_size=8))
    return small(
        bios_type=draw(st.sampled_from(BiosType)),
        emulated_machine=draw(st.sampled_from((None, "pc-q35-rhel9.6.0", "pc-i440fx-rhel7.6.0"))),
        disks=(disk(1, boot_order=draw(st.integers(0, 2))), *disks),
        nics=tuple(draw(st.lists(_some_nics, max_size=3))),
        devices=tuple(draw(st.lists(_some_devices(), max_size=8))),
        io_threads=draw(st.integers(0, 2)),
        virtio_scsi_queues=draw(st.integers(-1, 2)),
        has_multi_queues=draw(st.booleans()),
        max_memory_mib=draw(st.sampled_from((None, 1024, 4096))),
    )


def startable() -> st.SearchStrategy[VmDefinition]:
    """Return any definition that an OVF can carry, with an image disk to start from."""
    first = (disk(999, boot_order=1),)
    return definitions().map(lambda vm: dataclasses.replace(vm, disks=first + vm.disks))
