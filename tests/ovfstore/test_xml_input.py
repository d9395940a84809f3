# SPDX-License-Identifier: Apache-2.0
"""Hostile and broken XML: refused with a place, in little time and memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha_agent.ovfstore import xml_input
from ha_agent.ovfstore.xml_input import OvfError, parse_xml

LAUGHS = (
    b'<?xml version="1.0"?>\n<!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">'
    b'<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;"><!ENTITY d "&c;&c;&c;&c;&c;&c;&c;&c;">]><l>&d;</l>'
)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>', "DOCTYPE"),
        (b'<!DOCTYPE a SYSTEM "http://192.0.2.1/a.dtd"><a/>', "DOCTYPE"),
        (b"<!doctype a><a/>", "doctype"),
        (LAUGHS, "line 2: <!DOCTYPE is not allowed"),
        (b"<a>&x;</a>", "not well-formed"),
        (b"<a><b/>&x;<c/></a>", "not well-formed"),
        (b"", "not well-formed"),
        (b"   \n", "not well-formed"),
        (b"not XML", "not well-formed"),
        (b"<a><b></a>", "line 1: not well-formed"),
        (b"<a>\n<b>\n", "line 3: not well-formed"),
        (b"<a/><b/>", "not well-formed"),
        (b"<a>\xff\xfe</a>", "not well-formed"),
        ("<a>x</a>".encode("utf-16"), "NUL byte"),
        (b"<a>\x00</a>", "byte 3: a NUL byte"),
        (b"<a>" * 65 + b"</a>" * 65, "nested deeper than 64"),
        (b"<a>" * 100_000, "dee?p"),
        (b"<a>" + b"<b/>" * 200_000 + b"</a>", "more than 40000"),
        (b"<a>" + b" " * (8 << 20) + b"</a>", "bytes of XML, more than"),
    ],
)
def test_refused(data: bytes, expected: str) -> None:
    with pytest.raises(OvfError, match=expected) as caught:
        parse_xml(data, where="FILE")
    assert str(caught.value).startswith("FILE")


def test_the_limits_themselves_are_allowed() -> None:
    depth = xml_input.DEPTH_LIMIT
    assert parse_xml(b"<a>" * depth + b"</a>" * depth, where="F").tag == "a"
    text = b"x" * (xml_input.SIZE_LIMIT_BYTES - 7)
    assert parse_xml(b"<a>" + text + b"</a>", where="F").text == text.decode()


def test_comments_and_instructions_are_not_seen() -> None:
    root = parse_xml(b"<a><!-- c --><?pi x?><b/></a>", where="F")
    assert [child.tag for child in root] == ["b"]


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode()))
def test_garbage_is_refused_or_read(data: bytes) -> None:
    try:
        parse_xml(data, where="FILE")
    except OvfError as error:
        message = str(error)
    else:
        return
    assert message.startswith("FILE")


def test_attributes_are_counted_before_libxml2_compares_them() -> None:
    many = " ".join(f'a{number}="<>"' for number in range(1001)).replace("<>", ">")
    with pytest.raises(OvfError, match="more than 1000 attributes"):
        parse_xml(f"<a>\n<b {many}/></a>".encode(), where="F")
    few = many.rpartition(" ")[0]
    assert len(parse_xml(f"<a {few}/>".encode(), where="F").attrib) == 1000
    text = "&lt;c d=&quot;" + '"x"' * 5000
    assert len(parse_xml(f"<a>{text}</a>".encode(), where="F").text or "") > 5000
