# SPDX-License-Identifier: Apache-2.0
"""Typed reads of single values, and that each error has its element and line."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ha_agent.ovfstore.codes import BiosType
from ha_agent.ovfstore.ovf_fields import Fields
from ha_agent.ovfstore.ovf_reading import Bad, Reading
from ha_agent.ovfstore.xml_input import OvfError, parse_xml

DOCUMENT = b"""<e:Item xmlns:e="http://schemas.dmtf.org/ovf/envelope/1" xmlns:r="r" e:id="7" p="8">
<r:Text> two words </r:Text><Empty/><Truth>TRUE</Truth><Number>-12</Number><Code>2</Code>
<Twice></Twice><Twice>1</Twice><Twice>2</Twice><Uuid>0000ABCD-1111-4222-8333-00000000eccb</Uuid>
<Address>{unit=0, type=drive,bus=1}</Address><Properties>a=1;b=x=y;</Properties>
<SpecParams><model>m</model><deep><er>1</er><est>2</est></deep></SpecParams>
</e:Item>"""
ITEM = Fields(parse_xml(DOCUMENT, where="F"), Reading("F"))


def fields(text: str) -> Fields:
    return Fields(parse_xml(text.encode(), where="F"), Reading("F"))


def test_reads() -> None:
    assert (ITEM.raw("Text"), ITEM.text("Text")) == (" two words ", "two words")
    assert (ITEM.raw("Empty"), ITEM.text("Empty")) == ("", None)
    assert (ITEM.raw("Absent"), ITEM.text("Absent")) == (None, None)
    assert ITEM.flag("Truth", False)
    assert ITEM.flag("Absent", True)
    assert ITEM.number("Number") == -12
    assert ITEM.code("Code", BiosType) is BiosType.Q35_OVMF
    assert ITEM.code("Absent", BiosType) is None
    assert ITEM.text("Twice") == "1"
    assert (ITEM.attribute("id"), ITEM.attribute("p")) == ("7", "8")
    assert ITEM.attribute_count("id") == 7
    assert ITEM.uuid_of(ITEM.text("Uuid") or "", "Uuid").startswith("0000abcd-")
    assert ITEM.address() == (("bus", "1"), ("type", "drive"), ("unit", "0"))
    assert ITEM.spec_params() == (("model", "m"), ("deep/er", "1"), ("deep/est", "2"))
    assert ITEM.properties("Properties") == (("a", "1"), ("b", "x=y"))
    assert ITEM.properties("Absent") == ()


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (lambda: ITEM.flag("Number", True), "F, line 2: Item/Number: '-12' is neither true nor"),
        (lambda: ITEM.number("Text"), "F, line 2: Item/Text: 'two words' is not a number"),
        (lambda: ITEM.count("Number"), "F, line 2: Item/Number: -12 is less than 0"),
        (lambda: ITEM.code("Number", BiosType), "Item/Number: -12 is no known BiosType"),
        (lambda: ITEM.uuid_of("x", "Uuid"), "F, line 3: Item/Uuid: 'x' is not a UUID"),
        (lambda: ITEM.properties("Text"), "Item/Text: 'two words' is not name=value"),
    ],
)
def test_errors_name_element_and_line(read: Callable[[], object], message: str) -> None:
    with pytest.raises(OvfError) as caught:
        read()
    assert message in str(caught.value)


def test_parameters_nested_too_deep() -> None:
    data = b"<i><SpecParams>" + b"<a>" * 12 + b"</a>" * 12 + b"</SpecParams></i>"
    with pytest.raises(OvfError, match="nested too deep"):
        fields(data.decode()).spec_params()


def test_what_nobody_read_is_the_rest() -> None:
    item = fields(
        '<i xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/'
        'CIM_ResourceAllocationSettingData" a="1" b="2"><Read>1</Read><rasd:Unread>2</rasd:Unread>'
        "<Made>3</Made><Bad>x</Bad><Kept>4</Kept><Read>5</Read><Deep><er/></Deep></i>"
    )
    item.derive("Made")
    assert item.text("Read") == "1"
    assert item.keeping.text("Kept") == "4"
    assert item.count("Bad", bad=Bad.NOTE) is None
    assert item.attribute("a") == "1"
    assert item.rest() == (("rasd:Unread", "2"), ("Bad", "x"))
    assert item.rest_attributes() == (("b", "2"),)
    assert item.reading.notes == ["F, line 1: i/Bad: 'x' is not a number"]


def test_every_read_is_recorded_with_its_purpose() -> None:
    params = "<SpecParams><x><y/></x><z>1</z></SpecParams>"
    item = fields('<i a="1"><Used>1</Used><Kept/>' + params + "<Not/></i>")
    item.text("Used")
    item.keeping.text("Kept")
    item.attribute("a")
    assert item.spec_params("z") == (("x/y", ""), ("z", "1"))
    named = {element.tag + name for element, name in item.reading.used}
    assert named == {"i", "ia", "Used", "SpecParams", "z"}
    assert {element.tag for element, _ in item.reading.kept} == {
        "Kept",
        "SpecParams",
        "x",
        "y",
        "z",
    }
    assert item.keeping.keeping is item.keeping
    assert item.keeping.sub("Used") is not None
    assert {element.tag for element, _ in item.reading.kept} == {
        "Kept",
        "Used",
        "SpecParams",
        "x",
        "y",
        "z",
    }


def test_what_a_bad_value_means() -> None:
    item = fields("<i><n>x</n></i>")
    with pytest.raises(OvfError):
        item.count("n", bad=Bad.DOUBT)
    item.reading.has_engine_xml = True
    assert item.count("n", bad=Bad.DOUBT) is None
    assert item.reading.unreadable == ["F, line 1: i/n: 'x' is not a number"]
    with pytest.raises(OvfError):
        item.count("n")
