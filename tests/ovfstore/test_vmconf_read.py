# SPDX-License-Identifier: Apache-2.0
"""A vm.conf to a VmDefinition: every key, what is made up, what is refused."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha_agent.errors import BadInput
from ha_agent.ovfstore.codes import BiosType, DisplayType, Origin
from ha_agent.ovfstore.model import NumaNode, VmDefinition
from ha_agent.ovfstore.vmconf_grammar import parse_vm_conf
from ha_agent.ovfstore.vmconf_read import definition_from_vm_conf

UUID = "82a24281-8a25-4772-b9c9-45971e811cb3"
LEAST = f"vmId={UUID}\nmemSize=4096\n"


def read(text: str) -> tuple[VmDefinition, tuple[str, ...]]:
    return definition_from_vm_conf(parse_vm_conf(text, where="F"), where="F")


def test_every_key_that_has_a_place() -> None:
    xml = "<domain>é</domain>"
    vm, notes = read(
        LEAST.upper().replace("VMID", "vmId").replace("MEMSIZE", "memSize")
        + "vmName=HostedEngine\nsmp=8\nsmpCoresPerSocket=2\nsmpThreadsPerCore=2\nmaxVCpus=16\n"
        "cpuType=SandyBridge,+x\nemulatedMachine=pc-q35-rhel9.6.0\ndisplay=qxl\nmaxMemSize=8192\n"
        "memGuaranteedSize=1024\nkeyboardLayout=de\nlaunchPaused=true\nboot=dc\nkernel=/k\n"
        "initrd=/i\nkernelArgs=quiet\ncpuPinning={0:0-1,1:^2}\ncustom_a=1\ncustom_b=\n"
        "custom_a=2\nguestNumaNodes={nodeIndex:0,cpus:0-3,memory:2048}\n"
        "guestNumaNodes={nodeIndex:1,cpus:4,memory:2048}\n"
        f"xmlBase64={base64.b64encode(xml.encode()).decode()}\n"
        "spiceSecureChannels=smain,sdisplay\ntimeOffset=0\nempty=\nvt=1\n"
    )
    assert (vm.uuid, vm.name, vm.memory_mib) == (UUID, "HostedEngine", 4096)
    assert (vm.sockets, vm.cores_per_socket, vm.threads_per_core) == (2, 2, 2)
    assert (vm.vcpus, vm.max_vcpus) == (8, 16)
    assert (vm.max_memory_mib, vm.min_memory_mib) == (8192, 1024)
    assert (vm.cpu_model, vm.emulated_machine) == ("SandyBridge,+x", "pc-q35-rhel9.6.0")
    assert (vm.bios_type, vm.display_type) == (BiosType.Q35_SEA_BIOS, DisplayType.QXL)
    assert [item.device for item in vm.graphics] == ["spice"]
    assert (vm.vnc_keyboard_layout, vm.starts_paused, vm.boot_sequence) == ("de", True, 1)
    assert (vm.kernel_path, vm.initrd_path, vm.kernel_arguments) == ("/k", "/i", "quiet")
    assert vm.cpu_pinning == "0#0-1_1#^2"
    assert vm.user_properties == (("a", "2"), ("b", ""))
    assert vm.numa_nodes == (NumaNode(0, (0, 1, 2, 3), 2048), NumaNode(1, (4,), 2048))
    assert vm.engine_xml == xml
    assert vm.origin is Origin.MANAGED_HOSTED_ENGINE
    unused = [note for note in notes if note.startswith("not used: ")]
    assert unused == [
        "not used: spiceSecureChannels=smain,sdisplay",
        "not used: timeOffset=0",
        "not used: kvmEnable=1",
    ]
    assert "a graphics device spice is added, from display=qxl" in notes


def test_the_least_that_is_a_vm_and_what_is_made_up() -> None:
    vm, notes = read(LEAST)
    assert (vm.name, vm.vcpus, vm.max_vcpus) == ("HostedEngine", 1, 1)
    assert (vm.bios_type, vm.display_type, vm.engine_xml) == (0, None, None)
    text = "\n".join(notes)
    for part in (
        "vmName is missing",
        "smp is missing",
        "BIOS type is taken as I440FX_SEA_BIOS",
        "cluster compatibility version",
        "no xmlBase64",
        "Origin as 6",
    ):
        assert part in text


def test_the_display_follows_the_devices_when_no_key_names_it() -> None:
    graphics = "devices={device:vnc,type:graphics}\n"
    assert read(LEAST + graphics)[0].display_type is DisplayType.VGA
    qxl = "devices={device:qxl,type:video}\n"
    assert read(LEAST + graphics + qxl)[0].display_type is DisplayType.QXL
    vnc, _ = read(LEAST + graphics + "display=vnc\n")
    assert [item.device for item in vnc.graphics] == ["vnc"]


def test_a_balloon_of_model_none_is_none() -> None:
    line = "devices={device:memballoon,specParams:{model:%s},type:balloon}\n"
    assert not read(LEAST + line % "none")[0].has_balloon
    assert read(LEAST + line % "virtio")[0].has_balloon


def test_a_maximum_below_the_start_is_raised_and_told() -> None:
    vm, notes = read(LEAST + "smp=4\nmaxVCpus=2\n")
    assert vm.max_vcpus == 4
    assert "maxVCpus is 4 as smp, not 2" in notes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("memSize=1", "F: vmId: is missing"),
        ("vmId=None\nmemSize=1", "F, line 1: vmId: is missing"),
        ("vmId=1", "F, line 1: vmId: '1' is not a UUID"),
        (f"vmId={UUID}", "F: memSize: is missing"),
        (f"vmId={UUID}\nmemSize=4G", "F, line 2: memSize: '4G' is no whole number"),
        (LEAST + "smp=0", "F, line 3: smp: '0' is no whole number of at least 1"),
        (LEAST + "smp=3\nsmpCoresPerSocket=2", "line 3: smp: 3 is no multiple of 2 cores by 1"),
        (LEAST + "display=cga", "line 3: display: 'cga' is none of vnc, qxl"),
        (LEAST + "launchPaused=1", "line 3: launchPaused: '1' is none of true, false"),
        (LEAST + "boot=x", "line 3: boot: 'x' is no known boot sequence"),
        (LEAST + "macAddr=a", "line 3: macAddr: a network interface outside of devices="),
        (LEAST + "custom_a=1;b=2", "custom property 'a' can't be written to an OVF"),
        (LEAST + "custom_=1", "custom property '' can't be"),
        (LEAST + "cpuPinning={0:a}", "line 3: cpuPinning: virtual CPU '0' has no usable set"),
        (LEAST + "cpuPinning={x:0}", "virtual CPU 'x'"),
        (LEAST + "xmlBase64=a", "line 3: xmlBase64: is not base64 of UTF-8 text"),
        (LEAST + "xmlBase64=/w==", "xmlBase64: is not base64 of UTF-8 text"),
        (LEAST + "xmlBase64=AA==", "xmlBase64: holds a character that XML does not allow"),
        (LEAST + "guestNumaNodes={cpus:0}", "line 3: guestNumaNodes: nodeIndex, memory"),
        (
            LEAST + "guestNumaNodes={cpus:0-9999,memory:1,nodeIndex:0}",
            "guestNumaNodes cpus: 0-9999 is no range of CPUs below 4096",
        ),
        (
            LEAST + "guestNumaNodes={cpus:0-3,memory:1,nodeIndex:0}\n" * 2,
            "line 4: guestNumaNodes cpus: a virtual CPU of 0-3 is in another line",
        ),
        (LEAST + "guestNumaNodes={cpus:3-1,memory:1,nodeIndex:0}", "3-1 is no range"),
    ],
)
def test_what_cannot_be_converted_is_refused(text: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        read(text)


KEYS = ["vmId", "memSize", "smp", "display", "devices", "drive", "custom_a", "cpuPinning", "boot",
        "guestNumaNodes", "xmlBase64", "hda", "cdrom", "launchPaused", "maxVCpus"]  # fmt: skip
FIELDS = ["type", "device", "imageID", "volumeID", "iface", "address", "specParams", "bootOrder",
          "nicModel", "macAddr", "cpus", "memory", "nodeIndex", "custom", "GUID"]  # fmt: skip
TEXTS = st.sampled_from(
    ["1", "0", "-1", "", "disk", "interface", "cdrom", "controller", UUID, "true", "vnc", "c",
     "0-3", "ide", "pv", "None", "PGRvbWFpbi8+", "a b", "é", "\x0b"]
)  # fmt: skip
NESTED = st.recursive(
    TEXTS,
    lambda inner: st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4).map(
        lambda fields: "{" + ",".join(f"{name}:{value}" for name, value in fields.items()) + "}"
    ),
    max_leaves=8,
)


@given(st.lists(st.tuples(st.sampled_from(KEYS), NESTED), max_size=8), st.booleans())
def test_any_file_is_a_definition_or_refused(
    pairs: list[tuple[str, str]], is_started: bool
) -> None:
    text = LEAST if is_started else ""
    text += "".join(f"{key}={value}\n" for key, value in pairs)
    try:
        vm, notes = read(text)
    except BadInput:
        return
    assert vm.uuid == UUID
    assert notes


def test_a_long_name_before_many_others_is_refused() -> None:
    """Each of the names within would be as long again."""
    inner = "".join(f"a{number}:," for number in range(50_000))
    with pytest.raises(BadInput, match=r"specParams: 'bbb.*' is no name of a parameter"):
        read(f"{LEAST}devices={{type:rng,specParams:{{{'b' * 300_000}:{{{inner}}}}}}}")
