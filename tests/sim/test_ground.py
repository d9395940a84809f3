# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import pytest

from ha_agent.broker.lease.rules import LeaseIdentity, LeaseRecord, initial_record
from ha_agent.sim import events as e
from ha_agent.sim.faults import Fault, parse
from ha_agent.sim.ground import MOMENT_SECONDS, Ground, end_of
from ha_agent.sim.spec import Spec


def held_by(host_id: int) -> LeaseRecord:
    identity = LeaseIdentity(host_id, f"h{host_id}", f"instance-{host_id}", "vm")
    return initial_record().taken(identity, 0, "test")


def ground(*lines: str) -> Ground:
    return Ground(Spec(seconds=1000, faults=tuple(parse(line, "test") for line in lines)))


def test_a_vm_is_there_from_start_to_end() -> None:
    truth = ground()
    truth.saw(e.VmStarted(1, 2, "agent"))
    assert truth.vms[2].adopted
    truth.saw(e.VmEnded(5, 2, "guest", healthy=False))
    assert (len(truth.vms), truth.ended and truth.ended.host_id) == (0, 2)


@pytest.mark.parametrize("cause", ["hand", "migration", "old", "twin"])
def test_a_vm_that_came_otherwise_is_adopted_with_the_lease(cause: str) -> None:
    truth = ground()
    truth.saw(e.VmStarted(1, 2, cause))
    adopted = [truth.vms[2].adopted]
    for host_id in (3, 2):
        truth.saw(e.LeaseLanded(host_id, host_id, held_by(host_id), None))
        adopted.append(truth.vms[2].adopted)
    assert adopted == [False, False, True]
    assert truth.owner() == 2


def test_a_released_lease_has_no_owner() -> None:
    truth = ground()
    assert truth.owner() == 0
    truth.saw(e.LeaseLanded(2, 3, held_by(3).released("done"), None))
    assert truth.owner() == 0


def test_fences_and_health() -> None:
    truth = ground()
    truth.saw(e.FenceSet(1, 1, 7, 12.0))
    truth.saw(e.FenceSet(4, 1, 7, None))
    assert (truth.fence_before, truth.fence_at(1), truth.fence_at(2)) == (12.0, None, None)
    truth.saw(e.HealthChanged(6, good=True))
    truth.saw(e.HealthChanged(9, good=False))
    assert (truth.bad_until_seconds, truth.good) == (6, False)


def test_trouble_is_that_of_the_host_or_of_all() -> None:
    truth = ground("at 10 h1 storage-eio for 5", "at 50 all storage-hang for 5")

    def of_storage(fault: Fault) -> bool:
        return fault.kind.startswith("storage-")

    assert truth.trouble(1, of_storage, 12)
    assert not truth.trouble(2, of_storage, 12)
    assert not truth.trouble(1, of_storage, 9)
    assert not truth.trouble(1, of_storage, 17)
    assert truth.trouble(1, of_storage, 17, after_seconds=3)
    assert truth.trouble(2, of_storage, 52)


@pytest.mark.parametrize(
    ("line", "end_seconds"),
    [
        ("at 10 h1 storage-eio for 5", 15),
        ("at 10 h1 power-off", math.inf),
        ("at 10 h1 local-maintenance on", math.inf),
        ("at 10 h1 kill broker", 10 + MOMENT_SECONDS),
        ("at 10 cluster guest-crash", 10 + MOMENT_SECONDS),
    ],
)
def test_when_a_fault_is_over(line: str, end_seconds: float) -> None:
    assert end_of(parse(line, "test")) == end_seconds
