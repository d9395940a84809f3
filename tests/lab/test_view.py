# SPDX-License-Identifier: Apache-2.0
"""When all hosts are well."""

from __future__ import annotations

import dataclasses

import pytest

from ha_agent.broker.snapshot import (
    DefinitionEntry,
    HostEntry,
    OtherEntry,
    Report,
    Snapshot,
    StorageEntry,
)
from ha_agent.instant import Instant
from lab.view import NotSo, troubles, wait_for

NAMES = {1: "host1", 2: "host2", 3: "host3"}


def picture(number: int, state: str) -> Snapshot:
    hosts = tuple(HostEntry(n, NAMES[n], alive=True, score=3400) for n in NAMES)
    others = tuple(OtherEntry(n, able=True) for n in NAMES if n != number)
    return Snapshot(
        version=1,
        host_id=number,
        host_name=NAMES[number],
        vm_uuid="",
        made_at=Instant(0.0),
        hosts=hosts,
        definition=DefinitionEntry(available=True),
        agent=Report(state=state, others=others),
    )


def all_well() -> dict[int, Snapshot]:
    return {
        1: picture(1, "EngineUp"),
        2: picture(2, "EngineDown"),
        3: picture(3, "EngineDown"),
    }


def test_well_is_well() -> None:
    assert troubles(all_well(), NAMES, "host1") == []


def test_a_broker_that_does_not_answer_is_told() -> None:
    assert troubles({**all_well(), 2: None}, NAMES, "host1") == [
        "the broker of host2 does not answer"
    ]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"agent": Report(state="LocalMaintenance")}, "host2 is in LocalMaintenance"),
        ({"storage": StorageEntry(problem="gone")}, "host2 has a storage problem: gone"),
        ({"storage": StorageEntry(workers_stuck=1)}, "host2 has a storage problem"),
        ({"definition": DefinitionEntry()}, "host2 has no current definition"),
        ({"hosts": (HostEntry(1, alive=True, score=3400),)}, "host2 does not see host3 live"),
    ],
)
def test_what_is_not_well_is_told(changes: dict[str, object], words: str) -> None:
    pictures = all_well()
    pictures[2] = dataclasses.replace(pictures[2], **changes)  # type: ignore[arg-type]
    (problem,) = troubles(pictures, NAMES, "host1")
    assert words in problem


def test_the_owner_has_to_know_the_others_as_able() -> None:
    pictures = all_well()
    pictures[1] = dataclasses.replace(pictures[1], agent=Report(state="EngineUp"))
    assert troubles(pictures, NAMES, "host1") == ["host1 does not see all others able"]


def test_a_wait_ends_with_what_is_missing() -> None:
    assert wait_for(lambda: 7, 0.0, "") == 7
    with pytest.raises(NotSo, match="nothing came"):
        wait_for(lambda: None, 0.0, "nothing came")
