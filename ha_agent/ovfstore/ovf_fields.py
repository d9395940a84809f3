# SPDX-License-Identifier: Apache-2.0
"""Reading single values of an OVF: texts, numbers, truths, uuids, addresses, with their place.

Nothing here knows what a value is for. Every error names file, element and line.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator
from typing import Optional, TypeVar

from lxml import etree

from ha_agent.ovfstore.codes import OVF_NAMESPACES, XSI_NAMESPACE
from ha_agent.ovfstore.model import Pairs
from ha_agent.ovfstore.xml_input import OvfError, line_of

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_NUMBER = re.compile(r"-?[0-9]{1,18}")
_SPEC_DEPTH_LIMIT = 8
EnumT = TypeVar("EnumT", bound=enum.IntEnum)


class Fields:
    """The children of one element by local name, the last one of a name winning, with typed reads.

    rasd: and plain names never mean different things in the engine's OVF, so the namespace of
    a child is not looked at. A missing or empty child reads as the default.
    """

    def __init__(self, element: etree._Element, where: str) -> None:
        self.element = element
        self.where = where
        self._children: dict[str, etree._Element] = {}
        for child in element:
            self._children[local_name(child)] = child

    def bad(self, what: str, name: Optional[str] = None) -> OvfError:
        """Return an error that names the element (or its child `name`) and its line."""
        child = self._children.get(name) if name is not None else None
        at = self.element if child is None else child
        path = local_name(self.element) if name is None else f"{local_name(self.element)}/{name}"
        return OvfError(f"{path}: {what}", where=self.where, offset=line_of(at), unit="line")

    def child(self, name: str) -> Optional[etree._Element]:
        """Return a child element, or None."""
        return self._children.get(name)

    def raw(self, name: str) -> Optional[str]:
        """Return a child's text exactly as it is, or None when there is no such child."""
        child = self._children.get(name)
        return None if child is None else (child.text or "")

    def text(self, name: str) -> Optional[str]:
        """Return a child's text without blanks around it, or None when it is absent or empty."""
        return (self.raw(name) or "").strip() or None

    def flag(self, name: str, default: bool) -> bool:
        """Return a truth; errors on anything but true and false."""
        return self.flag_of(self.text(name), default, name)

    def number(self, name: str) -> Optional[int]:
        """Return a whole number, or None."""
        return self.number_of(self.text(name), name)

    def count(self, name: str, *, lowest: int = 0) -> Optional[int]:
        """Return a whole number of at least `lowest`, or None."""
        value = self.number(name)
        if value is not None and value < lowest:
            raise self.bad(f"{value} is less than {lowest}", name)
        return value

    def code(self, name: str, codes: type[EnumT]) -> Optional[EnumT]:
        """Return a member of an enum of numbers, or None; errors on a number that it lacks."""
        value = self.number(name)
        if value is None:
            return None
        try:
            return codes(value)
        except ValueError:
            raise self.bad(f"{value} is no known {codes.__name__}", name) from None

    def attribute(self, name: str) -> Optional[str]:
        """Return an attribute of the element in either OVF namespace or in none."""
        for namespace in OVF_NAMESPACES:
            value = self.element.get(f"{{{namespace}}}{name}")
            if value is not None:
                return value
        return self.element.get(name)

    def attribute_flag(self, name: str, default: bool) -> bool:
        """Return an attribute as a truth."""
        return self.flag_of((self.attribute(name) or "").strip() or None, default, f"@{name}")

    def attribute_number(self, name: str) -> Optional[int]:
        """Return an attribute as a whole number, not negative, or None."""
        value = self.number_of((self.attribute(name) or "").strip() or None, f"@{name}")
        if value is not None and value < 0:
            raise self.bad(f"{value} is less than 0", f"@{name}")
        return value

    def flag_of(self, text: Optional[str], default: bool, name: str) -> bool:
        """Decode true or false, in any case."""
        if text is None:
            return default
        if text.lower() not in ("true", "false"):
            raise self.bad(f"{text[:40]!r} is neither true nor false", name)
        return text.lower() == "true"

    def number_of(self, text: Optional[str], name: str) -> Optional[int]:
        """Decode a whole number of at most 18 digits."""
        if text is None:
            return None
        if _NUMBER.fullmatch(text) is None:
            raise self.bad(f"{text[:40]!r} is not a number", name)
        return int(text)

    def uuid_of(self, text: str, name: str) -> str:
        """Check a uuid and return it in lower case."""
        lower = text.strip().lower()
        if UUID.fullmatch(lower) is None:
            raise self.bad(f"{text[:60]!r} is not a UUID", name)
        return lower

    def address(self) -> Pairs:
        """Decode `{type=pci, slot=0x03, ...}`, a Java map: pairs sorted by name, or empty."""
        text = self.text("Address")
        if text is None:
            return ()
        if not (text.startswith("{") and text.endswith("}")):
            raise self.bad(f"{text[:60]!r} is not an address", "Address")
        pairs = {}
        for part in text[1:-1].split(","):
            name, equals, value = part.strip().partition("=")
            if not part.strip():
                continue
            if not equals or not name:
                raise self.bad(f"{part[:60]!r} in an address is not name=value", "Address")
            pairs[name] = value
        return tuple(sorted(pairs.items()))

    def spec_params(self) -> Pairs:
        """Return the leaves of SpecParams; a nested one is named by its path, with slashes."""
        element = self.child("SpecParams")
        return () if element is None else tuple(self._leaves(element, "", 0))

    def _leaves(
        self, element: etree._Element, prefix: str, depth: int
    ) -> Iterator[tuple[str, str]]:
        if depth > _SPEC_DEPTH_LIMIT:
            raise self.bad("nested too deep", "SpecParams")
        for child in element:
            name = prefix + local_name(child)
            if len(child):
                yield from self._leaves(child, name + "/", depth + 1)
            else:
                yield name, child.text or ""


def local_name(element: etree._Element) -> str:
    """Return an element's name without its namespace."""
    return str(element.tag).rpartition("}")[2]


def section_kind(element: etree._Element) -> str:
    """Return what a Section is: `DiskSection` for `xsi:type="ovf:DiskSection_Type"`."""
    name = local_name(element)
    if name != "Section":
        return name
    kind = element.get(f"{{{XSI_NAMESPACE}}}type", "")
    kind = kind.rpartition(":")[2]
    return kind[: -len("_Type")] if kind.endswith("_Type") else kind


def pairs_of_properties(fields: Fields, name: str) -> Pairs:
    """Decode custom properties, `k=v;k2=v2`, in order."""
    pairs = []
    for part in (fields.text(name) or "").split(";"):
        if part:
            key, equals, value = part.partition("=")
            if not equals or not key:
                raise fields.bad(f"{part[:60]!r} is not name=value", name)
            pairs.append((key, value))
    return tuple(pairs)
