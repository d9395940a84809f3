# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import contextlib
import dataclasses
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha_agent.broker.snapshot import (
    DefinitionEntry,
    EventEntry,
    HealthEntry,
    HostEntry,
    LeaseEntry,
    NetworkEntry,
    OtherEntry,
    PenaltyEntry,
    PendingEntry,
    Report,
    Snapshot,
    StorageEntry,
    WaitEntry,
    from_wire,
    to_wire,
)
from ha_agent.errors import BadInput
from ha_agent.instant import Instant

PLAIN = Snapshot(1, 1, "h1", "vm", Instant(10.0))
KINDS = [
    *(LeaseEntry, HostEntry, DefinitionEntry, HealthEntry, NetworkEntry),
    *(
        WaitEntry,
        OtherEntry,
        EventEntry,
        StorageEntry,
        PenaltyEntry,
        PendingEntry,
        Report,
        Snapshot,
    ),
]
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
PLAIN_VALUES = {
    bool: st.booleans(),
    int: st.integers(-(2**63), 2**63),
    float: NUMBERS,
    str: st.text(max_size=20),
    Instant: NUMBERS.map(Instant),
}


def values(hint: Any) -> st.SearchStrategy[Any]:
    """Return the values of a field's type."""
    if get_origin(hint) is Union:
        return st.none() | values(get_args(hint)[0])
    if get_origin(hint) is tuple:
        return st.lists(values(get_args(hint)[0]), max_size=2).map(tuple)
    if get_origin(hint) is not None:
        return st.dictionaries(PLAIN_VALUES[str], PLAIN_VALUES[str], max_size=2)
    if hint in PLAIN_VALUES:
        return PLAIN_VALUES[hint]
    return st.builds(hint, **{name: values(part) for name, part in get_type_hints(hint).items()})


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_field_goes_over_the_wire_and_back(kind: Any) -> None:
    @given(values(kind))
    def check(value: Any) -> None:
        packed = msgpack.packb(to_wire(value))
        assert from_wire(kind, msgpack.unpackb(packed), where="x") == value

    check()


def test_the_wire_has_plain_values_only() -> None:
    wire = to_wire(
        dataclasses.replace(
            PLAIN,
            hosts=(HostEntry(2, changed_at=Instant(9.5), engine_status={"vm": "up"}),),
        )
    )
    assert wire["made_at"] == 10.0
    assert wire["hosts"][0]["changed_at"] == 9.5
    assert wire["hosts"][0]["engine_status"] == {"vm": "up"}
    assert wire["lease"]["fence_at"] is None


def test_a_newer_brokers_keys_are_left_out_and_an_olders_have_defaults() -> None:
    wire = {"host_id": 2, "score": 7, "colour": "red"}
    assert from_wire(HostEntry, wire, where="x") == HostEntry(2, score=7)


WIRE = to_wire(dataclasses.replace(PLAIN, hosts=(HostEntry(2), HostEntry(3))))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": "1"}, "s.version: expected int, got '1'"),
        ({"version": True}, "s.version: expected int, got True"),
        ({"version": 1.0}, "s.version: expected int, got 1.0"),
        ({"version": None}, "s.version: expected int, got None"),
        ({"host_name": 1}, "s.host_name: expected str, got 1"),
        ({"host_name": b"h1"}, "s.host_name: expected str, got b'h1'"),
        ({"global_maintenance": 1}, "s.global_maintenance: expected bool, got 1"),
        ({"made_at": None}, "s.made_at: expected a number, got None"),
        ({"made_at": True}, "s.made_at: expected a number, got True"),
        ({"made_at": float("nan")}, "s.made_at: expected a number, got nan"),
        ({"made_at": float("inf")}, "s.made_at: expected a number, got inf"),
        ({"made_at": "x" * 1000}, "s.made_at: expected a number, got 'xxx"),
        ({"network": {"share_lost": "half"}}, "s.network.share_lost: expected a number"),
        ({"hosts": {}}, "s.hosts: expected a list, got dict"),
        ({"hosts": "ab"}, "s.hosts: expected a list, got str"),
        ({"hosts": [WIRE["hosts"][0], 7]}, r"s.hosts\[1\]: expected a map, got int"),
        ({"hosts": [{}]}, r"s.hosts\[0\].host_id: is missing"),
        ({"lease": []}, "s.lease: expected a map, got list"),
        ({"agent": {"engine_status": "up"}}, "s.agent.engine_status: expected a map, got str"),
        ({"definition": {"notes": [1]}}, r"s.definition.notes\[0\]: expected str, got 1"),
    ],
)
def test_a_wrong_value_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        from_wire(Snapshot, {**WIRE, **change}, where="s")
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("name", ["version", "host_id", "host_name", "vm_uuid", "made_at"])
def test_what_must_be_there_is_named_when_it_is_missing(name: str) -> None:
    wire = {key: value for key, value in WIRE.items() if key != name}
    with pytest.raises(BadInput, match=f"s.{name}: is missing"):
        from_wire(Snapshot, wire, where="s")


@pytest.mark.parametrize("data", [None, 7, "text", [], [PLAIN]])
def test_no_map_is_no_picture(data: Any) -> None:
    with pytest.raises(BadInput, match="s: expected a map"):
        from_wire(Snapshot, data, where="s")


wild = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(sorted(WIRE)), wild)
def test_nothing_but_bad_input_comes_of_garbage(name: str, value: Any) -> None:
    with contextlib.suppress(BadInput):
        from_wire(Snapshot, {**WIRE, name: value}, where="s")
