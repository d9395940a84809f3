# SPDX-License-Identifier: Apache-2.0
"""`hosted-engine --connect-storage`, `--disconnect-storage`, `--reinitialize-lockspace` and
`--clean-metadata`.

The last two change what other hosts rely on. The predecessor's checks failed open, and it ended
with 0 when it had refused or failed (facts 6, numbers 6 and 8). Here the broker proves what is
unused before anything is written; `--force` and `--force-cleanup` are taken, but switch no proof
off. Whatever was not done ends with a code that is not 0.
"""

from __future__ import annotations

from typing import Optional

from ha_agent.broker.rpc.call import RpcCallFailed
from ha_agent.broker.snapshot import Snapshot
from ha_agent.cli.lockspace import repair
from ha_agent.cli.ovf import printable
from ha_agent.compat.hosted_engine.command import DONE, UNREACHABLE, HostedEngine, complain
from ha_agent.errors import HaAgentError

CONNECT_SECONDS = 610.0
LOCKSPACE_SECONDS = 300.0
REMOVE_SECONDS = 60.0
# What `ovirt-ha-agent --cleanup` ended with.
NOT_CONFIGURED, NO_BROKER = 255, 254


def connect_storage(command: HostedEngine) -> int:
    """Run --connect-storage."""
    command.ask("storage.connect")
    return DONE


def disconnect_storage(command: HostedEngine) -> int:
    """Run --disconnect-storage."""
    command.ask("storage.disconnect")
    return DONE


def reinitialize_lockspace(command: HostedEngine) -> int:
    """Run --reinitialize-lockspace."""
    if not command.arguments.force:
        fault = _why_not_reinitialize(command.look())
        if fault:
            return complain(fault)
    arguments = command.arguments
    limit_seconds = arguments.timeout
    arguments.dry_run, arguments.timeout = False, min(limit_seconds, REMOVE_SECONDS)
    command.watches_itself()
    return repair(command, within_seconds=limit_seconds)


def _why_not_reinitialize(snapshot: Snapshot) -> str:
    """Return what the predecessor's checks say; what is not known counts against it."""
    if not snapshot.global_maintenance:
        return "Lockfile reset can be performed in global maintenance mode only."
    active = [host for host in snapshot.hosts if host.alive and not host.stopped]
    if active:
        names = ", ".join(f"{host.host_name or '?'} (id {host.host_id})" for host in active)
        return f"Lockfile reset cannot be performed with an active agent. Active: {names}"
    return ""


def clean_metadata(command: HostedEngine) -> int:
    """Run --clean-metadata."""
    fault = _why_not_configured(command)
    if fault:
        complain(fault)
        return NOT_CONFIGURED
    try:
        own_id = command.settings.host.id
        host_id = own_id if command.arguments.host_id is None else command.arguments.host_id
        if host_id == own_id:
            return _own(host_id)
        answer = command.ask_map("host.remove", {"host_id": host_id})
    except UNREACHABLE as unreachable:
        complain(str(unreachable))
        return NO_BROKER
    except RpcCallFailed as failed:
        if failed.code == "not_found":
            print(printable(failed.message))  # it is as it was asked for
            return DONE
        raise
    print(printable(f"host {host_id} is removed ({answer.get('removed')})"))
    return DONE


def _own(host_id: int) -> int:
    return complain(
        f"host id {host_id} is this host's own, whose broker would write its record again:"
        " `ha-agent leave` takes this host out of the cluster, or stop ha-agent and ha-broker here"
        f" and run hosted-engine --clean-metadata --host-id={host_id} on another host"
    )


def _why_not_configured(command: HostedEngine) -> Optional[str]:
    try:
        configured = (
            "True" if command.conf is None else command.conf.values.get("configured", "True")
        )
        if configured != "True":
            return "Hosted engine is not configured."
        command.settings  # noqa: B018 - read here, for the code that a fault of it ends with
    except HaAgentError as fault:
        return str(fault)
    return None
