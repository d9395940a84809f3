# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import random
from typing import Any, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from ha_agent.ovfstore.xml_difference import XmlChange, xml_differences
from ha_agent.ovfstore.xml_input import OvfError

DOMAIN = """<domain type="kvm" xmlns:ovirt-vm="http://ovirt.org/vm/1.0">
  <name>HostedEngine</name>
  <memory>4194304</memory>
  <cpu mode="custom"><feature name="vmx" policy="require"/><feature name="hle"/></cpu>
  <devices>
    <disk type="file"><driver name="qemu" cache="none"/><target dev="vda" bus="virtio"/></disk>
    <disk type="file" device="cdrom"><target dev="sdc" bus="sata"/></disk>
    <interface type="bridge"><mac address="00:16:3e:00:00:01"/><source bridge="b"/></interface>
    <interface type="bridge"><mac address="00:16:3e:00:00:02"/><source bridge="b"/></interface>
    <controller type="usb" index="0"/><controller type="scsi" index="0"/>
    <rng model="virtio"/>
  </devices>
  <metadata><ovirt-vm:vm><ovirt-vm:x>1</ovirt-vm:x></ovirt-vm:vm></metadata>
</domain>"""


def differ(*changes: tuple[str, str]) -> tuple[XmlChange, ...]:
    text = DOMAIN
    for old, new in changes:
        assert text.count(old) == 1
        text = text.replace(old, new)
    return xml_differences(DOMAIN, text)


NIC = '<interface type="bridge"><mac address="00:16:3e:00:00:01"/><source bridge="b"/></interface>'
SCSI = '<controller type="scsi" index="0"/>'


@pytest.mark.parametrize(
    ("old", "new", "path", "values"),
    [
        ("4194304", "8388608", "memory", ("4194304", "8388608")),
        ('type="kvm"', 'type="qemu"', "@type", ("kvm", "qemu")),
        ('"none"', '"x"', "devices/disk[vda]/driver@cache", ("none", "x")),
        (' cache="none"', "", "devices/disk[vda]/driver@cache", ("none", None)),
        (' policy="require"', "", "cpu/feature[vmx]@policy", ("require", None)),
        (' bus="sata"', ' bus="ide"', "devices/disk[sdc]/target@bus", ("sata", "ide")),
        ('<rng model="virtio"/>', "", "devices/rng", ("", None)),
        (NIC, "", "devices/interface[00:16:3e:00:00:01]", ("", None)),
        (SCSI, "", "devices/controller[scsi 0]", ("", None)),
        (SCSI, SCSI * 2, "devices/controller[scsi 0 #2]", (None, "")),
        (">1<", ">2<", "metadata/vm/x", ("1", "2")),
        ("<name>HostedEngine</name>", "", "name", ("HostedEngine", None)),
    ],
)
def test_a_change_is_told_by_its_path(
    old: str, new: str, path: str, values: tuple[Optional[str], Optional[str]]
) -> None:
    (change,) = differ((old, new))
    assert (change.path, change.old, change.new) == (path, *values)


def test_another_form_is_no_change() -> None:
    loose = DOMAIN.replace("\n", "").replace("><", "> <!-- --> <").replace('"', "'")
    assert xml_differences(DOMAIN, loose) == ()


def test_the_order_of_marked_elements_is_no_change() -> None:
    root = etree.fromstring(DOMAIN.encode())
    devices = root.find("devices")
    assert devices is not None
    shuffled = list(devices)
    random.Random(7).shuffle(shuffled)
    for child in shuffled:
        devices.append(child)
    assert xml_differences(DOMAIN, etree.tostring(root).decode()) == ()


def test_another_root_is_another_document() -> None:
    assert xml_differences("<vm></vm>", "<vms></vms>") == (XmlChange("(root)", "vm", "vms"),)


@pytest.mark.parametrize(
    "text",
    ["", "<a>", "<!DOCTYPE a><a/>", "<a>" * 100, "<domain>" + "<a/>" * 20_000 + "</domain>"],
    ids=["empty", "open", "doctype", "deep", "long"],
)
def test_what_can_not_be_read_can_not_be_compared(text: str) -> None:
    for pair in ((text, DOMAIN), (DOMAIN, text)):
        with pytest.raises(OvfError):
            xml_differences(*pair)


names = st.sampled_from(["a", "b", "disk"])
values = st.sampled_from(["", "1", "2"])
trees: st.SearchStrategy[Any] = st.recursive(
    st.tuples(names, st.dictionaries(st.sampled_from(["name", "x"]), values), values, st.just([])),
    lambda inner: st.tuples(names, st.just({}), values, st.lists(inner, max_size=4)),
    max_leaves=8,
)


def xml_of(tree: Any) -> etree._Element:
    name, attributes, text, children = tree
    element = etree.Element(name, attributes)
    element.text = text
    for child in children:
        element.append(xml_of(child))
    return element


@given(trees, trees)
def test_a_difference_has_two_sides(one: Any, other: Any) -> None:
    texts = [etree.tostring(xml_of(tree)).decode() for tree in (one, other)]
    forth = xml_differences(texts[0], texts[1])
    back = xml_differences(texts[1], texts[0])
    assert xml_differences(texts[0], texts[0]) == ()
    assert {(c.path, c.old, c.new) for c in forth} == {(c.path, c.new, c.old) for c in back}
