# SPDX-License-Identifier: Apache-2.0
"""zsh's completion of a command, from its tree: a function for each verb, with its own _arguments.

What comes out starts no program.
"""

from __future__ import annotations

from collections.abc import Iterator

from scripts.command_tree import FILE, FOLDER, Command, Operand, Option

_DISPATCH = """\
    local curcontext=$curcontext state line ret=1
    typeset -A opt_args
    _arguments -C \\
{specs}
        ': :->verb' \\
        '*:: :->words' && ret=0
    case $state in
    verb) {function}_verbs && ret=0 ;;
    words)
        curcontext="${{curcontext%:*:*}}:{tag}-$words[1]:"
        case $words[1] in
{cases}
        esac
        ;;
    esac
    return ret
"""
# _arguments takes words with dashes for options, so verbs that have them are looked for here.
_DISPATCH_DASHED = """\
    if (( CURRENT == 2 )); then
        {function}_verbs
        return
    fi
    shift words
    (( CURRENT-- ))
    case $words[1] in
{cases}
    esac
"""


def script(root: Command) -> str:
    """Return the file `_NAME` for zsh's site-functions."""
    lines = [
        f"#compdef {root.name}",
        f"# Made by scripts/make_completions.py from the declarations of {root.name}.",
        "",
    ]
    for command in root.walk():
        lines += [*(_group(command) if command.commands else _leaf(command)), ""]
    return "\n".join([*lines, f'{_function(root)} "$@"', ""])


def _function(command: Command) -> str:
    return "_" + "_".join(command.path).replace("--", "")


def _group(command: Command) -> Iterator[str]:
    function = _function(command)
    yield f"{function}_verbs() {{"
    yield "    local -a verbs"
    yield "    verbs=("
    for below in command.commands:
        yield f"        {_quoted(f'{below.name}:{_plain(below.help)}')}"
    yield "    )"
    # -o: the words look like options and are matched as such.
    dashed = command.commands[0].name.startswith("-")
    yield f"    _describe {'-o ' if dashed else ''}-t commands command verbs"
    yield "}"
    yield ""
    yield f"{function}() {{"
    cases = "\n".join(
        f"        {below.name}) {_function(below)} && ret=0 ;;"
        if not dashed
        else f"    {below.name}) {_function(below)} ;;"
        for below in command.commands
    )
    specs = "\n".join(f"        {spec} \\" for spec in _option_specs(command))
    template = _DISPATCH_DASHED if dashed else _DISPATCH
    tag = "-".join(command.path)
    yield template.format(function=function, specs=specs, cases=cases, tag=tag).rstrip("\n")
    yield "}"


def _leaf(command: Command) -> Iterator[str]:
    specs = [*_option_specs(command), *_operand_specs(command)]
    yield f"{_function(command)}() {{"
    yield "    local curcontext=$curcontext state line"
    yield "    typeset -A opt_args"
    yield " \\\n".join(["    _arguments -S", *(f"        {spec}" for spec in specs)])
    yield "}"


def _option_specs(command: Command) -> Iterator[str]:
    for option in command.options:
        for name in option.names:
            yield _quoted(_option_spec(option, name))


def _option_spec(option: Option, name: str) -> str:
    rivals = [*(other for other in option.names if other != name), *option.excludes]
    ends = "--help" in option.names or (name == "--version" and not option.value)
    first = "(- *)" if ends else ""
    if not first and rivals and not option.repeats:
        first = f"({' '.join(rivals)})"
    star = "*" if option.repeats else ""
    told = _plain(option.help).replace("[", r"\[").replace("]", r"\]")
    if not option.value:
        return f"{first}{star}{name}[{told}]"
    equals = "=" if name.startswith("--") else ""
    action = _action(option.choices, option.place)
    return f"{first}{star}{name}{equals}[{told}]:{_colons(option.value)}:{action}"


def _operand_specs(command: Command) -> Iterator[str]:
    for operand in command.operands:
        yield _quoted(_operand_spec(operand))


def _operand_spec(operand: Operand) -> str:
    message = _colons(_plain(operand.help) or operand.name)
    lead = "*:" if operand.repeats else ("::" if operand.optional else ":")
    return f"{lead}{message}:{_action(operand.choices, operand.place)}"


def _action(choices: tuple[str, ...], place: str) -> str:
    paths = {FILE: "_files", FOLDER: "_files -/"}.get(place, "")
    words = " ".join(choice.replace(":", r"\:") for choice in choices)
    if words and paths:
        return f'_alternative "words\\:word\\:({words})" "files\\:file\\:{paths}"'
    return f"({words})" if words else paths


def _plain(text: str) -> str:
    """Return help as one line without what _describe and _arguments read as theirs."""
    return " ".join(text.split()).replace("`", "").replace(":", r"\:")


def _colons(text: str) -> str:
    return text.replace(r"\:", ":").replace(":", r"\:")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
