# SPDX-License-Identifier: Apache-2.0
"""Declarations: what a call may be, and what an answer."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha_agent.broker.api.verb import MAX_LENGTH, Argument, BadCall, Field, Kind, Verb
from ha_agent.broker.snapshot import HealthEntry

VERB = Verb(
    "host.remove",
    "Removes a host.",
    arguments=(
        Argument("host_id", Kind.WHOLE, "which host", least=1, most=2000),
        Argument("force", Kind.FLAG, "insist", default=False),
        Argument("for_seconds", Kind.NUMBER, "how long", default=None, most=60),
        Argument("scope", Kind.TEXT, "what", default="local", choices=("local", "global")),
        Argument("reason", Kind.TEXT, "why", default="", most=5),
        Argument("object", Kind.TEXTS, "what to", default={}),
    ),
)
DEFAULTS: dict[str, Any] = {
    "force": False,
    "for_seconds": None,
    "scope": "local",
    "reason": "",
    "object": {},
}


def test_defaults_are_filled_in_and_nil_is_not_given() -> None:
    assert VERB.check({"host_id": 3}) == {"host_id": 3, **DEFAULTS}
    assert VERB.check({"host_id": 3, "reason": None}) == {"host_id": 3, **DEFAULTS}


@pytest.mark.parametrize("host_id", [1, 2000])
def test_bounds_are_inside(host_id: int) -> None:
    assert VERB.check({"host_id": host_id})["host_id"] == host_id


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({}, "host.remove: host_id is missing: which host"),
        ({"host_id": None}, "host.remove: host_id is missing: which host"),
        ({"host_id": 0}, "host.remove: host_id: 0 is not at least 1 and at most 2000"),
        ({"host_id": 2001}, "host.remove: host_id: 2001 is not at least 1 and at most 2000"),
        ({"host_id": True}, "host.remove: host_id: True is not a whole number"),
        ({"host_id": "1"}, "host.remove: host_id: '1' is not a whole number"),
        ({"host_id": 1, "force": 1}, "host.remove: force: 1 is not true or false"),
        ({"host_id": 1, "forse": 1}, "there is no argument 'forse'; did you mean 'force'?"),
        ({"host_id": 1, "for_seconds": math.nan}, "for_seconds: nan is not a number"),
        ({"host_id": 1, "for_seconds": math.inf}, "for_seconds: inf is not a number"),
        ({"host_id": 1, "for_seconds": 61}, "for_seconds: 61 is not at most 60"),
        ({"host_id": 1, "scope": "host"}, "scope: 'host' is none of local, global"),
        ({"host_id": 1, "reason": "x" * 6}, "reason: is 6 long, 5 is the most"),
        ({"host_id": 1, "object": {"a": 1}}, "object: {'a': 1} is not a map of text to text"),
        (
            {"host_id": 1, "object": {str(n): "" for n in range(MAX_LENGTH + 1)}},
            f"object: is {MAX_LENGTH + 1} long",
        ),
    ],
)
def test_a_wrong_call_is_told_by_verb_and_argument(params: dict[str, Any], says: str) -> None:
    with pytest.raises(BadCall) as caught:
        VERB.check(params)
    assert says in str(caught.value)
    assert str(caught.value).startswith("host.remove: ")


def test_a_long_value_is_not_told_whole() -> None:
    with pytest.raises(BadCall) as caught:
        VERB.check({"host_id": "x" * 10_000})
    assert len(str(caught.value)) < 200


_WIRE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(["host_id", *DEFAULTS, "other"]), _WIRE))
def test_whatever_comes_is_checked_or_refused(params: dict[str, Any]) -> None:
    try:
        checked = VERB.check(params)
    except BadCall:
        return
    assert checked.keys() == {"host_id", *DEFAULTS}
    assert type(checked["host_id"]) is int
    assert 1 <= checked["host_id"] <= 2000


def test_an_error_code_has_to_be_in_the_table() -> None:
    with pytest.raises(ValueError, match="storrage"):
        Verb("x", "X.", errors=("storrage",))
    with pytest.raises(ValueError, match="denied"):
        Verb("x", "X.", errors=("denied",))


def test_answers_are_held_to_their_declaration() -> None:
    fields = (Field("a", Kind.TEXT, "x"), Field("b", Kind.WHOLE, "y", optional=True))
    verb = Verb("x", "X.", result=fields)
    assert verb.fault_in_result({"a": "1", "b": None}) == ""
    assert verb.fault_in_result({"a": None, "b": 1}) == "a is not text"
    assert "has the fields ['a']" in verb.fault_in_result({"a": "1"})
    assert verb.fault_in_result([]) == "is not a map"
    assert Verb("x", "X.", result=Kind.FLAG).fault_in_result(1) == "is not true or false"
    assert Verb("x", "X.", result=HealthEntry).fault_in_result({}) == ""
    assert Verb("x", "X.", result=HealthEntry).fault_in_result(True) == "is not a map"
