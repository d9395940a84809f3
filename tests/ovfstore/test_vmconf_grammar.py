# SPDX-License-Identifier: Apache-2.0
"""The grammar of vm.conf, line by line, and what it refuses."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha_agent.errors import BadInput
from ha_agent.ovfstore.vmconf_grammar import (
    Entry,
    Value,
    is_carried,
    nested_text,
    parse_vm_conf,
)


def entries(text: str) -> list[tuple[str, Value]]:
    return [(entry.key, entry.value) for entry in parse_vm_conf(text, where="F").entries]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("\n  \t\n# a note\n   # another\n", []),
        ("vmId=1", [("vmId", "1")]),
        ("a=1\r\nb=2\rc=3\n", [("a", "1"), ("b", "2"), ("c", "3")]),
        ("  vm Name = Hosted Engine # ours", [("vmName", "HostedEngine")]),
        ("a=1#2=3", [("a", "1")]),
        ("a=b=c", [("a", "b=c")]),
        ("lonely", [("lonely", "")]),
        ("a=\u00a0\u2028x", [("a", "x")]),
        ("vt=1", [("kvmEnable", "1")]),
        ("imageFile=/a", [("hda", "/a")]),
        ("moreImages=/b,/c,/d", [("hdb", "/b"), ("hdc", "/c"), ("hdd", "/d")]),
        ("devices={a:1,b:{c:2},d:}", [("devices", {"a": "1", "b": {"c": "2"}, "d": ""})]),
        ("devices={ a : 1 , }", [("devices", {"a": "1"})]),
        ("devices={}", [("devices", {})]),
        ("devices={mac:00:16:3e}", [("devices", {"mac": "00:16:3e"})]),
        ("devices={a:1,a:2}", [("devices", {"a": "2"})]),
        ("devices={a:{}b:1}", [("devices", {"a": {}, "b": "1"})]),
        ("devices=text", [("devices", "text")]),
        ("devices", [("devices", "")]),
        (
            "drive=domain:1,pool:2,image:3,volume:4,x:5:6,",
            [
                (
                    "drive",
                    {"domainID": "1", "poolID": "2", "imageID": "3", "volumeID": "4", "x": "5:6"},
                )
            ],
        ),
        ("cdrom=/iso", [("cdrom", "/iso")]),
        ("cpuPinning={0:0-1,1:^2}", [("cpuPinning", {"0": "0-1", "1": "^2"})]),
        ("custom_a={not,nested}", [("custom_a", "{not,nested}")]),
    ],
)
def test_a_line_is_read_as_the_grammar_says(text: str, expected: list[tuple[str, Value]]) -> None:
    assert entries(text) == expected


def test_the_last_of_a_key_counts_and_repeatable_ones_are_kept() -> None:
    conf = parse_vm_conf(b"a=1\n\ndevices={x:1}\na=2\ndevices={x:2}\n", where="F")
    assert conf.last("a") == Entry(4, "a", "2")
    assert conf.last("b") is None
    assert conf.all("devices") == (
        Entry(3, "devices", {"x": "1"}),
        Entry(5, "devices", {"x": "2"}),
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("a=1\ndevices={x:1", "F, line 2: column 12: no '}' ends this value"),
        # What the predecessor itself wrote for a network named `net'#1`.
        ("devices={network:net'#1,device:bridge}", "F, line 1: column 18: no '}' ends this value"),
        ("devices={", "F, line 1: column 10: '}' expected, or a name and ':'"),
        ("devices={x:a{b}", "F, line 1: column 13: '{' within a text"),
        ("devices={x}", "F, line 1: column 10: '}' expected, or a name and ':'"),
        ("devices={x:1}y", "F, line 1: column 14: more text after the last '}'"),
        ("drive=a,b:1", "F, line 1: column 7: 'a' has no ':' after its name"),
        ("drive=a:1,b:2}", "F, line 1: column 11: 'b:2}' has a brace"),
        ("cpuPinning=0", "F, line 1: column 12: '{' expected"),
        ("moreImages=1,2,3,4", "F, line 1: moreImages has 4 images, more than 3"),
        (b"a=1\nb=\xff\n", "F, line 2: not UTF-8"),
        (b"a=1\n\nb=\0\n", r"F, line 3: character '\\x00' is not allowed"),
        ("a=\ud800", "is not allowed"),
        ("devices=" + "{a:" * 100_000, "braces nested deeper than 16"),
        ("\n" * 30_000, "F: more than 20000 lines"),
        (b"x" * 100_000_000, "F: longer than 1048576 bytes"),
        ("devices={" + "a:," * 200_000 + "}", "more than 100000 fields in the file"),
        (("devices={" + "a:," * 60_000 + "}\n") * 2, "line 2: column .* more than 100000 fields"),
    ],
    ids=lambda value: str(value)[:30],  # one of them is 100 MB long
)
def test_what_is_wrong_is_named_with_its_line(data: object, message: str) -> None:
    assert isinstance(data, (str, bytes))
    with pytest.raises(BadInput, match=message):
        parse_vm_conf(data, where="F")


def test_a_long_line_without_an_end_is_read_once() -> None:
    """Looking for each of many ends to the end of the line would take minutes."""
    with pytest.raises(BadInput, match="'}' expected"):
        parse_vm_conf("devices={" + "a:1," * 99_000 + "b" * 600_000, where="F")


@given(st.binary(max_size=200) | st.text(alphabet="ab={}:,# \n\0é", max_size=200).map(str.encode))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        conf = parse_vm_conf(b"devices={" + data, where="F")
    except BadInput:
        return
    assert len(conf.entries) <= len(data) + 1


NAMES = st.text(alphabet=string.ascii_letters + "_", min_size=1, max_size=5)
TEXTS = st.text(max_size=6)
FIELDS = st.recursive(
    st.dictionaries(NAMES, TEXTS, max_size=4),
    lambda inner: st.dictionaries(NAMES, TEXTS | inner, max_size=4),
    max_leaves=8,
)


def carried(fields: Value) -> Value:
    if isinstance(fields, str):
        return fields
    return {
        name: carried(value)
        for name, value in fields.items()
        if not isinstance(value, str) or is_carried(value, nested=True)
    }


@given(FIELDS)
def test_what_is_written_in_braces_is_read_back(fields: dict[str, Value]) -> None:
    assert entries(f"devices={nested_text(fields)}\nx=1") == [
        ("devices", carried(fields)),
        ("x", "1"),
    ]


@given(st.text(max_size=8))
def test_what_is_carried_comes_back(text: str) -> None:
    try:
        back = entries(f"x={text}") == [("x", text)]
    except BadInput:
        back = False
    assert is_carried(text) == back


def test_a_name_that_would_break_the_braces_is_left_out() -> None:
    assert nested_text({"a:b": "1", "c,": "2", "d}": {"e": "3"}, "f": "4"}) == "{f:4}"
