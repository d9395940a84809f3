# SPDX-License-Identifier: Apache-2.0
"""Typed reads of single values, and that each error has its element and line."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ha_agent.ovfstore.codes import BiosType
from ha_agent.ovfstore.ovf_fields import Fields, pairs_of_properties, section_kind
from ha_agent.ovfstore.xml_input import OvfError, parse_xml

DOCUMENT = b"""<e:Item xmlns:e="http://schemas.dmtf.org/ovf/envelope/1" xmlns:r="r" e:id="7" p="8">
<r:Text> two words </r:Text><Empty/><Truth>TRUE</Truth><Number>-12</Number><Code>2</Code>
<Twice>1</Twice><Twice>2</Twice><Uuid>0000ABCD-1111-4222-8333-00000000eccb</Uuid>
<Address>{unit=0, type=drive,bus=1}</Address><Properties>a=1;b=x=y;</Properties>
<SpecParams><model>m</model><deep><er>1</er><est>2</est></deep></SpecParams>
</e:Item>"""
ITEM = Fields(parse_xml(DOCUMENT, where="F"), "F")


def test_reads() -> None:
    assert (ITEM.raw("Text"), ITEM.text("Text")) == (" two words ", "two words")
    assert (ITEM.raw("Empty"), ITEM.text("Empty")) == ("", None)
    assert (ITEM.raw("Absent"), ITEM.text("Absent")) == (None, None)
    assert ITEM.flag("Truth", False)
    assert ITEM.flag("Absent", True)
    assert ITEM.number("Number") == -12
    assert ITEM.code("Code", BiosType) is BiosType.Q35_OVMF
    assert ITEM.code("Absent", BiosType) is None
    assert ITEM.text("Twice") == "2"
    assert (ITEM.attribute("id"), ITEM.attribute("p")) == ("7", "8")
    assert ITEM.attribute_number("id") == 7
    assert ITEM.uuid_of(ITEM.text("Uuid") or "", "Uuid").startswith("0000abcd-")
    assert ITEM.address() == (("bus", "1"), ("type", "drive"), ("unit", "0"))
    assert ITEM.spec_params() == (("model", "m"), ("deep/er", "1"), ("deep/est", "2"))
    assert pairs_of_properties(ITEM, "Properties") == (("a", "1"), ("b", "x=y"))
    assert pairs_of_properties(ITEM, "Absent") == ()


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (lambda: ITEM.flag("Number", True), "F, line 2: Item/Number: '-12' is neither true nor"),
        (lambda: ITEM.number("Text"), "F, line 2: Item/Text: 'two words' is not a number"),
        (lambda: ITEM.count("Number"), "F, line 2: Item/Number: -12 is less than 0"),
        (lambda: ITEM.code("Number", BiosType), "Item/Number: -12 is no known BiosType"),
        (lambda: ITEM.uuid_of("x", "Uuid"), "F, line 3: Item/Uuid: 'x' is not a UUID"),
        (lambda: pairs_of_properties(ITEM, "Text"), "Item/Text: 'two words' is not name=value"),
    ],
)
def test_errors_name_element_and_line(read: Callable[[], object], message: str) -> None:
    with pytest.raises(OvfError) as caught:
        read()
    assert message in str(caught.value)


def test_parameters_nested_too_deep() -> None:
    data = b"<i><SpecParams>" + b"<a>" * 12 + b"</a>" * 12 + b"</SpecParams></i>"
    with pytest.raises(OvfError, match="nested too deep"):
        Fields(parse_xml(data, where="F"), "F").spec_params()


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (
            '<Section xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
            ' xsi:type="ovf:DiskSection_Type"/>',
            "DiskSection",
        ),
        ("<Section/>", ""),
        ("<NetworkSection/>", "NetworkSection"),
    ],
)
def test_section_kinds(text: str, kind: str) -> None:
    assert section_kind(parse_xml(text.encode(), where="F")) == kind
