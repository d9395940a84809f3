# SPDX-License-Identifier: Apache-2.0
"""`ha-agent deploy`: the first host of a cluster, from answers to running daemons."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Optional

from ha_agent.cli.command import DONE, FAILED, USAGE, Command, Verbs, fail
from ha_agent.config import layers

if TYPE_CHECKING:
    from ha_agent.setup.answers import Answers, Given

# Given besides a file, these count more.
_OPTIONS = ("storage_type", "storage_connection", "engine_fqdn", "disk_image_file", "host_id")


def add(verbs: Verbs) -> None:
    """Add the verb."""
    parser = verbs.add("deploy", "set up the first host of a hosted engine", _deploy)
    parser.add_argument("--answers", type=Path, metavar="FILE", help="see answers-example.conf")
    parser.add_argument(
        "--answers-out", type=Path, metavar="FILE",
        help="write the answers that were given, without passwords, and do nothing else",
    )  # fmt: skip
    for name in _OPTIONS:
        parser.add_argument(f"--{name.replace('_', '-')}", metavar="VALUE", help=f"{name}")
    parser.add_argument(
        "--dry-run", action="store_true", help="show what would be done, and change nothing"
    )
    parser.add_argument(
        "--no-start", action="store_true", help="neither enable nor start the daemons"
    )


class Screen:
    """Shows progress: on a terminal a line that goes on replaces itself."""

    def __init__(self) -> None:
        self._is_terminal = sys.stdout.isatty()
        self._open = ""

    def say(self, text: str) -> None:
        """Show a line."""
        head = text.partition("] ")[0] if text.startswith("[") else ""
        again = bool(head) and head == self._open
        if not self._is_terminal:
            sys.stdout.write(f"{text}\n")
        elif again:
            sys.stdout.write(f"\r\x1b[K{text}")
        else:
            sys.stdout.write(f"{self._end()}{text}")
        self._open = head or "-"
        sys.stdout.flush()

    def close(self) -> None:
        """End the line that is open."""
        if self._is_terminal:
            sys.stdout.write(self._end())
            self._open = ""

    def _end(self) -> str:
        return "\n" if self._open else ""


def _deploy(command: Command) -> int:
    from ha_agent import interruptible
    from ha_agent.errors import BadInput
    from ha_agent.setup.answers import form
    from ha_agent.setup.deploy.deploy import Request, deploy
    from ha_agent.setup.own_host import OwnFiles
    from ha_agent.setup.services import Systemctl
    from ha_agent.setup.step import SetupFailed

    arguments = command.arguments
    try:
        answers = _answers(arguments)
    except BadInput as error:
        fail(arguments, "answers", str(error))
        return USAGE
    except EOFError:
        return fail(arguments, "interrupted", "no more answers: nothing was changed")
    except KeyboardInterrupt:
        print()
        return fail(arguments, "interrupted", "interrupted: nothing was changed")
    if answers is None:
        print("nothing was changed")
        return FAILED
    if arguments.answers_out:
        _write_new(arguments.answers_out, form(answers))
        print(f"written: {arguments.answers_out}")
        return DONE
    screen = Screen()
    root = Path(os.environ.get(layers.ROOT_VARIABLE) or "/")
    request = Request(
        answers=answers,
        files=OwnFiles(root, [arguments.config] if arguments.config else [], os.environ),
        services=Systemctl(),
        say=screen.say,
        dry_run=arguments.dry_run,
        start=not arguments.no_start,
    )
    try:
        changed = interruptible.run(deploy(request))
    except KeyboardInterrupt:
        screen.close()
        told = "interrupted: run it again with the same answers, and it goes on where it was"
        fail(arguments, "interrupted", told)
        return FAILED
    except BadInput as error:
        screen.close()
        fail(arguments, "answers", str(error))
        return USAGE
    except SetupFailed as error:
        screen.close()
        if arguments.dry_run:
            return fail(arguments, "failed", str(error))
        told = "what is done stays: put this right, run it again with the same answers"
        return fail(arguments, "failed", f"{error}\n{told}, and it goes on from here")
    finally:
        screen.close()
    if not arguments.dry_run:
        print(
            "the hosted engine is set up" if set(changed) - {"lock"} else "there was nothing to do"
        )
    return DONE


def _answers(arguments: argparse.Namespace) -> Optional[Answers]:
    """Return None when a person does not want it. Raises BadInput, EOFError, KeyboardInterrupt."""
    from ha_agent.setup import questions
    from ha_agent.setup.answers import Given, check, load_answers

    faults: list[str] = []
    given: dict[str, Given] = {}
    path: Optional[Path] = arguments.answers
    if path is not None:
        given = load_answers(path, faults)
    for name in _OPTIONS:
        text = getattr(arguments, name)
        if text is not None:
            given[name] = Given(text, f"--{name.replace('_', '-')}")
    if path is not None or not questions.is_interactive():
        return check(given, faults)
    terminal = questions.OwnTerminal()
    answers = check(questions.ask(given, terminal), faults)
    only_looks = arguments.dry_run or arguments.answers_out is not None
    return answers if only_looks or questions.confirm(answers, terminal) else None


def _write_new(path: Path, text: str) -> None:
    from ha_agent.errors import EnvironmentFault

    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise EnvironmentFault(f"{path}: {error.strerror}") from None
