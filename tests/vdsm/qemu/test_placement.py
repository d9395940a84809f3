# SPDX-License-Identifier: Apache-2.0
"""Escaping for QEMU's option lists."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha_agent.errors import BadInput
from ha_agent.vdsm.qemu.placement import blockdev, escape


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=30))
def test_an_escaped_value_can_be_told_from_the_next_option(text: str) -> None:
    escaped = escape(text)
    # QEMU's rule: a lone comma ends the value, two of them are one comma of it.
    assert escaped.replace(",,", "").count(",") == 0
    assert escaped.replace(",,", ",") == text


@pytest.mark.parametrize("text", ["a\nb", "\0", "\x1f"])
def test_control_characters_are_refused(text: str) -> None:
    with pytest.raises(BadInput, match="control character"):
        escape(text)


def test_a_block_node_is_json() -> None:
    node = {"driver": "raw", "file": {"filename": '/a,b"c'}}
    option, value = blockdev(node)
    assert (option, json.loads(value)) == ("-blockdev", node)
