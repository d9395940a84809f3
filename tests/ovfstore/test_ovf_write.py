# SPDX-License-Identifier: Apache-2.0
"""The engine's order of elements, and what is refused before it is written."""

from __future__ import annotations

import dataclasses

import pytest
from lxml import etree

from ha_agent.errors import BadInput
from ha_agent.ovfstore.codes import OVF_NAMESPACE, RASD_NAMESPACE, XSI_NAMESPACE
from ha_agent.ovfstore.model import Disk, Nic, VmDefinition
from ha_agent.ovfstore.ovf_write import (
    NAMESPACES,
    add,
    address,
    first_difference,
    in_order,
    properties,
    refuse_unwritable,
    spec_params,
)

VM = VmDefinition("u", "n", 1, 1, 1, 1, 1, disks=(Disk("a"), Disk("b", alias="x")))


def test_extra_fields_keep_their_order_and_win() -> None:
    values = [("a", "1"), ("c", "3"), ("e", "5")]
    order = ("a", "b", "c", "d", "e")
    assert in_order(values, (("d", "4"), ("b", "2"), ("c", "x"), ("z", "9")), order) == [
        ("a", "1"),
        ("d", "4"),
        ("b", "2"),
        ("c", "x"),
        ("z", "9"),
        ("e", "5"),
    ]


def test_names_have_their_namespaces() -> None:
    root = etree.Element("Item", nsmap=NAMESPACES)
    item = add(root, "rasd:Address", "x", attributes={"id": "1", "xsi:type": "t"})
    assert item.tag == f"{{{RASD_NAMESPACE}}}Address"
    found = {str(name): str(text) for name, text in item.attrib.items()}
    assert found == {f"{{{OVF_NAMESPACE}}}id": "1", f"{{{XSI_NAMESPACE}}}type": "t"}
    assert add(root, "Type").tag == "Type"


def test_spec_params_nest_and_do_not_merge_across_others() -> None:
    root = etree.Element("Item")
    spec_params(root, (("a/b", "1"), ("a/c", "2"), ("d", "3"), ("a/e", "4"), ("d/f", "5")))
    assert etree.tostring(root) == (
        b"<Item><SpecParams><a><b>1</b><c>2</c></a><d>3</d><a><e>4</e></a><d><f>5</f></d>"
        b"</SpecParams></Item>"
    )
    spec_params(root, ())
    assert len(root) == 1


def test_java_maps() -> None:
    assert address((("bus", "0x00"), ("type", "pci"))) == "{bus=0x00, type=pci}"
    assert address(()) == ""
    assert properties((("a", "1"), ("b", "x=y"))) == "a=1;b=x=y"


@pytest.mark.parametrize("text", ["\x00", "a\x1bb", "\ud800", "\ufffe", "\x0b"])
def test_what_xml_cannot_carry_is_named(text: str) -> None:
    nics = (Nic("1", "eth0"), Nic("2", text))
    with pytest.raises(BadInput, match=r"vm\.nics\[1\]\.name: .* can't be written in XML"):
        refuse_unwritable(dataclasses.replace(VM, nics=nics), "vm")


def test_what_xml_can_carry_is_not_refused() -> None:
    refuse_unwritable(dataclasses.replace(VM, name="\t\r\n\x85 äß漢🚀\u2028"), "vm")
    # Notes are never written.
    refuse_unwritable(dataclasses.replace(VM, notes=("\x00",)), "vm")


def test_the_first_difference_is_named() -> None:
    other = dataclasses.replace(VM, disks=(Disk("a"), Disk("b", alias="y")))
    assert first_difference(VM, other, "vm") == "vm.disks[1].alias"
    assert first_difference(VM, dataclasses.replace(VM, disks=()), "vm") == "vm.disks"
    assert first_difference(VM, dataclasses.replace(VM, notes=("x",)), "vm") is None
    assert first_difference(0, False, "vm.x") == "vm.x"
