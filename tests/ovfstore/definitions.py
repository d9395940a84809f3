# SPDX-License-Identifier: Apache-2.0
"""Whole VmDefinition values for property tests: every field, and what people really type.

`definitions()` gives any definition that an OVF can carry. Texts hold quotes, `#`, blanks,
markup, non-ASCII and emoji; a snapshot chain has one leaf; resource types are the engine's.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Optional

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from ha_agent.ovfstore.codes import (
    BiosType,
    CpuPinningPolicy,
    DiskInterface,
    DisplayType,
    MigrationSupport,
    NicModel,
    Origin,
    ResourceType,
    ResumeBehavior,
    SerialNumberPolicy,
)
from ha_agent.ovfstore.model import (
    Device,
    Disk,
    LunConnection,
    Nic,
    NumaNode,
    Pairs,
    Snapshot,
    User,
    VmDefinition,
)

_NASTY = (
    "", " ", " a b ", "it's \"quoted\"", "#1, {x:y}; z=1", "<a>&amp;]]>", "äß漢字", "🚀\u200d👩",
    "two\nlines", "cr\r\nlf\r", "\ttab", "\x85\xa0\u2028", "None", "null", "{}", "a/b\\c", "%s $1",
)  # fmt: skip

WHOLE_VALUES = settings(
    deadline=None,
    max_examples=30,
    suppress_health_check=list(HealthCheck),
    # A whole definition shrinks for longer than a test may last; the message names the field.
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)
"""For tests over `definitions()`."""

uuids = st.uuids().map(str)
texts = st.sampled_from(_NASTY) | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\ufffe\uffff", min_codepoint=32),
    max_size=8,
)
stripped = texts.map(str.strip).filter(bool)
names = st.from_regex(r"[a-z][a-z0-9_]{0,6}", fullmatch=True)
counts = st.integers(0, 100_000)
optional_texts = st.none() | stripped
optional_counts = st.none() | counts


def pairs(
    keys: st.SearchStrategy[str], values: st.SearchStrategy[str]
) -> st.SearchStrategy[Pairs]:
    """Return a strategy of pairs with distinct names, sorted by them."""
    found = st.dictionaries(keys, values, max_size=2)
    return found.map(lambda chosen: tuple(sorted(chosen.items())))


addresses = pairs(
    st.sampled_from(["bus", "slot", "type", "unit"]),
    st.sampled_from(["0", "0x1f", "pci", "drive"]),
)
# A value is read as it is, but for the ends of the whole text.
properties = pairs(names, texts.map(lambda text: text.replace(";", "").strip()))
params = pairs(names, texts) | st.just((("a/b", "1"), ("a/c", " 2"), ("d", "")))
extras = pairs(names.map(lambda name: f"x_{name}"), texts) | pairs(
    names.map(lambda name: f"rasd:x_{name}"), texts
)
plain_extras = pairs(names.map(lambda name: f"X{name}"), texts)


def tuples(
    of: st.SearchStrategy[Any], most: int = 2, unique_by: Any = None
) -> st.SearchStrategy[Any]:
    """Return a strategy of short tuples."""
    return st.lists(of, max_size=most, unique_by=unique_by).map(tuple)


volumes = st.builds(
    Disk,
    image_uuid=uuids,
    volume_uuid=uuids,
    storage_domain_uuids=tuples(uuids),
    storage_pool_uuid=st.none() | uuids,
    snapshot_uuid=st.none() | uuids,
    size_gib=optional_counts,
    actual_size_gib=optional_counts,
    file_size_bytes=optional_counts,
    volume_format=st.sampled_from(["RAW", "COW", "Unassigned"]),
    volume_type=st.sampled_from(["Preallocated", "Sparse", "Unassigned"]),
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
    has_incremental_backup=st.booleans(),
    storage_type=st.none() | st.sampled_from(["CINDER", "MANAGED_BLOCK_STORAGE"]),
    cinder_volume_type=st.none() | names,
    file_description=texts,
    spec_params=params,
    custom_properties=properties,
    extra_attributes=pairs(names.map(lambda name: f"x-{name}"), texts),
    extra_fields=extras,
)
connections = st.builds(
    LunConnection,
    address=st.none() | texts,
    iqn=st.none() | texts,
    port=st.none() | texts,
    storage_type=st.none() | st.sampled_from(["ISCSI", "FCP"]),
    portal=st.none() | texts,
)
luns = st.builds(
    Disk,
    image_uuid=uuids,
    lun_id=texts,
    size_gib=optional_counts,
    file_size_bytes=optional_counts,
    interface=st.sampled_from(DiskInterface),
    is_boot=st.booleans(),
    is_plugged=st.booleans(),
    is_read_only=st.booleans(),
    is_shareable=st.booleans(),
    passes_discard=st.booleans(),
    uses_scsi_reservation=st.booleans(),
    connections=tuples(connections),
    alias=texts,
    description=texts,
    file_description=texts,
    cinder_volume_type=st.none() | names,
    extra_attributes=st.just(()) | st.just((("vendor_id", "LIO"), ("xsi:x", " "))),
)


@st.composite
def chains(draw: st.DrawFn) -> Disk:
    """Return an image's leaf with the older volumes that it is based on, in order."""
    found = draw(
        st.lists(volumes, min_size=1, max_size=3, unique_by=lambda disk: disk.volume_uuid)
    )
    image = found[0].image_uuid
    parent: Optional[str] = None
    chain = []
    for volume in found:
        chain.append(dataclasses.replace(volume, image_uuid=image, parent_uuid=parent))
        parent = volume.volume_uuid
    return dataclasses.replace(chain[-1], older_volumes=tuple(chain[:-1]))


nics = st.builds(
    Nic,
    device_uuid=uuids,
    name=texts,
    model=st.sampled_from(NicModel),
    network=optional_texts,
    profile=optional_texts,
    mac=st.none() | st.just("52:54:00:00:00:01"),
    is_linked=st.booleans(),
    is_plugged=st.booleans(),
    speed_mbit=optional_counts,
    boot_order=counts,
    device_alias=texts,
    address=addresses,
    device=st.sampled_from(["bridge", "hostdev"]),
    is_read_only=st.booleans(),
    spec_params=params,
    custom_properties=properties,
    extra_fields=extras,
)


def _device(video: bool) -> st.SearchStrategy[Device]:
    others = [ResourceType.OTHER, ResourceType.CDROM, ResourceType.GRAPHICS]
    return st.builds(
        Device,
        device_uuid=st.just("") | uuids,
        resource_type=st.just(20) if video else st.sampled_from([int(one) for one in others]),
        kind=names | st.sampled_from(["controller", "rng", "balloon", "disk", "tpm"]),
        device=names,
        monitors=counts if video else optional_counts,
        boot_order=counts,
        is_plugged=st.booleans(),
        is_read_only=st.booleans(),
        device_alias=texts,
        address=addresses,
        spec_params=params,
        custom_properties=properties,
        extra_fields=extras,
    )


devices = _device(video=True) | _device(video=False)
numa_nodes = st.builds(
    NumaNode,
    index=st.integers(0, 3),
    cpus=tuples(st.integers(0, 64), 3),
    memory_mib=st.integers(1, 99_999),
    tune_mode=st.none() | st.sampled_from(["strict", "interleave", "preferred"]),
    host_nodes=tuples(st.integers(0, 7)),
    node_uuid=st.none() | uuids,
)
snapshots = st.builds(
    Snapshot,
    uuid=uuids,
    kind=st.sampled_from(["ACTIVE", "REGULAR", "PREVIEW"]),
    description=texts,
    created=st.just("") | st.just("2026/11/22 10:00:00"),
    extra_fields=st.just(()) | st.just((("Memory", "a,b"), ("VmConfiguration", "eA=="))),
)
users = st.builds(User, name=stripped, roles=tuples(stripped))
_cpus = st.tuples(st.integers(1, 8), st.integers(1, 4), st.integers(1, 2), st.integers(0, 64))

_DEVICES = st.fixed_dictionaries(
    {
        "disks": tuples(chains() | luns, 2, unique_by=lambda disk: disk.image_uuid),
        "nics": tuples(nics),
        "devices": tuples(devices, 3),
        "numa_nodes": st.lists(numa_nodes, max_size=2).map(
            lambda found: tuple(sorted(found, key=lambda node: node.index))
        ),
        "snapshots": tuples(snapshots),
        "users": tuples(users),
        "affinity_groups": tuples(texts),
        "affinity_labels": tuples(texts),
        "guest_applications": tuples(texts),
        "external_data": pairs(st.sampled_from(["tpm", "nvram"]), st.just("QlpoOTE=")),
        "first_boot": pairs(st.sampled_from(["hostname", "customScript"]), texts),
        "predefined_properties": properties,
        "user_properties": properties,
        "extra_fields": plain_extras | st.just((("Generation", "7"), ("ClusterName", " "))),
    }
)
_NUMBERS = st.fixed_dictionaries(
    {
        "memory_mib": st.integers(1, 1 << 20),
        "max_memory_mib": optional_counts,
        "min_memory_mib": optional_counts,
        "io_threads": counts,
        "boot_sequence": optional_counts,
        "virtio_scsi_queues": st.integers(-1, 8),
        "bios_type": st.sampled_from(BiosType),
        "display_type": st.none() | st.sampled_from(DisplayType),
        "origin": st.none() | st.sampled_from(Origin),
        "serial_number_policy": st.none() | st.sampled_from(SerialNumberPolicy),
        "resume_behavior": st.none() | st.sampled_from(ResumeBehavior),
        "cpu_pinning_policy": st.none() | st.sampled_from(CpuPinningPolicy),
        "migration_support": st.none() | st.sampled_from(MigrationSupport),
        "uses_host_cpu": st.booleans(),
        "is_delete_protected": st.booleans(),
        "has_balloon": st.booleans(),
        "starts_paused": st.booleans(),
        "has_smartcard": st.booleans(),
        "has_boot_menu": st.booleans(),
        "has_multi_queues": st.booleans(),
    }
)
_TEXTS = st.fixed_dictionaries(
    {
        "uuid": uuids,
        "name": texts.filter(str.strip),
        "description": texts,
        "os_type": stripped,
        "cpu_model": optional_texts,
        "emulated_machine": optional_texts,
        "time_zone": optional_texts,
        "vnc_keyboard_layout": optional_texts,
        "usb_policy": optional_texts,
        "cpu_pinning": optional_texts,
        "engine_xml": optional_texts,
        "ovf_version": st.none() | st.just("4.5.8"),
        "compat_version": st.none() | st.just("4.8"),
        "custom_compat_version": st.none() | st.just("4.7"),
        "custom_serial_number": optional_texts,
        "kernel_path": optional_texts,
        "initrd_path": optional_texts,
        "kernel_arguments": optional_texts,
        "lease_domain_uuid": st.none() | uuids,
        "dedicated_host_uuids": tuples(uuids),
    }
)


@st.composite
def definitions(draw: st.DrawFn) -> VmDefinition:
    """Return any definition that an OVF can carry."""
    sockets, cores, threads, more = draw(_cpus)
    return VmDefinition(
        sockets=sockets,
        cores_per_socket=cores,
        threads_per_core=threads,
        max_vcpus=sockets * cores * threads + more,
        **draw(_TEXTS),
        **draw(_NUMBERS),
        **draw(_DEVICES),
    )
