# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest

from ha_agent.engine.faults import EngineBusy, EngineFault, EngineNotFound, EngineRefused
from ha_agent.errors import EnvironmentFault


def test_the_engine_is_quoted() -> None:
    fault = EngineRefused("the import", 409, "Operation Failed", "[Storage. Äh.]")
    assert str(fault) == (
        "the import: the engine refuses with HTTP 409: Operation Failed: [Storage. Äh.]"
    )
    assert (fault.code, fault.reason, fault.detail) == (409, "Operation Failed", "[Storage. Äh.]")


@pytest.mark.parametrize(
    ("reason", "detail", "end"),
    [("why", "", ": why"), ("", "what", ": what"), ("", "", ": without a reason")],
)
def test_a_fault_may_be_poor(reason: str, detail: str, end: str) -> None:
    assert str(EngineNotFound("x", 404, reason, detail)).endswith(f"HTTP 404{end}")


def test_what_may_pass_is_no_refusal() -> None:
    assert not issubclass(EngineBusy, EngineRefused)
    assert issubclass(EngineBusy, EngineFault)
    assert issubclass(EngineFault, EnvironmentFault)
