# SPDX-License-Identifier: Apache-2.0
"""Each rule about the VM: events that break it, and near ones that a listed cause explains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

import pytest

from ha_agent.broker.lease.rules import LeaseIdentity, LeaseRecord, initial_record
from ha_agent.sim import events as e
from ha_agent.sim.faults import parse
from ha_agent.sim.rules import Rules
from ha_agent.sim.spec import Spec


def held_by(host_id: int) -> LeaseRecord:
    identity = LeaseIdentity(host_id, f"h{host_id}", f"instance-{host_id}", "vm")
    return initial_record().taken(identity, 0, "test")


RELEASED = held_by(1).released("test")


def lease(at_seconds: float, host_id: int) -> e.LeaseLanded:
    return e.LeaseLanded(at_seconds, host_id, held_by(host_id), None)


def fence(at_seconds: float, host_id: int, fires_at_seconds: Optional[float]) -> e.FenceSet:
    return e.FenceSet(at_seconds, host_id, 1, fires_at_seconds)


RUNS_ON_H1 = (lease(1, 1), fence(1, 1, 12), e.VmStarted(2, 1, "agent"))


@dataclass(frozen=True)
class Story:
    """Events, the first rule that they break ("" none), and the faults that were drawn."""

    name: str
    broken: str
    events: tuple[e.Event, ...]
    faults: tuple[str, ...] = ()
    old_hosts: tuple[int, ...] = ()


STORIES = (
    Story("one vm", "", RUNS_ON_H1),
    Story("two", "one-vm", (*RUNS_ON_H1, e.VmStarted(3, 2, "hand"))),
    Story(
        "a migration",
        "",
        (*RUNS_ON_H1, e.VmEnded(3, 1, "migration", True), e.VmStarted(3, 2, "migration")),
    ),
    Story("started without lease", "covered", (e.VmStarted(2, 1, "agent"),)),
    Story("with another's lease", "covered", (lease(1, 2), e.VmStarted(2, 1, "agent"))),
    Story("by hand without lease", "", (e.VmStarted(2, 1, "hand"),)),
    Story("by the predecessor", "", (e.VmStarted(2, 1, "old"),), old_hosts=(1,)),
    Story("fenced in time", "", (*RUNS_ON_H1, e.VmEnded(12.4, 1, "guard", False))),
    Story("fenced late", "covered", (*RUNS_ON_H1, e.VmEnded(14, 1, "guard", False))),
    Story("never fenced", "covered", (*RUNS_ON_H1, e.Ended(14))),
    Story("renewed in time", "", (*RUNS_ON_H1, fence(4, 1, 15), e.Ended(15.5))),
    Story("renewed too late", "covered", (*RUNS_ON_H1, fence(14, 1, 25))),
    Story(
        "the guard hangs",
        "",
        (*RUNS_ON_H1, e.VmEnded(20, 1, "guard", False)),
        ("at 3 h1 hang guard for 17",),
    ),
    Story(
        "another's guard hangs",
        "covered",
        (*RUNS_ON_H1, e.VmEnded(20, 1, "guard", False)),
        ("at 3 h2 hang guard for 17",),
    ),
    Story(
        "disarmed but held", "", (*RUNS_ON_H1, fence(4, 1, None), e.VmEnded(9, 1, "guest", True))
    ),
    Story(
        "released and disarmed",
        "covered",
        (*RUNS_ON_H1, e.LeaseLanded(3, 1, RELEASED, held_by(1)), fence(4, 1, None)),
    ),
    Story(
        "given away blind",
        "",
        (*RUNS_ON_H1, e.LeaseLanded(3, 1, RELEASED, held_by(1)), fence(4, 1, None), lease(5, 2)),
        ("at 2 h1 vdsm-silent for 70",),
    ),
    Story("taken while it runs", "fence-first", (*RUNS_ON_H1, lease(8, 2))),
    Story(
        "taken after the fence",
        "",
        (
            *RUNS_ON_H1,
            e.VmEnded(12.1, 1, "guard", False),
            lease(16, 2),
            e.VmStarted(17, 2, "agent"),
        ),
    ),
    Story(
        "the broker was stopped in order",
        "",
        (*RUNS_ON_H1, fence(5, 1, None), lease(20, 2)),
        ("at 5 h1 stop broker for 30",),
    ),
    Story(
        "only the VM lease",
        "only-vm-lease",
        (*RUNS_ON_H1, e.StartRefused(9, 2, "agent", True, 1)),
    ),
    Story("another refusal", "", (*RUNS_ON_H1, e.StartRefused(9, 2, "agent", False))),
    Story("the dead one's VM lease", "", (e.StartRefused(9, 2, "agent", True, 1),)),
    Story(
        "one started by hand",
        "",
        (e.VmStarted(3, 1, "hand"), e.StartRefused(9, 2, "agent", True, 1)),
    ),
    Story(
        "the predecessor tries",
        "",
        (*RUNS_ON_H1, e.StartRefused(9, 2, "old", True, 1)),
        old_hosts=(2,),
    ),
    Story(
        "stopped for nothing",
        "needless-stop",
        (*RUNS_ON_H1, fence(2, 1, None), e.VmEnded(500, 1, "shutdown", True)),
    ),
    Story(
        "bad until then", "", (*RUNS_ON_H1, fence(2, 1, None), e.VmEnded(9, 1, "destroy", False))
    ),
    Story(
        "for maintenance",
        "",
        (*RUNS_ON_H1, fence(2, 1, None), e.VmEnded(500, 1, "shutdown", True)),
        ("at 450 h1 local-maintenance on",),
    ),
    Story(
        "for another host's maintenance",
        "needless-stop",
        (*RUNS_ON_H1, fence(2, 1, None), e.VmEnded(500, 1, "shutdown", True)),
        ("at 450 h2 local-maintenance on",),
    ),
    *(
        Story(
            f"for a cable that is out: {faults}",
            found,
            (*RUNS_ON_H1, fence(2, 1, None), e.VmEnded(500, 1, "shutdown", True)),
            faults,
        )
        for faults, found in (
            (("at 350 h1 cable-out for 300",), ""),
            (("at 350 h1 cable-out for 300", "at 340 h2 cable-out for 300"), ""),
            (("at 450 h1 cable-out for 300",), "needless-stop"),
            (("at 100 h1 cable-out for 200",), "needless-stop"),
            (("at 350 h2 cable-out for 300",), "needless-stop"),
            (("at 350 all cable-out for 300",), "needless-stop"),
            (
                (
                    "at 350 h1 cable-out for 300",
                    "at 350 h2 network-lost for 300",
                    "at 350 h3 cable-out for 300",
                ),
                "needless-stop",
            ),
        )
    ),
    Story(
        "the administrator's own stop",
        "",
        (*RUNS_ON_H1, fence(2, 1, None), e.VmEnded(500, 1, "shutdown", True, "hand")),
    ),
    Story("the guard too early", "needless-stop", (*RUNS_ON_H1, e.VmEnded(11, 1, "guard", True))),
    Story(
        "the guard without trouble",
        "needless-stop",
        (*RUNS_ON_H1, e.VmEnded(12.1, 1, "guard", True)),
    ),
    Story(
        "the guard in storage trouble",
        "",
        (*RUNS_ON_H1, e.VmEnded(12.1, 1, "guard", True)),
        ("at 1 h1 storage-hang for 30",),
    ),
)


@pytest.mark.parametrize("story", STORIES, ids=lambda story: str(story.name))
def test_the_rules_about_the_vm(story: Story) -> None:
    spec = Spec(
        seconds=1000,
        faults=tuple(parse(line, "test") for line in story.faults),
        old_hosts=story.old_hosts,
    )
    rules = Rules(spec)
    for event in story.events:
        rules.saw(event)
    assert [found.checker for found in rules.violations[:1]] == (
        [story.broken] * bool(story.broken)
    )
