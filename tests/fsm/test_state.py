# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from ha_agent.fsm.state import State

# ovirt-hosted-engine-ha 2.5, agent/states.py: tools parse these out of status blocks.
PREDECESSORS = {
    "StartState",
    "EngineDown",
    "EngineStart",
    "EngineStarting",
    "EngineUp",
    "EngineUpBadHealth",
    "EngineStop",
    "EngineForceStop",
    "EngineUnexpectedlyDown",
    "EngineMigratingAway",
    "UnknownLocalVmState",
    "LocalMaintenanceMigrateVm",
    "LocalMaintenance",
    "GlobalMaintenance",
    "AgentStopped",
}


def test_names_are_the_predecessors_and_one_of_our_own() -> None:
    assert {state.value for state in State} == PREDECESSORS | {"EngineMigratingHere"}


@pytest.mark.parametrize("state", State)
def test_each_has_a_meaning_of_one_line(state: State) -> None:
    assert state.meaning
    assert "\n" not in state.meaning
    assert "|" not in state.meaning  # it becomes a cell of a Markdown table
    assert not state.meaning.endswith(".")


def test_meanings_are_told_apart() -> None:
    assert len({state.meaning for state in State}) == len(State)


@pytest.mark.parametrize("state", State)
def test_the_name_in_a_block_leads_back(state: State) -> None:
    assert State(state.value) is state
    assert state == state.value


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ValueError, match="EngineAway"):
        State("EngineAway")
