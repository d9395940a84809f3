# SPDX-License-Identifier: Apache-2.0
"""Memory and virtual CPUs out of a domain XML."""

from __future__ import annotations

from typing import Optional

import pytest
from lxml import etree

from ha_agent.ovfstore.domain_read import memory_mib, vcpus, whole_number


@pytest.mark.parametrize(
    ("xml", "found"),
    [
        ("<memory>2097152</memory>", 2048),
        ("<memory unit='KiB'>1</memory>", 1),
        ("<memory unit='GiB'> 4 </memory>", 4096),
        ("<memory unit='bytes'>1048577</memory>", 2),
        ("<memory unit='pages'>4</memory>", None),
        ("<memory>-1</memory>", None),
        ("<memory/>", None),
        ("", None),
    ],
)
def test_memory(xml: str, found: Optional[int]) -> None:
    assert memory_mib(etree.fromstring(f"<domain>{xml}</domain>")) == found


@pytest.mark.parametrize(
    ("xml", "found"),
    [("<vcpu current='2'>16</vcpu>", 2), ("<vcpu>4</vcpu>", 4), ("<vcpu>x</vcpu>", None)],
)
def test_vcpus(xml: str, found: Optional[int]) -> None:
    assert vcpus(etree.fromstring(f"<domain>{xml}</domain>")) == found


def test_a_number_of_many_digits_costs_nothing_and_is_large() -> None:
    assert (whole_number("9" * 100_000) or 0) > 10**18
    assert whole_number("000") == 0
