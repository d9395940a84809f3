# SPDX-License-Identifier: Apache-2.0
"""The diagram and the list of edges in ARCHITECTURE.md, made from the table itself.

`make diagram` (scripts/make_diagram.py) rewrites the part between the two marks; a test fails
when the file and the table differ.
"""

from __future__ import annotations

from ha_agent.fsm.row import Row
from ha_agent.fsm.state import State
from ha_agent.fsm.table import TABLE

BEGIN = "<!-- fsm: made by `make diagram` from ha_agent/fsm/table.py -->"
END = "<!-- fsm: end -->"


def mermaid(table: tuple[Row, ...] = TABLE) -> str:
    """Return the states and edges as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", f"    [*] --> {State.START.value}"]
    seen = set()
    for row in table:
        for source in row.sources:
            target = row.target
            if target is None or target is State.AGENT_STOPPED or (source, target) in seen:
                continue
            seen.add((source, target))
            lines.append(f"    {source.value} --> {target.value}")
    return "\n".join(lines)


def edges(table: tuple[Row, ...] = TABLE) -> str:
    """Return all rows, in order of precedence, as a Markdown table."""
    lines = ["| # | from | to | when | does | why |", "|---|---|---|---|---|---|"]
    for number, row in enumerate(table, start=1):
        sources = "any" if len(row.sources) > 12 else ", ".join(s.value for s in row.sources)
        target = row.target.value if row.target else "(stays)"
        when = "; ".join(guard.__doc__ or guard.__name__ for guard in row.when)
        effect = row.effect.value if row.effect else ""
        lines.append(f"| {number} | {sources} | {target} | {when} | {effect} | {row.why} |")
    return "\n".join(lines)


def states() -> str:
    """Return the states with their meanings as a Markdown table."""
    lines = ["| state | meaning |", "|---|---|"]
    lines += [f"| {state.value} | {state.meaning} |" for state in State]
    return "\n".join(lines)


def section() -> str:
    """Return the whole generated part, marks included."""
    note = f"Every state also has an edge to {State.AGENT_STOPPED.value}, left out of the picture."
    parts = [BEGIN, states(), note, f"```mermaid\n{mermaid()}\n```", edges(), END]
    return "\n\n".join(parts)


def replace_section(text: str) -> str:
    """Return `text` with its generated part made anew. ValueError when the marks are missing."""
    return replace_between(text, BEGIN, END, section())


def replace_between(text: str, begin: str, end: str, section: str) -> str:
    """Return `text` with a section in place of all from mark to mark. ValueError without them."""
    first, last = text.find(begin), text.find(end)
    if first < 0 or last < first:
        raise ValueError(f"no lines {begin!r} and {end!r} in this order")
    return text[:first] + section + text[last + len(end) :]
