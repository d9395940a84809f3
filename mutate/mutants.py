# SPDX-License-Identifier: Apache-2.0
"""All mutants of one source: found in its syntax tree, named, and written out as source again.

A mutant's key is `file:function:what`, by names and source text. So it means the same mutant
when lines shift, and no other one when the code changes.
"""

from __future__ import annotations

import ast
import hashlib
from dataclasses import dataclass, field
from typing import Any

from mutate.kinds import Edit, edits, places
from mutate.rows import RowCall, row_edits, rows, sources_of

_SHOWN_CHARS = 100
_CONTEXT_CHARS = 32


@dataclass(frozen=True)
class Mutant:
    """One change to one module. `line` is where it stands now; `key` says what it is."""

    path: str
    line: int
    key: str
    tree: ast.Module = field(repr=False, compare=False)
    edits: tuple[Edit, ...] = field(repr=False, compare=False)

    def source(self) -> str:
        """Return the whole module with the change in it, without comments."""
        old = _apply(self.edits)
        try:
            return ast.unparse(ast.fix_missing_locations(self.tree))
        finally:
            _restore(self.edits, old)

    def in_share(self, share: float) -> bool:
        """Whether it is in a sample of this share, 0 to 1: by its key, so always the same."""
        digest = hashlib.sha256(self.key.encode()).digest()
        return int.from_bytes(digest[:8], "big") < share * 2**64


def mutants(path: str, source: str) -> list[Mutant]:
    """Return all mutants of the module at `path`, in the order of their places."""
    tree = ast.parse(source, path)
    found: list[tuple[int, str, str, tuple[Edit, ...]]] = []
    calls: list[RowCall] = rows(tree)
    for place in places(tree, skip=frozenset(row.call for row in calls)):
        for edit in edits(place):
            found.append((_line(edit), place.name, _what(edit), (edit,)))
    if calls:
        module = path[: -len(".py")].replace("/", ".")
        for why, changes in row_edits(tree, sources_of(source, module)):
            found.append((_line(changes[0]), f"row '{why}'", changes[0].what, changes))
    found.sort(key=lambda one: one[0])
    made, seen = [], dict[str, int]()
    for line, name, what, changes in found:
        key = f"{path}:{name}:{what}"
        seen[key] = seen.get(key, 0) + 1
        if seen[key] > 1:
            key += f" (number {seen[key]})"
        made.append(Mutant(path, line, key, tree, changes))
    return made


def _line(edit: Edit) -> int:
    nodes = (edit.frame, *ast.iter_child_nodes(edit.frame))
    return next(int(node.lineno) for node in nodes if hasattr(node, "lineno"))


def _what(edit: Edit) -> str:
    if edit.what:
        return _short(edit.what)
    before = _text(edit.frame)
    old = _apply((edit,))
    after = _text(edit.frame)
    _restore((edit,), old)
    return _difference(before, after)


def _apply(changes: tuple[Edit, ...]) -> list[Any]:
    old = [getattr(edit.holder, edit.field) for edit in changes]
    for edit in changes:
        setattr(edit.holder, edit.field, edit.new)
    return old


def _restore(changes: tuple[Edit, ...], old: list[Any]) -> None:
    for edit, value in zip(changes, old):
        setattr(edit.holder, edit.field, value)


def _text(node: ast.AST) -> str:
    return " ".join(ast.unparse(ast.fix_missing_locations(node)).split())


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 2] + ".."


def _difference(before: str, after: str) -> str:
    """Return both texts; of long ones only where they differ, and what stands around it."""
    if max(len(before), len(after)) > _SHOWN_CHARS:
        same = 0
        while same < min(len(before), len(after)) and before[same] == after[same]:
            same += 1
        begin = max(0, same - _CONTEXT_CHARS)
        before, after = (
            (".." if begin else "") + _short(text[begin:]) for text in (before, after)
        )
    return f"{before} becomes {after}"
