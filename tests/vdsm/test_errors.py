# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from ha_agent.errors import EnvironmentFault
from ha_agent.vdsm.errors import (
    VdsmBadAnswer,
    VdsmCallFailed,
    VdsmCode,
    VdsmConnectionLost,
    VdsmUnreachable,
    code_name,
)


def test_each_error_says_what_an_operator_needs() -> None:
    assert str(VdsmCallFailed("VM.create", 4, "Virtual machine already exists")) == (
        "VDSM refused VM.create: Virtual machine already exists (code 4, vm exists)"
    )
    assert str(VdsmCallFailed("VM.x", 12345, "New")) == (
        "VDSM refused VM.x: New (code 12345, unknown)"
    )
    assert "h:1 can't be reached: refused" in str(VdsmUnreachable("h:1", "refused"))
    assert "can't be used: no path" in str(VdsmBadAnswer("Image.prepare", "no path"))


def test_whether_a_request_may_have_been_executed() -> None:
    assert not VdsmUnreachable("h:1", "").may_have_executed
    assert not VdsmCallFailed("v", 1, "").may_have_executed
    assert VdsmBadAnswer("v", "").may_have_executed
    assert VdsmConnectionLost("h:1", "", may_have_executed=True).may_have_executed
    assert not VdsmConnectionLost("h:1", "", may_have_executed=False).may_have_executed


def test_they_are_faults_of_the_environment() -> None:
    assert isinstance(VdsmCallFailed("v", 1, ""), EnvironmentFault)


def test_codes_by_name() -> None:
    assert VdsmCallFailed("v", 99, "").code == VdsmCode.RECOVERY_IN_PROGRESS
    assert code_name(99) == "recovery in progress"
    assert code_name(-32601) == "method not found"
