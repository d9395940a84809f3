# SPDX-License-Identifier: Apache-2.0
"""The record of a reading: places, second ones of a name, kinds of sections."""

from __future__ import annotations

import pytest

from ha_agent.ovfstore.ovf_reading import Reading, is_second, section_kind
from ha_agent.ovfstore.xml_input import parse_xml


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


def test_a_second_one_is_of_the_same_name_or_kind_of_section() -> None:
    root = parse_xml(
        b'<a xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><b/><b/><c/>'
        b'<Section xsi:type="ovf:X_Type"/><Section xsi:type="ovf:Y_Type"/></a>',
        where="F",
    )
    reading = Reading("F")
    reading.kept.add((root[0], ""))
    reading.used.add((root[3], ""))
    unread = [child for child in root if not reading.is_read((child, ""))]
    assert [is_second(child, reading) for child in unread] == [True, False, False]
    assert not is_second(root, reading)


def test_an_older_volume_is_kept_and_not_used() -> None:
    element = parse_xml(b"<Disk/>", where="F")
    reading = Reading("F")
    reading.used.add((element, ""))
    assert reading.is_read((element, ""))
    reading.set_older(element)
    assert (element, "") not in reading.used
    assert reading.is_read((element, ""))
