# SPDX-License-Identifier: Apache-2.0
"""Each element and attribute of an OVF: used, and what for; ignored, and why; or unknown.

The verdict is that of the reading itself: "used" is what parse_ovf read for the definition that
a start uses. The sentences are the catalogue's. What was read and has no sentence, or was not
read by anything, is unknown; nothing is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from lxml import etree

from ha_agent.ovfstore.codes import RASD_NAMESPACE
from ha_agent.ovfstore.ovf_catalog import IGNORED, USED
from ha_agent.ovfstore.ovf_parse import read_ovf
from ha_agent.ovfstore.ovf_reading import Place, Reading, is_second, local_name, section_kind
from ha_agent.ovfstore.xml_input import line_of, parse_xml

VERDICTS = ("used", "ignored", "unknown")
# Secrets that cloud-init is given; they are nobody's business.
_HIDDEN = frozenset({"rootPassword", "winKey", "customScript", "authorizedKeys"})
_VALUE_LIMIT = 60
_OLDER = (
    "an older volume of a snapshot chain: QEMU finds it through the volume that the VM runs on"
)
_LEAF = "finds the volume of a chain that the VM runs on"
_SECOND = "a second one of its name: the first counts, as in the engine's reader"
_FAILED = "can't be read, and counts as absent; the text is kept"
_UNKNOWN = "not known to this program"


@dataclass(frozen=True)
class Explained:
    """One place: `line` is None where the parser knows none, `value` is shortened to a line."""

    path: str
    line: Optional[int]
    value: str
    verdict: str
    why: str


def explain_ovf(data: bytes, *, where: str) -> tuple[Explained, ...]:
    """Return a row for each element and each attribute, in the document's order.

    Raises OvfError as parse_ovf does: a document that can't be read is not explained.
    """
    root = parse_xml(data, where=where)
    _, reading = read_ovf(root, where=where)
    rows: list[Explained] = []
    _element(root, "", "", reading, rows)
    return tuple(rows)


def _element(
    element: etree._Element, above: str, key: str, reading: Reading, rows: list[Explained]
) -> None:
    """Append the rows of an element and of all in it; xml_input bounds the depth."""
    name = _shown_name(element)
    path = f"{above}/{name}" if above else name
    key = _key(element, key)
    text = "" if len(element) else (element.text or "")
    rows.append(_row((element, ""), path, key, text, reading))
    for full, value in element.attrib.items():
        local = etree.QName(str(full)).localname
        rows.append(
            _row((element, str(full)), f"{path}/@{local}", f"{key}/@{local}", str(value), reading)
        )
    for child in element:
        # The root says nothing about where something is: a path begins below it.
        _element(child, "" if element.getparent() is None else path, key, reading, rows)


def _shown_name(element: etree._Element) -> str:
    name = local_name(element)
    if name == "Section":
        return f"Section[{section_kind(element)}]"
    if name == "Item":
        return f"Item[rasd:ResourceType={_resource_type(element)}]"
    return name


def _resource_type(item: etree._Element) -> str:
    return (item.findtext(f"{{{RASD_NAMESPACE}}}ResourceType") or "").strip()


def _key(element: etree._Element, above: str) -> str:
    """Return an element's key in the catalogue; sections and Items begin a new one."""
    kind = section_kind(element)
    if local_name(element) == "Item":
        return f"Item[{_resource_type(element)}]"
    if kind.endswith("Section") or kind in ("Envelope", "Content", "References"):
        return kind
    return f"{above}/{kind}"


def _candidates(key: str) -> list[str]:
    """Return the keys under which the catalogue may have a place, the closest one first."""
    keys = [key]
    head, slash, tail = key.partition("/")
    if head.startswith("Item["):
        keys.append(f"Item{slash}{tail}")
        if tail.startswith("SpecParams/"):
            keys.append("Item/SpecParams/*")
    if key.endswith("Section/@type"):
        keys.append("Section/@type")
    if key.startswith("Content/VmInit/"):
        keys.append("Content/VmInit/*")
    if key.startswith("Content/exportonly_"):
        keys.append("Content/exportonly_*")
    return keys


def _sentence(catalogue: dict[str, str], key: str) -> Optional[str]:
    for candidate in _candidates(key):
        if candidate in catalogue:
            return catalogue[candidate]
    return None


def _row(place: Place, path: str, key: str, text: str, reading: Reading) -> Explained:
    verdict, why = _verdict(place, key, reading)
    value = " ".join(text.split())
    if path.rpartition("@")[2] in _HIDDEN and value:
        value = "(hidden)"
    if len(value) > _VALUE_LIMIT:
        value = f"{value[:_VALUE_LIMIT]}... ({len(text)} characters)"
    return Explained(path, line_of(place[0]), value, verdict, why)


def _verdict(place: Place, key: str, reading: Reading) -> tuple[str, str]:
    element, attribute = place
    is_older = any(item in reading.older for item in (element, *element.iterancestors()))
    if place in reading.used:
        used = _sentence(USED, key)
        if used is None:
            return "unknown", _UNKNOWN
        return "used", _LEAF if is_older else used
    if place in reading.failed:
        return "ignored", _FAILED
    why = _sentence(IGNORED, key)
    if reading.is_read(place) and (is_older or why is not None):
        return "ignored", _OLDER if is_older else str(why)
    if not attribute and not reading.is_read(place) and is_second(element, reading):
        return "ignored", _SECOND
    return "unknown", _UNKNOWN
