# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from ha_agent.fsm.observation import LeaseCondition, PeerView, VmCondition
from ha_agent.fsm.second_vm import second_vms
from tests.fsm.pictures import peer, seen

V, L = VmCondition, LeaseCondition
CLAIM = peer(3, vm_up=True)
HERE = {V.STARTING, V.UP, V.PAUSED, V.STOPPING}


@pytest.mark.parametrize("condition", VmCondition)
def test_only_beside_a_vm_that_runs_and_stays_here(condition: VmCondition) -> None:
    found = second_vms(seen(condition, L.OURS, peers=(peer(2), CLAIM)))
    assert found == ((CLAIM,) if condition in HERE else ())


@pytest.mark.parametrize(
    "other",
    [
        peer(2),
        peer(2, vm_up=True, alive=False),
        peer(2, vm_up=True, stopped=True),
    ],
    ids=["no VM", "dead", "stopped"],
)
def test_who_does_not_say_so(other: PeerView) -> None:
    assert second_vms(seen(V.UP, L.OURS, peers=(other,))) == ()


def test_the_dead_holder_of_an_expired_lease_says_nothing() -> None:
    holder = peer(2, vm_up=True)
    assert second_vms(seen(V.UP, L.EXPIRED, peers=(holder,))) == ()
    assert second_vms(seen(V.UP, L.HELD, peers=(holder,))) == (holder,)
    old = peer(2, vm_up=True, predecessor=True)
    assert second_vms(seen(V.UP, L.EXPIRED, peers=(old,))) == (old,), "it renews none, and lives"
