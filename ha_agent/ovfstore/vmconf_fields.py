# SPDX-License-Identifier: Apache-2.0
"""Reading single values of a vm.conf: texts, numbers, truths, uuids, addresses, with their place.

Nothing here knows what a value is for. It keeps account of what has been read, so that the rest
can be told of: no field disappears silently. Every error is a BadInput with file, line and name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Optional, TypeVar

from ha_agent.errors import BadInput
from ha_agent.ovfstore.model import Pairs
from ha_agent.ovfstore.ovf_fields import UUID
from ha_agent.ovfstore.vmconf_grammar import Value

_NUMBER = re.compile(r"[0-9]{1,18}")
# A spec parameter's name is an element's name in the OVF. Its length is bounded, since a group's
# name stands before each of the names in it.
_PARAMETER_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
_ADDRESS_TEXT = re.compile(r"[A-Za-z0-9_.:-]+")
_PARAMETER_DEPTH_LIMIT = 8
# What the predecessor's Python wrote for a value that it did not have.
_NO_VALUE = ("", "None")
T = TypeVar("T")


class ConfFields:
    """The fields of one value in braces, or the keys of a whole file, with typed reads.

    `what` is what they describe, for people ("disk", "vm.conf"). An empty value, and the text
    `None`, read as absent. `line` is their line in the file; `lines` has each key's where
    these differ.
    """

    def __init__(
        self,
        fields: Mapping[str, Value],
        *,
        what: str,
        where: str,
        line: Optional[int] = None,
        lines: Optional[Mapping[str, int]] = None,
    ) -> None:
        self.what = what
        self.where = where
        self.line = line
        self._fields = fields
        self._lines = lines or {}
        self._taken: set[str] = set()

    def bad(self, what: str, name: str = "") -> BadInput:
        """Return an error that names the line, what is described there, and the field."""
        path = f"{self.what} {name}".strip()
        line = self._lines.get(name, self.line)
        sentence = f"{path}: {what}" if path else what
        return BadInput(sentence, where=self.where, offset=line, unit="line")

    def take(self, *names: str) -> None:
        """Take fields as read: they are not told of as unused."""
        self._taken.update(names)

    def unused(self) -> tuple[str, ...]:
        """Return `name=value` of what nothing has read and that says something."""
        return tuple(
            f"{name[:60]}={value[:60]}" if isinstance(value, str) else name[:60]
            for name, value in self._fields.items()
            if name not in self._taken and value and value not in _NO_VALUE
        )

    def text(self, name: str) -> Optional[str]:
        """Return a text, or None."""
        self.take(name)
        value = self._fields.get(name, "")
        if not isinstance(value, str):
            raise self.bad("a text is expected, not fields in braces", name)
        return None if value in _NO_VALUE else value

    def number(self, name: str, *, lowest: int = 0) -> Optional[int]:
        """Return a whole number of at least `lowest`, or None."""
        text = self.text(name)
        if text is None:
            return None
        if _NUMBER.fullmatch(text) is None or int(text) < lowest:
            raise self.bad(f"{text[:40]!r} is no whole number of at least {lowest}", name)
        return int(text)

    def flag(self, name: str, default: bool) -> bool:
        """Return a truth; errors on anything but true and false."""
        return self.choice(name, {"true": True, "false": False}, default)

    def choice(self, name: str, values: Mapping[str, T], default: T) -> T:
        """Return what a text, in any case, stands for; errors on one that `values` lacks."""
        text = self.text(name)
        if text is None:
            return default
        if text.lower() not in values:
            known = ", ".join(values)
            raise self.bad(f"{text[:40]!r} is none of {known}", name)
        return values[text.lower()]

    def uuid(self, name: str) -> Optional[str]:
        """Return a uuid in lower case, or None."""
        text = self.text(name)
        if text is None:
            return None
        if UUID.fullmatch(text.lower()) is None:
            raise self.bad(f"{text[:60]!r} is not a UUID", name)
        return text.lower()

    def group(self, name: str) -> Mapping[str, Value]:
        """Return the fields in braces of a field, or none."""
        self.take(name)
        value = self._fields.get(name, "")
        if not isinstance(value, str):
            return value
        if value not in _NO_VALUE:
            raise self.bad(f"{value[:40]!r} has no braces", name)
        return {}

    def address(self) -> Pairs:
        """Return the device's address as sorted pairs."""
        pairs = []
        for key, value in self.group("address").items():
            if not (isinstance(value, str) and _ADDRESS_TEXT.fullmatch(value)):
                raise self.bad(f"{key[:40]!r} has no usable value", "address")
            if _PARAMETER_NAME.fullmatch(key) is None:
                raise self.bad(f"{key[:40]!r} is no name in an address", "address")
            pairs.append((key, value))
        return tuple(sorted(pairs))

    def spec_params(self) -> Pairs:
        """Return the leaves of specParams, sorted; a nested one's name is a path with slashes."""
        return tuple(sorted(self._leaves("specParams", self.group("specParams"), "", 0)))

    def custom_properties(self) -> Pairs:
        """Return the device's custom properties, sorted."""
        pairs = tuple(sorted(self._leaves("custom", self.group("custom"), "", 0)))
        for name, value in pairs:
            self.check_property(name, value)
        return pairs

    def check_property(self, name: str, value: str) -> None:
        """Refuse a custom property that an OVF, which writes `k=v;k2=v2`, can't hold."""
        if not name or "=" in name or ";" in name + value:
            raise self.bad(f"custom property {name[:40]!r} can't be written to an OVF")

    def _leaves(
        self, field: str, fields: Mapping[str, Value], prefix: str, depth: int
    ) -> Iterator[tuple[str, str]]:
        if depth > _PARAMETER_DEPTH_LIMIT:
            raise self.bad(f"{prefix[:60]} is nested too deep", field)
        for name, value in fields.items():
            if _PARAMETER_NAME.fullmatch(name) is None:
                raise self.bad(f"{name[:40]!r} is no name of a parameter", field)
            if isinstance(value, str):
                yield prefix + name, value
            else:
                yield from self._leaves(field, value, f"{prefix}{name}/", depth + 1)
