# SPDX-License-Identifier: Apache-2.0
# How pictures go to the wire and back is in test_snapshot.py.
from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, NamedTuple, Optional

import pytest

from ha_agent.broker.rpc.value_codec import from_wire, to_wire
from ha_agent.errors import BadInput
from ha_agent.instant import Instant


@dataclass(frozen=True)
class Inner:
    at: Optional[Instant] = None
    texts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outer:
    number: int
    inner: Inner
    others: tuple[Inner, ...] = ()


class Pair(NamedTuple):
    one: int
    two: Instant


@pytest.mark.parametrize(
    ("value", "wire"),
    [
        (Instant(2.5), 2.5),
        (Pair(1, Instant(2.0)), [1, 2.0]),
        (OrderedDict({"a": Instant(1.0), 2: (True, None)}), {"a": 1.0, "2": [True, None]}),
        ([Inner(), "x"], [{"at": None, "texts": []}, "x"]),
        (Outer(1, Inner(Instant(3.0), ("t",))), None),
    ],
)
def test_values_of_every_kind_become_plain_ones(value: Any, wire: Any) -> None:
    expected = wire or {"number": 1, "inner": {"at": 3.0, "texts": ["t"]}, "others": []}
    assert to_wire(value) == expected


def test_what_went_out_comes_back() -> None:
    value = Outer(1, Inner(Instant(3.0), ("t",)), (Inner(),))
    assert from_wire(Outer, to_wire(value), where="x") == value


def test_what_is_wrong_is_named() -> None:
    with pytest.raises(BadInput, match=r"x\.inner\.texts\[0\]"):
        from_wire(Outer, {"number": 1, "inner": {"texts": [5]}}, where="x")
