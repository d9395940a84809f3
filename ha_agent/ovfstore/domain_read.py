# SPDX-License-Identifier: Apache-2.0
"""Numbers out of a domain XML, whoever wrote it. What can't be read is None."""

from __future__ import annotations

from typing import Optional

from lxml import etree

# libvirt's scaled integers (its documentation of the domain format): KiB without a unit.
_BYTES_OF_UNIT = {
    "b": 1,
    "bytes": 1,
    "kb": 10**3,
    "k": 2**10,
    "kib": 2**10,
    "mb": 10**6,
    "m": 2**20,
    "mib": 2**20,
    "gb": 10**9,
    "g": 2**30,
    "gib": 2**30,
    "tb": 10**12,
    "t": 2**40,
    "tib": 2**40,
}
_DIGITS_LIMIT = 20


def memory_mib(domain: etree._Element) -> Optional[int]:
    """Return the memory at start in whole MiB, rounded up."""
    element = domain.find("memory")
    amount = None if element is None else whole_number(element.text)
    unit = "" if element is None else (element.get("unit") or "KiB").lower()
    if amount is None or unit not in _BYTES_OF_UNIT:
        return None
    return -(-amount * _BYTES_OF_UNIT[unit] // 2**20)


def vcpus(domain: etree._Element) -> Optional[int]:
    """Return the number of virtual CPUs at start."""
    element = domain.find("vcpu")
    return None if element is None else whole_number(element.get("current") or element.text)


def whole_number(text: Optional[str]) -> Optional[int]:
    """Return a number of decimal digits; what is longer than any real one is cut."""
    digits = (text or "").strip()
    if not (digits.isascii() and digits.isdigit()):
        return None
    # A number cut to so many digits is still beyond everything.
    return int(digits.lstrip("0")[:_DIGITS_LIMIT] or "0")
