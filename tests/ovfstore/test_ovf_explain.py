# SPDX-License-Identifier: Apache-2.0
"""Every place of a document is explained, and "used" is what the reading really read."""

from __future__ import annotations

import pathlib

import pytest
from hypothesis import given
from lxml import etree

from ha_agent.ovfstore.model import VmDefinition
from ha_agent.ovfstore.ovf_build import build_ovf
from ha_agent.ovfstore.ovf_explain import Explained, explain_ovf
from ha_agent.ovfstore.ovf_parse import parse_ovf, read_ovf
from ha_agent.ovfstore.xml_input import OvfError, line_of, parse_xml
from tests.ovfstore.definitions import WHOLE_VALUES, definitions

DATA = pathlib.Path(__file__).resolve().parents[1] / "data" / "engine_vm.ovf"
SAMPLES = pathlib.Path(__file__).resolve().parents[3] / "shared" / "data" / "ovf"
SAMPLE_NAMES = sorted(path.name for path in SAMPLES.glob("*.ovf")) if SAMPLES.exists() else ["-"]
OVF = DATA.read_text(encoding="utf-8")


def sample(name: str) -> bytes:
    path = SAMPLES / name
    if not path.exists():
        pytest.skip("no sample data beside this checkout")
    return path.read_bytes()


def explained(*changes: tuple[str, str]) -> list[Explained]:
    text = OVF
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    return list(explain_ovf(text.encode(), where="F"))


def only(rows: list[Explained], ending: str) -> Explained:
    found = [row for row in rows if row.path.endswith(ending)]
    assert len(found) == 1, found
    return found[0]


def check(data: bytes) -> None:
    """Hold the rows against the document and against the record of an own reading of it."""
    root = parse_xml(data, where="F")
    _, reading = read_ovf(root, where="F")
    rows = explain_ovf(data, where="F")
    places = [
        (element, name)
        for element in root.iter()
        for name in ("", *(str(full) for full in element.attrib))
    ]
    assert len(rows) == len(places)
    for row, place in zip(rows, places):
        name = etree.QName(place[1]).localname if place[1] else etree.QName(place[0]).localname
        assert name in row.path.rpartition("/")[2]
        assert row.line == line_of(place[0])
        assert (row.verdict == "used") == (place in reading.used), row
        assert row.why
        assert "\n" not in row.value


@pytest.mark.parametrize("name", SAMPLE_NAMES)
def test_samples_hold_nothing_unknown(name: str) -> None:
    data = sample(name)
    check(data)
    assert [row for row in explain_ovf(data, where=name) if row.verdict == "unknown"] == []


@WHOLE_VALUES
@given(definitions())
def test_used_is_what_was_read(vm: VmDefinition) -> None:
    data = build_ovf(vm)
    check(data)
    # The strategies' own names begin with x: nothing else may be unknown.
    unknown = {
        row.path.rpartition("/")[2]
        for row in explain_ovf(data, where="F")
        if row.verdict == "unknown"
    }
    assert {name for name in unknown if name[:1] not in ("x", "X") and name[:2] != "@x"} == set()


def test_our_own_document() -> None:
    check(OVF.encode())
    rows = explained()
    assert only(rows, "Content/Name").verdict == "used"
    mac = next(row for row in rows if row.path.endswith("/MACAddress"))
    assert mac == Explained(
        "Content/Section[VirtualHardwareSection]/Item[rasd:ResourceType=10]/MACAddress",
        mac.line,
        "52:54:00:00:00:01",
        "used",
        "MAC address",
    )
    assert OVF.splitlines()[(mac.line or 0) - 1].count("52:54:00:00:00:01") == 1
    aliases = [row for row in rows if row.path == "Section[DiskSection]/Disk/@disk-alias"]
    assert [row.verdict for row in aliases] == ["ignored"] * 4


def test_older_volumes_of_a_chain_are_ignored() -> None:
    rows = explained()
    disks = [row for row in rows if row.path == "Section[DiskSection]/Disk"]
    assert [row.verdict for row in disks] == ["used", "ignored", "used", "used"]
    assert "older volume" in disks[1].why
    formats = [row for row in rows if row.path.endswith("Disk/@volume-format")]
    assert [row.verdict for row in formats] == ["used", "ignored", "used"]


def test_what_nobody_knows_is_unknown() -> None:
    rows = explained(
        ("<Origin>6<", "<Colour>red</Colour><Deep><er/></Deep><Origin>6<"),
        ("<Name>Engine", '<Name shade="dark">Engine'),
    )
    colour = only(rows, "/Colour")
    assert (colour.verdict, colour.value) == ("unknown", "red")
    for ending in ("/Deep", "/Deep/er", "Name/@shade"):
        assert only(rows, ending).verdict == "unknown"


def test_a_second_one_and_an_unreadable_one_are_ignored() -> None:
    rows = explained(("<Origin>6<", "<Origin>six</Origin><Origin>6<"))
    first, second = [row for row in rows if row.path == "Content/Origin"]
    assert (first.verdict, second.verdict) == ("ignored", "ignored")
    assert "can't be read" in first.why
    assert "second one" in second.why


def test_values_are_short_and_secrets_are_hidden() -> None:
    rows = explained(
        ("<Origin>6<", "<EngineXml>" + "x\n" * 500 + '</EngineXml><VmInit rootPassword="s3cret"'
         ' hostname="h"/><Origin>6<'),
    )  # fmt: skip
    xml = only(rows, "Content/EngineXml")
    assert len(xml.value) < 100
    assert "1000 characters" in xml.value
    assert "when it is sound" in xml.why
    password = only(rows, "VmInit/@rootPassword")
    assert (password.value, password.verdict) == ("(hidden)", "ignored")
    assert only(rows, "VmInit/@hostname").value == "h"
    assert "s3cret" not in repr(rows)


def test_a_document_that_cannot_be_read_is_an_error() -> None:
    with pytest.raises(OvfError):
        explain_ovf(b"<a/>", where="F")
    assert parse_ovf(OVF.encode(), where="F").notes == ()
