# SPDX-License-Identifier: Apache-2.0
"""fish's completion of a command, from its tree.

What comes out starts no program: one function walks the words before the cursor to the verb that
they lead to, and each `complete` line holds for one verb.
"""

from __future__ import annotations

from collections.abc import Iterator

from scripts.command_tree import FOLDER, Command, Operand, Option

_WALK = """\
# The verb that the words before the cursor lead to, and how many operands it has by now.
function {function}_path
    set -l path {name}
    set -l operands 0
    set -l takes no
    for word in (commandline -opc)[2..-1]
        if test $takes = yes
            set takes no
        else if {function}_is_verb "$path $word"
            set path "$path $word"
        else if string match -q -- '-*' $word
            {function}_takes_value "$path $word"; and set takes yes
        else
            set operands (math $operands + 1)
        end
    end
    echo $path
    echo $operands
end

function {function}_at
    set -l path ({function}_path)
    test "$path[1]" = "$argv[1]"; or return
    test (count $argv) = 1; or test "$path[2]" $argv[2] $argv[3]
end

complete -c {name} -f
"""


def script(root: Command) -> str:
    """Return the file for fish's vendor_completions.d."""
    function = "__" + root.name.replace("-", "_")
    commands = [*root.walk()]
    verbs = [" ".join(command.path) for command in commands[1:]]
    takes = [
        f"{' '.join(command.path)} {name}"
        for command in commands
        for option in command.options
        if option.value
        for name in option.names
    ]
    lines = [
        f"# Made by scripts/make_completions.py from the declarations of {root.name}.",
        "",
        *_membership(f"{function}_is_verb", verbs),
        *_membership(f"{function}_takes_value", takes),
        _WALK.format(function=function, name=root.name),
    ]
    for command in commands:
        condition = f'{function}_at "{" ".join(command.path)}"'
        lines += [f"complete -c {root.name} {text}" for text in _lines(command, condition)]
    return "\n".join([*lines, ""])


def _membership(function: str, words: list[str]) -> Iterator[str]:
    yield f"function {function}"
    yield "    switch $argv[1]"
    if words:
        yield "        case " + " \\\n            ".join(_quoted(word) for word in words)
        yield "            return 0"
    yield "    end"
    yield "    return 1"
    yield "end"
    yield ""


def _lines(command: Command, condition: str) -> Iterator[str]:
    when = f"-n {_quoted(condition)}"
    for below in command.commands:
        what = f"-l {below.name[2:]}" if below.name.startswith("--") else f"-a {below.name}"
        yield f"{when} {what} -d {_told(below.help)}"
    for option in command.options:
        yield f"{when} {_option(option)}"
    for number, operand in enumerate(command.operands):
        if operand.choices or operand.place:
            place = f"{'-ge' if operand.repeats else '-eq'} {number}"
            yield f"-n {_quoted(f'{condition} {place}')} {_operand(operand)}"


def _option(option: Option) -> str:
    names = " ".join(f"-l {n[2:]}" if n.startswith("--") else f"-s {n[1:]}" for n in option.names)
    value = ""
    if option.choices:
        value = f" -x -a {_quoted(' '.join(option.choices))}"
    elif option.place:
        value = " -x -a '(__fish_complete_directories)'" if option.place == FOLDER else " -r -F"
    elif option.value:
        value = " -x"
    return f"{names}{value} -d {_told(option.help)}"


def _operand(operand: Operand) -> str:
    words = " ".join(operand.choices)
    if operand.place == FOLDER:
        return f"-a {_quoted(f'{words} (__fish_complete_directories)'.strip())}"
    places = " -F" if operand.place else ""
    return f"-a {_quoted(words)}{places}" if words else places.strip()


def _told(text: str) -> str:
    return _quoted(" ".join(text.split()).replace("`", ""))


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
