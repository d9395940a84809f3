# SPDX-License-Identifier: Apache-2.0
"""The commands' verbs, options and operands as plain values, read from their own declarations.

`ha-agent` is an argparse parser, `hosted-engine` has declarations of its own. Manual pages and
the completions of three shells are made from the one tree that both become here. argparse has no
public way to look at a parser; what is read of it (`_actions`, `_mutually_exclusive_groups`) is
what Python 3.9 to 3.13 have.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ha_agent.broker import can_do
from ha_agent.cli.main import command_line
from ha_agent.compat.hosted_engine.verbs import VERBS
from ha_agent.sim import scenario

FILE, FOLDER = "file", "folder"
HELP = "show this help, and end"


@dataclass(frozen=True)
class Option:
    """`names`: as they are typed. `value`: what stands for its value, "" of a flag.

    `place`: FILE or FOLDER where the value names one. `excludes`: names that can't go with it.
    """

    names: tuple[str, ...]
    help: str
    value: str = ""
    choices: tuple[str, ...] = ()
    place: str = ""
    required: bool = False
    repeats: bool = False
    excludes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Operand:
    """A word without a name. `choices` are offered; there may be other values where `place` is."""

    name: str
    help: str
    choices: tuple[str, ...] = ()
    place: str = ""
    optional: bool = False
    repeats: bool = False


@dataclass(frozen=True)
class Command:
    """A verb, or the command itself. `path`: the words that lead to it."""

    path: tuple[str, ...]
    help: str
    options: tuple[Option, ...] = ()
    operands: tuple[Operand, ...] = ()
    commands: tuple[Command, ...] = field(default=(), repr=False)

    @property
    def name(self) -> str:
        """Its own word."""
        return self.path[-1]

    def walk(self) -> Iterator[Command]:
        """Yield it and all below it."""
        yield self
        for command in self.commands:
            yield from command.walk()


def ha_agent() -> Command:
    """Return the tree of `ha-agent`."""
    return _command(command_line(), ("ha-agent",), "high availability for oVirt's hosted engine")


def hosted_engine() -> Command:
    """Return the tree of `hosted-engine`, whose verbs begin with dashes."""
    verbs = [
        Command(
            path=("hosted-engine", name),
            help=verb.summary,
            options=(
                *(
                    Option(
                        (option.name,),
                        option.help,
                        value="|".join(option.choices) or option.metavar,
                        choices=option.choices,
                        place=FILE if option.metavar == "FILE" else "",
                    )
                    for option in verb.all_options
                ),
                Option(("--help",), HELP),
            ),
            operands=tuple(Operand(key, text) for key, text in verb.operands),
        )
        for verb in VERBS
        for name in (verb.name, *verb.aliases)
    ]
    listed = Command(("hosted-engine", "--help"), "show this help, or that of a command")
    return Command(("hosted-engine",), "the hosted engine's command", commands=(*verbs, listed))


# What argparse is not told: words to offer for an operand that takes others, too.
_OFFERED: Mapping[tuple[str, ...], tuple[str, ...]] = {
    ("ha-agent", "can-do", "action"): can_do.ACTIONS,
    ("ha-agent", "ovf", "diff", "old"): ("current",),
    ("ha-agent", "ovf", "diff", "new"): ("current",),
    ("ha-agent", "simulate", "scenario"): tuple(scenario.names()),
}
_PLACES: Mapping[tuple[str, ...], str] = {
    ("ha-agent", "ovf", "diff", "old"): FILE,
    ("ha-agent", "ovf", "diff", "new"): FILE,
    ("ha-agent", "push", "words"): FILE,
    ("ha-agent", "simulate", "scenario"): FOLDER,
}
_BY_METAVAR = {"FILE": FILE, "PATH": FILE, "DIR": FOLDER}


def _command(parser: argparse.ArgumentParser, path: tuple[str, ...], text: str) -> Command:
    options, operands, commands = [], [], []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            # Its pseudo-actions have the help, its map the parsers, in the same order.
            for told in action._choices_actions:
                below = action.choices[told.dest]
                commands.append(_command(below, (*path, told.dest), told.help or ""))
        elif action.option_strings:
            options.append(_option(parser, action))
        else:
            operands.append(_operand(action, path))
    return Command(path, text, tuple(options), tuple(operands), tuple(commands))


def _help(action: argparse.Action) -> str:
    """Return the help with its values filled in, as `--help` prints it."""
    if isinstance(action, argparse._HelpAction):
        return HELP
    if isinstance(action, argparse._VersionAction):
        return "print the version, and end"
    text = action.help or ""
    if isinstance(action, argparse.BooleanOptionalAction):
        # Python 3.9 to 3.12 add this of their own accord, and not always.
        text = re.sub(r" \(default: \S+\)$", "", text)
    return text % vars(action)


def _option(parser: argparse.ArgumentParser, action: argparse.Action) -> Option:
    value = ""
    if action.nargs != 0:
        metavar = action.metavar if isinstance(action.metavar, str) else ""
        value = metavar or "|".join(map(str, action.choices or ())) or action.dest.upper()
    rivals = [
        name
        for group in parser._mutually_exclusive_groups
        if action in group._group_actions
        for rival in group._group_actions
        if rival is not action
        for name in rival.option_strings
    ]
    return Option(
        names=tuple(action.option_strings),
        help=_help(action),
        value=value,
        choices=tuple(map(str, action.choices or ())),
        place=_place(action),
        required=action.required,
        repeats=isinstance(action, argparse._AppendAction),
        excludes=tuple(rivals),
    )


def _operand(action: argparse.Action, path: tuple[str, ...]) -> Operand:
    key = (*path, action.dest)
    name = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    choices = tuple(map(str, action.choices or ()))
    return Operand(
        name="|".join(choices) if choices else name,
        help=_help(action),
        choices=choices or _OFFERED.get(key, ()),
        place=_PLACES.get(key) or _place(action),
        optional=action.nargs in ("?", "*"),
        repeats=action.nargs in ("*", "+"),
    )


def _place(action: argparse.Action) -> str:
    metavar = action.metavar if isinstance(action.metavar, str) else ""
    return _BY_METAVAR.get(metavar, FILE if action.type is Path else "")
