# SPDX-License-Identifier: Apache-2.0
"""Places and room: what one caller may take of a server."""

from __future__ import annotations

import asyncio

from ha_agent.broker.rpc.limits import MIB, Places, Room, ServerLimits, Turns, debtor_of
from ha_agent.broker.rpc.peer import Peer

LIMITS = ServerLimits(max_connections=10, root_connections=3, max_connections_of_user=5)
ROOT, OWN, ALICE, BOB = Peer(1, 0, 0), Peer(1, 7, 7), Peer(1, 1000, 1), Peer(1, 1001, 1)


def taken(places: Places, peer: Peer, times: int) -> list[str]:
    return [places.take(peer) for _ in range(times)]


def test_no_user_takes_all_and_root_always_finds_a_place() -> None:
    places = Places(LIMITS, 7)
    assert taken(places, ALICE, 5) == [""] * 5
    assert places.take(ALICE) == "all 5 connections that user 1000 may have are in use"
    assert taken(places, BOB, 2) == [""] * 2
    assert places.take(BOB) == "all 7 connections of users other than root are in use"
    assert [places.take(ROOT), places.take(OWN), places.take(ROOT)] == [""] * 3
    assert places.take(ROOT) == "all 10 connections are in use"
    places.leave(ALICE)
    assert places.take(BOB) == ""


def test_root_may_have_all() -> None:
    assert taken(Places(LIMITS), ROOT, 11) == [""] * 10 + ["all 10 connections are in use"]


def test_a_thousand_callers_have_a_place_by_default() -> None:
    assert set(taken(Places(ServerLimits()), ROOT, 1000)) == {""}
    assert "user 1000" in taken(Places(ServerLimits()), ALICE, 1000)[-1]


def test_each_of_roots_processes_is_a_debtor_of_its_own_and_no_other_users() -> None:
    assert debtor_of(Peer(1, 0, 0)) != debtor_of(Peer(2, 0, 0))
    assert debtor_of(Peer(1, 1000, 1)) == debtor_of(Peer(2, 1000, 1))
    # The broker's own user: agent and VDSM.
    assert debtor_of(Peer(1, 36, 36), 36) != debtor_of(Peer(2, 36, 36), 36)
    assert debtor_of(Peer(1, 1000, 1), 36) == debtor_of(Peer(2, 1000, 1), 36)
    assert debtor_of(Peer(1, 1000, 1)) != debtor_of(Peer(1000, 0, 1))


async def test_room_is_by_user_and_comes_back() -> None:
    room = Room(MIB)
    alice = debtor_of(ALICE)
    await room.wait(alice)
    room.owe(alice, MIB)
    waiting = [asyncio.ensure_future(room.wait(alice)) for _ in range(3)]
    await room.wait(debtor_of(BOB))
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    waiting[1].cancel()
    room.settle(alice, MIB)
    await asyncio.wait(waiting)
    assert [task.cancelled() for task in waiting] == [False, True, False]
    assert room.owed_bytes == 0


async def test_users_have_turns_one_after_the_other_and_who_left_has_none() -> None:
    turns, had = Turns(), []

    async def work(name: str, uid: int) -> None:
        await turns.take(uid)
        had.append(name)

    tasks = [asyncio.ensure_future(work(f"alice {n}", 1000)) for n in range(4)]
    tasks.append(asyncio.ensure_future(work("bob", 1001)))
    await asyncio.sleep(0)
    tasks[1].cancel()
    await asyncio.wait(tasks)
    # The first was given its turn before anybody else had asked.
    assert had in (
        ["alice 0", "bob", "alice 2", "alice 3"],
        ["alice 0", "alice 2", "bob", "alice 3"],
    )
    await turns.take(1000)  # and it goes on after all are served
