# SPDX-License-Identifier: Apache-2.0
"""The kinds of mutation of plain code: which places there are, and what stands there instead.

Left alone is what decides nothing: docstrings, annotations, f-strings (texts for people) and
calls of the log.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Optional, Union

FunctionNode = (ast.FunctionDef, ast.AsyncFunctionDef)
ScopeNode = (*FunctionNode, ast.ClassDef)

# Each comparison's neighbour, and, for those that order, what holds in the other cases.
_COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_EXTREMES = {"min": "max", "max": "min"}
# What a constant, or a name, is shown in: alone it would tell nothing.
_FRAMES = (ast.stmt, ast.Compare, ast.BoolOp, ast.BinOp, ast.Call, ast.keyword, ast.Subscript)


@dataclass(frozen=True)
class Edit:
    """One field of one node, and its value in the mutant; `frame` is what it is shown in.

    `what` is given where the difference of the frame would not be plain.
    """

    holder: ast.AST
    field: str
    new: object
    frame: ast.AST
    what: str = ""


@dataclass(frozen=True)
class Place:
    """A node, what it stands in (outermost first), and the function that it is in, if any."""

    node: ast.AST
    parents: tuple[ast.AST, ...]

    @property
    def function(self) -> Optional[Union[ast.FunctionDef, ast.AsyncFunctionDef]]:
        inner = [node for node in self.parents if isinstance(node, FunctionNode)]
        return inner[-1] if inner else None

    @property
    def name(self) -> str:
        """The dotted name of the function or class that it is in."""
        names = [node.name for node in (*self.parents, self.node) if isinstance(node, ScopeNode)]
        return ".".join(names) or "module"

    @property
    def frame(self) -> ast.AST:
        return next(node for node in reversed(self.parents) if isinstance(node, _FRAMES))


def places(
    node: ast.AST, parents: tuple[ast.AST, ...] = (), skip: frozenset[ast.AST] = frozenset()
) -> Iterator[Place]:
    """Yield all places in `node` that may be mutated, but for those in `skip`."""
    if node in skip or isinstance(node, ast.JoinedStr) or _logs(node):
        return
    yield Place(node, parents)
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list"):
            continue
        children = value if isinstance(value, list) else [value]
        for child in children:
            if isinstance(child, ast.AST):
                yield from places(child, (*parents, node), skip)


def edits(place: Place) -> Iterator[Edit]:
    """Yield what may be changed at this very place."""
    for kind in (
        _comparison, _boolean, _not, _condition, _constant, _arithmetic, _extreme, _display,
        _returned, _deleted,
    ):  # fmt: skip
        yield from kind(place)


def _logs(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and ast.unparse(node.value).startswith("log.")


def negated(node: ast.expr) -> ast.expr:
    """Return `not node`, or what `node` is the `not` of."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return node.operand
    return ast.UnaryOp(ast.Not(), node)


def _covered(node: ast.expr) -> bool:
    """Whether the negation of this one is a mutant already, by its operator."""
    return isinstance(node, ast.Compare) or (
        isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)
    )


def _comparison(place: Place) -> Iterator[Edit]:
    node = place.node
    if isinstance(node, ast.Compare):
        for number, operator in enumerate(node.ops):
            for other in _COMPARISONS[type(operator)]:
                ops = [*node.ops[:number], other(), *node.ops[number + 1 :]]
                yield Edit(node, "ops", ops, node)


def _boolean(place: Place) -> Iterator[Edit]:
    node = place.node
    if isinstance(node, ast.BoolOp):
        yield Edit(node, "op", ast.Or() if isinstance(node.op, ast.And) else ast.And(), node)
        for number, value in enumerate(node.values):
            rest = [*node.values[:number], *node.values[number + 1 :]]
            yield Edit(node, "values", rest, node)
            if not _covered(value):
                values = [*node.values[:number], negated(value), *node.values[number + 1 :]]
                yield Edit(node, "values", values, node)


def _not(place: Place) -> Iterator[Edit]:
    node = place.node
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        holder = place.parents[-1]
        for field, value in ast.iter_fields(holder):
            if value is node:
                yield Edit(holder, field, node.operand, place.frame)
            elif isinstance(value, list) and node in value:
                values = [node.operand if item is node else item for item in value]
                yield Edit(holder, field, values, place.frame)


def _condition(place: Place) -> Iterator[Edit]:
    node = place.node
    if isinstance(node, (ast.If, ast.While, ast.IfExp)) and not _covered(node.test):
        yield Edit(node, "test", negated(node.test), node.test, f"if {_text(node.test)} negated")
    if isinstance(node, ast.comprehension):
        for number, test in enumerate(node.ifs):
            rest = [*node.ifs[:number], *node.ifs[number + 1 :]]
            yield Edit(node, "ifs", rest, node, f"only if {_text(test)} dropped")


def _constant(place: Place) -> Iterator[Edit]:
    node = place.node
    if not isinstance(node, ast.Constant):
        return
    if isinstance(node.value, bool):
        yield Edit(node, "value", not node.value, place.frame)
    elif isinstance(node.value, (int, float)):
        number = node.value
        for other in dict.fromkeys((number + 1, number - 1, number * 2)):
            # A slice's or a shift's -1 and such are no constants, and no type holds them.
            if other != number:
                yield Edit(node, "value", other, place.frame)


def _arithmetic(place: Place) -> Iterator[Edit]:
    node = place.node
    if isinstance(node, (ast.BinOp, ast.AugAssign)):
        if isinstance(node.op, ast.Add) and not _of_text(node):
            yield Edit(node, "op", ast.Sub(), node)
        elif isinstance(node.op, ast.Sub):
            yield Edit(node, "op", ast.Add(), node)


def _of_text(node: ast.AST) -> bool:
    return any(
        isinstance(part, ast.JoinedStr)
        or (isinstance(part, ast.Constant) and isinstance(part.value, (str, bytes)))
        for part in ast.walk(node)
    )


def _extreme(place: Place) -> Iterator[Edit]:
    node = place.node
    name = node.func if isinstance(node, ast.Call) else None
    if isinstance(name, ast.Name) and name.id in _EXTREMES:
        yield Edit(name, "id", _EXTREMES[name.id], node)


def _display(place: Place) -> Iterator[Edit]:
    """One member dropped of a set, of a dict's keys, of what `in` looks in."""
    node = place.node
    if isinstance(node, ast.Compare):
        for operator, right in zip(node.ops, node.comparators):
            if isinstance(operator, (ast.In, ast.NotIn)) and isinstance(right, ast.Tuple):
                yield from _dropped(right, "elts", right.elts, node)
    elif isinstance(node, ast.Set):
        yield from _dropped(node, "elts", node.elts, node)
    elif isinstance(node, ast.Dict) and all(isinstance(key, ast.Attribute) for key in node.keys):
        for number, key in enumerate(node.keys):
            pairs = [pair for at, pair in enumerate(zip(node.keys, node.values)) if at != number]
            without = ast.Dict([key for key, _ in pairs], [value for _, value in pairs])
            holder = place.parents[-1]
            field = next(name for name, value in ast.iter_fields(holder) if value is node)
            yield Edit(holder, field, without, node, f"entry {_text(key)} dropped")


def _dropped(holder: ast.AST, field: str, items: list[ast.expr], frame: ast.AST) -> Iterator[Edit]:
    for number, item in enumerate(items):
        rest = [*items[:number], *items[number + 1 :]]
        what = f"{_text(item)} dropped"
        if isinstance(frame, ast.Compare):
            what += f" in {_text(frame)}"
        yield Edit(holder, field, rest, frame, what)


def _returned(place: Place) -> Iterator[Edit]:
    node, function = place.node, place.function
    if not isinstance(node, ast.Return) or node.value is None or function is None:
        return
    kind = "" if function.returns is None else ast.unparse(function.returns)
    simple = isinstance(node.value, ast.Constant) or _covered(node.value)
    if kind == "bool" and not simple:
        yield Edit(node, "value", negated(node.value), node)
    elif kind.startswith("Optional[") and ast.unparse(node.value) != "None":
        yield Edit(node, "value", ast.Constant(None), node)


def _deleted(place: Place) -> Iterator[Edit]:
    """One statement left out: a call, an assignment whose name keeps a value, a raise."""
    for field in ("body", "orelse", "handlers", "finalbody"):
        block = getattr(place.node, field, None)
        if not isinstance(block, list):
            continue
        for number, statement in enumerate(block):
            if _may_go(statement, place) and not _logs(statement):
                rest = [*block[:number], ast.Pass(), *block[number + 1 :]]
                what = f"deleted: {_text(statement)}"
                yield Edit(place.node, field, rest, statement, what)


def _may_go(statement: ast.AST, place: Place) -> bool:
    if isinstance(statement, (ast.Raise, ast.AugAssign)):
        return True
    if isinstance(statement, ast.Return) and statement.value is None:
        return True
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, (ast.Call, ast.Await))
    if not isinstance(statement, ast.Assign):
        return False
    function = place.node if isinstance(place.node, FunctionNode) else place.function
    if function is None or function.name == "__init__":
        return False
    targets = [name for target in statement.targets for name in ast.walk(target)]
    if any(isinstance(name, (ast.Attribute, ast.Subscript)) for name in targets):
        return True
    # A name that nothing else gives a value is missed at its first use; nothing is learnt.
    names = {name.id for name in targets if isinstance(name, ast.Name)}
    return names <= _bound_elsewhere(function, statement)


def _bound_elsewhere(
    function: Union[ast.FunctionDef, ast.AsyncFunctionDef], statement: ast.stmt
) -> set[str]:
    own = set(ast.walk(statement))
    bound = {argument.arg for argument in ast.walk(function) if isinstance(argument, ast.arg)}
    return bound | {
        name.id
        for name in ast.walk(function)
        if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store) and name not in own
    }


def _text(node: Optional[ast.AST]) -> str:
    return "" if node is None else " ".join(ast.unparse(node).split())
