# SPDX-License-Identifier: Apache-2.0
"""`ha-agent explain`, `ha-agent events` and `ha-agent replay`: why, when, and what if.

explain and events ask the broker. When it can't be asked, events reads the file that it left
on this host and says so. replay needs neither broker nor agent; what it needs of the state
machine is imported when it is used, because that takes longer than all other commands.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, NoReturn

from ha_agent.broker.rpc.call import BrokerUnreachable
from ha_agent.broker.snapshot import EventEntry, from_wire, to_wire
from ha_agent.cli.command import DONE, FAILED, USAGE, Command, Verbs, fail
from ha_agent.clock import SystemClock
from ha_agent.config.layers import Config
from ha_agent.errors import BadInput, DeadlineExceeded, EnvironmentFault
from ha_agent.explain_text import event_line, explain_text, plain_text

if TYPE_CHECKING:
    from ha_agent.fsm.policy import Policy
    from ha_agent.replay import Replayed

_SHOWN_EVENTS = 50
_WAIT_SECONDS = 30.0
_RETRY_SECONDS = 1.0
_DURATION = re.compile(r"([0-9]{1,6})([smhd]?)")
_UNIT_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
# The ring has two segments of 2 MiB; one comes through a pipe.
_STDIN_LIMIT_BYTES = 4 << 20


def add(verbs: Verbs, policy_of: Callable[[Config], Policy]) -> None:
    """Add the three verbs. `policy_of` tells what the configuration makes of decisions."""
    explain = verbs.asking("explain", "why things are as they are, in plain words", _explain)
    explain.add_argument("--json", action="store_true", help="the same as values")
    events = verbs.asking("events", "what happened, one line an event", _events)
    events.add_argument("--follow", action="store_true", help="go on with what happens now")
    events.add_argument(
        "--since", type=_duration, metavar="TIME", help="only the last 90s, 30m, 2h or 7d"
    )
    events.add_argument(
        "--all", action="store_true", help=f"all that are kept, not the last {_SHOWN_EVENTS}"
    )
    events.add_argument("--json", action="store_true", help="one JSON object a line")

    def run_replay(command: Command) -> int:
        return _replay(command, policy_of)

    replay = verbs.add(
        "replay",
        "step recorded decisions through this version, and show the first difference; "
        "exit code 1: there is one, 2: the records can't be read",
        run_replay,
    )
    replay.add_argument("file", metavar="FILE", help="a ring file, a folder of them; - is stdin")
    replay.add_argument("--all", action="store_true", help="show every difference")
    replay.add_argument(
        "--policy",
        choices=("recorded", "current"),
        default="recorded",
        help="current: what would today's configuration have decided?",
    )
    replay.add_argument("--json", action="store_true", help="the result as one JSON object")


def _duration(text: str) -> float:
    match = _DURATION.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no time such as 90s, 30m, 2h or 7d")
    return float(int(match[1]) * _UNIT_SECONDS[match[2]])


# explain ---------------------------------------------------------------------------------------


def _explain(command: Command) -> int:
    try:
        answer = command.ask_map("explain")
    except (BrokerUnreachable, DeadlineExceeded) as fault:
        hint = "`ha-agent events` shows what it left on this host"
        return fail(command.arguments, "broker", f"{fault}; {hint}")
    if command.arguments.json:
        print(json.dumps(answer))
    else:
        sys.stdout.write(explain_text(answer))
    return DONE


# events ----------------------------------------------------------------------------------------


def _events(command: Command) -> int:
    arguments = command.arguments
    try:
        answer = command.ask_map("events", {"since": 0})
        events, last = _read_answer(answer)
    except (BrokerUnreachable, DeadlineExceeded) as fault:
        events = _from_disk(command, fault)
        last = events[-1].number if events else 0
    _print_events(command, _chosen(command, events))
    if arguments.follow:
        _follow(command, last)
    return DONE


def _follow(command: Command, last: int) -> NoReturn:
    """Print what comes, until the reader has enough. A broker may be restarted meanwhile."""
    silent = False
    while True:
        sys.stdout.flush()
        params = {"since": last, "wait_seconds": _WAIT_SECONDS}
        try:
            answer = command.ask_map("events", params, more_seconds=_WAIT_SECONDS)
        except (BrokerUnreachable, DeadlineExceeded) as fault:
            if not silent:
                print(f"ha-agent: {fault}; still trying", file=sys.stderr)
            silent = True
            SystemClock().block(_RETRY_SECONDS)
            continue
        silent = False
        events, last = _read_answer(answer)
        _print_events(command, events)


def _read_answer(answer: dict[str, Any]) -> tuple[list[EventEntry], int]:
    events, last = answer.get("events"), answer.get("last")
    if not isinstance(events, list) or not isinstance(last, int):
        raise BadInput("no list of events", where="broker.events")
    return [from_wire(EventEntry, event, where="broker.events") for event in events], last


def _from_disk(command: Command, fault: EnvironmentFault) -> list[EventEntry]:
    from ha_agent.broker.event_log import read_events

    events, unreadable = read_events(command.settings.host.state_dir)
    lines = "1 line" if unreadable == 1 else f"{unreadable} lines"
    note = f"; {lines} of it could not be read" if unreadable else ""
    print(f"ha-agent: {fault}\nThis is what it left on this host{note}.", file=sys.stderr)
    return events


def _chosen(command: Command, events: list[EventEntry]) -> list[EventEntry]:
    arguments = command.arguments
    if arguments.since is not None:
        begin = SystemClock().wall().unix_seconds - arguments.since
        events = [event for event in events if event.at_unix_seconds >= begin]
    elif not arguments.all:
        events = events[-_SHOWN_EVENTS:]
    return events


def _print_events(command: Command, events: list[EventEntry]) -> None:
    for event in events:
        print(json.dumps(to_wire(event)) if command.arguments.json else event_line(event))


# replay ----------------------------------------------------------------------------------------


def _replay(command: Command, policy_of: Callable[[Config], Policy]) -> int:
    from ha_agent.decision_codec import decode
    from ha_agent.fsm.machine import Fsm
    from ha_agent.replay import replay

    arguments = command.arguments
    policy = policy_of(command.settings) if arguments.policy == "current" else None
    try:
        kept, problems, whole = _records(arguments.file)
    except (BadInput, EnvironmentFault) as fault:
        fail(arguments, "records", str(fault))
        return USAGE
    fsm, different, unreadable = Fsm(), [], []
    for where, data in kept:
        try:
            replayed = replay(fsm, decode(data, where=where), where, policy)
        except BadInput as fault:
            unreadable.append(str(fault))
            continue
        if replayed.differences:
            different.append(replayed)
            if not arguments.all:
                break
    _print_replay(command, different, problems + unreadable, len(kept) - len(unreadable))
    if different:
        return FAILED
    return USAGE if unreadable or not whole else DONE


def _records(file: str) -> tuple[list[tuple[str, bytes]], list[str], bool]:
    """Return the records, what could not be read, and whether that is no more than the end of
    a file: it is torn after a crash, and while the agent writes."""
    from ha_agent.decision_file import TORN_END, parse_segment, read_ring

    if file != "-":
        kept, problems = read_ring(Path(file))
        return kept, problems, all(problem.endswith(TORN_END) for problem in problems)
    data = sys.stdin.buffer.read(_STDIN_LIMIT_BYTES + 1)
    if len(data) > _STDIN_LIMIT_BYTES:
        raise BadInput(f"longer than {_STDIN_LIMIT_BYTES} bytes", where="stdin")
    segment = parse_segment(data, where="stdin")
    records = [(f"stdin, record {i}", one) for i, one in enumerate(segment.records, start=1)]
    problems = [segment.problem] if segment.problem else []
    return records, problems, segment.problem.endswith(TORN_END) or not problems


def _print_replay(
    command: Command, different: list[Replayed], notes: list[str], count: int
) -> None:
    from ha_agent.replay import as_json, as_text

    if command.arguments.json:
        differences = [as_json(replayed) for replayed in different]
        print(json.dumps({"records": count, "differences": differences, "notes": notes}))
        return
    for replayed in different:
        sys.stdout.write(plain_text(as_text(replayed)))
    for note in notes:
        print(plain_text(f"! {note}"))
    if not different:
        noun = "decision" if count == 1 else "decisions"
        same = "; this version decides the same" if count else ""
        print(f"{count} {noun} looked at{same}")
