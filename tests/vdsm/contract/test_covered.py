# SPDX-License-Identifier: Apache-2.0
"""The contract suite covers every verb that we have a typed method for."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

from ha_agent.vdsm.client.verbs import Vdsm


def test_every_verb_is_called_in_the_suite() -> None:
    verbs = {
        name
        for name, _ in inspect.getmembers(Vdsm, inspect.isfunction)
        if not name.startswith("_")
    }
    used = set()
    for path in Path(__file__).parent.glob("test_*.py"):
        for item in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(item, ast.Attribute) and isinstance(item.value, ast.Name):
                used |= {item.attr} if item.value.id == "vdsm" else set()
    assert verbs, "no verbs at all: the class is another one now"
    assert not verbs - used, f"no test of the contract calls {sorted(verbs - used)}"
