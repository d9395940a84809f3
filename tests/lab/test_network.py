# SPDX-License-Identifier: Apache-2.0
"""The bridge, and a cable that is pulled."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.network import LabNetwork
from lab.plan import LabPlan
from lab.ports import LabError
from lab.tools import call, must

pytestmark = [pytest.mark.root]
PLAN = LabPlan("tn", Path("/w"))


@pytest.fixture
def network() -> Iterator[LabNetwork]:
    if os.getuid() != 0:
        pytest.skip("needs root")
    made = LabNetwork(PLAN)
    made.remove()
    try:
        try:
            made.make()
        except LabError as error:
            pytest.skip(f"no bridge can be made here: {error}")
        yield made
    finally:
        made.remove()
    assert not Path("/sys/class/net", PLAN.bridge).exists()


def test_this_machine_is_on_it(network: LabNetwork) -> None:
    told = must(["ip", "-brief", "address", "show", PLAN.bridge])
    assert f"{PLAN.observer_address}/24" in told
    assert network.engine_address == PLAN.engine_address


def test_a_cable_is_pulled_and_plugged_in(network: LabNetwork) -> None:
    cable, there = PLAN.cable(2), "ha-lab-tn-x"
    must(["ip", "link", "add", cable, "up", "type", "veth", "peer", "name", there])
    try:
        must(["ip", "link", "set", there, "up"])
        network.cut("host2")
        assert "LOWERLAYERDOWN" in must(["ip", "-brief", "link", "show", there])
        network.join("host2")
        assert "LOWERLAYERDOWN" not in must(["ip", "-brief", "link", "show", there])
    finally:
        call(["ip", "link", "delete", cable])


def test_a_host_without_power_has_no_cable(network: LabNetwork) -> None:
    with pytest.raises(LabError, match=PLAN.cable(3)):
        network.cut("host3")
