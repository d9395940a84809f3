# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import contextlib
import struct
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ha_agent.broker.rpc.codec import (
    MAX_DEPTH,
    MAX_ELEMENTS,
    MAX_MSGID,
    Message,
    Notification,
    Request,
    Response,
    RpcCodecError,
    RpcDecoder,
    RpcError,
    encode,
)
from ha_agent.broker.snapshot import (
    HostEntry,
    OtherEntry,
    Report,
    Snapshot,
    WaitEntry,
    from_wire,
    to_wire,
)
from ha_agent.errors import BadInput
from ha_agent.instant import Instant
from ha_agent.ovfstore.tar_volume import MEMBER_LIMIT_BYTES
from ha_agent.ovfstore.xml_input import SIZE_LIMIT_BYTES

_scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=40)
    | st.binary(max_size=300)
)
# Long ones are flat: deep and long at once takes hypothesis more time to draw than us to check.
_values = (
    st.recursive(
        _scalars,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
        max_leaves=30,
    )
    | st.lists(st.integers(-(2**63), 2**64 - 1), min_size=14, max_size=20)
    | st.dictionaries(st.integers(0, 99).map(str), _scalars, max_size=20)
)
_maps = st.dictionaries(st.text(max_size=10), _values, max_size=5)
_msgids = st.integers(0, MAX_MSGID)
_methods = st.text(min_size=1, max_size=64)
_messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(Request, _msgids, _methods, _maps),
    st.builds(Response, _msgids, st.none(), _values),
    st.builds(Response, _msgids, st.builds(RpcError, st.text(), st.text(), _maps)),
    st.builds(Notification, _methods, _maps),
)


@settings(deadline=None)  # a busy machine is no fault
@given(st.lists(_messages, max_size=3), st.data())
def test_messages_survive_the_wire_cut_anywhere(messages: list[Message], data: Any) -> None:
    stream = b"".join(encode(message) for message in messages)
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=8).map(sorted))
    decoder = RpcDecoder()
    got: list[Message] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)]):
        got += decoder.feed(stream[start:end])
    assert got == messages
    assert not decoder.has_partial_message


def test_each_byte_alone() -> None:
    message = Response(7, result={"text": "x" * 300, "blob": bytes(70000), "list": [1.5, -1] * 9})
    stream = encode(message)
    decoder = RpcDecoder()
    for position in range(len(stream) - 1):
        assert decoder.feed(stream[position : position + 1]) == []
    assert decoder.has_partial_message
    assert decoder.feed(stream[-1:]) == [message]


def test_the_wire_is_the_published_one() -> None:
    assert encode(Request(1, "status")) == b"\x94\x00\x01\xa6status\x90"
    assert encode(Request(1, "m", {"a": 1})) == b"\x94\x00\x01\xa1m\x91\x81\xa1a\x01"
    assert encode(Response(1, result=True)) == b"\x94\x01\x01\xc0\xc3"
    assert encode(Response(1, error=RpcError("c", "t"))) == (
        b"\x94\x01\x01\x82\xa4code\xa1c\xa7message\xa1t\xc0"
    )
    assert encode(Notification("n")) == b"\x93\x02\xa1n\x90"


@settings(deadline=None)  # a busy machine is no fault
@given(_values)
def test_the_scanner_agrees_with_msgpack_about_where_a_message_ends(value: Any) -> None:
    frame = msgpack.packb([1, 0, None, value])
    decoder = RpcDecoder()
    assert decoder.feed(frame[:-1]) == []
    [message] = decoder.feed(frame[-1:])
    assert isinstance(message, Response)
    assert message.result == value


_in_result = b"\x94\x01\x00\xc0"


@pytest.mark.parametrize(
    ("bomb", "says"),
    [
        (_in_result + b"\xdd\xff\xff\xff\xff", "at least 429496"),
        (_in_result + b"\xdf\xff\xff\xff\xff", "at least 858993"),
        (_in_result + b"\xdb\xff\xff\xff\xff", "at least 429496"),
        (_in_result + b"\xc6\xff\xff\xff\xff", "at least 429496"),
        (_in_result + b"\xdc\xff\xff" * 30, "elements"),
        (_in_result + b"\x91" * 100000, "nested deeper than 32"),
        (_in_result + b"\x81\xa1a" * 100, "nested deeper than 32"),
        (_in_result + b"\xdd\x00\x04\x00\x00", "more than 262144 elements"),
        (_in_result + b"\xc9\xff\xff\xff\xff\x01", "0xc9"),
        (_in_result + b"\xd6\xff\x00\x00\x00\x01", "0xd6"),
        (_in_result + b"\xc1", "0xc1"),
        (_in_result + b"\xa1\xff", "utf-8"),
        (_in_result + b"\x81\x01\x02", "map key"),
        (_in_result + b"\x81\x90\x01", "map key"),
    ],
)
def test_bombs_are_refused_at_their_header(bomb: bytes, says: str) -> None:
    with pytest.raises(RpcCodecError, match=says) as raised:
        RpcDecoder().feed(bomb)
    assert isinstance(raised.value, BadInput)
    assert raised.value.offset is not None


def test_a_bomb_costs_no_more_memory_than_its_bytes() -> None:
    # msgpack alone would set aside 32 lists of 65535 places, 16 MiB, for these 100 bytes.
    decoder = RpcDecoder()
    tracemalloc.start()
    try:
        with pytest.raises(RpcCodecError):
            decoder.feed(_in_result + b"\xdc\xff\xff" * 32)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 100_000


def test_elements_are_counted_over_the_whole_message() -> None:
    just_enough = MAX_ELEMENTS - 5
    array = b"\xdd" + struct.pack(">I", just_enough)
    assert RpcDecoder().feed(_in_result + array + b"\x90" * just_enough)
    with pytest.raises(RpcCodecError, match="elements"):
        RpcDecoder().feed(_in_result + array + b"\x91\xc0" * just_enough)


def test_the_picture_of_the_largest_cluster_fits() -> None:
    status = {"vm": "down", "health": "bad", "detail": "Down", "reason": "x" * 60, "more": "y"}
    entry = HostEntry(
        1, "host", alive=True, engine_status=status, extra="e" * 1500, changed_at=Instant(5.0)
    )
    ids = range(1, 2001)
    others = tuple(OtherEntry(number, able=True, why="its score is 3400") for number in ids)
    report = Report(others=others, waits=(WaitEntry("its turn", Instant(7.0)),) * 5)
    hosts = tuple(replace(entry, host_id=number) for number in ids)
    picture = Snapshot(1, 1, "host", "vm", Instant(5.0), hosts=hosts, agent=report)
    [message] = RpcDecoder().feed(encode(Response(1, None, to_wire(picture))))
    assert isinstance(message, Response)
    assert from_wire(Snapshot, message.result, where="test") == picture


def test_depth_at_the_limit_is_taken() -> None:
    inside = MAX_DEPTH - 1  # the message itself is one
    assert RpcDecoder().feed(_in_result + b"\x91" * (inside - 1) + b"\xc0")


def test_size_limit_is_exact() -> None:
    frame = encode(Response(1, result="x" * 100))
    assert RpcDecoder(max_message_bytes=len(frame)).feed(frame)
    with pytest.raises(RpcCodecError, match="the limit is"):
        RpcDecoder(max_message_bytes=len(frame) - 1).feed(frame[:8])
    with pytest.raises(RpcCodecError, match="the limit is"):
        encode(Response(1, result="x" * 100), max_message_bytes=len(frame) - 1)


def test_the_longest_definition_that_is_used_can_be_sent() -> None:
    document = bytes(max(SIZE_LIMIT_BYTES, MEMBER_LIMIT_BYTES))
    request = Request(1, "ovf.import", {"backup": document + bytes(65536), "where": "x" * 4096})
    (message,) = RpcDecoder().feed(encode(request))
    assert message == request


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ("text", "array"),
        ([], "array"),
        ([True, 1, "m", []], "array"),
        ([0, 1, "m"], "type 0 and 3"),
        ([3, 1, "m", []], "type 3"),
        ([2, "m", [], 1], "type 2 and 4"),
        ([0, -1, "m", []], "msgid"),
        ([0, 2**32, "m", []], "msgid"),
        ([0, True, "m", []], "msgid"),
        ([0, 1, "", []], "method"),
        ([0, 1, b"m", []], "method"),
        ([0, 1, "m" * 65, []], "method"),
        ([0, 1, "m", {}], "params"),
        ([0, 1, "m", [1]], "params"),
        ([0, 1, "m", [{}, {}]], "params"),
        ([0, 1, "m", [{b"bytes": 1}]], "params"),
        ([1, 1, {"code": "c", "message": "m"}, 1], "either"),
        ([1, 1, "failed", None], "map"),
        ([1, 1, {"code": 1, "message": "m"}, None], "code"),
        ([1, 1, {"code": "c", "message": "m", "details": []}, None], "details"),
    ],
)
def test_what_is_no_message_is_refused(fields: Any, says: str) -> None:
    with pytest.raises(RpcCodecError, match=says):
        RpcDecoder().feed(msgpack.packb(fields))


def test_a_refusal_names_offset_and_call() -> None:
    first = encode(Request(1, "status"))
    with pytest.raises(RpcCodecError) as raised:
        RpcDecoder().feed(first + msgpack.packb([0, 42, "m", [1]]))
    assert raised.value.msgid == 42
    assert raised.value.offset == len(first)


def test_after_a_fault_the_stream_stays_refused() -> None:
    decoder = RpcDecoder()
    with pytest.raises(RpcCodecError, match="0xc1"):
        decoder.feed(b"\xc1")
    with pytest.raises(RpcCodecError, match="0xc1"):
        decoder.feed(encode(Request(1, "status")))


def test_unknown_keys_of_an_error_are_for_later_versions() -> None:
    frame = msgpack.packb([1, 1, {"code": "c", "message": "m", "hint": 1}, None])
    assert RpcDecoder().feed(frame) == [Response(1, error=RpcError("c", "m"))]


@settings(deadline=None)  # a busy machine is no fault
@given(st.binary(max_size=200))
def test_garbage_gives_messages_or_a_clear_refusal(garbage: bytes) -> None:
    # Any other exception fails this test.
    with contextlib.suppress(RpcCodecError):
        RpcDecoder(max_message_bytes=4096).feed(garbage)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Response(1, result=object()),
        lambda: Response(1, result=2**64),
        lambda: Response(1, result={1: "an int as key"}),
        lambda: Response(1, result="\ud800"),
        lambda: Request(1, "m", {"when": {("a",): 1}}),
    ],
)
def test_what_the_other_end_would_refuse_is_not_sent(make: Callable[[], Message]) -> None:
    with pytest.raises(RpcCodecError, match="can't be sent"):
        encode(make())
