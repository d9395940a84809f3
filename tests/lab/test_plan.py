# SPDX-License-Identifier: Apache-2.0
"""Names and addresses: within the kernel's limits, known as ours, apart for each lab."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from lab.plan import HOSTS, LabPlan, is_ours, plan_for
from lab.ports import LabError

NUMBERS = range(1, HOSTS + 1)


def names_of(plan: LabPlan) -> set[str]:
    cables = {plan.cable(number) for number in NUMBERS}
    return {plan.bridge, *cables, *(plan.machine(number) for number in NUMBERS)}


@pytest.mark.parametrize("name", ["", "u", "zz"])
def test_names_fit_an_interface_and_are_known_as_ours(name: str) -> None:
    names = names_of(LabPlan(name, Path("/w")))
    assert all(len(name) <= 15 and is_ours(name) for name in names)


@pytest.mark.parametrize("name", ["eth0", "vb-ha-other", "ha", "lab-ha-lab-br0"])
def test_others_are_not_ours(name: str) -> None:
    assert not is_ours(name)


def test_labs_are_apart() -> None:
    plans = [plan_for({"HA_LAB_NAME": name}, Path("/w")) for name in ("", "a", "b")]
    for one, other in itertools.combinations(plans, 2):
        assert not names_of(one) & names_of(other)
        assert one.work != other.work
        assert one.engine_address != other.engine_address


def test_each_has_its_own_address() -> None:
    plan = LabPlan("", Path("/w"))
    addresses = [plan.host_address(number) for number in NUMBERS]
    addresses += [plan.engine_address, plan.observer_address]
    assert len(set(addresses)) == len(addresses)


@pytest.mark.parametrize("name", ["abc", "A", "a-", "../x"])
def test_a_name_that_does_not_fit_is_told(name: str) -> None:
    with pytest.raises(LabError, match="HA_LAB_NAME"):
        plan_for({"HA_LAB_NAME": name}, Path("/w"))
