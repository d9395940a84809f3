# SPDX-License-Identifier: Apache-2.0
"""What changed from one definition of a VM to another, in sentences for people.

    memory 4096 -> 8192 MiB
    NIC nic1: network ovirtmgmt -> storage
    disk data added (50 GiB, on domain 1f71b5f9-...)
    EngineXml: devices/disk[vda]/driver@cache none -> writeback

By meaning: devices are matched by their uuids, then by what they are; the engine's XML is told
of where the fields do not tell it already, by the paths of its elements. Every field of the
model counts, also one that this module has never heard of; what only concerns the reading of a
document (compare=False in model.py) does not. No difference is passed over: definitions that
are not equal have at least one sentence.
"""

from __future__ import annotations

import dataclasses
import enum
import re
from collections import Counter, deque
from collections.abc import Hashable, Iterator, Sequence
from typing import Any, Callable, Optional

from ha_agent.ovfstore.model import Device, Disk, Nic, NumaNode, Snapshot, User, VmDefinition
from ha_agent.ovfstore.xml_difference import CHANGE_LIMIT, XmlChange, xml_differences
from ha_agent.ovfstore.xml_input import OvfError

SENTENCE_LIMIT = 100
_XML_LIMIT = 20
_VALUE_LIMIT = 60
_UNITS = {"mib": "MiB", "gib": "GiB", "bytes": "bytes", "mbit": "Mbit/s", "seconds": "s"}
_TOPOLOGY = ("sockets", "cores_per_socket", "threads_per_core")
# What may hold a password or a key: that it changed is told, not what it is. Status shows these
# sentences to everybody whom the socket lets in, the document itself only to who may change it.
_SECRET_FIELDS = ("first_boot", "external_data")
_SECRET_NAME = re.compile(
    r"passw|secret|token|ticket|credential|private|(?:^|[_\W])key|"
    r"cloud.?init|sysprep|payload|user.?data|commandline",
    re.IGNORECASE,
)
_LABELS = {
    "max_vcpus": "CPUs with hot plug",
    "max_memory_mib": "memory with hot plug",
    "min_memory_mib": "guaranteed memory",
    "cpu_model": "CPU type",
    "emulated_machine": "machine type",
    "bios_type": "firmware",
    "is_delete_protected": "delete protection",
    "predefined_properties": "custom property",
    "user_properties": "custom property",
    "custom_properties": "custom property",
    "extra_fields": "field",
    "extra_attributes": "attribute",
    "spec_params": "parameter",
    "first_boot": "first boot's",
    "lease_domain_uuid": "VM lease on domain",
    "storage_domain_uuids": "storage domain",
    "mac": "MAC",
    "device_uuid": "uuid",
    "os_type": "operating system",
}
_DEVICE_LABELS = {"cdrom": "CD-ROM", "floppy": "floppy drive", "video": "video card"}


def differences(old: VmDefinition, new: VmDefinition) -> tuple[str, ...]:
    """Return a sentence for each change from `old` to `new`; () when there is none.

    After 100 sentences the rest is counted. Values are shortened; nothing that could upset a
    terminal stays in them.
    """
    sentences: list[str] = []
    topologies = [tuple(getattr(vm, name) for name in _TOPOLOGY) for vm in (old, new)]
    if topologies[0] != topologies[1]:
        texts = ["x".join(map(str, topology)) for topology in topologies]
        sentences.append(
            f"CPUs {old.vcpus} -> {new.vcpus} (sockets x cores x threads {texts[0]} -> {texts[1]})"
        )
    orders = [_boot_order(vm) for vm in (old, new)]
    if orders[0] != orders[1]:
        before, after = (_shown(", ".join(order) or "none") for order in orders)
        sentences.append(f"boot order: {before} -> {after}")
    skipped = {*_TOPOLOGY, "engine_xml"}
    told = {"boot_order"} if orders[0] != orders[1] else set()
    sentences += _fields(old, new, skipped, told)
    sentences += _engine_xml(old, new)
    if len(sentences) > SENTENCE_LIMIT:
        more = len(sentences) - SENTENCE_LIMIT
        sentences[SENTENCE_LIMIT:] = [f"and {more} changes more"]
    return tuple(sentences)


def _fields(old: Any, new: Any, skipped: set[str], told: set[str]) -> Iterator[str]:
    """Compare two values of one dataclass, field by field, in the model's order.

    `told` are the names of fields, at any depth, that a sentence tells of already.
    """
    for field in dataclasses.fields(old):
        name = field.name
        values = getattr(old, name), getattr(new, name)
        if not field.compare or name in skipped or name in told or values[0] == values[1]:
            continue
        found = list(_change(name, values[0], values[1], told))
        # Items in another order, or of kinds that are told of elsewhere.
        yield from found or ([] if _told_within(values, told) else [f"{_label(name)}: reordered"])


def _told_within(values: tuple[Any, Any], told: set[str]) -> bool:
    """Whether items differ only in fields that are told of already."""
    if not told or not all(isinstance(value, tuple) for value in values):
        return False
    olds, news = values
    return len(olds) == len(news) and all(
        dataclasses.is_dataclass(a) and dataclasses.is_dataclass(b) and _key(a) == _key(b)
        for a, b in zip(olds, news)
    )


def _change(name: str, old: Any, new: Any, told: set[str]) -> Iterator[str]:
    label = _label(name)
    if name == "address":
        yield _from_to("moved:", _value(old), _value(new))
    elif isinstance(old, tuple) and isinstance(new, tuple):
        items = [*old, *new]
        if all(dataclasses.is_dataclass(item) for item in items):
            yield from _items(old, new, told)
        elif all(isinstance(item, tuple) and len(item) == 2 for item in items):
            yield from _pairs(label, old, new, name in _SECRET_FIELDS)
        elif len(items) == 2 or not all(isinstance(item, str) for item in items):
            yield _from_to(label, _value(old), _value(new))
        else:
            yield from _members(label, old, new)
    elif dataclasses.is_dataclass(old) and type(old) is type(new):
        for sentence in _fields(old, new, set(), told):
            yield f"{label}: {sentence}"
    else:
        unit = _UNITS.get(name.rpartition("_")[2], "")
        texts = [_value(value) for value in (old, new)]
        # "memory 4096 -> 8192 MiB", but "memory with hot plug 4096 MiB -> not set".
        if unit:
            texts[0 if new is None else 1] += f" {unit}"
        yield _from_to(label, *texts)


# Items of a list --------------------------------------------------------------------------


def _items(olds: Sequence[Any], news: Sequence[Any], told: set[str]) -> Iterator[str]:
    pairs, gone, come = _matched(olds, news)
    for old, new in pairs:
        for sentence in _fields(old, new, set(), told):
            joint = " " if sentence.startswith("moved: ") else ": "
            yield f"{_item(old)}{joint}{sentence}"
    for item in gone:
        yield f"{_item(item)} removed{_detail(item)}"
    for item in come:
        yield f"{_item(item)} added{_detail(item)}"


def _matched(
    olds: Sequence[Any], news: Sequence[Any]
) -> tuple[list[tuple[Any, Any]], list[Any], list[Any]]:
    """Return pairs of items that are the same one, then those that went and those that came.

    Each round matches what is left by a looser key; an item without that key is not matched.
    """
    pairs: dict[int, tuple[Any, Any]] = {}
    gone, come = dict(enumerate(olds)), dict(enumerate(news))
    for key in _KEYS:
        by_key: dict[Hashable, deque[int]] = {}
        for index, item in come.items():
            if key(item):
                by_key.setdefault(key(item), deque()).append(index)
        for index, item in list(gone.items()):
            found = by_key.get(key(item)) if key(item) else None
            if found:
                pairs[index] = (gone.pop(index), come.pop(found.popleft()))
    return [pairs[index] for index in sorted(pairs)], list(gone.values()), list(come.values())


def _whole(item: Any) -> Hashable:
    """Items that are equal are the same one, though several may have one uuid or none."""
    return (type(item), item)


def _key(item: Any) -> Hashable:
    if isinstance(item, Disk):
        return (item.image_uuid, item.volume_uuid)
    if isinstance(item, (Nic, Device)):
        return item.device_uuid
    if isinstance(item, NumaNode):
        return (item.index,)
    if isinstance(item, (Snapshot, User)):
        return (item.uuid if isinstance(item, Snapshot) else item.name,)
    return (getattr(item, dataclasses.fields(item)[0].name),)


def _second_key(item: Any) -> Hashable:
    if isinstance(item, Disk):
        return item.image_uuid
    if isinstance(item, Nic):
        return item.mac
    return (item.kind, item.device) if isinstance(item, Device) else None


def _third_key(item: Any) -> Hashable:
    if isinstance(item, Nic):
        return item.name
    # Controllers have one kind and nothing else in common.
    is_one_of_a_kind = isinstance(item, Device) and item.kind != "controller"
    return item.kind if is_one_of_a_kind else None


_KEYS: tuple[Callable[[Any], Hashable], ...] = (_whole, _key, _second_key, _third_key)


def _item(item: Any) -> str:
    """Return what people call an item."""
    if isinstance(item, Disk):
        name = item.alias or item.lun_id or item.image_uuid
        return _shown(f"disk {name}")
    if isinstance(item, Nic):
        return _shown(f"NIC {item.name or item.device_uuid}")
    if isinstance(item, Device):
        label = _DEVICE_LABELS.get(item.device)
        kind = _DEVICE_LABELS.get(item.kind, item.kind)
        return _shown(label or (kind if kind == item.device else f"{kind} {item.device}"))
    first = getattr(item, dataclasses.fields(item)[0].name)
    kind = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(item).__name__).lower()
    return f"{kind.replace('numa', 'NUMA').replace('lun', 'LUN')} {_value(first)}"


def _detail(item: Any) -> str:
    parts: list[str] = []
    if isinstance(item, Disk):
        parts += [] if item.size_gib is None else [f"{item.size_gib} GiB"]
        parts += [f"on domain {uuid}" for uuid in item.storage_domain_uuids[:1]]
    elif isinstance(item, Nic):
        parts = [f"network {_value(item.network)}", f"MAC {_value(item.mac)}"]
    elif isinstance(item, NumaNode):
        parts = [f"CPUs {_value(item.cpus)}", f"{item.memory_mib} MiB"]
    return f" ({', '.join(parts)})" if parts else ""


def _boot_order(vm: VmDefinition) -> tuple[str, ...]:
    """Return the names of what the VM boots from, in order."""
    items: list[Any] = [*vm.disks, *vm.nics, *vm.devices]
    items = [item for item in items if item.boot_order > 0]
    return tuple(_item(item) for item in sorted(items, key=lambda item: item.boot_order))


# Values -----------------------------------------------------------------------------------


def _pairs(label: str, olds: Any, news: Any, is_secret: bool) -> Iterator[str]:
    """Compare names with values; a name may occur more than once."""
    before, after = _by_name(olds), _by_name(news)
    for name in dict.fromkeys([*before, *after]):
        if before.get(name) == after.get(name):
            continue
        what = _shown(f"{label} {name}")
        hidden = is_secret or _SECRET_NAME.search(name) is not None
        values = ["" if hidden else _value(found.get(name, ())) for found in (before, after)]
        if name in before and name in after:
            yield _from_to(what, *values)
        elif name in after:
            yield f"{what} added" + ("" if hidden else f" ({values[1]})")
        else:
            yield f"{what} removed" + ("" if hidden else f" ({values[0]})")


def _by_name(pairs: Sequence[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return {name: tuple(values) for name, values in found.items()}


def _members(label: str, olds: Sequence[str], news: Sequence[str]) -> Iterator[str]:
    for verb, members in (
        ("removed", Counter(olds) - Counter(news)),
        ("added", Counter(news) - Counter(olds)),
    ):
        if members:
            yield f"{label}: {_value(tuple(members.elements()))} {verb}"


def _label(name: str) -> str:
    if name in _LABELS:
        return _LABELS[name]
    name = re.sub(r"^(is|has|uses)_", "", name)
    name = re.sub(rf"_({'|'.join(_UNITS)}|uuids?)$", "", name)
    return name.replace("_", " ")


def _value(value: Any) -> str:
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, enum.Enum):
        return value.value if isinstance(value.value, str) else value.name
    if isinstance(value, tuple) and len(value) == 1 and isinstance(value[0], str):
        value = value[0]
    if isinstance(value, tuple):
        parts = (f"{p[0]}={p[1]}" if isinstance(p, tuple) else str(p) for p in value)
        return _shown(", ".join(parts) or "none")
    text = str(value)
    return _shown(text) if text and " " not in text else f'"{_shown(text)}"'


def _from_to(what: str, old: str, new: str) -> str:
    """Long values may be the same as far as they are shown."""
    return f"{what} changed" if old == new else f"{what} {old} -> {new}"


def _shown(text: str) -> str:
    if len(text) > _VALUE_LIMIT:
        text = f"{text[: _VALUE_LIMIT - 3]}..."
    return "".join(char if char.isprintable() else "?" for char in text)


# The engine's XML -------------------------------------------------------------------------


def _engine_xml(old: VmDefinition, new: VmDefinition) -> Iterator[str]:
    if old.engine_xml == new.engine_xml:
        return
    if old.engine_xml is None or new.engine_xml is None:
        yield "EngineXml removed" if new.engine_xml is None else "EngineXml added"
        return
    try:
        changes = xml_differences(old.engine_xml, new.engine_xml)
    except OvfError as error:
        yield f"EngineXml changed, and can't be compared: {error}"
        return
    if not changes:
        yield "EngineXml changed in form only"
    told = _told_by_fields(old, new)
    rest = [change for change in changes if change not in told]
    for change in rest[:_XML_LIMIT]:
        yield f"EngineXml: {_xml_sentence(change)}"
    if len(rest) > _XML_LIMIT:
        least = "at least " if len(changes) == CHANGE_LIMIT else ""
        yield f"EngineXml: {least}{len(rest) - _XML_LIMIT} changes more"


def _told_by_fields(old: VmDefinition, new: VmDefinition) -> set[XmlChange]:
    """What the XML must say after a change of a field: only when it does is it no news."""

    def values(vm: VmDefinition) -> dict[str, Optional[str]]:
        def kib(mib: Optional[int]) -> Optional[str]:
            return None if mib is None else str(mib * 1024)

        return {
            "name": vm.name,
            "memory": kib(vm.memory_mib),
            "currentMemory": kib(vm.memory_mib),
            "maxMemory": kib(vm.max_memory_mib),
            "vcpu": str(vm.max_vcpus),
            "vcpu@current": str(vm.vcpus),
            "os/type@machine": vm.emulated_machine,
            "metadata/vm/minGuaranteedMemoryMb": str(vm.min_memory_mib or vm.memory_mib),
        }

    before, after = values(old), values(new)
    return {XmlChange(path, before[path], after[path]) for path in before}


def _xml_sentence(change: XmlChange) -> str:
    path = _shown(change.path)
    if _SECRET_NAME.search(change.path) is not None:
        return f"{path} changed"
    if change.old is not None and change.new is not None:
        return _from_to(path, _value(change.old), _value(change.new))
    value = change.old if change.new is None else change.new
    verb = "removed" if change.new is None else "added"
    return f"{path} {verb}" + (f" ({_value(value)})" if value else "")
