# SPDX-License-Identifier: Apache-2.0
"""What a verb of the socket is: declared once, so that calls are checked and docs/api.md is made
from the same words. Pure: it must not know sockets, nor carry a verb out.

A module with handlers declares its verbs beside them and binds both (api/arguments.py):

    VERBS = (
        Verb(
            "host.remove",
            "Removes a host's block and frees its id.",
            who=Who.CHANGE,
            arguments=(
                Argument("host_id", Kind.WHOLE, "which host", least=1, most=2000),
                Argument("force", Kind.FLAG, "although its lease has not expired", default=False),
            ),
            result=(Field("removed", Kind.FLAG, "whether there was one"),),
            errors=("storage", "refused"),
            deadline_seconds=60.0,
        ),
    )

    def handlers(self) -> dict[str, Handler]:
        return bound(VERBS, {"host.remove": self._remove}, self._access)

A handler is then given every argument that is declared, checked, with the defaults filled in.
"""

from __future__ import annotations

import difflib
import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Optional, Union

from ha_agent.broker.api.error_codes import COMMON, ERROR_CODES
from ha_agent.errors import HaAgentError


class Who(enum.Enum):
    """Who may call a verb."""

    READ = "everybody whom the socket lets in"
    CHANGE = "root, [broker] socket_user and socket_group"
    ROOT = "root only"


class Kind(enum.Enum):
    """What a value on the wire is."""

    TEXT = "text"
    WHOLE = "whole number"
    NUMBER = "number"
    FLAG = "true or false"
    BYTES = "bytes"
    TEXTS = "map of text to text"
    MAP = "map"
    LIST = "list"

    def fits(self, value: Any) -> bool:
        """Return whether `value` is one of these. True is an int to Python, and no number here."""
        if isinstance(value, bool):
            return self is Kind.FLAG
        if not isinstance(value, _TYPES[self]):
            return False
        if self is Kind.TEXTS:
            return all(isinstance(part, str) for pair in value.items() for part in pair)
        return self is not Kind.NUMBER or -_HUGE < value < _HUGE


_HUGE = 1e300  # beyond it, and "not a number", nothing can be compared or waited for
_TYPES: dict[Kind, Any] = {
    Kind.TEXT: str,
    Kind.WHOLE: int,
    Kind.NUMBER: (int, float),
    Kind.FLAG: bool,
    Kind.BYTES: bytes,
    Kind.TEXTS: Mapping,
    Kind.MAP: Mapping,
    Kind.LIST: (list, tuple),
}


class _Required:
    """No default: the argument must be given."""

    def __repr__(self) -> str:
        return "required"


REQUIRED = _Required()
# Without a bound of its own no text, and no map, of an argument is longer.
MAX_LENGTH = 4096


class BadCall(HaAgentError):
    """Arguments that a verb does not take; the text names verb and argument."""


@dataclass(frozen=True)
class Argument:
    """One argument. `least` and `most` bound a number, and `most` the length of a text (in
    characters), of bytes, of a list and of a map. nil stands for an optional one not given."""

    name: str
    kind: Kind
    what: str
    default: Any = REQUIRED
    least: Optional[float] = None
    most: Optional[float] = None
    unit: str = ""
    choices: tuple[str, ...] = ()
    shape: Optional[type[Any]] = None
    """The dataclass that a map holds, for the documentation: its reader checks it."""

    @property
    def required(self) -> bool:
        """Whether it must be given."""
        return self.default is REQUIRED

    def fault_in(self, value: Any) -> str:
        """Return what is wrong with `value`, "" for nothing."""
        if not self.kind.fits(value):
            return f"{value!r:.60} is not {_with_article(self.kind.value)}"
        if self.choices and value not in self.choices:
            return f"{value!r:.60} is none of {', '.join(self.choices)}"
        if self.kind in (Kind.WHOLE, Kind.NUMBER):
            below = self.least is not None and value < self.least
            if below or (self.most is not None and value > self.most):
                return f"{value!r:.60} is not {self.bounds()}"
        elif self.kind is not Kind.FLAG:
            most = MAX_LENGTH if self.most is None else self.most
            if self.shape is None and len(value) > most:
                return f"is {len(value)} long, {most:g} is the most"
        return ""

    def bounds(self) -> str:
        """Return the bounds in words, "" for none."""
        low = "" if self.least is None else f"at least {self.least:g}"
        high = "" if self.most is None else f"at most {self.most:g}"
        return " and ".join(part for part in (low, high) if part)


@dataclass(frozen=True)
class Field:
    """One field of a result that is a map. `optional`: nil where there is nothing to tell.
    `items`: of a list, what its items are."""

    name: str
    kind: Kind
    what: str
    unit: str = ""
    optional: bool = False
    shape: Optional[type[Any]] = None


Result = Union[Kind, type[Any], tuple[Field, ...]]
"""One value; a dataclass, as snapshot.to_wire() writes it; or a map with these fields."""


@dataclass(frozen=True)
class Verb:
    """One verb. `what` is a sentence. `errors` are the codes of its own, besides those that any
    call may get. `deadline_seconds`: None for the socket's own limit, [broker]
    call_deadline_seconds; `deadline` says in words where the configuration rules it.
    `streams`: besides the answer, the server sends notifications of this name until the
    connection ends.
    """

    name: str
    what: str
    who: Who = Who.READ
    arguments: tuple[Argument, ...] = ()
    result: Result = Kind.FLAG
    errors: tuple[str, ...] = ()
    deadline_seconds: Optional[float] = None
    deadline: str = ""
    streams: str = ""

    def __post_init__(self) -> None:
        unknown = [code for code in self.errors if code not in ERROR_CODES or code in COMMON]
        if unknown:
            raise ValueError(f"{self.name}: {unknown} are no error codes of a verb's own")

    def check(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return every declared argument, from `params` or its default.

        Raises BadCall.
        """
        known = {argument.name: argument for argument in self.arguments}
        for name in params:
            if name not in known:
                raise BadCall(f"{self.name}: there is no argument {name!r:.60}{near(name, known)}")
        checked: dict[str, Any] = {}
        for name, argument in known.items():
            value = params.get(name)
            if value is None:
                if argument.required:
                    raise BadCall(f"{self.name}: {name} is missing: {argument.what}")
                checked[name] = argument.default
                continue
            fault = argument.fault_in(value)
            if fault:
                raise BadCall(f"{self.name}: {name}: {fault}")
            checked[name] = value
        return checked

    def fault_in_result(self, result: Any) -> str:
        """Return how the answer differs from what is declared, "" for not at all.

        Fields of a dataclass are not looked at: its writer made them from the dataclass.
        """
        if isinstance(self.result, Kind):
            return "" if self.result.fits(result) else f"is not {self.result.value}"
        if not isinstance(result, Mapping):
            return "is not a map"
        if not isinstance(self.result, tuple):
            return ""
        names = [field.name for field in self.result]
        if sorted(names) != sorted(result):
            return f"has the fields {sorted(result)}, not {sorted(names)}"
        for field in self.result:
            value = result[field.name]
            if not (field.kind.fits(value) or (value is None and field.optional)):
                return f"{field.name} is not {field.kind.value}"
        return ""


def near(name: str, known: Iterable[str]) -> str:
    """Return the nearest known name as the end of a sentence, "" where none is near."""
    found = difflib.get_close_matches(name[:80], list(known), n=1)
    return f"; did you mean {found[0]!r}?" if found else ""


def _with_article(words: str) -> str:
    return words if words in ("true or false", "bytes", "text") else f"a {words}"
