# SPDX-License-Identifier: Apache-2.0
"""The OVF writer: parse(build(vm)) == vm, for any vm and for every sample."""

from __future__ import annotations

import dataclasses
import pathlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ha_agent.ovfstore.codes import BiosType, DiskInterface, DisplayType, NicModel, Origin
from ha_agent.ovfstore.model import Device, Disk, Nic, NumaNode, VmDefinition
from ha_agent.ovfstore.ovf_build import build_ovf
from ha_agent.ovfstore.ovf_parse import parse_ovf

DATA = pathlib.Path(__file__).resolve().parents[1] / "data" / "engine_vm.ovf"
SAMPLES = pathlib.Path(__file__).resolve().parents[3] / "shared" / "data" / "ovf"

uuids = st.uuids().map(str)
texts = st.text(
    st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="\ufffe\uffff"),
    max_size=12,
)
stripped = texts.map(str.strip).filter(bool)
names = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
counts = st.integers(0, 100_000)
optional_counts = st.none() | counts


def pairs(values: st.SearchStrategy[str]) -> st.SearchStrategy[tuple[tuple[str, str], ...]]:
    return st.dictionaries(names, values, max_size=4).map(
        lambda found: tuple(sorted(found.items()))
    )


addresses = pairs(st.from_regex(r"[a-z0-9]{1,6}", fullmatch=True))
properties = pairs(texts.map(lambda text: text.replace(";", "").strip()))

image_disks = st.builds(
    Disk,
    image_uuid=uuids,
    volume_uuid=uuids,
    storage_domain_uuids=st.lists(uuids, max_size=2).map(tuple),
    storage_pool_uuid=st.none() | uuids,
    snapshot_uuid=st.none() | uuids,
    size_gib=optional_counts,
    actual_size_gib=optional_counts,
    file_size_bytes=optional_counts,
    volume_format=st.sampled_from(["RAW", "COW", "Unassigned"]),
    volume_type=st.sampled_from(["Preallocated", "Sparse"]),
    interface=st.sampled_from(DiskInterface),
    is_boot=st.booleans(),
    boot_order=counts,
    is_plugged=st.booleans(),
    is_read_only=st.booleans(),
    is_shareable=st.booleans(),
    passes_discard=st.booleans(),
    wipes_after_delete=st.booleans(),
    alias=texts,
    description=texts,
    device_alias=texts,
    address=addresses,
)
lun_disks = st.builds(
    Disk,
    image_uuid=uuids,
    lun_id=names,
    size_gib=optional_counts,
    interface=st.sampled_from(DiskInterface),
    is_boot=st.booleans(),
    is_plugged=st.booleans(),
    is_read_only=st.booleans(),
    is_shareable=st.booleans(),
    passes_discard=st.booleans(),
    alias=texts,
    description=texts,
)
nics = st.builds(
    Nic,
    device_uuid=uuids,
    name=texts,
    model=st.sampled_from(NicModel),
    network=st.none() | stripped,
    profile=st.none() | stripped,
    mac=st.none() | st.just("52:54:00:00:00:01"),
    is_linked=st.booleans(),
    is_plugged=st.booleans(),
    speed_mbit=optional_counts,
    boot_order=counts,
    device_alias=texts,
    address=addresses,
)
devices = st.builds(
    Device,
    device_uuid=uuids,
    resource_type=st.sampled_from([0, 15, 20, 26]),
    kind=names,
    device=names,
    monitors=optional_counts,
    boot_order=counts,
    is_plugged=st.booleans(),
    is_read_only=st.booleans(),
    device_alias=texts,
    address=addresses,
    spec_params=pairs(texts) | st.just((("a/b", "1"), ("a/c", "2"))),
)
numa_nodes = st.builds(
    NumaNode,
    index=st.integers(0, 3),
    cpus=st.lists(st.integers(0, 64), max_size=3).map(tuple),
    memory_mib=st.integers(1, 99999),
    tune_mode=st.none() | st.just("strict"),
    host_nodes=st.lists(st.integers(0, 7), max_size=2).map(tuple),
    node_uuid=st.none() | uuids,
)


@st.composite
def definitions(draw: st.DrawFn) -> VmDefinition:
    sockets, cores, threads = (draw(st.integers(1, 8)) for _ in range(3))
    disks = st.lists(image_disks | lun_disks, max_size=3, unique_by=lambda disk: disk.image_uuid)
    return VmDefinition(
        uuid=draw(uuids),
        name=draw(texts.filter(str.strip)),
        memory_mib=draw(st.integers(1, 1 << 20)),
        sockets=sockets,
        cores_per_socket=cores,
        threads_per_core=threads,
        max_vcpus=draw(st.integers(sockets * cores * threads, 1024)),
        max_memory_mib=draw(optional_counts),
        min_memory_mib=draw(optional_counts),
        cpu_model=draw(st.none() | stripped),
        uses_host_cpu=draw(st.booleans()),
        emulated_machine=draw(st.none() | stripped),
        bios_type=draw(st.sampled_from(BiosType)),
        display_type=draw(st.none() | st.sampled_from(DisplayType)),
        os_type=draw(names),
        origin=draw(st.none() | st.sampled_from(Origin)),
        description=draw(texts),
        time_zone=draw(st.none() | stripped),
        vnc_keyboard_layout=draw(st.none() | names),
        is_delete_protected=draw(st.booleans()),
        has_balloon=draw(st.booleans()),
        starts_paused=draw(st.booleans()),
        io_threads=draw(counts),
        boot_sequence=draw(optional_counts),
        usb_policy=draw(st.none() | names),
        cpu_pinning=draw(st.none() | stripped),
        predefined_properties=draw(properties),
        user_properties=draw(properties),
        disks=tuple(draw(disks)),
        nics=tuple(draw(st.lists(nics, max_size=2))),
        devices=tuple(draw(st.lists(devices, max_size=3))),
        numa_nodes=tuple(
            sorted(draw(st.lists(numa_nodes, max_size=2)), key=lambda node: node.index)
        ),
        engine_xml=draw(st.none() | stripped),
        ovf_version=draw(st.none() | st.just("4.5.8")),
        compat_version=draw(st.none() | st.just("4.8")),
        custom_compat_version=draw(st.none() | st.just("4.7")),
        extra_fields=draw(pairs(texts)),
    )


@settings(deadline=None, max_examples=150)
@given(definitions())
def test_what_is_built_parses_to_the_same_vm(vm: VmDefinition) -> None:
    assert parse_ovf(build_ovf(vm), where="built") == vm


def test_our_own_document_survives() -> None:
    vm = parse_ovf(DATA.read_bytes(), where="F")
    assert parse_ovf(build_ovf(vm), where="built", expect_uuid=vm.uuid) == vm


@pytest.mark.parametrize(
    "name",
    sorted(path.name for path in SAMPLES.glob("*.ovf")) if SAMPLES.exists() else ["(none)"],
)
def test_samples_survive(name: str) -> None:
    path = SAMPLES / name
    if not path.exists():
        pytest.skip("no sample data beside this checkout")
    vm = parse_ovf(path.read_bytes(), where=name)
    assert parse_ovf(build_ovf(vm), where="built") == vm


def test_the_dialect_is_the_engines() -> None:
    vm = parse_ovf(DATA.read_bytes(), where="F")
    data = build_ovf(vm)
    assert data.startswith(b'<?xml version="1.0" encoding="UTF-8"?><ovf:Envelope ')
    assert b"/>" not in data.replace(b'xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1/"', b"")
    assert b"\n" not in data
    assert b'ovf:version="4.5.6"' in data
    assert b"<rasd:ResourceSubType>6</rasd:ResourceSubType>" in data


@pytest.mark.parametrize(
    "change",
    [
        {"user_properties": (("a", "b;c"),)},
        {"user_properties": (("a=b", "c"),)},
        {"name": "a\x00b"},
        {"description": "\x1b[2J"},
    ],
)
def test_what_cannot_be_written_is_refused(change: dict[str, object]) -> None:
    vm = parse_ovf(DATA.read_bytes(), where="F")
    with pytest.raises(ValueError, match=r"can't be written|XML compatible"):
        build_ovf(dataclasses.replace(vm, **change))  # type: ignore[arg-type]
