# SPDX-License-Identifier: Apache-2.0
"""`hosted-engine --vm-start`, `--vm-start-paused`, `--vm-shutdown`, `--vm-poweroff` and
`--add-console-password`.

The predecessor went around its agents, straight to VDSM. Here each is an order for this host's
agent, which takes the ownership lease first, as `ha-agent vm` has it; so they are for global
maintenance, as they were meant to be. A start from a vm.conf is refused by name: a definition that
no other host has would be gone at the next start, and the guard would not have seen it.
"""

from __future__ import annotations

import getpass
import sys
from typing import Any, Optional

from ha_agent.broker.rpc.call import RpcCallFailed
from ha_agent.broker.snapshot import Snapshot, from_wire
from ha_agent.cli.ovf import printable
from ha_agent.clock import SystemClock
from ha_agent.compat.hosted_engine.command import (
    DONE,
    FAILED,
    LOOK_SECONDS,
    UNREACHABLE,
    HostedEngine,
    complain,
)
from ha_agent.errors import HaAgentError
from ha_agent.instant import Instant

ORDER_SECONDS = 225.0
# The predecessor's set-up waits 15 minutes for an engine that starts.
START_AND_WAIT_SECONDS = 900.0
VDSM_SECONDS = 50.0
TICKET_SECONDS = 120
PASSWORD_VARIABLE = "OVIRT_HOSTED_ENGINE_CONSOLE_PASSWORD"
_NEWS_SECONDS = 5.0
_NO_DEFINITION = (
    "The hosted engine configuration has not been retrieved from shared storage. Please ensure"
    " that ovirt-ha-agent is running and the storage server is reachable."
)


def vm_start(command: HostedEngine) -> int:
    """Run --vm-start."""
    if command.arguments.vm_conf is not None:
        return complain(
            "--vm-conf is not supported: no VM is started from a definition that the other hosts"
            " do not have. Under global maintenance put it into the store, then start it:\n"
            f"    ha-agent ovf translate --to ovf {command.arguments.vm_conf} > engine.ovf\n"
            "    ha-agent store put engine.ovf\n"
            "    hosted-engine --vm-start"
        )
    return _start(command, paused=False)


def vm_start_paused(command: HostedEngine) -> int:
    """Run --vm-start-paused."""
    return _start(command, paused=True)


def _start(command: HostedEngine, *, paused: bool) -> int:
    clock, limit_seconds = SystemClock(), command.arguments.timeout
    ends_at = clock.now() + limit_seconds
    command.arguments.timeout = min(limit_seconds, ORDER_SECONDS)
    snapshot = command.look()
    status = snapshot.agent.engine_status
    word, detail = status.get("vm", "unknown"), status.get("detail", "")
    if word == "up" and detail == "Paused" and not paused:
        print("VM exists and is Paused, cleaning up and restarting", flush=True)
        command.ask("vm.stop", {"force": True})
    elif word == "up" or (word == "down" and detail not in ("Down", "")):
        print(printable(f"VM exists and its status is {detail or word}"))
        return FAILED
    elif word in ("down", "down_unexpected"):
        state = "down" if paused else "Down"
        print(f"VM exists and is {state}, cleaning up and restarting", flush=True)
    if not snapshot.definition.available:
        print(_NO_DEFINITION)
        return FAILED
    try:
        command.ask("vm.start", {"paused": paused})
    except HaAgentError as fault:
        print("VM failed to launch", flush=True)
        return complain(fault.message if isinstance(fault, RpcCallFailed) else str(fault))
    print("VM in WaitForLaunch", flush=True)
    if not paused and command.arguments.wait:
        return _wait_until_up(command, ends_at, limit_seconds)
    return DONE


def vm_shutdown(command: HostedEngine) -> int:
    """Run --vm-shutdown. It answers when the VM is down."""
    command.ask("vm.stop", {"force": False})
    return DONE


def vm_poweroff(command: HostedEngine) -> int:
    """Run --vm-poweroff."""
    command.ask("vm.stop", {"force": True})
    return DONE


def _wait_until_up(command: HostedEngine, ends_at: Instant, limit_seconds: float) -> int:
    """Wait until the engine here is well."""
    command.watches_itself()
    clock = SystemClock()
    command.arguments.timeout = LOOK_SECONDS
    version = -1
    while True:
        left_seconds = ends_at - clock.now()
        if left_seconds <= 0:
            return complain(f"the engine is not up within {limit_seconds:g} s")
        try:
            params = {
                "since_version": version,
                "wait_seconds": min(_NEWS_SECONDS, left_seconds),
            }
            snapshot = from_wire(Snapshot, command.ask("status", params), where="broker.status")
        except UNREACHABLE:
            clock.block(min(1.0, left_seconds))
            continue
        version = snapshot.version
        if snapshot.agent.engine_status.get("health") == "good":
            return DONE


def add_console_password(command: HostedEngine) -> int:
    """Run --add-console-password."""
    password = command.arguments.password
    if password is None:
        password = command.environ.get(PASSWORD_VARIABLE) or _typed_password()
    if not password:
        return complain("no password was given")
    params: dict[str, Any] = {
        "password": password,
        "ttl_seconds": TICKET_SECONDS,
        "protocol": "spice" if command.arguments.spice else "vnc",
        "on_connected": "keep",
    }
    command.ask("vm.console_password", params)
    return DONE


def _typed_password() -> Optional[str]:
    if not sys.stdin.isatty():
        complain("Standard input is not a terminal")
        return None
    return getpass.getpass("Enter password: ")
