# SPDX-License-Identifier: Apache-2.0
"""bash's completion of a command, from its tree.

What comes out starts no program. It walks the words before the cursor, finds the verb that they
lead to, and offers that verb's words. bash has "=" as a word of its own (COMP_WORDBREAKS), so both
`--mode local` and `--mode=local` are understood.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from scripts.command_tree import FILE, FOLDER, Command

_HEAD = """\
# Made by scripts/make_completions.py from the declarations of {name}.
# shellcheck shell=bash

"""
_WALK = """\

{function}()
{{
    local cur=${{COMP_WORDS[COMP_CWORD]}} path={name} option= operands=0 word i
    local verbs options takes
    COMPREPLY=()
    {function}_words "$path"
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${{COMP_WORDS[i]}}
        if [[ $option ]]; then
            # "=" stands between the two; what follows is the option's value.
            [[ $word == = ]] || option=
        elif [[ " $verbs " == *" $word "* ]]; then
            path+=" $word"
            {function}_words "$path"
        elif [[ $word == -* ]]; then
            [[ " $takes " != *" $word "* ]] || option=$word
        else
            ((operands++))
        fi
    done
    if [[ $option ]]; then
        [[ $cur != = ]] || cur=
        {function}_offer "$path" "$option"
    elif [[ $cur == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$verbs $options" -- "$cur")
    else
        mapfile -t COMPREPLY < <(compgen -W "$verbs" -- "$cur")
        {function}_offer "$path" "$operands"
    fi
}}

# Offer the values of an option, or those of an operand by its number.
{function}_offer()
{{
    local words= places=
    {function}_values "$1:$2"
    if [[ $words ]]; then
        local found
        mapfile -t found < <(compgen -W "$words" -- "$cur")
        COMPREPLY+=("${{found[@]}}")
    fi
    if [[ $places ]]; then
        local paths
        mapfile -t paths < <(compgen "$places" -- "$cur")
        COMPREPLY+=("${{paths[@]}}")
        compopt -o filenames 2>/dev/null
    fi
}}

complete -F {function} {name}
"""


def script(root: Command) -> str:
    """Return the file for /usr/share/bash-completion/completions."""
    function = "_" + root.name.replace("-", "_")
    names = {"function": function, "name": root.name}
    return "".join(
        [
            _HEAD.format(**names),
            _case(f"{function}_words", _words(root)),
            "\n",
            _case(f"{function}_values", _values(root)),
            _WALK.format(**names),
        ]
    )


def _case(function: str, entries: Iterable[tuple[str, str]]) -> str:
    lines = [f"{function}()", "{", '    case "$1" in']
    for pattern, text in entries:
        lines += [f"    '{pattern}')", f"        {text}", "        ;;"]
    return "\n".join([*lines, "    esac", "}", ""])


def _words(root: Command) -> Iterator[tuple[str, str]]:
    for command in root.walk():
        verbs = " ".join(below.name for below in command.commands)
        options = " ".join(name for option in command.options for name in option.names)
        takes = " ".join(
            name for option in command.options if option.value for name in option.names
        )
        yield " ".join(command.path), f"verbs='{verbs}' options='{options}' takes='{takes}'"


def _values(root: Command) -> Iterator[tuple[str, str]]:
    for command in root.walk():
        path = " ".join(command.path)
        for option in command.options:
            offered = _offered(option.choices, option.place)
            for name in option.names if offered else ():
                yield f"{path}:{name}", offered
        for number, operand in enumerate(command.operands):
            if offered := _offered(operand.choices, operand.place):
                # What may be repeated takes all the further words.
                yield f"{path}:{number}" if not operand.repeats else f"{path}:'*'", offered


def _offered(choices: tuple[str, ...], place: str) -> str:
    kinds = {FILE: "-f", FOLDER: "-d"}
    parts = [f"words='{' '.join(choices)}'"] if choices else []
    parts += [f"places={kinds[place]}"] if place else []
    return " ".join(parts)
