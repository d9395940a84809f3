# SPDX-License-Identifier: Apache-2.0
"""`hosted-engine --set-maintenance --mode=global|local|none`.

A mode is all of it, as the predecessor had it: `local` ends global maintenance, `global` ends
local, `none` ends both. Each is read back from storage before this answers; the predecessor's
could be lost (facts 6, number 1). What was asked for is set before the other one is ended.
"""

from __future__ import annotations

from typing import Any

from ha_agent.broker.maintenance.order import SHUTDOWN
from ha_agent.broker.rpc.call import RpcCallFailed
from ha_agent.broker.snapshot import Snapshot
from ha_agent.cli.wait import follow
from ha_agent.compat.hosted_engine.command import DONE, HostedEngine, complain
from ha_agent.maintenance_text import AGENT_SILENT_SECONDS, local_progress, resume_progress

SET_SECONDS = 45.0
WAIT_SECONDS = 900.0
_VM_IS_HERE = (
    "Unable to enter local maintenance mode: the engine VM is running on the current host,"
    " please migrate it before entering local maintenance mode.\n"
    "`ha-agent maintenance local` moves it: it is stopped here in order and started elsewhere."
)


def set_maintenance(command: HostedEngine) -> int:
    """Run the verb."""
    arguments = command.arguments
    mode = arguments.mode
    arguments.within = arguments.timeout
    arguments.timeout = min(arguments.timeout, SET_SECONDS)
    if mode is None:
        print("You must specify a maintenance mode with --mode")
        return 1
    if mode == "none":
        _end_all(command)
        return _followed(command, mode)
    snapshot = command.look()
    if mode == "local":
        fault = _why_not_local(snapshot)
        if fault:
            return complain(fault)
        _set(command, "local", True)
        if _is_shutting_down(snapshot):
            complain("the cluster is being shut down: global maintenance stays on")
        elif snapshot.global_maintenance is not False:
            _set(command, "global", False)
    else:
        _set(command, "global", True)
        own = next((one for one in snapshot.hosts if one.host_id == snapshot.host_id), None)
        if snapshot.agent.local_maintenance or own is None or own.maintenance:
            _set(command, "local", False)
    return _followed(command, mode)


def _set(command: HostedEngine, scope: str, enabled: bool) -> None:
    params: dict[str, Any] = {"scope": scope, "enabled": enabled}
    command.ask_map("maintenance.set", params)


def _end_all(command: HostedEngine) -> None:
    """End both, the second one also where the first can't be ended."""
    faults = []
    for scope in ("local", "global"):
        try:
            _set(command, scope, False)
        except RpcCallFailed as fault:
            faults.append(fault)
    if faults:
        raise faults[0]


def _why_not_local(snapshot: Snapshot) -> str:
    agent = snapshot.agent
    silent = agent.made_at is None or snapshot.made_at - agent.made_at > AGENT_SILENT_SECONDS
    if silent:
        # Without its agent, the lease tells: it is held as long as the VM may be here.
        return _VM_IS_HERE if snapshot.lease.ours else ""
    word = agent.engine_status.get("vm", "unknown")
    if word == "unknown":
        return f"Failed communicating with VDSM: {agent.engine_status.get('reason', 'no answer')}"
    return _VM_IS_HERE if word == "up" else ""


def _is_shutting_down(snapshot: Snapshot) -> bool:
    order = snapshot.order
    return order is not None and order.in_force and order.what == SHUTDOWN


def _followed(command: HostedEngine, mode: str) -> int:
    if not command.arguments.wait or mode == "global":
        return DONE
    command.watches_itself()
    return follow(command, local_progress if mode == "local" else resume_progress)
