# SPDX-License-Identifier: Apache-2.0
"""XML from outside, read within bounds: the only way in which this package parses XML.

No entity is expanded, no DTD is read, nothing is fetched. A document with a DOCTYPE is refused
as such, since neither the engine nor libvirt writes one. Size, depth and number of elements are
bounded while parsing, so that a hostile document costs neither memory nor time.
"""

from __future__ import annotations

import re
from typing import Optional, TypedDict

from lxml import etree

from ha_agent.errors import BadInput

SIZE_LIMIT_BYTES = 8 * 1024 * 1024
DEPTH_LIMIT = 64
# A document of the engine has some hundred elements; with 1,000 disks it has thirty thousand.
ELEMENT_LIMIT = 40_000
# libxml2 compares each attribute of an element with all others: a million of them take hours.
ATTRIBUTE_LIMIT = 1000
# All together, each costing a quarter of a kB. Every one has a "=", and so may have texts.
EQUALS_LIMIT = 300_000
_MANY_ATTRIBUTES = re.compile(
    rb"""<[^<>"']*(?:(?:"[^"<]*"|'[^'<]*')[^<>"']*){%d}""" % (ATTRIBUTE_LIMIT + 1)
)
_FEED_BYTES = 64 * 1024
_LAST_LINE = 65535
# The flag stands where it leaves "<!" a plain string, which is looked for many times as fast.
_MARKUP_DECLARATION = re.compile(rb"<!(?i:DOCTYPE|ENTITY)")
_TOO_DEEP = etree.XPath("/*" * (DEPTH_LIMIT + 1))


class _Options(TypedDict):
    resolve_entities: bool
    load_dtd: bool
    no_network: bool
    huge_tree: bool
    remove_comments: bool
    remove_pis: bool


_OPTIONS: _Options = {
    "resolve_entities": False,
    "load_dtd": False,
    "no_network": True,
    "huge_tree": False,
    "remove_comments": True,
    "remove_pis": True,
}


class OvfError(BadInput):
    """An OVF, or the domain XML inside one, that can't be used."""


def parse_xml(data: bytes, *, where: str) -> etree._Element:
    """Return the root of a bounded, entity-free document. Raises OvfError with the line."""
    if len(data) > SIZE_LIMIT_BYTES:
        raise OvfError(f"{len(data)} bytes of XML, more than {SIZE_LIMIT_BYTES}", where=where)
    if b"\0" in data:
        # Also what UTF-16 and UTF-32 look like; the engine writes UTF-8.
        raise OvfError("a NUL byte in the XML", where=where, offset=data.index(b"\0"))
    declared = _MARKUP_DECLARATION.search(data)
    if declared is not None:
        raise OvfError(
            f"{declared.group().decode()} is not allowed: no DTD and no entities are read",
            where=where,
            offset=data.count(b"\n", 0, declared.start()) + 1,
            unit="line",
        )
    equals = data.count(b"=")
    if equals > EQUALS_LIMIT:
        raise OvfError(f'{equals} signs "=" in the XML, more than {EQUALS_LIMIT}', where=where)
    crowded = _MANY_ATTRIBUTES.search(data) if equals > ATTRIBUTE_LIMIT else None
    if crowded is not None:
        raise OvfError(
            f"an element with more than {ATTRIBUTE_LIMIT} attributes",
            where=where,
            offset=data.count(b"\n", 0, crowded.start()) + 1,
            unit="line",
        )
    root = _parse_small(data)
    if root is None:
        root = _parse_watched(data, where)
    if root.getroottree().docinfo.internalDTD is not None:
        raise OvfError("a DTD is not allowed", where=where)
    return root


def _parse_small(data: bytes) -> Optional[etree._Element]:
    """Return the root, or None for a document that must be watched or has something wrong.

    All is left to libxml2, in a quarter of the time: so few tags can't be too many elements, and
    their depth can be looked at afterwards.
    """
    if data.count(b"<") > ELEMENT_LIMIT:
        return None
    parser = etree.XMLParser(**_OPTIONS)
    try:
        # Not all at once: libxml2 2.9 (Debian 12) goes on behind an error, and lxml keeps each of
        # a million of them.
        for start in range(0, len(data), _FEED_BYTES):
            parser.feed(data[start : start + _FEED_BYTES])
        root = parser.close()
    except etree.XMLSyntaxError:
        return None
    return None if _TOO_DEEP(root) else root


def _parse_watched(data: bytes, where: str) -> etree._Element:
    """Return the root of a document whose elements are counted as they come."""
    parser = etree.XMLPullParser(events=("start", "end"), **_OPTIONS)
    root: Optional[etree._Element] = None
    depth = count = 0
    try:
        for start in range(0, len(data), _FEED_BYTES):
            parser.feed(data[start : start + _FEED_BYTES])
            for event, element in parser.read_events():
                assert isinstance(element, etree._Element)  # no other event was asked for
                depth += 1 if event == "start" else -1
                count += event == "start"
                if root is None:
                    root = element
                if depth > DEPTH_LIMIT or count > ELEMENT_LIMIT:
                    what = f"nested deeper than {DEPTH_LIMIT}"
                    if count > ELEMENT_LIMIT:
                        what = f"more than {ELEMENT_LIMIT}"
                    raise OvfError(
                        f"elements {what}", where=where, offset=line_of(element), unit="line"
                    )
        parser.close()
    except etree.XMLSyntaxError as error:
        raise OvfError(
            f"not well-formed XML: {error.msg}",
            where=where,
            offset=error.lineno or None,
            unit="line",
        ) from None
    if root is None:
        raise OvfError("no XML element at all", where=where)
    return root


def line_of(element: etree._Element) -> Optional[int]:
    """Return the line that an element begins on, or None where that is not known.

    It isn't of an element that was not parsed, nor from line 65535 on: libxml2 stops there.
    """
    line: object = element.sourceline
    return line if isinstance(line, int) and line < _LAST_LINE else None
