# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ha_agent.vdsm.jsonrpc import (
    INVALID_REQUEST,
    MAX_BATCH,
    MAX_DEPTH,
    PARSE_ERROR,
    Event,
    JsonRpcError,
    Request,
    Response,
    RpcErrorInfo,
    decode,
    decode_batch,
    encode_event,
    encode_request,
    encode_response,
)

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
params = st.dictionaries(st.text(max_size=5), json_values, max_size=3) | st.lists(json_values)
methods = st.text(min_size=1, max_size=20)
ids = st.text(max_size=10) | st.integers(0, 2**40)


@settings(deadline=None)
@given(st.builds(Request, methods, params, ids))
def test_requests_round_trip(request_: Request) -> None:
    assert decode(encode_request(request_)) == request_


@settings(deadline=None)
@given(
    st.builds(Response, ids | st.none(), json_values)
    | st.builds(
        Response,
        ids | st.none(),
        error=st.builds(RpcErrorInfo, st.integers(-40000, 2000), st.text()),
    )
)
def test_responses_round_trip(response: Response) -> None:
    assert decode(encode_response(response)) == response


@settings(deadline=None)
@given(st.builds(Event, methods, params))
def test_events_round_trip(event: Event) -> None:
    assert decode(encode_event(event)) == event


def test_what_a_real_vdsm_sends() -> None:
    assert decode(b'{"jsonrpc": "2.0", "id": "1", "result": true}') == Response("1", True)
    event = b'{"jsonrpc": "2.0", "method": "|virt|VM_status|2222", "params": {"2222": {"status": "Up"}, "notify_time": 2150378905}}'  # noqa: E501
    assert decode(event) == Event(
        "|virt|VM_status|2222", {"2222": {"status": "Up"}, "notify_time": 2150378905}
    )
    error = b'{"jsonrpc": "2.0", "id": null, "error": {"code": -32700, "message": "bad"}}'
    assert decode(error) == Response(None, error=RpcErrorInfo(-32700, "bad"))


def test_what_we_send_is_a_bare_object_with_an_id() -> None:
    sent = json.loads(encode_request(Request("Host.ping2", {}, "u")))
    assert sent == {"jsonrpc": "2.0", "method": "Host.ping2", "params": {}, "id": "u"}


def test_batches() -> None:
    one = b'{"jsonrpc": "2.0", "method": "a.b", "id": 1}'
    assert decode(b"[" + one + b"]") == Request("a.b", {}, 1)
    assert len(decode_batch(b"[" + one + b"," + one + b"]")) == 2
    with pytest.raises(JsonRpcError, match="a batch of 2 messages"):
        decode(b"[" + one + b"," + one + b"]")
    with pytest.raises(JsonRpcError, match="a batch of 0"):
        decode_batch(b"[]")
    with pytest.raises(JsonRpcError, match="a batch of 101"):
        decode_batch(b"[" + b",".join([one] * (MAX_BATCH + 1)) + b"]")


@pytest.mark.parametrize(
    ("data", "code", "what"),
    [
        (b"", PARSE_ERROR, "not JSON"),
        (b"{", PARSE_ERROR, "not JSON"),
        (b'{"a": "\xff"}', PARSE_ERROR, "not UTF-8 at byte 7"),
        (b"[" * 100_000, PARSE_ERROR, "too deep|not JSON"),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, PARSE_ERROR, "too deep|deeper than 64"),
        (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), PARSE_ERROR, "deeper than 64"),
        (b"9" * 1_000_000, PARSE_ERROR, "an integer of 1000000 digits"),
        (b'{"jsonrpc": "2.0", "id": 1, "result": NaN}', PARSE_ERROR, "NaN is not JSON"),
        (b'{"jsonrpc": "2.0", "id": 1, "result": -1e999}', PARSE_ERROR, "-1e999 is too large"),
        (b"1", INVALID_REQUEST, "no object"),
        (b'{"method": "a", "id": 1}', INVALID_REQUEST, "2.0"),
        (b'{"jsonrpc": "2.0", "method": 1, "id": 1}', INVALID_REQUEST, "method"),
        (b'{"jsonrpc": "2.0", "method": "a", "params": 1, "id": 1}', INVALID_REQUEST, "params"),
        (b'{"jsonrpc": "2.0", "method": "a", "id": true}', INVALID_REQUEST, "id"),
        (b'{"jsonrpc": "2.0", "method": "a", "id": {}}', INVALID_REQUEST, "id"),
        (b'{"jsonrpc": "2.0", "id": 1}', INVALID_REQUEST, "neither method"),
        (b'{"jsonrpc": "2.0", "id": 1, "error": "x"}', INVALID_REQUEST, "error"),
        (b'{"jsonrpc": "2.0", "id": 1, "error": {"code": "1"}}', INVALID_REQUEST, "error"),
    ],
)
def test_bad_input(data: bytes, code: int, what: str) -> None:
    with pytest.raises(JsonRpcError, match=what) as caught:
        decode(data)
    assert caught.value.code == code


@settings(deadline=None)
@given(st.binary(max_size=60) | json_values.map(lambda value: json.dumps(value).encode()))
def test_garbage_is_a_json_rpc_error(data: bytes) -> None:
    with contextlib.suppress(JsonRpcError):
        decode_batch(data)


@pytest.mark.parametrize("place", range(16))
def test_a_number_that_is_too_long_is_seen_anywhere(place: int) -> None:
    front, end = b'{"jsonrpc": "2.0", "id": 1, "result": ' + b" " * place, b"}"
    assert decode(front + b"9" * 40 + end) == Response(1, int("9" * 40))
    with pytest.raises(JsonRpcError, match="an integer of 41 digits"):
        decode(front + b"9" * 41 + end)


@pytest.mark.parametrize("depth", [MAX_DEPTH, MAX_DEPTH + 1])
@pytest.mark.parametrize("siblings", [0, 20, 200])
@pytest.mark.parametrize("text", ["", "[[{{", "}}]]", '"', "\\"])
def test_depth_is_told_right_among_siblings(depth: int, siblings: int, text: str) -> None:
    value: Any = text
    for level in range(depth - 1):
        value = {"a": value} if level % 2 else [value]
    members = {"x": [{} for _ in range(siblings)], "deep": value, "y": [[text]] * siblings}
    data = json.dumps({"jsonrpc": "2.0", "id": 1, "result": 1, **members}).encode()
    if depth > MAX_DEPTH:
        with pytest.raises(JsonRpcError, match="deeper than 64"):
            decode(data)
    else:
        assert decode(data) == Response(1, 1)


def test_infinity_is_never_sent() -> None:
    value: Any = float("inf")
    with pytest.raises(ValueError, match="JSON"):
        encode_response(Response(1, value))


NESTED_BETWEEN = st.sampled_from(["", "]", "}", "[", "{", '"', "\\", "]]", '"}', "[{", "\u20ac"])


@given(
    st.integers(MAX_DEPTH - 3, MAX_DEPTH + 3),
    st.lists(NESTED_BETWEEN, min_size=1, max_size=5),
    st.booleans(),
)
def test_depth_is_told_right_whatever_stands_in_texts(
    depth: int, texts: list[str], in_front: bool
) -> None:
    value: Any = 1
    for level in range(depth - 1):
        text = texts[level % len(texts)]
        inner = [text, value] if in_front else [value, text]
        value = inner if level % 2 else {text: text, "v": inner[0], "w": inner[1]}
    data = json.dumps({"jsonrpc": "2.0", "id": 1, "result": value}).encode()
    if depth > MAX_DEPTH:
        with pytest.raises(JsonRpcError, match="deeper than 64"):
            decode(data)
    else:
        assert decode(data) == Response(1, value)
