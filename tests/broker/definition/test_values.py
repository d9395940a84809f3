# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Optional

import pytest

from demo.domain import engine_vm
from ha_agent.broker.definition.values import (
    Definition,
    Pending,
    definition_entry,
    is_read_from,
    is_way_back,
    read_definition,
    source_of,
    store_notes,
    was_written,
)
from ha_agent.broker.snapshot import DefinitionEntry
from ha_agent.errors import BadInput
from ha_agent.instant import WallTime
from ha_agent.ovfstore.approval import identity_of
from ha_agent.ovfstore.guard import Refusal
from ha_agent.ovfstore.locate import StoreCopy, format_description, order_copies
from ha_agent.ovfstore.ovf_build import build_ovf

DOMAIN, VM, IMAGE, VOLUME = (str(uuid.UUID(int=number)) for number in range(1, 5))
OVF = build_ovf(replace(engine_vm(DOMAIN, IMAGE, VOLUME, VM), memory_mib=1024, engine_xml=None))
SOFT = Refusal("too_big", "no host has so much memory", True)
HARD = Refusal("no_vm_lease", "its boot disk has no lease", False)


def read(document: bytes = OVF, vm_uuid: str = VM) -> Definition:
    return read_definition(
        document,
        "x.ovf",
        vm_uuid=vm_uuid,
        domain_uuid=DOMAIN,
        source="volume x",
        last_updated="then",
        accepted_at=WallTime(5.0),
    )


def test_a_document_is_read() -> None:
    definition = read()
    assert definition.identity == identity_of(OVF)
    assert (definition.vm.memory_mib, definition.how, definition.approved) == (1024, "read", ())
    assert VM in definition.domain.xml


@pytest.mark.parametrize(("document", "vm_uuid"), [(b"<ovf", VM), (OVF, DOMAIN)])
def test_what_can_not_be_started_is_bad_input(document: bytes, vm_uuid: str) -> None:
    with pytest.raises(BadInput, match=r"x\.ovf"):
        read(document, vm_uuid)


def entry(
    current: bool = True, pending: bool = False, store_problem: str = "", **changes: bool
) -> DefinitionEntry:
    waiting = Pending(replace(read(), identity="waiting"), (SOFT,), ("memory 1 -> 2 MiB",))
    return definition_entry(
        replace(read(), **changes) if current else None,  # type: ignore[arg-type]
        waiting if pending else None,
        version=3,
        store_problem=store_problem,
        history_problem="a full disk",
    )


def test_the_one_in_use_is_told() -> None:
    told = entry()
    assert (told.available, told.stale, told.problem, told.version) == (True, False, "", 3)
    assert (told.source, told.accepted_at_unix_seconds) == ("volume x", 5.0)
    assert told.history_problem == "a full disk"
    assert entry(is_from_history=True).source == "this host's history, version 3 (volume x)"


def test_the_store_makes_it_stale_and_the_guard_does_not() -> None:
    assert (entry(store_problem="away").stale, entry(store_problem="away").problem) == (
        True,
        "away",
    )
    told = entry(pending=True)
    assert told.stale is False
    assert "no host has so much memory" in told.problem
    both = entry(pending=True, store_problem="away")
    assert both.problem == f"away; {told.problem}"
    alone = entry(current=False, pending=True)
    assert (alone.available, alone.problem, alone.pending) == (False, told.problem, told.pending)


def test_what_waits_is_told_with_what_to_do() -> None:
    waiting = entry(pending=True).pending
    assert waiting is not None
    assert (waiting.identity, waiting.codes, waiting.may_force) == ("waiting", ("too_big",), True)
    assert waiting.differences == ("memory 1 -> 2 MiB",)
    assert waiting.advice == "to use it all the same: ha-agent ovf accept waiting --force"
    hard = Pending(read(), (SOFT, HARD), ())
    assert hard.may_force is False
    assert "--force" not in hard.advice
    for text in (SOFT.sentence, HARD.sentence, hard.advice):
        assert text in hard.problem


def test_long_lists_are_cut() -> None:
    pending = Pending(read(), (SOFT,), tuple("x" * 1000 for _ in range(100)))
    told = definition_entry(None, pending, version=0, store_problem="", history_problem="").pending
    assert told is not None
    assert [len(line) for line in told.differences] == [300] * 20


OLD, NEW, NEWER = (f"Sun Nov 22 05:16:{second} UTC 2026" for second in (23, 24, 25))


@pytest.mark.parametrize(
    ("ours", "theirs", "known", "back"),
    [
        (NEW, OLD, False, True),
        (NEW, NEWER, True, False),
        (NEW, NEW, False, False),
        (NEW, NEW, True, True),
        ("", OLD, False, False),
        ("", NEWER, True, True),
    ],
)
def test_a_way_back_is_to_what_is_older(ours: str, theirs: str, known: bool, back: bool) -> None:
    description = format_description(
        storage_domain_uuid=DOMAIN, updated=True, last_updated_text=theirs, size_bytes=1024
    )
    (ranked,) = order_copies([StoreCopy(IMAGE, VOLUME, description)])
    current = replace(read(), last_updated=ours)
    other = replace(read(), identity="another")
    same, before = {VOLUME: theirs}, {VOLUME: "another date"}
    for dates in (same, {}):
        assert is_way_back(current, other, ranked, known=known, dates=dates) is back
    assert not is_way_back(current, other, ranked, known=known, dates=before)
    assert not is_way_back(current, read(), ranked, known=known, dates=same)
    assert not is_way_back(None, other, ranked, known=known, dates=same)


def test_where_a_definition_was_read_from() -> None:
    description = format_description(
        storage_domain_uuid=DOMAIN, updated=True, last_updated_text=NEW, size_bytes=1024
    )
    (ranked,) = order_copies([StoreCopy(IMAGE, VOLUME, description)])
    current = replace(read(), source=source_of(ranked.copy), last_updated=NEW)
    assert is_read_from(current, ranked)
    assert not is_read_from(replace(current, last_updated=OLD), ranked)
    assert not is_read_from(read(), ranked)
    assert not is_read_from(None, ranked)


@pytest.mark.parametrize(
    ("date", "written"), [(None, False), (NEW, True)], ids=["never", "interrupted"]
)
def test_a_copy_that_was_never_written_hides_nothing(date: Optional[str], written: bool) -> None:
    description = format_description(
        storage_domain_uuid=DOMAIN, updated=False, last_updated_text=date
    )
    (ranked,) = order_copies([StoreCopy(IMAGE, VOLUME, description)])
    assert was_written(ranked) is written
    (damaged,) = order_copies([StoreCopy(IMAGE, VOLUME, "no JSON")])
    assert was_written(damaged)


def test_a_store_of_one_copy_is_noted() -> None:
    description = format_description(
        storage_domain_uuid=DOMAIN, updated=True, last_updated_text=NEW, size_bytes=1024
    )
    one, two = (StoreCopy(IMAGE, volume, description) for volume in (VOLUME, VM))
    assert store_notes(order_copies([one, two]), ()) == ()
    assert store_notes(order_copies([one, two]), ("x", "x")) == ("OVF_STORE: x",)
    assert "only one copy" in store_notes(order_copies([one]), ())[0]
