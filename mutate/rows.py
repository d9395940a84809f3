# SPDX-License-Identifier: Apache-2.0
"""The kinds of mutation of the state machine's table: of its rows, and of their order.

A table is a module whose tuple TABLE is put together from other tuples, each of calls of
Row(sources, target, guards, why, effect=, fallback=, notes=).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from mutate.kinds import Edit

_FIELDS = ("sources", "target", "when", "why", "effect", "fallback", "notes")

# Of each line one guard at most holds at a time, as tests/mutate/test_rows.py has it: two rows
# that ask for two of them never meet, and which of them comes first makes no difference.
ONE_OF = (
    ("vm_unknown", "vm_running", "vm_coming", "vm_gone"),
    ("vm_unknown", "vm_leaving", "vm_coming", "vm_absent", "vm_down"),
    ("vm_unknown", "vm_running", "vm_coming", "vm_absent", "vm_down"),
    ("vm_unknown", "vm_running", "vm_coming", "vm_migrated"),
    ("vm_migrated", "vm_absent"),
    ("vm_unknown", "vm_running", "vm_coming", "vm_absent", "vm_lease_elsewhere"),
    ("vm_migrated", "vm_lease_elsewhere"),
    ("vm_leaving", "vm_gone"),
    ("vdsm_silent_too_long", "vm_gone"),
    ("vdsm_silent_too_long", "vm_running"),
    ("vdsm_silent_too_long", "not vm_unknown"),
    ("first_look_overdue", "vm_running"),
    ("first_look_overdue", "not vm_unknown"),
    ("shutdown_ready", "not global_maintenance"),
    ("local_maintenance", "able"),
    ("healthy", "paused_too_long"),
    ("vdsm_silent_too_long", "vm_paused"),
    ("vm_gone", "paused_too_long"),
    ("healthy", "hung"),
    ("take_refused", "start_lost_race"),
    ("take_refused", "start_failed"),
    ("gave_up_here", "shutting_down"),
    ("lease_ours", "lease_available"),
    ("healthy", "unhealthy"),
)


@dataclass(frozen=True)
class RowCall:
    """One Row(...) of the source, and the tuple that it stands in."""

    call: ast.Call
    group: ast.Tuple

    def field(self, name: str) -> Optional[ast.expr]:
        """Return what stands for this field of the row, None where nothing does."""
        at = _FIELDS.index(name)
        if at < len(self.call.args):
            return self.call.args[at]
        return next((word.value for word in self.call.keywords if word.arg == name), None)

    def put(self, name: str, value: ast.expr, what: str) -> Edit:
        """Return the edit that gives this field another value."""
        at = _FIELDS.index(name)
        if at < len(self.call.args):
            args = [*self.call.args[:at], value, *self.call.args[at + 1 :]]
            return Edit(self.call, "args", args, self.call, what)
        others = [word for word in self.call.keywords if word.arg != name]
        words = [*others, ast.keyword(name, value)]
        return Edit(self.call, "keywords", words, self.call, what)

    @property
    def why(self) -> str:
        node = self.field("why")
        return str(node.value) if isinstance(node, ast.Constant) else "?"


def rows(tree: ast.Module) -> list[RowCall]:
    """Return the rows in the order of TABLE; none when there is no such table."""
    groups = {
        target.id: statement.value
        for statement in tree.body
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Tuple)
        for target in statement.targets
        if isinstance(target, ast.Name)
    }
    table = next(
        (
            statement.value
            for statement in tree.body
            if isinstance(statement, (ast.Assign, ast.AnnAssign))
            and "TABLE" in ast.unparse(statement).split("=")[0].split(":")[0]
        ),
        None,
    )
    if not isinstance(table, ast.Tuple):
        return []
    found = []
    for item in table.elts:
        group = table
        if isinstance(item, ast.Starred) and isinstance(item.value, ast.Name):
            group = groups[item.value.id]
        members = [item] if group is table else group.elts
        found += [RowCall(node, group) for node in members if isinstance(node, ast.Call)]
    return [row for row in found if ast.unparse(row.call.func) == "Row"]


def sources_of(source: str, module: str) -> list[frozenset[Any]]:
    """Return each row's source states, which only the table itself can tell, by running it."""
    namespace: dict[str, Any] = {"__name__": module}
    exec(compile(source, module, "exec"), namespace)
    return [frozenset(row.sources) for row in namespace["TABLE"]]


def row_edits(tree: ast.Module, sources: Sequence[frozenset[Any]]) -> Iterator[tuple[str, Edits]]:
    """Yield the row's `why` and the edits that make one mutant of it."""
    found = rows(tree)
    if len(found) != len(sources):
        raise ValueError(f"TABLE has {len(sources)} rows, and its source {len(found)}")
    states = _values(found, "target")
    effects = _values(found, "effect")
    for row in found:
        for edit in _guards(row):
            yield row.why, (edit,)
        for name, others in (("target", states), ("effect", effects)):
            for edit in _replaced(row, name, others):
                yield row.why, (edit,)
        if row.field("fallback") is not None:
            edit = row.put("fallback", ast.Constant(False), "fallback becomes False")
            yield row.why, (edit,)
        notes = row.field("notes")
        if isinstance(notes, ast.Tuple):
            for number, note in enumerate(notes.elts):
                rest = [item for at, item in enumerate(notes.elts) if at != number]
                what = f"note {ast.unparse(note)} dropped"
                yield row.why, (row.put("notes", ast.Tuple(rest, ast.Load()), what),)
    yield from _moved(found, sources)


Edits = tuple[Edit, ...]


def _values(found: list[RowCall], name: str) -> list[ast.expr]:
    """Return the different values that this field has anywhere, in order."""
    values: dict[str, ast.expr] = {}
    for row in found:
        value = row.field(name)
        if isinstance(value, ast.Attribute):
            values.setdefault(ast.unparse(value), value)
    return list(values.values())


def _guards(row: RowCall) -> Iterator[Edit]:
    when = row.field("when")
    if not isinstance(when, ast.Tuple):
        return
    for number, guard in enumerate(when.elts):
        text = ast.unparse(guard)
        rest = [item for at, item in enumerate(when.elts) if at != number]
        yield row.put("when", ast.Tuple(rest, ast.Load()), f"guard {text} dropped")
        other: ast.expr
        if isinstance(guard, ast.Call) and ast.unparse(guard.func).endswith("negate"):
            other = guard.args[0]
        else:
            module = guard.value if isinstance(guard, ast.Attribute) else None
            negate = ast.Attribute(module, "negate", ast.Load()) if module else ast.Name("negate")
            other = ast.Call(negate, [guard], [])
        guards = [other if at == number else item for at, item in enumerate(when.elts)]
        yield row.put("when", ast.Tuple(guards, ast.Load()), f"guard {text} negated")


def _replaced(row: RowCall, name: str, others: list[ast.expr]) -> Iterator[Edit]:
    value = row.field(name)
    text = "None" if value is None else ast.unparse(value)
    if name == "effect" and text == "None":
        return
    texts = [ast.unparse(other) for other in others]
    begin = texts.index(text) + 1 if text in texts else 0
    taken = {text, *ast.unparse(row.call.args[0]).strip("()").replace(" ", "").split(",")}
    for other in (*others[begin:], *others[:begin]):
        if ast.unparse(other) not in taken:
            yield row.put(name, other, f"{name} {text} becomes {ast.unparse(other)}")
            break
    if text != "None":
        yield row.put(name, ast.Constant(None), f"{name} {text} becomes None")


def _moved(found: list[RowCall], sources: Sequence[frozenset[Any]]) -> Iterator[tuple[str, Edits]]:
    """Each row behind the next one that it may meet: of the same state, and not excluded."""
    for number, row in enumerate(found):
        later = (
            at
            for at in range(number + 1, len(found))
            if sources[at] & sources[number] and not _exclusive(row, found[at])
        )
        at = next(later, None)
        if at is None:
            continue
        other = found[at]
        what = f"moved behind: {other.why}"
        mine = [item for item in row.group.elts if item is not row.call]
        theirs = mine if other.group is row.group else list(other.group.elts)
        theirs.insert(theirs.index(other.call) + 1, row.call)
        edits = [Edit(other.group, "elts", theirs, row.call, what)]
        if other.group is not row.group:
            edits.append(Edit(row.group, "elts", mine, row.call, what))
        yield row.why, tuple(edits)


def _exclusive(one: RowCall, other: RowCall) -> bool:
    """Whether no picture lets both rows fire, by what their guards are called."""
    mine, theirs = _guard_names(one), _guard_names(other)
    if any(f"not {name}" in theirs for name in mine) or any(
        f"not {name}" in mine for name in theirs
    ):
        return True
    return any(
        name in mine and another in theirs
        for line in ONE_OF
        for name in line
        for another in line
        if name != another
    )


def _guard_names(row: RowCall) -> set[str]:
    """Return the names of a row's guards; of a negated one with "not " in front."""
    when = row.field("when")
    names = set()
    for guard in when.elts if isinstance(when, ast.Tuple) else ():
        negated = isinstance(guard, ast.Call) and bool(guard.args)
        plain = guard.args[0] if isinstance(guard, ast.Call) and guard.args else guard
        names.add(("not " if negated else "") + ast.unparse(plain).rpartition(".")[2])
    return names
