# SPDX-License-Identifier: Apache-2.0
"""`hosted-engine --get-shared-config KEY` and `--set-shared-config KEY VALUE`.

Which key is in which store: compat/shared_config.py; the broker reads and writes them. A store is
called a type here, as the predecessor did.
"""

from __future__ import annotations

import sys
from typing import Any

from ha_agent.broker.rpc.call import RpcCallFailed
from ha_agent.cli.ovf import printable
from ha_agent.compat.hosted_engine.command import DONE, FAILED, HostedEngine, complain
from ha_agent.compat.shared_config import STORES
from ha_agent.errors import HaAgentError

TYPES = STORES
GET_SECONDS, SET_SECONDS = 125.0, 305.0


def get_shared_config(command: HostedEngine) -> int:
    """Run --get-shared-config."""
    key = command.arguments.key
    try:
        answer = command.ask_map("conf.get_key", _params(command))
    except RpcCallFailed as failed:
        return _told(command, failed)
    value, store = answer.get("value"), answer.get("store")
    line = printable(f"{key} : {value}, type : {store}")
    print(f"\n{line}\n")
    return DONE


def set_shared_config(command: HostedEngine) -> int:
    """Run --set-shared-config."""
    try:
        command.ask_map("conf.set_key", {**_params(command), "value": command.arguments.value})
    except RpcCallFailed as failed:
        return _told(command, failed)
    return DONE


def _params(command: HostedEngine) -> dict[str, Any]:
    params: dict[str, Any] = {"key": command.arguments.key}
    if command.arguments.type is not None:
        params["store"] = command.arguments.type
    return params


def _told(command: HostedEngine, failed: RpcCallFailed) -> int:
    """Say why not; for a key that there is not, which ones there are."""
    if failed.code != "not_found":
        raise failed
    complain(f"Invalid configuration key {command.arguments.key}.")
    params = _params(command)
    del params["key"]
    try:
        keys = command.ask_map("conf.keys", params).get("keys")
    except HaAgentError as fault:
        return complain(f"which keys there are could not be read: {fault}")
    print("Available keys are:", file=sys.stderr)
    for store, names in keys.items() if isinstance(keys, dict) else ():
        print(printable(f"{store} : {names}"), file=sys.stderr)
    return FAILED
