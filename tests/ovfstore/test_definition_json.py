# SPDX-License-Identifier: Apache-2.0
"""A definition as JSON: every field, enums as names, names with values as objects."""

from __future__ import annotations

import dataclasses
import json

from hypothesis import given

from ha_agent.ovfstore import model
from ha_agent.ovfstore.codes import BiosType, DiskInterface, NicModel, Origin
from ha_agent.ovfstore.definition_json import FORMAT, definition_as_dict, definition_as_json
from ha_agent.ovfstore.model import Device, Disk, Nic, NumaNode, VmDefinition
from tests.ovfstore.definitions import definitions

UUID = "11111111-2222-4333-8444-555555555555"
VM = VmDefinition(
    uuid=UUID,
    name='Müller\'s "engine" # 1',
    memory_mib=4096,
    sockets=2,
    cores_per_socket=2,
    threads_per_core=1,
    max_vcpus=16,
    bios_type=BiosType.Q35_OVMF,
    origin=Origin.MANAGED_HOSTED_ENGINE,
    user_properties=(("a", "1"), ("a", "2")),
    disks=(Disk(UUID, UUID, interface=DiskInterface.VIRTIO_SCSI, boot_order=1),),
    nics=(Nic("7", "nic1", NicModel.E1000E, address=(("slot", "0x03"), ("type", "pci"))),),
    devices=(Device("8", 0, "rng", "virtio", spec_params=(("source", "urandom"),)),),
    numa_nodes=(NumaNode(0, (0, 1), 2048),),
)


def test_values_are_under_the_models_names() -> None:
    found = json.loads(definition_as_json(VM))
    assert next(iter(found)) == "format"
    assert found["format"] == FORMAT
    assert (found["uuid"], found["memory_mib"], found["name"]) == (UUID, 4096, VM.name)
    assert (found["bios_type"], found["origin"]) == ("Q35_OVMF", "MANAGED_HOSTED_ENGINE")
    assert (found["display_type"], found["is_delete_protected"]) == (None, False)
    assert (found["vcpus"], found["is_q35"]) == (4, True)
    assert found["user_properties"] == [
        {"name": "a", "value": "1"},
        {"name": "a", "value": "2"},
    ]
    assert found["disks"][0]["interface"] == "VIRTIO_SCSI"
    assert found["disks"][0]["boot_order"] == 1
    assert found["nics"][0]["model"] == "E1000E"
    assert found["nics"][0]["address"][1] == {"name": "type", "value": "pci"}
    assert found["devices"][0]["spec_params"] == [{"name": "source", "value": "urandom"}]
    assert found["numa_nodes"][0]["cpus"] == [0, 1]


def test_no_field_of_the_model_is_missing() -> None:
    found = definition_as_dict(VM)
    for item, values in (
        (VM, found),
        (VM.disks[0], found["disks"][0]),
        (VM.nics[0], found["nics"][0]),
        (VM.devices[0], found["devices"][0]),
        (VM.numa_nodes[0], found["numa_nodes"][0]),
    ):
        assert {field.name for field in dataclasses.fields(item)} <= set(values)


def test_names_with_values_are_known_by_their_annotation() -> None:
    """A field of pairs that the model does not call `Pairs` would become bare lists."""
    kinds = [item for item in vars(model).values() if dataclasses.is_dataclass(item)]
    assert VmDefinition in kinds
    for kind in kinds:
        for field in dataclasses.fields(kind):
            assert "tuple[tuple" not in str(field.type)
            assert field.type == "Pairs" or "Pairs" not in str(field.type)


def test_the_text_is_readable() -> None:
    text = definition_as_json(VM)
    assert "Müller" in text
    assert '\n  "memory_mib": 4096,\n' in text


@given(definitions())
def test_any_definition_is_json(vm: VmDefinition) -> None:
    found = json.loads(definition_as_json(vm))
    assert (found["uuid"], found["engine_xml"]) == (vm.uuid, vm.engine_xml)
    assert len(found["devices"]) == len(vm.devices)
