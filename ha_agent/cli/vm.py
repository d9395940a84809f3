# SPDX-License-Identifier: Apache-2.0
"""`ha-agent vm start [--paused]`, `resume` and `stop [--force]`: the engine VM by hand, here.

Under global maintenance only, as `hosted-engine --vm-start`, `--vm-start-paused`, `--vm-shutdown`
and `--vm-poweroff` were meant to be used. Each answers when it is done, or with why it was not;
nothing is started without the ownership lease.
"""

from __future__ import annotations

from ha_agent.broker.rpc.call import DEFAULT_DEADLINE_SECONDS
from ha_agent.cli.command import DONE, Command, Verbs
from ha_agent.cli.ovf import printable

# The agent's own time for an orderly stop is 120 s by default; and what goes with it (api/vm.py).
_ORDER_SECONDS = 215.0


def add(verbs: Verbs) -> None:
    """Add `vm`."""
    group = verbs.group(
        "vm", "start, resume or stop the engine VM by hand, under global maintenance"
    )
    seconds = _ORDER_SECONDS + DEFAULT_DEADLINE_SECONDS
    start = group.asking(
        "start", "start the engine VM on this host", _start, timeout_seconds=seconds
    )
    start.add_argument(
        "--paused", action="store_true", help="only so far that its console can be looked at"
    )
    group.asking("resume", "let the paused VM run", _resume, timeout_seconds=seconds)
    stop = group.asking(
        "stop", "shut the engine VM down on this host", _stop, timeout_seconds=seconds
    )
    stop.add_argument("--force", action="store_true", help="end it at once, unsaved work is lost")


def _start(command: Command) -> int:
    return _tell(command.ask_map("vm.start", {"paused": command.arguments.paused}))


def _resume(command: Command) -> int:
    return _tell(command.ask_map("vm.resume"))


def _stop(command: Command) -> int:
    return _tell(command.ask_map("vm.stop", {"force": command.arguments.force}))


def _tell(answer: dict[str, object]) -> int:
    print(printable(str(answer.get("detail", ""))))
    return DONE
