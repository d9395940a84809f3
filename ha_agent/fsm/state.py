# SPDX-License-Identifier: Apache-2.0
"""The states, with the predecessor's names wherever the meaning is the same.

The value of each is what goes into status blocks (`state=EngineUp`) and what tools of the
predecessor's parse; the meaning is what `ha-agent status` and the diagram print.
"""

from __future__ import annotations

import enum


class State(str, enum.Enum):
    """Where this host's agent stands with the engine VM."""

    START = "StartState"
    ENGINE_DOWN = "EngineDown"
    ENGINE_START = "EngineStart"
    ENGINE_STARTING = "EngineStarting"
    ENGINE_UP = "EngineUp"
    ENGINE_UP_BAD_HEALTH = "EngineUpBadHealth"
    ENGINE_STOP = "EngineStop"
    ENGINE_FORCE_STOP = "EngineForceStop"
    ENGINE_UNEXPECTEDLY_DOWN = "EngineUnexpectedlyDown"
    ENGINE_MIGRATING_AWAY = "EngineMigratingAway"
    ENGINE_MIGRATING_HERE = "EngineMigratingHere"
    UNKNOWN_LOCAL_VM = "UnknownLocalVmState"
    LOCAL_MAINTENANCE_MIGRATE_VM = "LocalMaintenanceMigrateVm"
    LOCAL_MAINTENANCE = "LocalMaintenance"
    GLOBAL_MAINTENANCE = "GlobalMaintenance"
    AGENT_STOPPED = "AgentStopped"

    @property
    def meaning(self) -> str:
        """Return one line for people."""
        return _MEANING[self]


_MEANING = {
    State.START: "agent started, waiting for the first look at storage and VDSM",
    State.ENGINE_DOWN: "engine VM is not here; watching the lease",
    State.ENGINE_START: "taking the lease, then asking VDSM to start the engine VM",
    State.ENGINE_STARTING: "engine VM runs here, engine not healthy yet",
    State.ENGINE_UP: "engine VM runs here and the engine is healthy",
    State.ENGINE_UP_BAD_HEALTH: "engine VM runs here, the engine does not answer well",
    State.ENGINE_STOP: "stopping the engine VM in order, then giving up the lease",
    State.ENGINE_FORCE_STOP: "ending the engine VM by force, then giving up the lease",
    State.ENGINE_UNEXPECTEDLY_DOWN: "engine VM failed here too often; leaving it to other hosts",
    State.ENGINE_MIGRATING_AWAY: "engine VM is migrating to another host",
    State.ENGINE_MIGRATING_HERE: "engine VM is here without our lease; taking it over",
    State.UNKNOWN_LOCAL_VM: "VDSM does not answer; nothing is started or stopped",
    State.LOCAL_MAINTENANCE_MIGRATE_VM: "local maintenance asked; moving the engine VM away",
    State.LOCAL_MAINTENANCE: "local maintenance; this host does not run the engine VM",
    State.GLOBAL_MAINTENANCE: "global maintenance; the engine VM is left alone",
    State.AGENT_STOPPED: "agent is stopping; the engine VM is left as it is",
}
