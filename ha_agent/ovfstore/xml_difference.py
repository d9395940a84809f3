# SPDX-License-Identifier: Apache-2.0
"""What differs between two domain XMLs, element by element, and never as lines of text.

Elements are matched by what they are about: a disk by its target, a NIC by its address, a
feature by its name; otherwise by their place among their like. The order of unlike elements and
the way in which the XML is written mean nothing. A path has no prefixes of namespaces:
`devices/disk[vda]/driver@cache`.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Optional

from lxml import etree

from ha_agent.ovfstore.ovf_fields import local_name
from ha_agent.ovfstore.xml_input import OvfError, parse_xml

CHANGE_LIMIT = 1000
# Comparing takes longer than reading. 1,000 disks make some 10,000 elements.
ELEMENT_LIMIT = 20_000
# The first of these that an element has says which one it is among its like.
_OWN_MARKS = ("name", "dev", "id", "unit")
_CHILD_MARKS = (("target", "dev"), ("mac", "address"), ("alias", "name"))
_OTHER_MARKS = ("type", "model", "index")


@dataclass(frozen=True)
class XmlChange:
    """One change: a value at `path` that became another, or an element or attribute that came
    or went (`old` or `new` is None). `is_element`: with all that is in it."""

    path: str
    old: Optional[str]
    new: Optional[str]
    is_element: bool = False


def xml_differences(old: str, new: str) -> tuple[XmlChange, ...]:
    """Return what became of one XML in the other, in the order of the document.

    After 1000 changes it stops: these are not of one VM. Raises OvfError when one of them
    can't be read, or has more elements than a VM has.
    """
    roots = [parse_xml(text.encode("utf-8"), where="EngineXml") for text in (old, new)]
    if any(sum(1 for _ in root.iter()) > ELEMENT_LIMIT for root in roots):
        raise OvfError(f"more than {ELEMENT_LIMIT} elements", where="EngineXml")
    names = [local_name(root) for root in roots]
    if names[0] != names[1]:
        return (XmlChange("(root)", names[0], names[1]),)
    return tuple(itertools.islice(_compare(roots[0], roots[1], ""), CHANGE_LIMIT))


def _compare(old: etree._Element, new: etree._Element, path: str) -> Iterator[XmlChange]:
    texts = [(element.text or "").strip() for element in (old, new)]
    if texts[0] != texts[1]:
        yield XmlChange(path, texts[0], texts[1])
    attributes = [
        {etree.QName(str(name)).localname: str(value) for name, value in element.attrib.items()}
        for element in (old, new)
    ]
    for name in dict.fromkeys([*attributes[0], *attributes[1]]):
        values = [found.get(name) for found in attributes]
        if values[0] != values[1]:
            yield XmlChange(f"{path}@{name}", values[0], values[1])
    yield from _compare_children(old, new, f"{path}/" if path else "")


def _compare_children(
    old: etree._Element, new: etree._Element, prefix: str
) -> Iterator[XmlChange]:
    groups: tuple[dict[str, list[etree._Element]], dict[str, list[etree._Element]]] = ({}, {})
    for group, element in zip(groups, (old, new)):
        for child in element:
            group.setdefault(local_name(child), []).append(child)
    for name in dict.fromkeys([*groups[0], *groups[1]]):
        olds, news = groups[0].get(name, []), groups[1].get(name, [])
        if len(olds) == 1 and len(news) == 1:
            yield from _compare(olds[0], news[0], prefix + name)
            continue
        marked_old, marked_new = _marked(olds), _marked(news)
        several = max(len(olds), len(news)) > 1
        for mark in dict.fromkeys([*marked_old, *marked_new]):
            before, after = marked_old.get(mark), marked_new.get(mark)
            path = f"{prefix}{name}[{mark}]" if several else prefix + name
            if before is not None and after is not None:
                yield from _compare(before, after, path)
            else:
                yield XmlChange(
                    path,
                    None if before is None else _content(before),
                    None if after is None else _content(after),
                    is_element=True,
                )


def _marked(elements: list[etree._Element]) -> dict[str, etree._Element]:
    """Return elements of one name by what tells them apart; like ones are numbered."""
    found: dict[str, etree._Element] = {}
    seen: Counter[str] = Counter()
    for element in elements:
        mark = _mark(element)
        seen[mark] += 1
        numbered = mark if seen[mark] == 1 and mark else f"{mark} #{seen[mark]}".strip()
        found[numbered] = element
    return found


def _mark(element: etree._Element) -> str:
    for name in _OWN_MARKS:
        if element.get(name):
            return str(element.get(name))
    for tag, name in _CHILD_MARKS if len(element) else ():
        child = element.find(tag)
        if child is not None and child.get(name):
            return str(child.get(name))
    return " ".join(str(element.get(name)) for name in _OTHER_MARKS if element.get(name))


def _content(element: etree._Element) -> str:
    """Return the text of an element that has nothing but text; what it holds else is its own."""
    return (element.text or "").strip() if len(element) == 0 else ""
