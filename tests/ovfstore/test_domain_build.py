# SPDX-License-Identifier: Apache-2.0
"""Domain XML built from the OVF: the whole, and what libvirt and our own VDSM say to it."""

from __future__ import annotations

import dataclasses
import pathlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ha_agent.ovfstore.codes import BiosType, SerialNumberPolicy
from ha_agent.ovfstore.domain_build import build_domain_xml
from ha_agent.ovfstore.model import VmDefinition
from ha_agent.ovfstore.ovf_parse import parse_ovf
from ha_agent.ovfstore.xml_input import OvfError
from ha_agent.vdsm.domain.document import parse_domain
from tests.ovfstore.built_domain import DOMAIN, VM, attribute, built, notes
from tests.ovfstore.libvirt_check import driver_faults, schema_faults
from tests.ovfstore.qemu_check import start_fault
from tests.ovfstore.vm_variants import NUMA, SMALL, SMALL_PC, VARIANTS, small, startable, vms

SAMPLES = pathlib.Path(__file__).resolve().parents[3] / "shared" / "data" / "ovf"
CONSOLE = VARIANTS["console socket"].devices
# Without UEFI and TPM, which few machines have, and what the embedded VDSM does not do.
STARTED = (
    "small q35", "small i440fx", "many cpus", "all buses on i440fx", "many scsi",
    "drive addresses", "disk flags", "several consoles", "no usb", "usb 2", "comfort", "nics",
    "pci addresses", "pc addresses", "texts",
)  # fmt: skip


def xml_of(vm: VmDefinition) -> str:
    return build_domain_xml(vm, storage_domain_uuid=DOMAIN)[0]


def samples() -> dict[str, VmDefinition]:
    return {
        path.name: parse_ovf(path.read_bytes(), where=path.name)
        for path in sorted(SAMPLES.glob("*.ovf"))
    }


def test_identity_and_memory() -> None:
    root = built()
    assert (root.findtext("name"), root.findtext("uuid")) == (VM.name, VM.uuid)
    assert root.findtext("memory") == root.findtext("currentMemory") == str(2048 * 1024)
    assert root.findtext("maxMemory") == str(8192 * 1024)
    assert attribute(root, "maxMemory", "slots") == "16"
    assert root.findtext("iothreads") == "1"


@pytest.mark.parametrize("wanted", ["2048", "1048576"])
def test_hugepages(wanted: str) -> None:
    vm = small(predefined_properties=(("hugepages", wanted),))
    assert attribute(built(vm), "memoryBacking/hugepages/page", "size") == wanted


@pytest.mark.parametrize(
    ("wanted", "memory_mib", "nodes"),
    [
        ("4", 1024, ()),
        ("all", 1024, ()),
        ("2048", 1023, ()),
        ("1048576", 1024, NUMA),
        ("0", 1, ()),
    ],
)
def test_hugepages_that_libvirt_would_refuse(
    wanted: str, memory_mib: int, nodes: tuple[object, ...]
) -> None:
    vm = small(
        memory_mib=memory_mib,
        numa_nodes=nodes,
        predefined_properties=(("hugepages", wanted),),
    )
    assert built(vm).find("memoryBacking") is None
    assert ("hugepages are left out" in notes(vm)) == (wanted != "0")


def test_serial_number_and_family() -> None:
    def entry(name: str, **fields: object) -> str:
        found = built(small(**fields)).findall("sysinfo/system/entry")
        return {item.get("name"): item.text or "" for item in found}.get(name, "")

    own = {"custom_serial_number": "S <1>"}
    assert entry("serial") == "HOST-SERIAL:"
    assert entry("serial", serial_number_policy=SerialNumberPolicy.HOST_ID) == "HOST-SERIAL:"
    assert entry("serial", serial_number_policy=SerialNumberPolicy.VM_ID) == SMALL.uuid
    assert entry("serial", serial_number_policy=SerialNumberPolicy.CUSTOM, **own) == "S <1>"
    assert entry("serial", serial_number_policy=SerialNumberPolicy.CUSTOM) == "HOST-SERIAL:"
    assert entry("family") == entry("family", compat_version="4.3") == ""
    assert entry("family", compat_version="4.8") == "oVirt"


@pytest.mark.parametrize(
    ("zone", "seconds", "is_said"),
    [
        (None, "0", False),
        ("Etc/GMT", "0", False),
        ("Etc/GMT-3", "10800", False),
        ("Etc/GMT+11", "-39600", False),
        ("Europe/Berlin", "0", True),
        ("Etc/GMT+15", "0", True),
    ],
)
def test_clock(zone: str, seconds: str, is_said: bool) -> None:
    vm = small(time_zone=zone)
    assert attribute(built(vm), "clock", "adjustment") == seconds
    assert attribute(built(vm), "clock", "offset") == "variable"
    assert ("clock starts in UTC" in notes(vm)) == is_said


@pytest.mark.parametrize(
    ("bios", "secure", "template"),
    [
        (BiosType.Q35_OVMF, "no", "/usr/share/OVMF/OVMF_VARS.fd"),
        (BiosType.Q35_SECURE_BOOT, "yes", "/usr/share/OVMF/OVMF_VARS.secboot.fd"),
    ],
)
def test_uefi(bios: BiosType, secure: str, template: str) -> None:
    vm = dataclasses.replace(VM, bios_type=bios)
    root = built(vm)
    assert root.findtext("os/loader") == "/usr/share/OVMF/OVMF_CODE.secboot.fd"
    assert attribute(root, "os/loader", "secure") == secure
    assert attribute(root, "os/loader", "type") == "pflash"
    assert attribute(root, "os/nvram", "template") == template
    assert root.findtext("os/nvram") == f"/var/lib/libvirt/qemu/nvram/{vm.uuid}.fd"
    assert attribute(root, "features/smm", "state") == "on"
    assert attribute(root, "devices/tpm", "model") == "tpm-crb"
    assert "UEFI variables are not in the OVF" in notes(vm)
    assert "the TPM starts empty" in notes(vm)
    kept = dataclasses.replace(vm, external_data=(("nvram", "eA=="), ("tpm", "eA==")))
    assert "UEFI variables are not given to VDSM" in notes(kept)
    assert "the TPM starts empty: VDSM is not given the data in the OVF" in notes(kept)


def test_a_template_of_the_variables_of_ones_own() -> None:
    vm = VARIANTS["nvram template"]
    assert attribute(built(vm), "os/nvram", "template") == "/usr/x/VARS.fd"


def test_seabios_has_no_loader_and_no_tpm() -> None:
    vm = dataclasses.replace(VM, bios_type=BiosType.Q35_SEA_BIOS)
    root = built(vm)
    assert root.find("os/loader") is None
    assert root.find("features/smm") is None
    assert root.find("devices/tpm") is None
    assert "the TPM is left out" in notes(vm)


def test_boot_menu_kernel_and_serial_bios() -> None:
    root = built(VARIANTS["texts"])
    assert attribute(root, "os/bootmenu", "timeout") == "30000"
    assert root.findtext("os/kernel") == "/boot/vmlinuz a"
    assert root.findtext("os/initrd") == "/boot/initrd"
    assert root.findtext("os/cmdline") == "root=/dev/vda1 a='b' ro"
    assert built().find("os/bootmenu") is None
    assert built().find("os/bios") is None
    assert attribute(built(small(devices=CONSOLE)), "os/bios", "useserial") == "yes"


def test_a_kernel_that_is_no_file_of_the_host() -> None:
    for fields in (
        {"kernel_path": "iso://vmlinuz", "initrd_path": "/boot/initrd"},
        {"kernel_path": "/boot/vmlinuz", "initrd_path": "iso://initrd"},
        {"initrd_path": "/boot/initrd"},
    ):
        vm = small(**fields)
        assert built(vm).find("os/kernel") is None
        assert built(vm).find("os/initrd") is None
        assert "the VM boots from its disk" in notes(vm)
    # Arguments without a kernel say nothing, and libvirt refuses them.
    assert built(small(kernel_arguments="quiet")).find("os/cmdline") is None


NAMES = st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="\ufffe\uffff/")


@given(st.text(NAMES, min_size=1).filter(lambda name: name == name.strip()))
def test_names_with_quotes_blanks_and_markup_stay_text(name: str) -> None:
    """In the predecessor's vm.conf blanks and all from a # on were lost."""
    root = built(dataclasses.replace(VM, name=name, nics=()))
    assert root.findtext("name") == name


@pytest.mark.parametrize(
    ("name", "written"), [("a/b", "a_b"), ("a\nb", "a b"), ("", SMALL.uuid), (" ", SMALL.uuid)]
)
def test_names_that_libvirt_refuses(name: str, written: str) -> None:
    assert built(small(name=name)).findtext("name") == written
    assert f"libvirt's name of the VM is {written!r}" in notes(small(name=name))


def test_text_that_xml_can_not_hold_is_an_error() -> None:
    with pytest.raises(OvfError, match="can't be written as XML"):
        xml_of(small(name="a\x01"))


@pytest.mark.parametrize("name", VARIANTS)
def test_libvirts_schema_accepts_every_variant(name: str) -> None:
    assert schema_faults(xml_of(VARIANTS[name])) == []


def test_libvirts_schema_accepts_every_sample() -> None:
    found = samples()
    if not found:
        pytest.skip("no sample data beside this checkout")
    for name, vm in found.items():
        assert schema_faults(xml_of(vm)) == [], name


def test_the_schema_check_can_fail() -> None:
    """Besides, the two texts of VDSM's that the check replaces are the only ones there are."""
    vm = small(nics=VARIANTS["nics"].nics)
    xml = xml_of(vm)
    assert schema_faults(xml) == []
    assert schema_faults(xml.replace("LEASE-OFFSET:", "x")) != []
    assert schema_faults(xml.replace(";vdsmdummy;", ";x;")) != []


@settings(max_examples=40)
@given(vms())
def test_libvirts_schema_accepts_any_devices(vm: VmDefinition) -> None:
    assert schema_faults(xml_of(vm)) == []


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(startable())
def test_libvirts_schema_accepts_any_texts(vm: VmDefinition) -> None:
    assert schema_faults(xml_of(vm)) == []


@pytest.mark.qemu
def test_libvirts_driver_takes_every_variant_and_sample() -> None:
    wanted = {**VARIANTS, **samples()}
    faults = driver_faults([xml_of(vm) for vm in wanted.values()])
    assert {name: fault for name, fault in zip(wanted, faults) if fault} == {}


@pytest.mark.qemu
@settings(max_examples=1, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(vms(), min_size=30, max_size=30))
def test_libvirts_driver_takes_any_devices(some: list[VmDefinition]) -> None:
    """It gives addresses, and finds two devices in one place, or one where none can be."""
    documents = [xml_of(vm) for vm in some]
    faults = driver_faults(documents)
    assert [(fault, xml) for fault, xml in zip(faults, documents) if fault] == []


@pytest.mark.qemu
def test_the_drivers_check_can_fail() -> None:
    good = xml_of(VARIANTS["pc addresses"])
    bad = good.replace('slot="0x03"', 'slot="0x05"')
    assert bad != good
    first, second, third = driver_faults([good, bad, good])
    assert (first, third) == ("", "")
    assert "double use of PCI Address" in second


@pytest.mark.qemu
@pytest.mark.parametrize("name", STARTED)
def test_qemu_itself_comes_up_with_it(name: str, tmp_path: pathlib.Path) -> None:
    assert start_fault(xml_of(VARIANTS[name]), tmp_path) == ""


@pytest.mark.qemu
def test_the_check_by_qemu_can_fail(tmp_path: pathlib.Path) -> None:
    bad = xml_of(VARIANTS["pc addresses"]).replace('slot="0x03"', 'slot="0x05"')
    assert "in use" in start_fault(bad, tmp_path)


@pytest.mark.parametrize("name", VARIANTS)
def test_our_own_vdsm_reads_every_variant(name: str) -> None:
    vm = VARIANTS[name]
    domain = parse_domain(xml_of(vm))
    (lease,) = domain.leases
    # That of the disk that it boots from, among those with a volume.
    first = next(disk for disk in domain.disks if disk.volume)
    orders = [disk.boot_order for disk in domain.disks if disk.volume and disk.boot_order]
    assert first.volume is not None
    assert first.boot_order == min(orders)
    assert lease.key == first.volume.volume
    assert domain.vcpus == vm.vcpus
    assert not domain.launch_paused
    assert not domain.has_open_vnc


def test_the_chip_set_decides_on_the_machine() -> None:
    assert attribute(built(SMALL), "os/type", "machine") == "q35"
    assert attribute(built(SMALL_PC), "os/type", "machine") == "pc"
