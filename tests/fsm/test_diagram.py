# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from ha_agent.fsm import diagram
from ha_agent.fsm.table import TABLE

ARCHITECTURE = Path(__file__).parents[2] / "ARCHITECTURE.md"


@pytest.mark.skipif(not ARCHITECTURE.exists(), reason="ARCHITECTURE.md is not written yet")
def test_architecture_shows_the_table_as_it_is() -> None:
    text = ARCHITECTURE.read_text()
    assert diagram.replace_section(text) == text, "run `make diagram`"


def test_each_row_has_its_line() -> None:
    lines = diagram.edges().splitlines()
    assert len(lines) == len(TABLE) + 2
    assert all(row.why in line for row, line in zip(TABLE, lines[2:]))


def test_missing_marks_are_said() -> None:
    with pytest.raises(ValueError, match="fsm"):
        diagram.replace_section("no marks here")
