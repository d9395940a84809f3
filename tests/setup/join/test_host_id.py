# SPDX-License-Identifier: Apache-2.0
"""Which host id a joining host gets, by what stands in the slots."""

from __future__ import annotations

import re
import zlib
from typing import Any, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha_agent.broker.blocks import codec
from ha_agent.broker.blocks.entry import host_entry
from ha_agent.instant import Instant, WallTime
from ha_agent.setup.join.host_id import (
    FREE_SLOT,
    REASON,
    Bound,
    Joiner,
    Slot,
    choose,
    is_registered_as,
    joined_slot,
    machine_mark,
    read_slot,
    same_status,
    to_watch,
    unreadable_slot,
)
from ha_agent.setup.step import SetupRefused

ME = Joiner("h3.example.com", machine_mark("m3"))
BOUND = Bound(64, "raise max_hosts")
NOW, WALL = Instant(4242.5), WallTime(1_700_000_000.0)


def slot(host_id: int, name: str = "", **fields: Any) -> Slot:
    return Slot(host_id, b"x", host_name=name or f"h{host_id}.example.com", **fields)


def slots(*them: Slot) -> dict[int, Slot]:
    return {one.host_id: one for one in them}


def refused(*words: str, **arguments: Any) -> None:
    with pytest.raises(SetupRefused) as caught:
        choose(arguments.pop("found"), ME, arguments.pop("bound", BOUND), **arguments)
    for word in words:
        assert word in str(caught.value)


# --- the block ---------------------------------------------------------------------------------


def test_our_readers_take_the_block_for_a_stopped_host() -> None:
    data = joined_slot(3, ME, NOW, WALL)
    block = codec.decode(data, slot=3)
    assert block is not None
    assert (block.host_name, block.score, block.stopped) == ("h3.example.com", 0, True)
    entry, order = host_entry(block, changed_at=None, known=None)
    assert (entry.state, entry.predecessor, order) == ("AgentStopped", False, None)
    assert block.lines["reason"] == REASON


def test_the_predecessor_takes_the_block_for_a_stopped_host() -> None:
    # Its reader's rules: facts/ovf-and-volumes.md 4.3.
    data = joined_slot(3, ME, NOW, WALL)
    text = data[:512].rstrip(b"\0").decode("utf-8")
    tokens = text.split("|")
    assert len(tokens) == 12
    assert int(tokens[0]) <= 1
    assert tokens[2:5] == ["4242", "3", "0"]
    assert tokens[6:9] == ["h3.example.com", "0", "1"]
    without = "|".join([*tokens[:9], "00000000", *tokens[10:]])
    assert tokens[9] == f"{zlib.crc32(without.encode()):08x}"
    lines = data[512:].rstrip(b"\0").decode().splitlines()
    assert lines[-1].startswith("joined=")
    assert all(line.count("=") == 1 for line in lines)
    data.decode("utf-8")  # it decodes all slots at once


def test_the_machine_id_itself_is_not_told() -> None:
    identity = "0123456789abcdef0123456789abcdef"
    assert re.fullmatch("[0-9a-f]{12}", machine_mark(identity))
    assert machine_mark(identity + "\n") == machine_mark(identity)
    assert machine_mark(identity) not in identity


def test_a_slot_is_read_back_as_ours() -> None:
    found = read_slot(3, joined_slot(3, ME, NOW, WALL))
    assert found is not None
    assert found.stopped
    assert found.is_ours
    assert is_registered_as(found, ME)
    assert not is_registered_as(found, Joiner(ME.host_name, machine_mark("other")))
    assert not is_registered_as(None, ME)
    assert read_slot(3, FREE_SLOT) is None


@pytest.mark.parametrize("text", ["2|9|1|3", "\xff", "1|1|1|4|0|{}|other.example.com", "nonsense"])
def test_a_slot_that_can_not_be_read_is_somebodys(text: str) -> None:
    data = text.encode("latin-1").ljust(4096, b"\0")
    found = read_slot(3, data)
    assert found is not None
    assert found.problem
    assert choose(slots(slot(1), slot(2), found), ME, BOUND).host_id == 4
    refused("host id 3 is taken", found=slots(found), wanted=3)


# --- the choice --------------------------------------------------------------------------------


def test_the_next_free_id() -> None:
    choice = choose(slots(slot(1), slot(2), slot(4)), ME, BOUND)
    assert (choice.host_id, choice.expected, choice.ours) == (3, FREE_SLOT, False)
    assert choose({}, ME, BOUND).host_id == 1


def test_an_id_in_use_without_a_block_is_not_given() -> None:
    assert choose(slots(slot(1)), ME, BOUND, in_use={2, 3}).host_id == 4
    refused("host id 2", "running host", found=slots(slot(1)), wanted=2, in_use={2})


def test_the_same_host_gets_its_id_again() -> None:
    found = slots(slot(1), slot(5, ME.host_name, machine=ME.machine, stopped=True))
    choice = choose(found, ME, BOUND)
    assert (choice.host_id, choice.expected, choice.ours) == (5, b"x", True)
    assert choose(found, ME, BOUND, wanted=5).host_id == 5
    refused("registered with host id 5, not 2", found=found, wanted=2)


def test_of_two_own_slots_the_known_one() -> None:
    found = slots(slot(2, ME.host_name), slot(5, ME.host_name))
    assert choose(found, ME, BOUND, known=5).host_id == 5
    assert choose(found, ME, BOUND, known=9).host_id == 2
    assert choose(found, ME, BOUND, wanted=5).host_id == 5


def test_another_host_of_the_same_name() -> None:
    found = slots(slot(5, ME.host_name))
    refused("host id 5", "lives", "4 s ago", found=found, alive={5: 4.2})
    refused("host id 5", "holds its id", found=found, in_use={5})
    other = slots(slot(5, ME.host_name, machine=machine_mark("other"), stopped=True))
    refused("another machine", "host remove 5", found=other)


def test_a_wanted_id_that_is_taken() -> None:
    found = slots(slot(3))
    theirs = slots(slot(3, "beta.example.com"))
    refused(
        "host id 3 is beta.example.com's, alive", "4 s ago", found=theirs, wanted=3, alive={3: 4.0}
    )
    refused("beta.example.com's, which is silent", "host remove 3", found=theirs, wanted=3)
    assert choose(found, ME, BOUND, wanted=3).ours
    assert choose(theirs, ME, BOUND, wanted=7).host_id == 7


def test_no_id_is_left() -> None:
    full = slots(*(slot(n, f"x{n}") for n in range(1, 65)))
    refused("from 1 to 64", "raise max_hosts", found=full)
    refused("65 is above 64", "raise max_hosts", found={}, wanted=65)
    refused(
        "5 is above 2", "no room", found=slots(slot(5, ME.host_name)), bound=Bound(2, "no room")
    )


def test_only_what_matters_is_watched() -> None:
    found = slots(
        slot(1), slot(2, ME.host_name, stopped=True), slot(3, ME.host_name), slot(4, "beta"),
        unreadable_slot(5, "EIO"),
    )  # fmt: skip
    assert [one.host_id for one in to_watch(found, ME, None)] == [3]
    assert [one.host_id for one in to_watch(found, ME, 4)] == [3, 4]
    assert [one.host_id for one in to_watch(found, ME, 5)] == [3]


def test_lines_for_people_are_no_sign_of_life() -> None:
    data = joined_slot(3, ME, NOW, WALL)
    assert same_status(data, data[:512] + bytes(3584))
    assert not same_status(data, joined_slot(3, ME, Instant(9.0), WALL))


@given(
    taken=st.dictionaries(st.integers(1, 20), st.sampled_from(["a", "b", ME.host_name])),
    in_use=st.sets(st.integers(1, 20)),
    wanted=st.one_of(st.none(), st.integers(1, 25)),
    most=st.integers(1, 20),
)
def test_nobody_elses_slot_is_ever_chosen(
    taken: dict[int, str], in_use: set[int], wanted: Optional[int], most: int
) -> None:
    found = slots(*(slot(host_id, name) for host_id, name in taken.items()))
    try:
        choice = choose(found, ME, Bound(most, "no"), wanted=wanted, in_use=in_use)
    except SetupRefused:
        return
    assert choice.host_id <= most
    assert choice.host_id not in in_use
    assert wanted in (None, choice.host_id)
    assert taken.get(choice.host_id, ME.host_name) == ME.host_name
    assert choice.ours == (choice.host_id in taken)
    assert choice.expected == (b"x" if choice.ours else FREE_SLOT)
