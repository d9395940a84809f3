# SPDX-License-Identifier: Apache-2.0
"""The help of `hosted-engine`, and its part of docs/hosted-engine.md, from the declarations.

Help has lines of at most 80 columns.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from ha_agent.compat.hosted_engine.declare import Verb

COLUMNS = 80
BEGIN, END = (
    f"<!-- made by scripts/make_hosted_engine_doc.py: {word} -->" for word in ("begin", "end")
)


def usage(verbs: Iterable[Verb]) -> str:
    """Return what `hosted-engine --help` prints."""
    lines = [
        "Usage: hosted-engine [--help] <command> [<command-args>]",
        "    --help [<command>]",
        "        show this help message, or that of a command.",
        "",
        "    The available commands are:",
    ]
    for verb in verbs:
        lines += _wrapped(_synopsis(verb), 8, 16)
        lines += _wrapped(f"{verb.summary}.", 12, 12)
    return "\n".join([*lines, ""])


def verb_help(verb: Verb) -> str:
    """Return what `hosted-engine VERB --help` prints."""
    lines = _wrapped(f"Usage: hosted-engine {_synopsis(verb)}", 0, 8)
    lines += _wrapped(f"{verb.summary[0].upper()}{verb.summary[1:]}. {verb.text}", 4, 4)
    if verb.only_deployed:
        lines.append("    Available only after deployment has completed.")
    for option in verb.all_options:
        lines += ["", f"    {option.usage}", *_wrapped(f"{option.help}.", 8, 8)]
    lines += ["", "    Exit codes:"]
    for code, when in verb.exits:
        lines += _wrapped(f"{code:3}  {when}", 8, 13)
    if verb.differs:
        lines += ["", "    Unlike ovirt-hosted-engine-setup:"]
        for sentence in verb.differs:
            lines += _wrapped(f"- {sentence}", 8, 10)
    return "\n".join([*lines, ""])


def reference(verbs: Iterable[Verb]) -> str:
    """Return the reference, in Markdown."""
    parts = [BEGIN]
    for verb in verbs:
        parts += [f"## `{verb.name}`", f"    hosted-engine {_synopsis(verb)}"]
        parts.append(f"{verb.summary[0].upper()}{verb.summary[1:]}. {verb.text}")
        if verb.aliases:
            parts.append(f"Also as `{'`, `'.join(verb.aliases)}`.")
        if verb.all_options:
            rows = ["| option | what |", "|---|---|"]
            for option in verb.all_options:
                ours = " (new)" if option.ours else ""
                rows.append(f"| `{_cell(option.usage)}`{ours} | {option.help} |")
            parts.append("\n".join(rows))
        rows = ["| exit code | when |", "|---|---|"]
        rows += [f"| {code} | {when} |" for code, when in verb.exits]
        parts.append("\n".join(rows))
        if verb.differs:
            parts.append("Unlike the predecessor:")
            parts.append("\n".join(f"- {sentence}" for sentence in verb.differs))
    return "\n\n".join([*parts, END])


def replace_reference(document: str, verbs: Iterable[Verb]) -> str:
    """Return the document with the reference in it. Raises ValueError without its marks."""
    before, found, rest = document.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not found or not ended:
        raise ValueError("the marks of the generated part are missing")
    return f"{before}{reference(verbs)}{after}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _synopsis(verb: Verb) -> str:
    words = [verb.name, *(f"<{key}>" for key, _ in verb.operands)]
    return " ".join([*words, *(f"[{option.usage}]" for option in verb.all_options)])


def _wrapped(text: str, indent: int, further: int) -> list[str]:
    return textwrap.wrap(
        text,
        COLUMNS,
        initial_indent=" " * indent,
        subsequent_indent=" " * further,
        break_long_words=False,
        break_on_hyphens=False,
    )
