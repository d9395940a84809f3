# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses

import pytest

from ha_agent.fsm.effect import Effect, EffectKind
from ha_agent.fsm.table import TABLE


def test_each_kind_is_asked_for_by_some_row_and_no_row_asks_for_more() -> None:
    assert {row.effect for row in TABLE if row.effect} == set(EffectKind)


def test_kinds_read_as_requests() -> None:
    """perform.py's log and `ha-agent status` print them as they are."""
    assert [kind.value for kind in EffectKind] == [
        "take lease",
        "release lease",
        "abandon lease",
        "start VM",
        "resume VM",
        "shut VM down",
        "destroy VM",
    ]


def test_an_effect_is_a_value() -> None:
    effect = Effect(EffectKind.TAKE_LEASE, 3, "our turn", lease_epoch=7)
    assert effect == Effect(EffectKind.TAKE_LEASE, 3, "our turn", 7)
    assert effect != dataclasses.replace(effect, serial=4)
    with pytest.raises(dataclasses.FrozenInstanceError):
        effect.serial = 4  # type: ignore[misc]
