# SPDX-License-Identifier: Apache-2.0
"""The engine's numbers and names in an OVF, and what they are called in domain XML.

Values only. The source of each table is the engine's class of the same name, as read for
facts/ovf-and-volumes.md, section 2.2 (ovirt-engine 0111fc63).
"""

from __future__ import annotations

import enum

OVF_NAMESPACE = "http://schemas.dmtf.org/ovf/envelope/1/"
# Engines of 2017-12 to 2018-03, and every OVA, write it without the slash.
OVF_NAMESPACES = (OVF_NAMESPACE, "http://schemas.dmtf.org/ovf/envelope/1")
_CIM = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2"
RASD_NAMESPACE = f"{_CIM}/CIM_ResourceAllocationSettingData"
VSSD_NAMESPACE = f"{_CIM}/CIM_VirtualSystemSettingData"
XSI_NAMESPACE = "http://www.w3.org/2001/XMLSchema-instance"
VM_NAMESPACE = "http://ovirt.org/vm/1.0"
TUNE_NAMESPACE = "http://ovirt.org/vm/tune/1.0"

BLANK_UUID = "00000000-0000-0000-0000-000000000000"


class ResourceType(enum.IntEnum):
    """`rasd:ResourceType` of an Item (engine: OvfHardware)."""

    OTHER = 0
    CPU = 3
    MEMORY = 4
    NETWORK = 10
    CDROM = 15
    DISK = 17
    VIDEO = 20
    USB = 23
    GRAPHICS = 26


class DiskInterface(enum.Enum):
    """`Disk@disk-interface`, spelled as in the OVF (engine: DiskInterface)."""

    IDE = "IDE"
    VIRTIO_SCSI = "VirtIO_SCSI"
    VIRTIO = "VirtIO"
    SPAPR_VSCSI = "SPAPR_VSCSI"
    SATA = "SATA"

    @property
    def bus(self) -> str:
        """The `bus` of libvirt's `<target>`: ide, scsi, virtio or sata."""
        return _DISK_BUSES[self]


_DISK_BUSES = {
    DiskInterface.IDE: "ide",
    DiskInterface.VIRTIO_SCSI: "scsi",
    DiskInterface.VIRTIO: "virtio",
    DiskInterface.SPAPR_VSCSI: "scsi",
    DiskInterface.SATA: "sata",
}

# The name stem of a bus's disks: vda, sda, hda. VDSM knows a disk by this name.
TARGET_STEMS = {"virtio": "vd", "scsi": "sd", "sata": "sd", "ide": "hd"}


class NicModel(enum.IntEnum):
    """`rasd:ResourceSubType` of a network Item (engine: VmInterfaceType)."""

    RTL8139_PV = 0
    RTL8139 = 1
    E1000 = 2
    PV = 3
    SPAPR_VLAN = 4
    PCI_PASSTHROUGH = 5
    E1000E = 6

    @property
    def libvirt_model(self) -> str:
        """The `type` of libvirt's `<model>`."""
        return _NIC_MODELS[self]


_NIC_MODELS = {
    # A guest set up for the dual mode has the paravirtual driver; QEMU has no dual device.
    NicModel.RTL8139_PV: "virtio",
    NicModel.RTL8139: "rtl8139",
    NicModel.E1000: "e1000",
    NicModel.PV: "virtio",
    NicModel.SPAPR_VLAN: "spapr-vlan",
    NicModel.PCI_PASSTHROUGH: "virtio",
    NicModel.E1000E: "e1000e",
}

# Old and foreign OVFs name the model instead of numbering it. Lower case, as compared.
NIC_MODEL_NAMES = {
    "rtl8139_pv": NicModel.RTL8139_PV,
    "rtl8139": NicModel.RTL8139,
    "e1000": NicModel.E1000,
    "pv": NicModel.PV,
    "virtio": NicModel.PV,
    "spaprvlan": NicModel.SPAPR_VLAN,
    "spapr-vlan": NicModel.SPAPR_VLAN,
    "pcipassthrough": NicModel.PCI_PASSTHROUGH,
    "e1000e": NicModel.E1000E,
}


class BiosType(enum.IntEnum):
    """`BiosType`: the engine's enum minus 1, because 0 there is "the cluster's default"."""

    I440FX_SEA_BIOS = 0
    Q35_SEA_BIOS = 1
    Q35_OVMF = 2
    Q35_SECURE_BOOT = 3

    @property
    def is_uefi(self) -> bool:
        """True when the firmware is OVMF."""
        return self in (BiosType.Q35_OVMF, BiosType.Q35_SECURE_BOOT)

    @property
    def is_q35(self) -> bool:
        """True when the chip set is Q35 (PCI Express, SATA)."""
        return self is not BiosType.I440FX_SEA_BIOS


class DisplayType(enum.IntEnum):
    """`DefaultDisplayType`: the ordinal of the engine's DisplayType."""

    CIRRUS = 0
    QXL = 1
    VGA = 2
    BOCHS = 3
    NONE = 4

    @property
    def video_model(self) -> str:
        """The `type` of libvirt's video `<model>`, or "none" for a headless VM."""
        return self.name.lower()


class Origin(enum.IntEnum):
    """`Origin` (engine: OriginType)."""

    RHEV = 0
    VMWARE = 1
    XEN = 2
    OVIRT = 3
    EXTERNAL = 4
    HOSTED_ENGINE = 5
    MANAGED_HOSTED_ENGINE = 6
    KVM = 7
    PHYSICAL_XEN = 8
    HYPERV = 9
    KUBEVIRT = 10

    @property
    def is_hosted_engine(self) -> bool:
        """True for the two origins that an engine VM may have."""
        return self in (Origin.HOSTED_ENGINE, Origin.MANAGED_HOSTED_ENGINE)


class SerialNumberPolicy(enum.IntEnum):
    """`SerialNumberPolicy`: where the serial number in the guest's SMBIOS comes from."""

    HOST_ID = 0
    VM_ID = 1
    CUSTOM = 2


class CpuPinningPolicy(enum.IntEnum):
    """`CpuPinningPolicy`: who decides on which CPUs of the host virtual CPUs run."""

    NONE = 0
    MANUAL = 1
    RESIZE_AND_PIN_NUMA = 2
    DEDICATED = 3
    ISOLATE_THREADS = 4


class MigrationSupport(enum.IntEnum):
    """`MigrationSupport`: whether the VM may migrate."""

    MIGRATABLE = 0
    IMPLICITLY_NON_MIGRATABLE = 1
    PINNED_TO_HOST = 2


class ResumeBehavior(enum.Enum):
    """`ResumeBehavior`: what to do with a VM that storage paused, as the OVF spells it."""

    AUTO_RESUME = "AUTO_RESUME"
    LEAVE_PAUSED = "LEAVE_PAUSED"
    KILL = "KILL"


# `Disk@volume-format` to the `type` of libvirt's `<driver>` (engine: VolumeFormat).
DRIVER_TYPES = {"RAW": "raw", "COW": "qcow2", "Unassigned": "raw"}

# `default_boot_sequence` by its number: C is a hard disk, D a CD-ROM, N the network (engine:
# BootSequence). A vm.conf has them in lower case (`boot`).
BOOT_SEQUENCES = (
    "C", "DC", "N", "CDN", "CND", "DCN", "DNC", "NCD", "NDC", "CD", "D", "CN", "DN", "NC", "ND",
)  # fmt: skip

# VDSM puts a NIC without network on this bridge (vdsm: lib/vdsm/network/..., DUMMY_BRIDGE).
DUMMY_BRIDGE = ";vdsmdummy;"
