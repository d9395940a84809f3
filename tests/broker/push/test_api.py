# SPDX-License-Identifier: Apache-2.0
"""The engine's verbs: what is stored, what is refused before that, and what is counted."""

from __future__ import annotations

import asyncio
import types
from collections import Counter
from collections.abc import Mapping
from typing import Any, Optional, cast

import pytest

from ha_agent.broker.definition.keeper import DefinitionKeeper
from ha_agent.broker.push.api import PushApi
from ha_agent.broker.push.refresh import Refreshed
from ha_agent.broker.rpc.server import Handler, Peer, RpcRefusal
from ha_agent.broker.snapshot import Snapshot
from ha_agent.broker.watch import Board
from ha_agent.clock import SystemClock
from ha_agent.errors import EnvironmentFault
from ha_agent.instant import WallTime
from ha_agent.ovfstore.version import Version, sha256_of

ENGINE = Peer(-1, -1, -1, name="CN=engine.example.com")
NAMES = ("version", "refresh", "ovf.put", "status", "can_do")


def ovf(generation: int, text: str = "") -> bytes:
    return b"<E><Content><Generation>%d</Generation><N>%s</N></Content></E>" % (
        generation,
        text.encode(),
    )


class Parts:
    """Keeper, history, store and socket of the test's own."""

    def __init__(self) -> None:
        clock = SystemClock()
        self.board = Board(Snapshot(1, 1, "h1", "vm", clock.now()), clock.now, dict)
        self.current: Optional[Any] = types.SimpleNamespace(document=ovf(5))
        self.pending: Optional[Any] = None
        self.on_look: Optional[bytes] = None
        self.fault: Optional[EnvironmentFault] = None
        self.past: tuple[Version, ...] = ()
        self.done: list[tuple[str, Any]] = []
        self.refusal: Optional[RpcRefusal] = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.looking, self.stored = asyncio.Event(), asyncio.Event()
        self.counters: Counter[str] = Counter()

    async def refresh(self, *, read_again: bool = False) -> str:
        assert read_again
        self.looking.set()
        await self.gate.wait()
        if self.on_look is not None:
            self.current = types.SimpleNamespace(document=self.on_look)
        return "the store can't be read"

    def versions(self) -> tuple[Version, ...]:
        if self.fault is not None:
            raise self.fault
        return self.past

    async def everywhere(self, who: str) -> Refreshed:
        self.done.append(("refresh", who))
        return Refreshed("no store", "no slot")

    async def put(self, document: bytes, who: str) -> dict[str, Any]:
        if self.refusal is not None:
            raise self.refusal
        self.done.append((who, document))
        self.stored.set()
        more = {"differences": ["a"], "notes": [], "codes": [], "copies": [], "problems": []}
        return {"identity": "0123456789ab", "last_updated": "now", **more}

    async def on_socket(self, params: Mapping[str, Any], peer: Peer) -> Any:
        self.done.append((peer.who, dict(params)))
        return {"it": "is"}

    def handlers(self) -> dict[str, Handler]:
        others: dict[str, Handler] = dict.fromkeys(
            ("status", "can_do", "ovf.get", "lease.take"), self.on_socket
        )
        api = PushApi(
            cast(DefinitionKeeper, self),
            self,
            self.board,
            on_socket=others,
            refresh=self.everywhere,
            put=self.put,
            max_document_bytes=1000,
            count=lambda name: self.counters.update([name]),
        )
        handlers = api.handlers()
        assert sorted(handlers) == sorted(NAMES)
        return handlers

    async def call(self, method: str, **params: Any) -> Any:
        return await self.handlers()[method](params, ENGINE)

    async def refused(self, **params: Any) -> RpcRefusal:
        with pytest.raises(RpcRefusal) as caught:
            await self.call("ovf.put", **params)
        assert self.done == []
        return caught.value


@pytest.fixture
async def parts() -> Parts:
    return Parts()


async def test_a_newer_definition_is_stored_for_the_engine(parts: Parts) -> None:
    answer = await parts.call("ovf.put", document=ovf(6))
    assert parts.done == [("CN=engine.example.com", ovf(6))]
    assert answer == {
        "identity": "0123456789ab",
        "last_updated": "now",
        "differences": ["a"],
        "notes": [],
    }
    assert parts.counters == {"calls": 1, "puts": 1}


async def test_what_another_host_has_just_put_counts(parts: Parts) -> None:
    parts.on_look = ovf(7)
    refusal = await parts.refused(document=ovf(6))
    assert refusal.code == "old_version"
    assert "its generation is 6, and the store has 7" in refusal.message
    assert parts.counters == {"calls": 1, "old_version": 1}


async def test_what_waits_for_a_person_counts(parts: Parts) -> None:
    definition = types.SimpleNamespace(document=ovf(8))
    parts.pending = types.SimpleNamespace(definition=definition)
    assert (await parts.refused(document=ovf(7))).code == "old_version"


async def test_a_replay_of_what_was_left_is_old(parts: Parts) -> None:
    left = ovf(5, "left")
    parts.past = (Version(3, sha256_of(left), WallTime(0.0), "x", "read", "vm", 1),)
    assert "version 3" in (await parts.refused(document=left)).message


async def test_a_long_one_is_not_even_read(parts: Parts) -> None:
    refusal = await parts.refused(document=b"<" * 1001)
    assert (refusal.code, parts.counters["too_large"]) == ("too_large", 1)
    assert "1001 bytes, [push] allows 1000" in refusal.message


async def test_one_put_at_a_time_so_that_long_documents_dont_pile_up(parts: Parts) -> None:
    put = parts.handlers()["ovf.put"]
    parts.gate.clear()
    first = asyncio.ensure_future(put({"document": ovf(6)}, ENGINE))
    await parts.looking.wait()
    first.cancel()  # its caller has gone, it has not
    with pytest.raises(RpcRefusal) as caught:
        await put({"document": ovf(7)}, ENGINE)
    assert caught.value.code == "busy"
    parts.gate.set()
    await parts.stored.wait()
    assert await put({"document": ovf(7)}, ENGINE)
    assert parts.done == [("CN=engine.example.com", ovf(n)) for n in (6, 7)]
    assert parts.counters == {"calls": 3, "refused": 1, "puts": 2}


async def test_what_cant_be_read_is_said(parts: Parts) -> None:
    assert (await parts.refused(document=b"<E>")).code == "bad_document"
    parts.fault = EnvironmentFault("disk")
    assert (await parts.refused(document=ovf(6))).code == "storage"
    parts.fault, parts.refusal = None, RpcRefusal("guard", "no disk")
    assert (await parts.refused(document=ovf(6))).code == "guard"
    assert parts.counters == {"calls": 3, "refused": 3}


@pytest.mark.parametrize("more", [{"force": True}, {"how": "put"}])
async def test_the_engine_cant_insist(parts: Parts, more: dict[str, Any]) -> None:
    assert (await parts.refused(document=ovf(6), **more)).code == "bad_argument"


async def test_a_first_definition_needs_no_other(parts: Parts) -> None:
    parts.current = None
    await parts.call("ovf.put", document=ovf(0))
    assert parts.counters["puts"] == 1


async def test_the_others(parts: Parts) -> None:
    assert (await parts.call("version"))["push_version"] == 1
    answer = await parts.call("refresh")
    assert (answer["problem"], answer["told"]) == ("no store", "no slot")
    assert answer["definition"]["available"] is False
    assert await parts.call("can_do", action="vm.remove") == {"it": "is"}
    assert parts.done == [
        ("refresh", "CN=engine.example.com"),
        ("CN=engine.example.com", {"action": "vm.remove"}),
    ]
    assert parts.counters == {"calls": 3, "refreshes": 1}
