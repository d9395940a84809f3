# SPDX-License-Identifier: Apache-2.0
"""Verbs bound to handlers: who may call, with what, and what comes back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from ha_agent.broker.api.arguments import Access, bound, deadlines_of
from ha_agent.broker.api.verb import Argument, Field, Kind, Verb, Who
from ha_agent.broker.rpc.server import Peer, RpcRefusal
from ha_agent.errors import InvariantBroken

OWN_UID, GID = 36, 1036
LOOK = Verb("look", "Looks.", result=Kind.TEXT, deadline_seconds=7.0)
CHANGE = Verb(
    "change",
    "Changes.",
    who=Who.CHANGE,
    arguments=(Argument("a", Kind.WHOLE, "how much", default=3),),
    result=(Field("done", Kind.FLAG, "whether it was"),),
)
ROOT = Verb("only", "Is for root.", who=Who.ROOT, result=Kind.TEXT)


class Played:
    """The handlers, and what reached them."""

    def __init__(self, access: Access) -> None:
        self.calls: list[tuple[Mapping[str, Any], Peer]] = []
        self.answer: Any = "done"
        handlers = {verb.name: self._call for verb in (LOOK, CHANGE, ROOT)}
        self.bound = bound((LOOK, CHANGE, ROOT), handlers, access)

    async def _call(self, params: Mapping[str, Any], peer: Peer) -> Any:
        self.calls.append((params, peer))
        return self.answer


@pytest.mark.parametrize(
    ("peer", "may"),
    [
        (Peer(1, 0, 0), True),
        (Peer(1, OWN_UID, 99), True),
        (Peer(1, 99, GID), True),
        (Peer(1, 36, 36), True),
        (Peer(1, 37, 36), False),
        (Peer(1, 99, 99, frozenset((7, GID))), True),
        (Peer(1, 99, 99, frozenset((7, 0))), False),
        (Peer(1, GID, OWN_UID), False),
        (Peer(-1, -1, -1, name="CN=engine"), False),
    ],
)
async def test_who_may_change_things(peer: Peer, may: bool) -> None:
    played = Played(Access(OWN_UID, GID, frozenset({36})))
    assert await played.bound["look"]({}, peer) == "done"
    played.calls.clear()
    played.answer = {"done": True}
    if may:
        assert await played.bound["change"]({"a": 1}, peer) == {"done": True}
        assert played.calls == [({"a": 1}, peer)]
        return
    with pytest.raises(RpcRefusal) as caught:
        await played.bound["change"]({"a": 1}, peer)
    assert caught.value.code == "denied"
    assert "change: " in caught.value.message
    assert "socket_group" in caught.value.message
    assert played.calls == []


async def test_what_is_for_root_is_not_for_the_group() -> None:
    played = Played(Access(OWN_UID, GID))
    assert await played.bound["only"]({}, Peer(1, 0, 0)) == "done"
    assert await played.bound["only"]({}, Peer(1, OWN_UID, 99)) == "done"
    with pytest.raises(RpcRefusal, match="root only"):
        await played.bound["only"]({}, Peer(1, 99, GID))


async def test_without_a_group_only_root_and_the_brokers_user_may() -> None:
    played = Played(Access(OWN_UID, None))
    played.answer = {"done": True}
    await played.bound["change"]({}, Peer(1, OWN_UID, 5))
    with pytest.raises(RpcRefusal):
        await played.bound["change"]({}, Peer(1, 99, 99, frozenset((0, GID))))


async def test_a_call_that_is_wrong_never_reaches_its_handler() -> None:
    played = Played(Access(OWN_UID, GID))
    with pytest.raises(RpcRefusal) as caught:
        await played.bound["change"]({"b": 1}, Peer(1, 0, 0))
    assert (caught.value.code, caught.value.message) == (
        "bad_argument",
        "change: there is no argument 'b'",
    )
    assert played.calls == []


async def test_a_stranger_is_not_told_what_arguments_there_are() -> None:
    played = Played(Access(OWN_UID, GID))
    with pytest.raises(RpcRefusal) as caught:
        await played.bound["change"]({"b": 1}, Peer(1, 99, 99))
    assert caught.value.code == "denied"


async def test_a_handler_gets_the_defaults() -> None:
    played = Played(Access(OWN_UID, GID))
    played.answer = {"done": False}
    await played.bound["change"]({}, Peer(1, 0, 0))
    assert played.calls[0][0] == {"a": 3}


async def test_an_answer_that_is_not_the_declared_one_is_a_fault_of_ours() -> None:
    played = Played(Access(OWN_UID, GID))
    played.answer = {"done": True, "more": 1}
    with pytest.raises(InvariantBroken, match=r"change has the fields \['done', 'more'\]"):
        await played.bound["change"]({}, Peer(1, 0, 0))


def test_verbs_and_handlers_have_to_agree() -> None:
    with pytest.raises(ValueError, match="look"):
        bound((LOOK,), {}, Access(0, None))


def test_deadlines_that_are_numbers() -> None:
    assert deadlines_of((LOOK, CHANGE)) == {"look": 7.0}
