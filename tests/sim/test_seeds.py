# SPDX-License-Identifier: Apache-2.0
"""What seeds draw: the same on every machine, within the bounds that the module states."""

from __future__ import annotations

import hashlib

import pytest

from ha_agent.errors import BadInput
from ha_agent.sim import faults, seeds
from ha_agent.sim.seeds import RANGES, spec_of
from ha_agent.sim.spec import SANLOCK


def test_a_seed_is_the_same_everywhere() -> None:
    lines = [fault.text() for seed in range(20) for fault in spec_of(seed).faults]
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    # Changes with the drawing itself; never with the machine or the Python version.
    assert digest[:16] == DIGEST


def test_every_kind_of_fault_is_drawn() -> None:
    drawn = {fault.kind for seed in range(300) for fault in spec_of(seed).faults}
    assert drawn >= set(RANGES)
    # What only undoes another is not drawn by itself.
    assert set(faults.KINDS) - drawn == {"power-on", "start", *seeds.HOSTILE_VDSM}


def test_a_hostile_vdsm_is_drawn_only_when_asked_for() -> None:
    asked = {f.kind for seed in range(60) for f in spec_of(seed, hostile_vdsm=True).faults}
    assert asked >= set(seeds.HOSTILE_VDSM)
    plain = {f.kind for seed in range(60) for f in spec_of(seed).faults}
    assert not plain & set(seeds.HOSTILE_VDSM)


@pytest.mark.parametrize("seed", range(30))
def test_a_hostile_vdsm_s_line_brings_back_the_fault(seed: int) -> None:
    for fault in spec_of(seed, hostile_vdsm=True).faults:
        assert faults.parse(fault.text(), "seed") == fault


@pytest.mark.parametrize("seed", range(100))
def test_a_line_brings_back_the_fault(seed: int) -> None:
    for fault in spec_of(seed).faults:
        assert faults.parse(fault.text(), "seed") == fault


@pytest.mark.parametrize("seed", range(100))
def test_the_calm_end_is_calm(seed: int) -> None:
    spec = spec_of(seed)
    calm_at = spec.seconds - spec.calm_seconds
    for fault in spec.faults:
        assert fault.at_seconds + (fault.duration_seconds or 0.0) <= calm_at + 0.1
    times = [fault.at_seconds for fault in spec.faults]
    assert times == sorted(times)


@pytest.mark.parametrize("seed", range(300))
def test_one_host_of_ours_is_left(seed: int) -> None:
    spec = spec_of(seed)
    lost = {
        fault.host_id
        for fault in spec.faults
        if fault.duration_seconds is None
        and (fault.kind, fault.value) in OUT
        and fault.host_id != faults.ALL_HOSTS
    }
    ours = set(range(1, spec.hosts + 1)) - set(spec.old_hosts)
    assert ours - lost


OUT = {("power-off", ""), ("stop", "agent"), ("local-maintenance", "on")}


def test_what_is_given_is_kept() -> None:
    spec = spec_of(5, hosts=4, hours=0.5, old=2)
    assert (spec.hosts, spec.seconds, spec.old_hosts) == (4, 1800.0, (3, 4))
    assert spec_of(5, hosts=3, old=9).old_hosts == (2, 3)
    quiet = spec_of(5, hosts=250, quiet=True)
    assert (quiet.faults, quiet.engine_on, quiet.clock_spread) == ((), 1, 0.0)
    assert {spec_of(seed, quiet=True).old_hosts for seed in range(40)} == {()}


def test_sanlock_is_drawn_only_when_asked_for() -> None:
    asked = [spec_of(seed, lease_backend=SANLOCK) for seed in range(60)]
    assert {spec.old_hosts for spec in asked} == {()}
    assert {fault.value for spec in asked for fault in spec.faults} >= {"sanlock", "holder"}
    plain = [spec_of(seed) for seed in range(60)]
    assert not {"sanlock", "holder"} & {fault.value for spec in plain for fault in spec.faults}
    with pytest.raises(BadInput, match="old hosts"):
        spec_of(1, old=1, lease_backend=SANLOCK)


def test_clocks_stay_within_what_the_fence_margin_bears() -> None:
    spreads = {spec_of(seed).clock_spread for seed in range(40)}
    assert spreads == {0.0, seeds.CLOCK_SPREAD}
    rates = {
        float(fault.value)
        for seed in range(300)
        for fault in spec_of(seed).faults
        if fault.kind == "clock-rate"
    }
    assert rates
    assert all(abs(rate - 1) <= seeds.CLOCK_SPREAD + 1e-9 for rate in rates)


DIGEST = "206fd466b4cbb447"
