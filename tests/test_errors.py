# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import pytest

from ha_agent.errors import (
    BadInput,
    DeadlineExceeded,
    EnvironmentFault,
    HaAgentError,
    InvariantBroken,
)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ({}, "not a number"),
        ({"where": "slot 2"}, "slot 2: not a number"),
        ({"where": "slot 2", "offset": 0}, "slot 2, byte 0: not a number"),
        ({"where": "a.conf", "offset": 7, "unit": "line"}, "a.conf, line 7: not a number"),
        ({"offset": 7}, "byte 7: not a number"),
    ],
)
def test_bad_input_says_what_and_where(place: dict[str, Any], message: str) -> None:
    error = BadInput("not a number", **place)
    assert str(error) == message
    assert error.what == "not a number"
    assert (error.where, error.offset) == (place.get("where", ""), place.get("offset"))


@pytest.mark.parametrize(("seconds", "text"), [(5.0, "5 s"), (0.25, "0.25 s"), (180.0, "180 s")])
def test_a_deadline_says_what_did_not_answer_and_how_long(seconds: float, text: str) -> None:
    error = DeadlineExceeded("VM.create", seconds)
    assert str(error) == f"VM.create: no answer within {text}"
    assert (error.what, error.deadline_seconds) == ("VM.create", seconds)


def test_the_kinds_are_kept_apart() -> None:
    """They are answered differently: who catches one must not swallow another."""
    assert issubclass(DeadlineExceeded, EnvironmentFault)
    kinds = (EnvironmentFault, BadInput, InvariantBroken)
    for kind in kinds:
        assert issubclass(kind, HaAgentError)
        assert not any(issubclass(kind, other) for other in kinds if other is not kind)
    assert not issubclass(HaAgentError, (OSError, ValueError))
