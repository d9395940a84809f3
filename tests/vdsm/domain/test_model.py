# SPDX-License-Identifier: Apache-2.0
"""Definitions as values."""

from __future__ import annotations

import dataclasses

import pytest

from ha_agent.vdsm.domain.document import parse_domain
from tests.vdsm.embedded import make_xml


def test_equal_documents_are_equal_values() -> None:
    assert parse_domain(make_xml()) == parse_domain(make_xml())
    assert parse_domain(make_xml()) != parse_domain(make_xml(name="other"))
    assert len({parse_domain(make_xml()), parse_domain(make_xml())}) == 1


def test_nobody_changes_a_definition() -> None:
    domain = parse_domain(make_xml())
    with pytest.raises(dataclasses.FrozenInstanceError):
        domain.name = "other"  # type: ignore[misc]
