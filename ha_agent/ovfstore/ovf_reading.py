# SPDX-License-Identifier: Apache-2.0
"""The record of reading one OVF: what was read, what for, and what could not be read.

It reads nothing itself. With it, `ovf explain` says "used" of what was used and of nothing else,
and a place that nobody read is found and never dropped unseen.
"""

from __future__ import annotations

import enum
from functools import lru_cache

from lxml import etree

from ha_agent.ovfstore.codes import XSI_NAMESPACE

Place = tuple[etree._Element, str]
"""An element with "" for itself, or with the full name of one of its attributes."""


class Bad(enum.Enum):
    """What a value that can't be read means.

    RAISE: the definition makes no sense without it. DOUBT: a start from the OVF's fields needs
    it, a start from EngineXml does not: an error without EngineXml, else a stand-in that is
    listed as unreadable. NOTE: no start needs it: the text is kept, and a note says so.
    """

    RAISE = "raise"
    DOUBT = "doubt"
    NOTE = "note"


class Reading:
    """What was read of one document, what for, and what could not be read.

    `used` took part in the definition that a start uses, `kept` is only written again,
    `derived` is made anew by the writer from something else (captions, lists of networks).
    `older` are the elements of the volumes that a leaf is based on.
    """

    def __init__(self, where: str) -> None:
        self.where = where
        self.has_engine_xml = False
        self.used: set[Place] = set()
        self.kept: set[Place] = set()
        self.derived: set[Place] = set()
        self.failed: set[Place] = set()
        self.older: set[etree._Element] = set()
        # By parent, which kinds of its children were read (is_second).
        self.kinds: dict[etree._Element, set[str]] = {}
        self.notes: list[str] = []
        self.unreadable: list[str] = []

    def set_older(self, element: etree._Element) -> None:
        """Note that an element is an older volume's: kept, but no part of what a start uses."""
        self.older.add(element)
        self.used.discard((element, ""))
        self.kept.add((element, ""))

    def is_read(self, place: Place) -> bool:
        """Return whether a place was read for any purpose."""
        return place in self.used or place in self.kept or place in self.derived


def is_second(element: etree._Element, reading: Reading) -> bool:
    """Return whether, of an unread element's name or kind of section, another one was read.

    To be asked when the reading is over.
    """
    parent = element.getparent()
    if parent is None:
        return False
    if parent not in reading.kinds:
        reading.kinds[parent] = {
            section_kind(child) for child in parent if reading.is_read((child, ""))
        }
    return section_kind(element) in reading.kinds[parent]


@lru_cache(maxsize=1024)
def split_tag(tag: str) -> tuple[str, str]:
    """Return namespace and local name of `{namespace}name`. A document has few different tags."""
    namespace, _, name = tag.rpartition("}")
    return namespace[1:], name


def local_name(element: etree._Element) -> str:
    """Return an element's name without its namespace."""
    return split_tag(str(element.tag))[1]


def section_kind(element: etree._Element) -> str:
    """Return what a Section is: `DiskSection` for `xsi:type="ovf:DiskSection_Type"`."""
    name = local_name(element)
    if name != "Section":
        return name
    kind = element.get(f"{{{XSI_NAMESPACE}}}type", "")
    kind = kind.rpartition(":")[2]
    return kind[: -len("_Type")] if kind.endswith("_Type") else kind
