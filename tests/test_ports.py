# SPDX-License-Identifier: Apache-2.0
"""Every implementation and every fake of a port has the port's methods, with its parameters.
What they do is held by the contracts in test_broker_port.py, test_vdsm_port.py, test_clock.py."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from ha_agent import ports
from ha_agent.broker_port import SocketBroker
from ha_agent.clock import SystemClock
from ha_agent.vdsm_port import VdsmHypervisor
from tests.fakes import FakeBroker, FakeClock, FakeHypervisor

PAIRS = [
    (ports.Clock, SystemClock),
    (ports.Clock, FakeClock),
    (ports.Broker, SocketBroker),
    (ports.Broker, FakeBroker),
    (ports.Hypervisor, VdsmHypervisor),
    (ports.Hypervisor, FakeHypervisor),
]


def methods(kind: Any) -> dict[str, Any]:
    found = inspect.getmembers(kind, inspect.isfunction)
    return {name: method for name, method in found if not name.startswith("_")}


@pytest.mark.parametrize(("port", "kind"), PAIRS, ids=lambda kind: kind.__name__)
def test_it_has_what_the_port_promises(port: Any, kind: Any) -> None:
    promised = methods(port)
    assert promised
    for name, method in promised.items():
        there = getattr(kind, name)
        assert inspect.signature(there) == inspect.signature(method), name
        assert inspect.iscoroutinefunction(there) is inspect.iscoroutinefunction(method), name


@pytest.mark.parametrize("port", [ports.Broker, ports.Hypervisor])
def test_every_call_to_the_outside_can_be_waited_for(port: Any) -> None:
    for name, method in methods(port).items():
        assert inspect.iscoroutinefunction(method), name


def test_a_definition_has_no_remarks_unless_told() -> None:
    assert ports.DomainDefinition("d1", "<domain/>").notes == ()
