# SPDX-License-Identifier: Apache-2.0
"""`ha-agent join` and `ha-agent leave`: one more host, and one host less.

    ha-agent join  [--path DIR | --from FILE | --answers FILE] [--domain UUID] [--host-id N]
                   [--dry-run] [--no-start]
    ha-agent leave [--last] [--dry-run] [--no-units]

Each step is shown as it is done. A run that was ended, at any step and however, is gone on with by
the same command. --dry-run looks, prints the plan and changes nothing, but that VDSM prepares
volumes. --no-start and --no-units leave systemd's units as they are: the daemons are started and
stopped by whoever does so on that host.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Optional

from ha_agent.cli.command import DONE, USAGE, Command, Verbs, fail
from ha_agent.cli.ovf import printable
from ha_agent.config import layers

if TYPE_CHECKING:
    from ha_agent.setup.join.answers import JoinAnswers
    from ha_agent.setup.join.joining import Asked

_MOST_HOSTS = 2000


def add(verbs: Verbs) -> None:
    """Add `join` and `leave`."""
    join = verbs.add(
        "join", "make this host one more of a cluster, from its shared storage alone", _join
    )
    where = join.add_mutually_exclusive_group()
    where.add_argument(
        "--path", type=Path, metavar="DIR", help="the storage domain, mounted by the system"
    )
    where.add_argument(
        "--from",
        dest="copy",
        type=Path,
        metavar="FILE",
        help="a copy of another host's hosted-engine.conf: it says where the storage is",
    )
    where.add_argument(
        "--answers", type=Path, metavar="FILE", help="answers as `deploy` takes them, [storage]"
    )
    join.add_argument(
        "--domain",
        default="",
        metavar="UUID",
        help="which storage domain, where there are several",
    )
    join.add_argument(
        "--host-id", type=_host_id, metavar="N", help="this one (the engine's vds_spm_id)"
    )
    leave = verbs.add("leave", "take this host out of its cluster", _leave)
    leave.add_argument(
        "--last", action="store_true", help="although no other host of the cluster is alive"
    )
    for parser, option, help_text in (
        (join, "--no-start", "neither enable nor start the daemons"),
        (leave, "--no-units", "neither stop nor disable the daemons"),
    ):
        parser.add_argument("--dry-run", action="store_true", help="only look, and print the plan")
        parser.add_argument(option, dest="no_units", action="store_true", help=help_text)


def _host_id(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= _MOST_HOSTS:
        raise argparse.ArgumentTypeError(f"{text!r} is no host id from 1 to {_MOST_HOSTS}")
    return int(text)


def _say(line: str) -> None:
    print(printable(line), flush=True)


def _join(command: Command) -> int:
    # Imported here: asyncio and VDSM's client would cost every other command 50 ms.
    from ha_agent import interruptible
    from ha_agent.setup.answers import AnswersError
    from ha_agent.setup.join import answers as join_answers
    from ha_agent.setup.join import joining

    arguments = command.arguments
    try:
        answers = None if arguments.path or arguments.copy else _answers(arguments.answers)
    except AnswersError as error:
        fail(arguments, "answers", str(error))
        return USAGE
    told = joining.AskedJoin(
        path=arguments.path,
        copy=None if arguments.copy is None else join_answers.read_copy(arguments.copy),
        answers=answers,
        domain_uuid=arguments.domain,
        host_id=arguments.host_id,
    )
    changed = interruptible.run(joining.join(_asked(command), told))
    if not arguments.dry_run:
        _say("this host is one of the cluster" if changed else "there was nothing to do")
    return DONE


def _answers(path: Optional[Path]) -> JoinAnswers:
    from ha_agent.setup.answers import AnswersError, load_answers
    from ha_agent.setup.join.answers import ask_join, check_join
    from ha_agent.setup.questions import OwnTerminal, is_interactive

    faults: list[str] = []
    if path is not None:
        return check_join(load_answers(path, faults), faults)
    if not is_interactive():
        raise AnswersError(["nobody is there to be asked: give --path, --from or --answers"])
    try:
        return check_join(ask_join(OwnTerminal()), faults)
    except EOFError:
        raise AnswersError(["the answers ended before the last question"]) from None


def _leave(command: Command) -> int:
    from ha_agent import interruptible
    from ha_agent.setup.join import joining
    from ha_agent.setup.own_host import is_set_up
    from ha_agent.setup.upgrade.predecessor_host import HOSTED_ENGINE_CONF

    asked = _asked(command)
    if not is_set_up(asked.files.root):
        _say(f"this host is in no cluster: there is no {asked.files.root / HOSTED_ENGINE_CONF}")
        return DONE
    interruptible.run(joining.leave(asked, command.settings, last=command.arguments.last))
    if not asked.dry_run:
        _say("this host has left its cluster")
    return DONE


def _asked(command: Command) -> Asked:
    from ha_agent.setup.join import joining
    from ha_agent.setup.own_host import OwnFiles
    from ha_agent.setup.services import Systemctl

    given: Sequence[Path] = [command.arguments.config] if command.arguments.config else []
    root = Path(os.environ.get(layers.ROOT_VARIABLE) or "/")
    return joining.Asked(
        files=OwnFiles(root, given, os.environ),
        say=_say,
        services=Systemctl(),
        dry_run=command.arguments.dry_run,
        units=not command.arguments.no_units,
    )
