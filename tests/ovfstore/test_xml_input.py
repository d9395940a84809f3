# SPDX-License-Identifier: Apache-2.0
"""Hostile and broken XML: refused with a place, in little time and memory."""

from __future__ import annotations

import subprocess
import sys

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
        (b"<a>\n<b>\n", "line [23]: not well-formed"),
        (b"<a/><b/>", "not well-formed"),
        (b"<a>\xff\xfe</a>", "not well-formed"),
        ("<a>x</a>".encode("utf-16"), "NUL byte"),
        (b"<a>\x00</a>", "byte 3: a NUL byte"),
        (b"<a>" * 65 + b"</a>" * 65, "nested deeper than 64"),
        (b"<a>" * 100_000, "dee?p"),
        (
            b"<a>\n" + b"<b>" * 64 + b"</b>" * 64 + b"</a>",
            "line 2: elements nested deeper than 64",
        ),
        (b"<a>" * 300 + b"</a>" * 300, "line 1: .*dee?p"),
        (b"<a>" + b"\n" * 70_000 + b"<b>", "line 70001: not well-formed"),
        (b"<a>" + b"\n" * 70_000 + b"<b>" * 64 + b"</b>" * 64 + b"</a>", "FILE: elements nested"),
        (b"<a>" + b"=" * 300_001 + b"</a>", 'signs "=" in the XML, more than 300000'),
        (b"<a>" + b"<b/>" * 200_000 + b"</a>", "more than 40000"),
        (b"<a>" + b" " * (8 << 20) + b"</a>", "bytes of XML, more than"),
    ],
)
def test_refused(data: bytes, expected: str) -> None:
    with pytest.raises(OvfError, match=expected) as caught:
        parse_xml(data, where="FILE")
    assert str(caught.value).startswith("FILE")


def test_a_hundred_megabytes() -> None:
    with pytest.raises(OvfError, match="100000000 bytes of XML, more than"):
        parse_xml(b"<".ljust(100_000_000), where="FILE")


_MEMORY = """
from ha_agent.ovfstore.xml_input import SIZE_LIMIT_BYTES, OvfError, parse_xml

def fill(piece):
    return b"<a>" + piece * ((SIZE_LIMIT_BYTES - 7) // len(piece)) + b"</a>"

def element(count):
    return b"<b " + b" ".join(b'a%d=""' % number for number in range(count)) + b"/>"

for data in (
    fill(b"<a/>"), fill(b"<!---->"), fill(b"<a/><?a?>"), fill(element(1)), fill(element(30)),
    fill(element(999)), b"<a>" + element(30) * 9900 + b"</a>", b"<a>" + element(700_000) + b"</a>",
    b"<a>" * 100_000, b"<a>" * 63 + b"<a/>" * 39_800 + b"</a>" * 63, fill(b"&lt;"), fill(b"]]>"),
):
    try:
        parse_xml(data, where="FILE")
    except OvfError:
        pass
# Not ru_maxrss: that of the process that started this one counts there.
print(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0])
"""


def test_hostile_documents_need_little_memory() -> None:
    run = [sys.executable, "-c", _MEMORY]
    done = subprocess.run(run, capture_output=True, text=True, check=True, timeout=50)
    assert int(done.stdout) < 200_000


def test_the_limits_themselves_are_allowed() -> None:
    depth = xml_input.DEPTH_LIMIT
    assert parse_xml(b"<a>" * depth + b"</a>" * depth, where="F").tag == "a"
    text = b"x" * (xml_input.SIZE_LIMIT_BYTES - 7)
    assert parse_xml(b"<a>" + text + b"</a>", where="F").text == text.decode()


@pytest.mark.parametrize("extra", [0, 25_000])
def test_small_and_large_documents_are_read_alike(extra: int) -> None:
    text = b"<a b='1'>\n<!-- <x> --><c>t&amp;\xc3\xa4<![CDATA[<y>]]></c>\n<?p i?><d/>"
    root = parse_xml(text + b"<e></e>" * extra + b"</a>", where="F")
    assert [child.tag for child in root][:2] == ["c", "d"]
    assert len(root) == 2 + extra
    assert root[0].text == "t&ä<y>"
    assert [xml_input.line_of(child) for child in root][:2] == [2, 3]


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
