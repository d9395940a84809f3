# SPDX-License-Identifier: Apache-2.0
"""The arguments of the socket's verbs, and who may change things."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from ha_agent.broker.api_arguments import Access, argument
from ha_agent.broker.rpc_server import Peer, RpcRefusal

OWN_UID, GID = 36, 1036


@pytest.mark.parametrize(
    ("value", "kind"),
    [("a", str), (0, int), (True, bool), (False, bool), (1.5, (int, float)), (2, (int, float))],
)
def test_an_argument_of_the_right_type(value: Any, kind: Any) -> None:
    assert argument({"name": value}, "name", kind) == value


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("1", int),
        (1, str),
        (b"bytes", str),
        ("text", bytes),
        (None, str),
        (1, bool),
        # True is an int to Python, and no number to people.
        (True, int),
        (False, (int, float)),
        ([], Mapping),
    ],
)
def test_an_argument_of_the_wrong_type_is_named(value: Any, kind: Any) -> None:
    with pytest.raises(RpcRefusal) as caught:
        argument({"name": value}, "name", kind, default="x")
    assert caught.value.code == "bad_argument"
    assert caught.value.message.startswith("name: ")


def test_a_long_argument_is_not_told_whole() -> None:
    with pytest.raises(RpcRefusal) as caught:
        argument({"name": "x" * 10_000}, "name", int)
    assert len(caught.value.message) < 200


def test_a_missing_argument() -> None:
    defaults: tuple[Any, ...] = (0, False, "", {})
    for default in defaults:
        assert argument({}, "name", type(default), default) == default
    with pytest.raises(RpcRefusal) as caught:
        argument({"other": 1}, "name", int)
    assert (caught.value.code, caught.value.message) == ("bad_argument", "name is missing")


@pytest.mark.parametrize(
    ("peer", "may"),
    [
        (Peer(1, 0, 0), True),
        (Peer(1, OWN_UID, 99), True),
        (Peer(1, 99, GID), True),
        (Peer(1, 99, 99, frozenset((7, GID))), True),
        (Peer(1, 99, 99, frozenset((7, 0))), False),
        (Peer(1, GID, OWN_UID), False),
    ],
)
async def test_who_may_change_things(peer: Peer, may: bool) -> None:
    calls = []

    async def handler(params: Mapping[str, Any], peer: Peer) -> Any:
        calls.append((params, peer))
        return "done"

    guarded = Access(OWN_UID, GID).guarded("ovf.put", handler)
    if may:
        assert await guarded({"a": 1}, peer) == "done"
        assert calls == [({"a": 1}, peer)]
        return
    with pytest.raises(RpcRefusal) as caught:
        await guarded({}, peer)
    assert caught.value.code == "denied"
    assert "ovf.put" in caught.value.message
    assert calls == []


def test_without_a_group_only_root_and_the_brokers_user_may() -> None:
    access = Access(OWN_UID, None)
    access.check(Peer(1, 0, 0), "ovf.put")
    access.check(Peer(1, OWN_UID, 5), "ovf.put")
    with pytest.raises(RpcRefusal):
        access.check(Peer(1, 99, 99, frozenset((0, GID))), "ovf.put")
