# SPDX-License-Identifier: Apache-2.0
"""The manual pages: a Markdown file each in packaging/man/source, with marks that code fills in.

    <!-- synopsis -->, <!-- options -->, <!-- commands -->           the command's own parser
    <!-- keys -->                                                    conf/ha-agent.conf
    <!-- api -->                                                     docs/api.md
    <!-- introduction -->, <!-- reference -->, <!-- password -->     `hosted-engine`

It writes no files: make_man.py does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Callable

from ha_agent import __version__
from ha_agent.compat.hosted_engine import help_text, vm
from ha_agent.compat.hosted_engine.verbs import VERBS
from ha_agent.config.schema import SECTIONS
from scripts import command_tree, man_roff
from scripts.command_tree import Command, Operand, Option

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ROOT / "packaging" / "man" / "source"
# Each is that page, under another name.
LINKS = {
    "ovirt-hosted-engine-cleanup.8": "hosted-engine.8",
    "ovirt-ha-agent.8": "hosted-engine.8",
}
_MARK = re.compile(r"^<!-- (\w+) -->$", re.MULTILINE)
_KEY = re.compile(r"#([a-z_]+) =(.*)")


def pages(dates: Mapping[str, str], today: str) -> dict[str, str]:
    """Return every page by its file's name; `dates` has the date of those that have one."""
    found = {name: f".so man8/{target}\n" for name, target in LINKS.items()}
    for source in sorted(SOURCES.glob("*.md")):
        name = source.stem
        title, _, section = name.rpartition(".")
        text = _filled(title, source.read_text(encoding="utf-8"))
        date = dates.get(name, today)
        found[name] = man_roff.page(title, section, date, f"ha-agent {__version__}", text)
    return found


def _filled(title: str, text: str) -> str:
    makers: Mapping[str, Callable[[], str]] = {
        "ha-agent": {
            "synopsis": lambda: _synopsis(command_tree.ha_agent()),
            "options": lambda: _options(command_tree.ha_agent().options),
            "commands": lambda: "\n".join(_commands(command_tree.ha_agent())),
        },
        "ha-agent.conf": {"keys": keys},
        "ha-agent-api": {"api": _api},
        "hosted-engine": {
            "synopsis": lambda: "`hosted-engine` [`--help`] *command* [*options*]",
            "introduction": _introduction,
            "reference": _reference,
            "password": lambda: f"| `{vm.PASSWORD_VARIABLE}` | the console's password |",
        },
    }.get(title, {})
    return _MARK.sub(lambda found: makers[found[1]](), text)


# --- ha-agent(8) -------------------------------------------------------------------------


def _synopsis(root: Command) -> str:
    general = (_typed_option(option) for option in root.options if option.value)
    return " ".join([f"`{root.name}`", *general, "*command* [*operands*] [*options*]"])


def _own(command: Command) -> list[Option]:
    """Return its options but --help, which each has."""
    return [option for option in command.options if "--help" not in option.names]


def _commands(root: Command) -> Iterator[str]:
    for command in root.walk():
        if command.commands:
            continue
        yield f"### `{' '.join(command.path)}`"
        yield ""
        typed = [
            *(_typed_operand(operand) for operand in command.operands),
            *(_typed_option(option) for option in _own(command)),
        ]
        yield f"{_sentence(command.help)}\n"
        if typed:
            yield f"`{' '.join(command.path)}` {' '.join(typed)}\n"
        if rows := [*_operand_rows(command), *_option_rows(_own(command))]:
            yield "| what | is |\n|---|---|"
            yield from rows
        yield ""


def _typed_option(option: Option) -> str:
    value = f" {_value(option)}" if option.value else ""
    both = any(name.startswith("--no-") for name in option.names[1:])
    names = option.names if both else option.names[-1:]
    text = "|".join(f"`{name}`" for name in names) + value
    return text if option.required else f"[{text}]"


def _value(option: Option) -> str:
    if option.choices and option.value == "|".join(option.choices):
        return "|".join(f"`{choice}`" for choice in option.choices)
    return f"*{option.value}*"


def _typed_operand(operand: Operand) -> str:
    given = "|".join(f"`{choice}`" for choice in operand.choices)
    fixed = bool(given) and operand.name == "|".join(operand.choices)
    text = (given if fixed else f"*{operand.name}*") + (" ..." if operand.repeats else "")
    return f"[{text}]" if operand.optional else text


def _operand_rows(command: Command) -> Iterator[str]:
    for operand in command.operands:
        text = operand.help or "see above"
        if operand.choices and not operand.place and operand.name != "|".join(operand.choices):
            text = f"{text}; one of {', '.join(operand.choices)}"
        yield _row(_typed_operand(operand).strip("[]"), text)


def _option_rows(options: list[Option]) -> Iterator[str]:
    for option in options:
        value = f" {_value(option)}" if option.value else ""
        yield _row(", ".join(f"`{name}`{value}" for name in option.names), option.help)


def _options(options: tuple[Option, ...]) -> str:
    return "\n".join(["| option | what |", "|---|---|", *_option_rows([*options])])


def _row(term: str, text: str) -> str:
    return "| {} | {} |".format(*(cell.replace("|", "\\|") for cell in (term, text)))


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


# --- ha-agent.conf(5) --------------------------------------------------------------------


def keys() -> str:
    """Return every section and key with the words of conf/ha-agent.conf."""
    section = ""
    lines: list[str] = []
    comment: list[str] = []
    terms: list[str] = []

    def end() -> None:
        if terms:
            text = " ".join(" ".join(comment).split())
            lines.append(_row(", ".join(terms), text))
        terms.clear()
        comment.clear()

    for line in (ROOT / "conf" / "ha-agent.conf").read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            section = line[1:-1]
            # The docstring's first words are the section's name.
            about = re.sub(r"\s+", " ", SECTIONS[section].__doc__ or "").partition(": ")[2]
            heading = f"### `[{section}]`"
            lines += [
                "",
                heading,
                "",
                _sentence(about.rstrip(".")),
                "",
                "| key | is |",
                "|---|---|",
            ]
        elif key := _KEY.fullmatch(line):
            terms.append(f"`{key[1]}`")
        elif line.startswith("#") and section:
            comment.append(line[1:])
        elif not line:
            end()
    end()
    return "\n".join(lines)


# --- ha-agent-api(7), hosted-engine(8) ---------------------------------------------------


def _api() -> str:
    """Return docs/api.md, its title as the section of its first words."""
    return (
        (ROOT / "docs" / "api.md")
        .read_text(encoding="utf-8")
        .replace("# The broker's socket", "## DESCRIPTION", 1)
    )


def _introduction() -> str:
    """Return docs/hosted-engine.md up to its reference, its headings one deeper."""
    text = (ROOT / "docs" / "hosted-engine.md").read_text(encoding="utf-8")
    before, _, _ = text.partition(help_text.BEGIN)
    return re.sub(r"^## ", "### ", before.partition("\n")[2], flags=re.MULTILINE)


def _reference() -> str:
    """Return the verbs as docs/hosted-engine.md has them; what is wide there is filled here."""
    text = re.sub(r"^## ", "### ", help_text.reference(VERBS), flags=re.MULTILINE)
    text = re.sub(r"^    (hosted-engine .*)$", r"`\1`", text, flags=re.MULTILINE)
    return text.replace("| exit code |", "Exit codes:\n\n| exit code |")
