# SPDX-License-Identifier: Apache-2.0
"""Every scenario that comes with the program: what it expects holds, its log is as it was.

`pytest tests/sim/test_scenarios.py --update` makes the logs of today the expected ones; look at
what git says of them then.
"""

from __future__ import annotations

import pytest

from ha_agent.sim import scenario
from ha_agent.sim.play import play

QE = (
    "network-lost-on-vm-host",
    "storage-blocked-by-firewall",
    "guest-shutdown",
    "stop-ovirt-engine",
    "stop-postgresql",
    "guest-kernel-panic",
    # sanlock's own shares and resources are not simulated: "sanlock share/free on hosts" is
    # about its daemon, which stands here as the VM lease only.
    "second-start-same-host",
    "second-start-other-host",
    "same-status-from-all-hosts",
    "gateway-change",
    "cpu-load",
    "global-maintenance-killed-vm",
    "local-maintenance-score",
    "stop-broker",
    "stop-agent",
    "stop-agent-and-broker",
    "power-loss-of-vm-host",
)


# Each eighth also on the other Pythons: a log is the same on all of them.
NAMES = [
    pytest.param(name, marks=() if number % 8 == 0 else pytest.mark.long)
    for number, name in enumerate(scenario.names())
]


@pytest.mark.parametrize("name", NAMES)
def test_scenario(name: str, request: pytest.FixtureRequest) -> None:
    played = play(scenario.load(name))
    assert not played.broken, "\n" + "\n".join([*played.broken, "", *played.result.log])
    if request.config.getoption("--update"):
        played.scenario.update(played.result.log)
    else:
        assert not played.difference, "\n" + played.difference


def test_there_are_enough_and_each_is_told_apart() -> None:
    names = scenario.names()
    assert len(names) >= 100
    readmes = [scenario.load(name).readme for name in names]
    assert len(set(readmes)) == len(names)


def test_qe_list_is_among_them_by_name() -> None:
    assert {f"qe-{name}" for name in QE} <= set(scenario.names())
