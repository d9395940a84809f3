# SPDX-License-Identifier: Apache-2.0
"""Every kind of fault can happen, at rest and to a host that is not there."""

from __future__ import annotations

import pytest

from ha_agent.sim.faults import KINDS
from tests.sim.sim_story import story

VALUES = {"number": "0.5", "host": "h2", "on|off": "on", "old|new": "old", "": ""}


def line(kind: str) -> str:
    shape = KINDS[kind]
    value = "3" if kind in ("kill-at", "other-vms") else VALUES.get(shape.value, "broker")
    who = "cluster" if shape.who == "cluster" else "h1"
    lasts = "for 20" if shape.lasts else ""
    return " ".join(f"{who} {kind} {value} {lasts}".split())


# definition-bad is in test_definition.py, with what comes after it.
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "definition-bad"])
def test_each_kind_happens_and_the_engine_is_back_after_it(kind: str) -> None:
    with story(host_boot_seconds=10.0, seconds=30.0) as told:
        told.do(line(kind))
        assert f"-- {kind}" in told.log
        told.wait(30.0)
        if kind == "shutdown":
            told.do("cluster resume")
        if kind == "power-on":
            told.do("h1 power-on")
        told.wait(200.0)
        assert told.world.engine.healthy
        assert len(told.running_on) == 1


def test_what_is_not_there_can_suffer_nothing() -> None:
    with story(seconds=30.0) as told:
        told.do("h1 power-off")
        told.do("h2 power-off")
        for kind, shape in KINDS.items():
            if shape.who == "host" and kind not in ("power-on", "start", "twin"):
                told.do(line(kind))
        told.wait(100.0)
        assert told.running_on == []


def test_a_migration_ends_there_or_stays_here() -> None:
    with story(seconds=30.0) as told:
        told.do("h1 migrate-to h2 for 8")
        told.wait(9.0)
        assert told.running_on == [2]
        told.wait(30.0)
        told.do("h2 migrate-fails h1 for 8")
        told.wait(30.0)
        assert told.running_on == [2]
        assert not told.world.outages


def test_a_start_by_hand_is_refused_by_the_vm_lease() -> None:
    with story(seconds=30.0) as told:
        told.do("h2 start-by-hand")
        told.wait(5.0)
        assert told.running_on == [1]
        assert "the VM lease is held elsewhere" in told.log


def test_a_killed_process_comes_back_after_kill_at() -> None:
    with story(seconds=30.0) as told:
        agent = told.world[1].agent
        told.do("h1 kill-at 5")
        told.wait(15.0)
        assert told.world[1].agent is not agent
