# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Callable

import pytest

from ha_agent.errors import BadInput
from ha_agent.ovfstore.ovf_build import build_ovf
from ha_agent.ovfstore.ovf_parse import parse_ovf
from ha_agent.setup.answers import Answers, Given, check
from ha_agent.setup.deploy.definition import (
    DiskPlace,
    Source,
    document,
    load_source,
    refusals,
    with_disk,
)
from ha_agent.vdsm.client.answers import HostCapabilities

DOMAIN = "11111111-1111-4111-8111-111111111111"
PLACE = DiskPlace(
    DOMAIN,
    "22222222-2222-4222-8222-222222222222",
    "33333333-3333-4333-8333-333333333333",
    50,
)
VM = "44444444-4444-4444-8444-444444444444"
HOST = HostCapabilities(32768, 8, frozenset({"q35", "pc"}), "", frozenset())
VM_CONF = f"""vmId={VM}
memSize=4096
vmName=HostedEngine
smp=2
emulatedMachine=pc
devices={{nicModel:pv,macAddr:00:16:3e:35:83:68,network:ovirtmgmt,device:bridge,type:interface}}
devices={{index:0,iface:virtio,format:raw,volumeID:{PLACE.volume_uuid},imageID:{PLACE.image_uuid},\
domainID:{DOMAIN},device:disk,shared:exclusive,type:disk,bootOrder:1}}
"""


def answers(**changes: str) -> Answers:
    texts = {
        "storage_connection": "s:/x",
        "engine_fqdn": "e",
        "disk_image_file": "/i",
        **changes,
    }
    return check({name: Given(text, "test") for name, text in texts.items()})


class Choose:
    def __init__(self) -> None:
        self.made: dict[str, str] = {}

    def __call__(self, key: str, make: Callable[[], str]) -> str:
        return self.made.setdefault(key, make())


def test_answers_make_a_vm_that_a_host_would_start() -> None:
    choose = Choose()
    source = load_source(answers(memory_mib="8192", cpus="4"), choose)
    data = document(source, PLACE)
    vm = parse_ovf(data, where="ovf")
    assert (vm.uuid, vm.memory_mib, vm.vcpus) == (choose.made["vm_uuid"], 8192, 4)
    assert vm.nics[0].mac == choose.made["mac"]
    assert vm.disks[0].volume_uuid == PLACE.volume_uuid
    assert [device.device for device in vm.graphics] == ["vnc"]
    assert refusals(data, DOMAIN, HOST, 1, "h") == ()
    # A re-run makes the very same.
    assert document(load_source(answers(memory_mib="8192", cpus="4"), choose), PLACE) == data


def test_a_host_that_is_too_small_is_told() -> None:
    data = document(load_source(answers(), Choose()), PLACE)
    small = dataclasses.replace(HOST, memory_mib=1024)
    assert any("1024" in one for one in refusals(data, DOMAIN, small, 1, "h"))
    odd = dataclasses.replace(HOST, emulated_machines=frozenset({"pc"}))
    assert any("machine q35" in one for one in refusals(data, DOMAIN, odd, 1, "h"))


def test_an_ovf_whose_disk_is_there_is_kept_byte_for_byte(tmp_path: Path) -> None:
    made = document(load_source(answers(vm_uuid=VM), Choose()), PLACE)
    path = tmp_path / "he.ovf"
    path.write_bytes(made + b"\n")
    source = load_source(answers(definition="ovf", definition_file=str(path)), Choose())
    assert document(source, PLACE) == made + b"\n"
    other = dataclasses.replace(PLACE, volume_uuid="55555555-5555-4555-8555-555555555555")
    vm = parse_ovf(document(source, other), where="ovf")
    assert vm.uuid == VM
    assert vm.disks[0].volume_uuid == other.volume_uuid
    assert vm.engine_xml is not None
    assert other.volume_uuid in vm.engine_xml
    assert PLACE.volume_uuid not in vm.engine_xml


def test_a_vm_conf_becomes_an_ovf_with_the_new_disk(tmp_path: Path) -> None:
    path = tmp_path / "vm.conf"
    path.write_text(VM_CONF)
    source = load_source(answers(definition="vm_conf", definition_file=str(path)), Choose())
    vm = parse_ovf(document(source, PLACE), where="ovf")
    assert (vm.uuid, vm.memory_mib) == (VM, 4096)
    assert vm.engine_xml is not None
    assert source.notes


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "vmId"),
        ("vmId=nonsense\nmemSize=1", "vmId"),
        (f"vmId={VM}\n", "memSize"),
        (f"vmId={VM}\nmemSize=much\n", "memSize"),
        (f"vmId={VM}\nmemSize=1\ndevices={{device:disk", "no '}' ends"),
        (f"vmId={VM}\nmemSize=1\nnicModel=pv\n", "nicModel"),
    ],
)
def test_a_vm_conf_of_nonsense_is_refused_with_its_file(
    tmp_path: Path, text: str, what: str
) -> None:
    path = tmp_path / "vm.conf"
    path.write_text(text)
    with pytest.raises(BadInput) as caught:
        load_source(answers(definition="vm_conf", definition_file=str(path)), Choose())
    assert str(path) in str(caught.value)
    assert what in str(caught.value)


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x"
    for definition in ("ovf", "vm_conf"):
        given = answers(definition=definition, definition_file=str(path))
        with pytest.raises(BadInput, match="can't be read"):
            load_source(given, Choose())
    path.write_bytes(b"<a/>")
    with pytest.raises(BadInput, match="x"):
        load_source(answers(definition="ovf", definition_file=str(path)), Choose())


def test_a_second_disk_is_refused() -> None:
    vm = with_disk(load_source(answers(), Choose()).vm, PLACE)
    two = dataclasses.replace(vm, disks=(*vm.disks, *vm.disks))
    with pytest.raises(BadInput, match="has 2 disks"):
        document(Source(two, build_ovf(vm)), PLACE)
