# SPDX-License-Identifier: Apache-2.0
"""`hosted-engine --vm-status [--json] [--watch] [--wait]`.

Text and JSON are the predecessor's (ha_agent/status_text.py). With --json stdout is JSON always:
one object, or with --watch one in each line; an error is {"error": {"code", "message"}} with exit
code 1, where the predecessor printed a traceback or text.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

from ha_agent.broker.rpc import follow as rpc_follow
from ha_agent.broker.snapshot import Snapshot, from_wire
from ha_agent.clock import SystemClock
from ha_agent.compat.hosted_engine.command import (
    DONE,
    FAILED,
    LOOK_SECONDS,
    NO_DAEMON,
    NOT_DEPLOYED,
    UNREACHABLE,
    HostedEngine,
    complain,
    printable_lines,
)
from ha_agent.status_text import predecessor_json, predecessor_text

HALF_DEPLOYED = 2
# Set-up's own virtual machine while it deploys, and what is left of it when that failed.
_LOCAL_VM = "HostedEngineLocal"
_VIRSH_SECONDS = 10.0
_IN_PROGRESS = (
    "It seems like a previous attempt to deploy hosted-engine failed or it's still in progress."
    " Please clean it up before trying again"
)
_RETRIEVING = (
    "An error occured while retrieving vm status, please make sure the HA daemon is ready and"
    " reachable."
)
_NO_RECORDS = "no host has written a status record yet"
_NEWS_SECONDS = 5.0
_RETRY_SECONDS = 1.0


def vm_status(command: HostedEngine) -> int:
    """Run the verb."""
    if not command.vm_uuid:
        return _not_deployed(command)
    arguments = command.arguments
    try:
        if arguments.watch:
            return _watch(command)
        if arguments.wait:
            return _wait(command)
        snapshot = command.picture()
    except UNREACHABLE as fault:
        return _unreachable(command, str(fault))
    return _show(command, snapshot)


def _show(command: HostedEngine, snapshot: Snapshot) -> int:
    """Print it; returns the exit code."""
    value = predecessor_json(snapshot)
    if command.arguments.json:
        print(json.dumps(value), flush=True)
        return DONE
    sys.stdout.write(predecessor_text(snapshot))
    if len(value) == 1:
        return complain(_NO_RECORDS)
    sys.stdout.flush()
    return DONE


def _watch(command: HostedEngine) -> int:
    seconds = command.arguments.timeout
    socket = str(command.settings.broker.socket)
    for picture in rpc_follow.follow(socket, clock=SystemClock(), deadline_seconds=seconds):
        _show(command, from_wire(Snapshot, picture, where="broker.changed.snapshot"))
    return DONE


def _wait(command: HostedEngine) -> int:
    """Wait until a live host says that the engine is well; show the last picture either way."""
    command.watches_itself()
    clock = SystemClock()
    limit_seconds = command.arguments.timeout
    ends_at = clock.now() + limit_seconds
    version = -1
    while True:
        left_seconds = ends_at - clock.now()
        command.arguments.timeout = max(0.1, min(LOOK_SECONDS, left_seconds))
        try:
            news_seconds = max(0.0, min(_NEWS_SECONDS, left_seconds - 1.0))
            params = {"since_version": version, "wait_seconds": news_seconds}
            snapshot = from_wire(Snapshot, command.ask("status", params), where="broker.status")
            version = snapshot.version
            if _is_well(snapshot):
                return _show(command, snapshot)
        except UNREACHABLE:
            if clock.now() >= ends_at:
                raise
            clock.block(min(_RETRY_SECONDS, max(0.0, ends_at - clock.now())))
            continue
        if clock.now() >= ends_at:
            _show(command, snapshot)
            # The object says how it is; a second one would not be JSON any more.
            return complain(f"the engine is not up within {limit_seconds:g} s")


def _is_well(snapshot: Snapshot) -> bool:
    return any(
        host.alive and not host.problem and host.engine_status.get("health") == "good"
        for host in snapshot.hosts
    )


def _unreachable(command: HostedEngine, reason: str) -> int:
    if command.arguments.json:
        return _failed(command, "unreachable", f"{NO_DAEMON} {reason}")
    # Four lines, as the predecessor's; the last one with its blank.
    complain(f"{reason}\n{NO_DAEMON}\n{_RETRIEVING}")
    print("Unable to connect the HA Broker ", file=sys.stderr)
    return FAILED


def _not_deployed(command: HostedEngine) -> int:
    if _has_local_vm(command):
        return _failed(command, "deploying", _IN_PROGRESS, HALF_DEPLOYED, on_stdout=True)
    return _failed(command, "not_deployed", NOT_DEPLOYED, on_stdout=True)


def _has_local_vm(command: HostedEngine) -> bool:
    virsh = shutil.which("virsh", path=command.environ.get("PATH"))
    if virsh is None:
        return False
    try:
        done = subprocess.run(
            [virsh, "-r", "domstate", _LOCAL_VM],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_VIRSH_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False  # libvirt does not tell: no worse than without it
    return done.returncode == 0


def _failed(
    command: HostedEngine,
    code: str,
    message: str,
    exit_code: int = FAILED,
    *,
    on_stdout: bool = False,
) -> int:
    if command.arguments.json:
        print(json.dumps({"error": {"code": code, "message": message}}))
    elif on_stdout:
        print(printable_lines(message))
    else:
        complain(message)
    return exit_code
