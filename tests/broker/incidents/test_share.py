# SPDX-License-Identifier: Apache-2.0
"""The line in the status block, and who tells."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha_agent.broker.blocks.codec import key_value_lines, line_values
from ha_agent.broker.incidents.book import Incident, Told
from ha_agent.broker.incidents.incident import KINDS, Trouble
from ha_agent.broker.incidents.share import (
    MAX_LINE_BYTES,
    Shared,
    decode,
    encode,
    is_ours,
    leader,
    merged,
    peers,
)
from ha_agent.broker.snapshot import HostEntry, Snapshot
from ha_agent.instant import Instant

OWN = sorted(kind for kind in KINDS if KINDS[kind].own)


def picture(*hosts: tuple[int, bool, int]) -> Snapshot:
    """Each host: id, whether it lives, what it can; this one is host 2."""
    entries = tuple(
        HostEntry(id_, f"h{id_}", alive=alive, incidents=encode(Shared(can)) if can else "")
        for id_, alive, can in hosts
    )
    return Snapshot(1, 2, "h2", "vm", Instant(1.0), hosts=entries)


def lead(*hosts: tuple[int, bool, int], can: int = 2) -> object:
    snapshot = picture(*hosts)
    return leader(snapshot, peers(snapshot), can)


def test_the_lowest_live_host_that_can_leads() -> None:
    assert lead((1, True, 2), (2, True, 2), (3, True, 2)) == 1
    assert lead((1, False, 2), (2, True, 2), (3, True, 2)) == 2
    assert lead((1, True, 1), (2, True, 2), (3, True, 2)) == 2
    assert lead((1, True, 0), (2, True, 0), (3, True, 2), can=0) == 3
    assert lead((1, True, 0), (2, True, 0), can=0) is None


def test_a_host_that_others_take_for_dead_leaves_it_to_them() -> None:
    assert lead((2, False, 2), (3, True, 2)) == 3
    assert lead((2, False, 2), (3, False, 2)) == 2


def incident(kind: str = "engine-down", told_by: int = 0) -> Incident:
    told = (Told("mail", 2),) if told_by else ()
    return Incident("1-1", kind, kind, "", (), 1.0, 1.0, told=told, told_by=told_by)


@pytest.mark.parametrize(
    ("told_by", "first_lives", "lead", "fresh", "ours"),
    [
        (0, True, True, True, True),
        (0, True, False, True, False),
        (1, True, True, True, False),  # who told the opening tells the end
        (1, False, True, True, True),
        (2, True, False, True, True),
        (2, True, False, False, True),
        (0, True, True, False, False),  # who sees nobody tells nothing of the cluster
        (1, False, True, False, False),
    ],
)
def test_whose_it_is(told_by: int, first_lives: bool, lead: bool, fresh: bool, ours: bool) -> None:
    others = peers(picture((1, first_lives, 2), (2, True, 2)))
    assert is_ours(incident(told_by=told_by), 2, others, lead=lead, fresh=fresh) is ours


def test_a_host_that_is_cut_off_tells_of_itself() -> None:
    others = peers(picture((1, True, 2)))
    assert is_ours(incident("storage"), 2, others, lead=False, fresh=False)


def test_troubles_of_several_hosts_are_one() -> None:
    snapshot = picture((1, True, 0), (2, True, 0), (3, False, 0))
    line = encode(Shared(2, (("storage", "EIO"), ("penalty", "network"))))
    hosts = tuple(replace(host, incidents=line) for host in snapshot.hosts)
    others = peers(replace(snapshot, hosts=hosts))
    found = {one.kind: one for one in merged([Trouble("storage", "slow")], "h2", others, [])}
    assert found["storage"].hosts == ("h1", "h2")
    assert found["storage"].detail == "h1: EIO; h2: slow"
    # What a dead host said opens nothing, and keeps open what is.
    assert found["penalty"].hosts == ("h1",)
    found = {one.kind: one for one in merged([], "h2", others, ["storage"])}
    assert found["storage"].hosts == ("h1", "h3")


_shared = st.builds(
    Shared,
    st.sampled_from((0, 1, 2)),
    st.lists(st.tuples(st.sampled_from(OWN), st.text(max_size=300)), max_size=12).map(tuple),
    st.lists(
        st.tuples(
            st.text(max_size=40),
            st.from_regex(r"[0-9]{1,4}-[0-9]{1,10}", fullmatch=True),
            st.booleans(),
        ),
        max_size=20,
    ).map(tuple),
)


@given(_shared)
def test_the_line_fits_and_says_what_was_meant(shared: Shared) -> None:
    text = encode(shared)
    assert len(text.encode()) <= MAX_LINE_BYTES
    # As it comes back out of a status block, where '=' is ':'.
    again = decode(line_values("\n".join(key_value_lines({"incidents": text})))["incidents"])
    assert again.can == shared.can
    assert [kind for kind, _ in again.own] == [kind for kind, _ in shared.own[:8]][
        : len(again.own)
    ]
    ids = [id_ for _, id_, _ in again.told]
    assert ids == [id_ for _, id_, _ in shared.told][len(shared.told) - len(ids) :]


@given(
    st.one_of(st.text(), st.recursive(st.none() | st.integers() | st.text(), st.lists).map(repr))
)
def test_any_line_is_read(text: str) -> None:
    assert isinstance(decode(text), Shared)


@pytest.mark.parametrize(
    "text",
    [
        '{"can":3,"own":[["engine-down","x"],["storage"],"storage"],"told":[["k","no id",0]]}',
        '{"can":true,"own":{},"told":7}',
        "[]",
        "[" * 5000,
    ],
)
def test_what_makes_no_sense_is_left_out(text: str) -> None:
    assert decode(text).own == ()
    assert decode(text).told == ()
