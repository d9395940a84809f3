# SPDX-License-Identifier: Apache-2.0
"""Domain XML built from the OVF: what VDSM and libvirt get for a definition as a whole."""

from __future__ import annotations

import dataclasses
import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from ha_agent.ovfstore.codes import BiosType
from ha_agent.ovfstore.model import VmDefinition
from tests.ovfstore.built_domain import DOMAIN, I440FX, VM, attribute, built, disks, notes

OVIRT = "{http://ovirt.org/vm/1.0}"


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
