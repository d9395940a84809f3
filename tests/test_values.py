# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses

import pytest

from ha_agent.broker.snapshot import HostEntry
from ha_agent.values import replaced


def test_it_is_what_dataclasses_replace_returns() -> None:
    before = HostEntry(3, "h3", score=2400)
    after = replaced(before, score=3400, alive=True)
    assert after == dataclasses.replace(before, score=3400, alive=True)
    assert hash(repr(after)) != hash(repr(before))
    assert before.score == 2400


def test_a_field_that_is_not_there_is_refused() -> None:
    with pytest.raises(TypeError, match="HostEntry has no field points"):
        replaced(HostEntry(3), points=1)


def test_the_copy_is_frozen_as_well() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        replaced(HostEntry(3), score=1).score = 2  # type: ignore[misc]
