# SPDX-License-Identifier: Apache-2.0
"""How VDSM words its refusals."""

from __future__ import annotations

from ha_agent.vdsm.refusal import Refusal, general, no_such_vm


def test_the_general_exception_is_worded_as_a_python_tuple() -> None:
    refusal = general("'xml'")
    assert (refusal.code, refusal.message) == (100, """General Exception: ("'xml'",)""")


def test_no_such_vm() -> None:
    refusal = no_such_vm("x")
    assert isinstance(refusal, Refusal)
    assert refusal.code == 1
    assert str(refusal) == "Virtual machine does not exist: {'vmId': 'x'}"
