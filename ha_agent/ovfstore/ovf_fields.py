# SPDX-License-Identifier: Apache-2.0
"""Reading single values of an OVF: texts, numbers, truths, uuids, addresses, with their place.

Nothing here knows what a value is for. Every error names file, element and line. Every read is
recorded (ovf_reading), and what nobody read is found with `rest`.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Callable, Optional, TypeVar

from lxml import etree

from ha_agent.ovfstore.codes import (
    OVF_NAMESPACES,
    RASD_NAMESPACE,
    VSSD_NAMESPACE,
    XSI_NAMESPACE,
)
from ha_agent.ovfstore.model import Pairs
from ha_agent.ovfstore.ovf_reading import Bad, Place, Reading, split_tag
from ha_agent.ovfstore.ovf_reading import local_name as local_name
from ha_agent.ovfstore.xml_input import OvfError, line_of

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_NUMBER = re.compile(r"-?[0-9]{1,18}")
_SPEC_DEPTH_LIMIT = 8
_PREFIXES = {RASD_NAMESPACE: "rasd:", VSSD_NAMESPACE: "vssd:", "": ""}
EnumT = TypeVar("EnumT", bound=enum.IntEnum)
T = TypeVar("T")


@lru_cache(maxsize=256)
def _full_names(name: str) -> tuple[str, ...]:
    """The names that an attribute may have, in the order in which they are looked for."""
    return (*(f"{{{uri}}}{name}" for uri in (*OVF_NAMESPACES, XSI_NAMESPACE)), name)


class Fields:
    """The children of one element by local name, with typed reads; the first of a name counts.

    The first, because the engine's reader takes that one; but an empty one does not hide a
    later one. rasd: and plain names never mean different things in the engine's OVF, so the
    namespace of a child is not looked at. A missing or empty child reads as the default.
    """

    def __init__(
        self, element: etree._Element, reading: Reading, *, is_keeping: bool = False
    ) -> None:
        self.element = element
        self.reading = reading
        self.is_keeping = is_keeping
        self._seen = reading.kept if is_keeping else reading.used
        self._seen.add((element, ""))
        # No comments are parsed, so that a tag is a text. Here most of the time goes.
        self._named = [(child, split_tag(child.tag)[1]) for child in element]
        self._keeping: Optional[Fields] = self if is_keeping else None
        self._children: dict[str, etree._Element] = {}
        for child, name in self._named:
            first = self._children.setdefault(name, child)
            if first is not child and not (len(first) or (first.text or "").strip()):
                self._children[name] = child

    @property
    def keeping(self) -> Fields:
        """The same element, read only to be written again."""
        if self._keeping is None:
            # Not a new one: looking at the children once is most of the work.
            twin = Fields.__new__(Fields)
            twin.__dict__.update(self.__dict__)
            twin.is_keeping, twin._seen, twin._keeping = True, self.reading.kept, twin
            self._keeping = twin
        return self._keeping

    def bad(self, what: str, name: Optional[str] = None) -> OvfError:
        """Return an error that names the element (or its child `name`) and its line."""
        child = self._children.get(name) if name is not None else None
        at = self.element if child is None else child
        path = local_name(self.element) if name is None else f"{local_name(self.element)}/{name}"
        return OvfError(
            f"{path}: {what}", where=self.reading.where, offset=line_of(at), unit="line"
        )

    def child(self, name: str) -> Optional[etree._Element]:
        """Return a child element, or None."""
        child = self._children.get(name)
        if child is not None:
            self._seen.add((child, ""))
        return child

    def sub(self, name: str) -> Optional[Fields]:
        """Return a child as fields of its own, read for the same purpose, or None."""
        child = self._children.get(name)
        return None if child is None else self.of(child)

    def of(self, element: etree._Element) -> Fields:
        """Return another element as fields, read for the same purpose."""
        return Fields(element, self.reading, is_keeping=self.is_keeping)

    def all(self, name: str) -> list[Fields]:
        """Return each child of a name as fields, in order."""
        return [self.of(child) for child, local in self._named if local == name]

    def texts(self, name: str) -> tuple[str, ...]:
        """Return the texts of all children of a name that have one, without blanks around."""
        found = [(item.element.text or "").strip() for item in self.all(name)]
        return tuple(text for text in found if text)

    def raw(self, name: str) -> Optional[str]:
        """Return a child's text exactly as it is, or None when there is no such child."""
        child = self.child(name)
        return None if child is None else (child.text or "")

    def text(self, name: str) -> Optional[str]:
        """Return a child's text without blanks around it, or None when it is absent or empty."""
        child = self._children.get(name)
        if child is None:
            return None
        self._seen.add((child, ""))
        return (child.text or "").strip() or None

    def flag(self, name: str, default: bool, bad: Bad = Bad.RAISE) -> bool:
        """Return a truth; bad is anything but true and false."""
        text = self.text(name)
        if text is None:
            return default
        return self.attempt(name, bad, default, lambda: self.flag_of(text, default, name))

    def number(self, name: str) -> Optional[int]:
        """Return a whole number, or None."""
        return self.number_of(self.text(name), name)

    def count(self, name: str, *, lowest: int = 0, bad: Bad = Bad.RAISE) -> Optional[int]:
        """Return a whole number of at least `lowest`, or None."""
        text = self.text(name)
        if text is None:
            return None
        return self.attempt(name, bad, None, lambda: self.count_of(text, name, lowest))

    def code(self, name: str, codes: type[EnumT], bad: Bad = Bad.RAISE) -> Optional[EnumT]:
        """Return a member of an enum of numbers, or None; bad is a number that it lacks."""
        text = self.text(name)
        if text is None:
            return None
        return self.attempt(name, bad, None, lambda: self._code_of(text, name, codes))

    def attempt(self, name: str, bad: Bad, stand_in: T, read: Callable[[], T]) -> T:
        """Return what `read` returns; when it raises OvfError, what `bad` says.

        `name` is a child's name, or `@` and an attribute's.
        """
        try:
            return read()
        except OvfError as error:
            if bad is Bad.DOUBT and self.is_keeping:
                # An older volume's: no start looks at it.
                bad = Bad.NOTE
            if bad is Bad.RAISE or (bad is Bad.DOUBT and not self.reading.has_engine_xml):
                raise
            said = self.reading.unreadable if bad is Bad.DOUBT else self.reading.notes
            said.append(str(error))
            place = self._place(name)
            if place is not None:
                self.reading.used.discard(place)
                self.reading.kept.add(place)
                self.reading.failed.add(place)
            return stand_in

    def _place(self, name: str) -> Optional[Place]:
        if name.startswith("@"):
            full = self._attribute_name(name[1:])
            return None if full is None else (self.element, full)
        child = self._children.get(name)
        return None if child is None else (child, "")

    def _attribute_name(self, name: str) -> Optional[str]:
        attributes = self.element.attrib
        for full in _full_names(name):
            if full in attributes:
                return full
        return None

    def attribute(self, name: str) -> Optional[str]:
        """Return an attribute of the element: of either OVF namespace, of xsi, or of none."""
        full = self._attribute_name(name)
        if full is None:
            return None
        self._seen.add((self.element, full))
        return self.element.get(full)

    def attribute_flag(self, name: str, default: bool, bad: Bad = Bad.NOTE) -> bool:
        """Return an attribute as a truth."""
        text = (self.attribute(name) or "").strip() or None
        return self.attempt(
            f"@{name}", bad, default, lambda: self.flag_of(text, default, f"@{name}")
        )

    def attribute_count(self, name: str, bad: Bad = Bad.NOTE) -> Optional[int]:
        """Return an attribute as a whole number, not negative, or None."""
        text = (self.attribute(name) or "").strip() or None
        return self.attempt(f"@{name}", bad, None, lambda: self.count_of(text, f"@{name}", 0))

    def attribute_uuid(self, name: str, bad: Bad = Bad.NOTE) -> Optional[str]:
        """Return an attribute as a uuid, or None."""
        text = (self.attribute(name) or "").strip()
        if not text:
            return None
        return self.attempt(f"@{name}", bad, None, lambda: self.uuid_of(text, f"@{name}"))

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

    def count_of(self, text: Optional[str], name: str, lowest: int) -> Optional[int]:
        """Decode a whole number of at least `lowest`."""
        value = self.number_of(text, name)
        if value is not None and value < lowest:
            raise self.bad(f"{value} is less than {lowest}", name)
        return value

    def _code_of(self, text: Optional[str], name: str, codes: type[EnumT]) -> Optional[EnumT]:
        value = self.number_of(text, name)
        if value is None:
            return None
        try:
            return codes(value)
        except ValueError:
            raise self.bad(f"{value} is no known {codes.__name__}", name) from None

    def uuid_of(self, text: str, name: str) -> str:
        """Check a uuid and return it in lower case."""
        lower = text.strip().lower()
        if UUID.fullmatch(lower) is None:
            raise self.bad(f"{text[:60]!r} is not a UUID", name)
        return lower

    def address(self) -> Pairs:
        """Decode `{type=pci, slot=0x03, ...}`, a Java map: pairs sorted by name, or empty.

        A bad one is noted: VDSM gives a device without address another one.
        """
        text = self.text("Address")
        return self.attempt("Address", Bad.NOTE, (), lambda: self._address_of(text))

    def _address_of(self, text: Optional[str]) -> Pairs:
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

    def properties(self, name: str, bad: Bad = Bad.DOUBT) -> Pairs:
        """Decode custom properties, `k=v;k2=v2`, in order."""
        text = self.text(name) or ""
        return self.attempt(name, bad, (), lambda: self._properties_of(text, name))

    def _properties_of(self, text: str, name: str) -> Pairs:
        pairs = []
        for part in text.split(";"):
            if part:
                key, equals, value = part.partition("=")
                if not equals or not key:
                    raise self.bad(f"{part[:60]!r} is not name=value", name)
                pairs.append((key, value))
        return tuple(pairs)

    def spec_params(self, *used: str) -> Pairs:
        """Return the leaves of SpecParams; a nested one is named by its path, with slashes.

        `used` are the parameters that a start uses; the others are only written again.
        """
        element = self.keeping.child("SpecParams")
        if element is None:
            return ()
        pairs = tuple(self.keeping._leaves(element, "", 0))
        for child in element:
            if local_name(child) in used:
                self._seen.update(((element, ""), (child, "")))
        return pairs

    def _leaves(
        self, element: etree._Element, prefix: str, depth: int
    ) -> Iterator[tuple[str, str]]:
        if depth > _SPEC_DEPTH_LIMIT:
            raise self.bad("nested too deep", "SpecParams")
        for child in element:
            self._seen.add((child, ""))
            name = prefix + local_name(child)
            if len(child):
                yield from self._leaves(child, name + "/", depth + 1)
            else:
                yield name, child.text or ""

    def derive(self, *names: str) -> None:
        """Mark children, with all that is in them, and `@` attributes as made by the writer."""
        for name in names:
            if name[0] == "@":
                full = self._attribute_name(name[1:])
                if full is not None:
                    self.reading.derived.add((self.element, full))
                continue
            for child, local in self._named:
                if local == name:
                    self.reading.derived.update(_places(child))

    def rest(self) -> Pairs:
        """Return the simple children that nobody read, or could read, with their texts.

        A name has its prefix, rasd: or vssd:. A second element of a name that was read is not
        among them: it would be taken for the first one when it is written again.
        """
        reading = self.reading
        pairs = []
        mine: set[Place] = set()
        for child, name in self._named:
            place = (child, "")
            is_failed = place in reading.failed
            if not is_failed and reading.is_read(place):
                continue
            prefix = _PREFIXES.get(split_tag(str(child.tag))[0])
            if len(child) or prefix is None or name.endswith("Section"):
                continue
            first = (self._children[name], "")
            is_more = first in mine and first not in reading.failed
            if is_failed or first == place or is_more or not reading.is_read(first):
                mine.add(place)
                pairs.append((prefix + name, child.text or ""))
        reading.kept.update(mine)
        return tuple(pairs)

    def rest_attributes(self) -> Pairs:
        """Return the attributes that nobody read, or could read; xsi's have their prefix."""
        pairs = []
        for full, value in self.element.attrib.items():
            place = (self.element, str(full))
            if place in self.reading.failed or not self.reading.is_read(place):
                self.reading.kept.add(place)
                name = etree.QName(str(full))
                prefix = "xsi:" if name.namespace == XSI_NAMESPACE else ""
                pairs.append((prefix + name.localname, str(value)))
        return tuple(pairs)


def _places(element: etree._Element) -> Iterator[Place]:
    for item in element.iter():
        yield item, ""
        for full in item.attrib:
            yield item, str(full)
