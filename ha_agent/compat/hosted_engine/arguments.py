# SPDX-License-Identifier: Apache-2.0
"""The command line of `hosted-engine`, read as its declarations say. Pure.

    hosted-engine --verb [operand ...] [--option=value] [--option value] [--flag]

The predecessor took options in fixed places and passed over what it did not know; here their
order does not matter, and what is not known is an error.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ha_agent.compat.hosted_engine.declare import Option, Verb
from ha_agent.errors import BadInput

LONGEST_SECONDS = 86400.0


def read_arguments(verb: Verb, words: Sequence[str]) -> argparse.Namespace:
    """Return the arguments by name: options, operands, and as `rest` what is passed on.

    Raises BadInput.
    """
    options = {option.name: option for option in verb.all_options}
    values: dict[str, object] = {
        option.key: None if option.metavar or option.choices else False
        for option in options.values()
    }
    operands: list[str] = []
    rest: list[str] = []
    left = list(words)
    while left:
        word = left.pop(0)
        name, equals, value = word.partition("=")
        option = options.get(name)
        if option is None:
            if word.startswith("--") and not operands and not verb.passes_on:
                raise BadInput(f"Invalid option '{name:.80}'")
            if len(operands) < len(verb.operands):
                operands.append(word)
            elif verb.passes_on:
                rest.append(word)
            else:
                raise BadInput(f"Invalid option '{word:.80}'")
        elif not (option.metavar or option.choices):
            if equals:
                raise BadInput(f"{name} takes no value")
            values[option.key] = True
        else:
            if not equals:
                if not left:
                    raise BadInput(f"{name} needs a value: {option.usage}")
                value = left.pop(0)
            values[option.key] = _value(option, value)
    for (key, _), word in zip(verb.operands, operands):
        values[key] = word
    for key, what in verb.operands[len(operands) :]:
        raise BadInput(f"You must specify {what}" if what else f"{key} is missing")
    if values.get("timeout", 0) is None:
        values["timeout"] = verb.limit_seconds(waits=bool(values.get("wait")))
    return argparse.Namespace(config=None, rest=rest, program="hosted-engine", **values)


def _value(option: Option, text: str) -> object:
    if option.choices and text not in option.choices:
        raise BadInput(f"Invalid value '{text:.40}' for {option.name}")
    if option.name == "--timeout":
        return _seconds(option, text)
    if option.number:
        if not text.isdecimal() or not text.isascii() or len(text) > 9:
            raise BadInput(f"Invalid value '{text:.40}' for {option.name}: not a number")
        return int(text)
    if not text:
        raise BadInput(f"{option.name} needs a value: {option.usage}")
    return text


def _seconds(option: Option, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= LONGEST_SECONDS:
        what = f"not a number of seconds from 0 to {LONGEST_SECONDS:g}"
        raise BadInput(f"Invalid value '{text:.40}' for {option.name}: {what}")
    return value
