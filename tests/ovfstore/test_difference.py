# SPDX-License-Identifier: Apache-2.0
"""Every field of the model is told of when it changes; the usual changes in the usual words."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest

from demo.domain import engine_vm
from ha_agent.ovfstore.codes import BiosType, NicModel
from ha_agent.ovfstore.difference import SENTENCE_LIMIT, differences
from ha_agent.ovfstore.model import Device, Disk, Nic, NumaNode, VmDefinition
from ha_agent.ovfstore.ovf_parse import parse_ovf
from ha_agent.ovfstore.translate import domain_xml

DOMAIN, VM, IMAGE, VOLUME = (f"{n}1111111-1111-1111-1111-111111111111" for n in range(4))
SAMPLES = Path(__file__).resolve().parents[3] / "shared" / "data" / "ovf"

DISK = Disk("image-1", "volume-1", alias="system", storage_domain_uuids=("sd-1",), size_gib=50)
NIC = Nic("nic-1", "nic1", network="ovirtmgmt", mac="00:16:3e:00:00:01")
CDROM = Device("dev-1", 15, "disk", "cdrom", address=(("bus", "1"), ("type", "drive")))
VIDEO = Device("dev-2", 20, "video", "qxl", monitors=1)
PLAIN = VmDefinition(
    "vm-1", "HostedEngine", 4096, 4, 1, 1, 4,
    disks=(DISK,), nics=(NIC,), devices=(CDROM, VIDEO), numa_nodes=(NumaNode(0, (0, 1), 2048),),
)  # fmt: skip


def told(**changes: Any) -> tuple[str, ...]:
    return differences(PLAIN, replace(PLAIN, **changes))


# Every field ----------------------------------------------------------------------------


def value_of(hint: Any, number: int) -> Any:
    """Return one of two values of a type."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Union:
        return None if number == 0 else value_of(arguments[0], number)
    if origin is tuple and arguments[-1] is Ellipsis:
        return tuple(value_of(arguments[0], n) for n in range(number))
    if origin is tuple:
        return tuple(value_of(part, number) for part in arguments)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return made(hint, {})
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return list(hint)[number]
    return {bool: bool(number), int: number, str: f"text{number}"}[hint]


def made(kind: type[Any], values: dict[str, Any]) -> Any:
    hints = get_type_hints(kind)
    for field in dataclasses.fields(kind):
        if field.default is dataclasses.MISSING and field.name not in values:
            values[field.name] = value_of(hints[field.name], 1)
    return kind(**values)


def every_field() -> Iterator[Any]:
    """(kind, field, hint) of the definition and of all that its lists hold, at any depth."""
    todo: list[type[Any]] = [VmDefinition]
    for kind in todo:
        hints = get_type_hints(kind)
        for field in dataclasses.fields(kind):
            if field.compare:
                name = f"{kind.__name__}.{field.name}"
                yield pytest.param(kind, field.name, hints[field.name], id=name)
            for part in get_args(hints[field.name]):
                if dataclasses.is_dataclass(part) and isinstance(part, type) and part not in todo:
                    todo.append(part)


def holders() -> dict[type[Any], str]:
    """Where the definition holds a kind."""
    hints = get_type_hints(VmDefinition)
    return {get_args(hint)[0]: name for name, hint in hints.items() if get_origin(hint) is tuple}


@pytest.mark.parametrize(("kind", "name", "hint"), list(every_field()))
def test_each_field_that_changes_is_told_of(kind: type[Any], name: str, hint: Any) -> None:
    pair = [made(kind, {name: value_of(hint, number)}) for number in (0, 1)]
    assert pair[0] != pair[1]
    if kind is not VmDefinition:
        holder = holders().get(kind)
        if holder is None:  # in a disk
            inner = {get_args(h)[0]: n for n, h in get_type_hints(Disk).items() if get_args(h)}
            pair = [made(Disk, {inner[kind]: (item,)}) for item in pair]
            holder = "disks"
        pair = [made(VmDefinition, {holder: (item,)}) for item in pair]
    for old, new in (pair, pair[::-1]):
        sentences = differences(old, new)
        assert sentences
        assert all(sentence and len(sentence) < 300 for sentence in sentences)
        assert not any("reordered" in sentence for sentence in sentences)
    assert differences(pair[0], pair[0]) == ()


def test_what_is_about_the_reading_is_no_difference() -> None:
    hidden = {f.name: ("x",) for f in dataclasses.fields(VmDefinition) if not f.compare}
    assert told(**hidden) == ()


# The words ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "sentences"),
    [
        ({}, ()),
        ({"memory_mib": 8192}, ("memory 4096 -> 8192 MiB",)),
        ({"max_memory_mib": 16384}, ("memory with hot plug not set -> 16384 MiB",)),
        ({"name": "My Engine"}, ('name HostedEngine -> "My Engine"',)),
        ({"sockets": 8}, ("CPUs 4 -> 8 (sockets x cores x threads 4x1x1 -> 8x1x1)",)),
        (
            {"sockets": 2, "cores_per_socket": 2},
            ("CPUs 4 -> 4 (sockets x cores x threads 4x1x1 -> 2x2x1)",),
        ),
        ({"max_vcpus": 16}, ("CPUs with hot plug 4 -> 16",)),
        ({"emulated_machine": "pc"}, ("machine type not set -> pc",)),
        ({"bios_type": BiosType.Q35_OVMF}, ("firmware I440FX_SEA_BIOS -> Q35_OVMF",)),
        ({"is_delete_protected": True}, ("delete protection no -> yes",)),
        ({"user_properties": (("sap", "on"),)}, ("custom property sap added (on)",)),
        ({"first_boot": (("root", "geheim"),)}, ("first boot's root added",)),
        ({"nics": ()}, ("NIC nic1 removed (network ovirtmgmt, MAC 00:16:3e:00:00:01)",)),
        (
            {"nics": (replace(NIC, network="storage"),)},
            ("NIC nic1: network ovirtmgmt -> storage",),
        ),
        (
            {"nics": (replace(NIC, model=NicModel.E1000E, device_uuid="other"),)},
            ("NIC nic1: model PV -> E1000E", "NIC nic1: uuid nic-1 -> other"),
        ),
        (
            {"disks": (DISK, replace(DISK, image_uuid="image-2", alias="data", size_gib=5))},
            ("disk data added (5 GiB, on domain sd-1)",),
        ),
        (
            {"disks": (replace(DISK, storage_domain_uuids=("sd-2",)),)},
            ("disk system: storage domain sd-1 -> sd-2",),
        ),
        (
            {"disks": (replace(DISK, volume_uuid="volume-2"),)},
            ("disk system: volume volume-1 -> volume-2",),
        ),
        (
            {"devices": (replace(CDROM, address=(("bus", "0"), ("type", "drive"))), VIDEO)},
            ("CD-ROM moved: bus=1, type=drive -> bus=0, type=drive",),
        ),
        ({"devices": (VIDEO,)}, ("CD-ROM removed",)),
        (
            {"devices": (CDROM, replace(VIDEO, device="vga", device_uuid=""))},
            ('video card qxl: uuid dev-2 -> ""', "video card qxl: device qxl -> vga"),
        ),
        ({"devices": (VIDEO, CDROM)}, ("devices: reordered",)),
        ({"affinity_groups": ("a", "b", "c")}, ("affinity groups: a, b, c added",)),
    ],
)
def test_what_it_says(changes: dict[str, Any], sentences: tuple[str, ...]) -> None:
    assert sorted(told(**changes)) == sorted(sentences)


def test_the_boot_order_is_told_as_a_whole() -> None:
    old = replace(PLAIN, disks=(replace(DISK, boot_order=1),), nics=(replace(NIC, boot_order=2),))
    new = replace(PLAIN, disks=(replace(DISK, boot_order=2),), nics=(replace(NIC, boot_order=1),))
    expected = ("boot order: disk system, NIC nic1 -> NIC nic1, disk system",)
    assert differences(old, new) == expected
    # The same order in other numbers is little, but it is something.
    other = replace(old, nics=(replace(NIC, boot_order=3),))
    assert differences(old, other) == ("NIC nic1: boot order 2 -> 3",)


def test_devices_without_uuids_are_matched_by_what_they_are() -> None:
    ports = [Device("", 0, "controller", name) for name in ("usb", "virtio-scsi")]
    old = replace(PLAIN, devices=(*ports, ports[0]))
    assert differences(old, replace(old, devices=tuple(ports))) == ("controller usb removed",)
    other = replace(ports[0], spec_params=(("index", "1"),))
    two = replace(PLAIN, devices=(ports[0], other))
    assert differences(two, replace(two, devices=(other,))) == ("controller usb removed",)
    changed = replace(ports[1], spec_params=(("ioThreadId", "1"),))
    expected = ("controller virtio-scsi: parameter ioThreadId added (1)",)
    assert differences(old, replace(old, devices=(ports[0], changed, ports[0]))) == expected


def test_a_password_is_not_told() -> None:
    old = replace(PLAIN, user_properties=(("VncPassword", "geheim"),))
    new = replace(PLAIN, user_properties=(("VncPassword", "secret"),))
    assert differences(old, new) == ("custom property VncPassword changed",)
    xml = '<domain><devices><graphics passwd="{}"/></devices></domain>'
    pair = [replace(PLAIN, engine_xml=xml.format(word)) for word in ("geheim", "secret")]
    assert differences(*pair) == ("EngineXml: devices/graphics@passwd changed",)


@pytest.mark.parametrize(
    "name", ["api_key", "Cloud-Init", "vncTicket", "auth_token", "clientSecret", "user_data"]
)
def test_other_secrets_are_not_told(name: str) -> None:
    """As of a hook that a custom property is for: status shows these sentences to everybody."""
    old, new = (
        replace(PLAIN, user_properties=((name, word),)) for word in ("geheim", "verborgen")
    )
    assert differences(old, new) == (f"custom property {name} changed",)
    assert differences(PLAIN, new) == (f"custom property {name} added",)


def test_arguments_for_qemu_are_not_told() -> None:
    xml = '<domain><commandline><arg value="secret,id=s0,data={}"/></commandline></domain>'
    pair = [replace(PLAIN, engine_xml=xml.format(word)) for word in ("geheim", "verborgen")]
    assert differences(*pair) == ("EngineXml: commandline/arg@value changed",)


def test_values_are_short_and_upset_no_terminal() -> None:
    sentences = told(name="a\x9b2J" + "b" * 1000, description="x" * 100)
    assert all(sentence.isprintable() and len(sentence) < 200 for sentence in sentences)
    long = [replace(PLAIN, description="x" * 100 + end) for end in "ab"]
    assert differences(*long) == ("description changed",)


def test_there_is_an_end_to_it() -> None:
    disks = tuple(Disk(f"other-{number}") for number in range(1000))
    sentences = told(disks=disks)
    assert len(sentences) == SENTENCE_LIMIT + 1
    assert sentences[-1] == "and 901 changes more"


# The engine's XML -----------------------------------------------------------------------


def with_xml(vm: VmDefinition) -> VmDefinition:
    return replace(vm, engine_xml=domain_xml(vm, storage_domain_uuid=DOMAIN).xml)


ENGINE_VM = replace(engine_vm(DOMAIN, IMAGE, VOLUME, VM), engine_xml=None, memory_mib=1024)


def test_what_the_fields_tell_is_not_told_again_of_the_xml() -> None:
    old = with_xml(ENGINE_VM)
    new = with_xml(replace(ENGINE_VM, memory_mib=2048, emulated_machine="pc-i440fx-8.0"))
    assert sorted(differences(old, new)) == [
        "machine type pc-i440fx-7.2 -> pc-i440fx-8.0",
        "memory 1024 -> 2048 MiB",
    ]


def test_an_xml_that_does_not_follow_its_fields_is_told() -> None:
    old = with_xml(ENGINE_VM)
    assert old.engine_xml is not None
    xml = old.engine_xml.replace(">1048576<", ">4194304<")
    new = replace(old, memory_mib=2048, engine_xml=xml)
    sentences = differences(old, new)
    assert sentences[0] == "memory 1024 -> 2048 MiB"
    assert "EngineXml: memory 1048576 -> 4194304" in sentences


def test_changes_of_the_xml_alone() -> None:
    disk = '<disk><driver cache="none"/><target dev="vda"/></disk>'
    xml = f"<domain><devices>{disk}</devices></domain>"
    old = replace(PLAIN, engine_xml=xml)
    for text, expected in (
        (None, "EngineXml removed"),
        (xml.replace("><", "> <"), "EngineXml changed in form only"),
        (xml.replace('"none"', '"x y"'), 'EngineXml: devices/disk/driver@cache none -> "x y"'),
        (xml.replace("</devices>", "<rng/></devices>"), "EngineXml: devices/rng added"),
    ):
        assert differences(old, replace(old, engine_xml=text)) == (expected,)
    assert differences(PLAIN, old) == ("EngineXml added",)
    (broken,) = differences(old, replace(old, engine_xml="<domain>"))
    assert broken.startswith("EngineXml changed, and can't be compared: EngineXml, line 1")
    for number, more in ((100, "80"), (5000, "at least 980")):
        many = "<domain>" + "".join(f"<a{n}/>" for n in range(number)) + "</domain>"
        empty = replace(PLAIN, engine_xml="<domain/>")
        sentences = differences(empty, replace(PLAIN, engine_xml=many))
        assert len(sentences) == 21
        assert sentences[-1] == f"EngineXml: {more} changes more"


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="no samples here")
def test_samples_differ_from_each_other_and_not_from_themselves() -> None:
    found = [
        parse_ovf(path.read_bytes(), where=path.name) for path in sorted(SAMPLES.glob("*.ovf"))
    ]
    for old in found:
        for new in found:
            sentences = differences(old, new)
            assert bool(sentences) is (old != new)
            assert all(sentence.isprintable() for sentence in sentences)
