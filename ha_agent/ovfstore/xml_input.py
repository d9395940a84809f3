# SPDX-License-Identifier: Apache-2.0
"""XML from outside, read within bounds: the only way in which this package parses XML.

No entity is expanded, no DTD is read, nothing is fetched. A document with a DOCTYPE is refused
as such, since neither the engine nor libvirt writes one. Size, depth and number of elements are
bounded while parsing, so that a hostile document costs neither memory nor time.
"""

from __future__ import annotations

import re
from typing import Optional

from lxml import etree

from ha_agent.errors import BadInput

SIZE_LIMIT_BYTES = 8 * 1024 * 1024
DEPTH_LIMIT = 64
# A document of the engine has some hundred elements; with 1,000 disks it has thirty thousand.
ELEMENT_LIMIT = 40_000
# libxml2 compares each attribute of an element with all others: a million of them take hours.
ATTRIBUTE_LIMIT = 1000
_MANY_ATTRIBUTES = re.compile(
    rb"""<[^<>"']*(?:(?:"[^"<]*"|'[^'<]*')[^<>"']*){%d}""" % (ATTRIBUTE_LIMIT + 1)
)
_FEED_BYTES = 64 * 1024
_MARKUP_DECLARATION = re.compile(rb"<!(DOCTYPE|ENTITY)", re.IGNORECASE)


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
    crowded = _MANY_ATTRIBUTES.search(data)
    if crowded is not None:
        raise OvfError(
            f"an element with more than {ATTRIBUTE_LIMIT} attributes",
            where=where,
            offset=data.count(b"\n", 0, crowded.start()) + 1,
            unit="line",
        )
    parser = etree.XMLPullParser(
        events=("start", "end"),
        resolve_entities=False,
        load_dtd=False,
        no_network=True,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
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
    if root.getroottree().docinfo.internalDTD is not None:
        raise OvfError("a DTD is not allowed", where=where)
    return root


def line_of(element: etree._Element) -> Optional[int]:
    """Return the line that an element begins on, or None for an element that was not parsed."""
    line: object = element.sourceline
    return line if isinstance(line, int) else None
