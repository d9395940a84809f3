# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha_agent.broker.blocks.lines import key_value_lines, line_values

TEXT = st.text('aé中🐘&#;0139 \\"x', max_size=40)


@given(TEXT)
def test_any_text_is_one_line_of_ascii_and_comes_back(text: str) -> None:
    (line,) = key_value_lines({"why": text})
    assert line.isascii()
    assert "\n" not in line
    assert line.count("=") == 1
    assert line_values(f"{line}\n") == {"why": text}


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("&#55296;", "\ufffd"),
        ("&#10;", "\ufffd"),
        ("&#9999999;", "\ufffd"),
        ("&#;&#x41;", "&#;&#x41;"),
    ],
)
def test_what_stands_for_no_character_is_none(written: str, read: str) -> None:
    assert line_values(f"why={written}\n") == {"why": read}
