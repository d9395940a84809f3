# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Optional

from ha_agent.sim.faults import ALL_HOSTS, Fault, parse
from ha_agent.sim.seeds import spec_of
from ha_agent.sim.shrink import shrink
from ha_agent.sim.spec import Spec


def faults_of(*lines: str) -> tuple[Fault, ...]:
    return tuple(parse(line, "test") for line in lines)


class Needs:
    """A simulation that fails, 5 s after the last of them, where these kinds are present."""

    def __init__(self, *kinds: str) -> None:
        self.kinds = kinds
        self.runs = 0

    def __call__(self, spec: Spec) -> Optional[float]:
        self.runs += 1
        times = {fault.kind: fault.at_seconds for fault in spec.faults}
        if not set(self.kinds) <= set(times):
            return None
        at_seconds = max(times[kind] for kind in self.kinds) + 5
        return at_seconds if at_seconds <= spec.seconds else None


def test_only_the_faults_that_matter_are_left() -> None:
    spec = Spec(
        seconds=3600,
        hosts=5,
        clock_spread=0.02,
        engine_on=2,
        faults=faults_of(
            *(f"at {10 * n} h4 storage-eio for 9" for n in range(1, 30)),
            "at 300.5 all power-off for 60",
            "at 310 cluster guest-crash",
            *(f"at {10 * n} h3 vdsm-silent for 9" for n in range(32, 50)),
        ),
    )
    small = shrink(spec, Needs("power-off", "guest-crash"))
    assert [fault.text() for fault in small.faults] == [
        "at 300 h1 power-off for 1",
        "at 310 cluster guest-crash",
    ]
    assert small.seconds == 316
    assert (small.hosts, small.engine_on, small.clock_spread) == (1, 1, 0.0)


def test_a_seed_with_many_faults_shrinks_to_the_pair() -> None:
    spec = next(
        spec
        for spec in map(spec_of, range(500))
        if {"guest-hang", "storage-hang"} <= {fault.kind for fault in spec.faults}
    )
    small = shrink(spec, Needs("guest-hang", "storage-hang"), runs_max=1000)
    assert sorted(fault.kind for fault in small.faults) == ["guest-hang", "storage-hang"]
    assert len(small.faults) < len(spec.faults)


def test_what_needs_no_fault_shrinks_to_none() -> None:
    spec = Spec(seconds=100, faults=faults_of("at 1 h1 power-off", "at 2 h2 power-off"))
    assert shrink(spec, lambda tried: 50.0).faults == ()


def test_a_rule_about_the_calm_end_keeps_it() -> None:
    spec = Spec(seconds=1000, calm_seconds=500, faults=faults_of("at 1 h1 power-off"))
    small = shrink(spec, lambda tried: 990.0 if tried.calm_seconds else None)
    assert (small.seconds, small.calm_seconds) == (1000, 500)


def test_the_runs_are_bounded() -> None:
    needs = Needs("power-off")
    spec = Spec(
        seconds=3600,
        hosts=7,
        faults=faults_of(*(f"at {n} h{n % 7 + 1} power-off" for n in range(1, 200))),
    )
    shrink(spec, needs, runs_max=7)
    assert needs.runs == 7


def test_faults_of_a_host_go_with_it() -> None:
    spec = Spec(
        seconds=100,
        hosts=4,
        old_hosts=(4,),
        faults=faults_of("at 1 h1 migrate-to h4 for 3", "at 2 h2 power-off"),
    )
    small = shrink(spec, Needs("power-off"))
    assert (small.hosts, small.old_hosts) == (2, ())
    assert [fault.host_id for fault in small.faults] == [2]
    assert ALL_HOSTS not in [fault.host_id for fault in small.faults]
