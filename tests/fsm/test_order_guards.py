# SPDX-License-Identifier: Apache-2.0
"""What the rows ask of an operator's order."""

from __future__ import annotations

import dataclasses

import pytest

from ha_agent.fsm import order_guards as o
from ha_agent.fsm.observation import VmOrderKind
from ha_agent.fsm.vm_order import OrderPhase
from tests.fsm.pictures import context, ordered, seen

K = VmOrderKind
GUARDS = {
    o.start_ordered: (K.START, K.START_PAUSED),
    o.paused_start_ordered: (K.START_PAUSED,),
    o.resume_ordered: (K.RESUME,),
    o.stop_ordered: (K.STOP,),
    o.force_stop_ordered: (K.FORCE_STOP,),
}


@pytest.mark.parametrize("kind", list(K))
@pytest.mark.parametrize("phase", list(OrderPhase))
def test_only_an_open_order_of_its_kind_asks_for_anything(
    kind: VmOrderKind, phase: OrderPhase
) -> None:
    memory = ordered(kind, phase, global_maintenance=True)
    for guard, kinds in GUARDS.items():
        assert guard(context(seen(), memory)) is (kind in kinds and phase is OrderPhase.OPEN)
        for maintenance in (False, None):
            out = dataclasses.replace(memory, global_maintenance=maintenance)
            assert not guard(context(seen(), out))


@pytest.mark.parametrize("phase", list(OrderPhase))
def test_a_start_is_under_way_until_its_end_is_known(phase: OrderPhase) -> None:
    under_way = phase in (OrderPhase.OPEN, OrderPhase.ASKED)
    for kind in K:
        is_start = kind in (K.START, K.START_PAUSED)
        wanted = under_way and is_start
        assert o.start_under_way(context(seen(), ordered(kind, phase))) is wanted
