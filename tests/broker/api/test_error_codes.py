# SPDX-License-Identifier: Apache-2.0
"""The list of error codes is the whole list."""

from __future__ import annotations

import ast
from pathlib import Path

import ha_agent
from ha_agent.broker.api.catalogue import CATALOGUE
from ha_agent.broker.api.error_codes import COMMON, ERROR_CODES
from ha_agent.broker.push import api as push_api
from ha_agent.broker.rpc import codec as rpc_codec

PACKAGE = Path(ha_agent.__file__).parent
# Raised with a code as the first argument, or made with one and raised as a refusal.
_RAISERS = ("RpcRefusal", "StoreRefusal", "_refuse")


def _raised() -> dict[str, str]:
    """Return each code that stands in the source as a literal, with where."""
    found = {}
    for path in (PACKAGE / "broker").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            first = node.args[0] if node.args else None
            if node.func.id in _RAISERS and isinstance(first, ast.Constant):
                found[str(first.value)] = f"{path.name}:{node.lineno}"
    return found


def test_every_code_that_is_raised_is_in_the_table() -> None:
    raised = _raised()
    assert {"guard", "bad_argument", "one_copy"} <= raised.keys()  # or this looks at nothing
    assert {code: where for code, where in raised.items() if code not in ERROR_CODES} == {}


def test_every_code_of_the_wire_is_in_the_table() -> None:
    codes = {value for name, value in vars(rpc_codec).items() if name.startswith("CODE_")}
    assert codes <= ERROR_CODES.keys()
    assert set(COMMON) <= codes


def test_no_code_is_in_the_table_for_nothing() -> None:
    every = [*push_api.VERBS, *(verb for _title, verbs in CATALOGUE for verb in verbs)]
    declared = {code for verb in every for code in verb.errors}
    assert ERROR_CODES.keys() - declared - set(COMMON) <= {"not_found"}


def test_meanings_are_sentences() -> None:
    assert [code for code, text in ERROR_CODES.items() if not text.endswith(".")] == []
