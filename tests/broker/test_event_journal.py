# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import ast
from pathlib import Path

import pytest

from ha_agent.broker import event_journal, timeline
from ha_agent.broker.event_journal import IncidentJournal
from ha_agent.broker.incidents.incident import IncidentEntry
from ha_agent.broker.snapshot import EventEntry, LeaseEntry
from ha_agent.journal_messages import MESSAGES
from tests.journal_sink import journal

STORAGE = IncidentEntry(
    "1-5", "storage", "critical", "Storage is lost", "not readable", ("alpha",)
)
CLOCK = IncidentEntry("1-6", "clock", "warning", "The clock jumped")


def test_an_event_of_the_timeline_has_its_message_level_and_epoch() -> None:
    event = EventEntry("storage", "Shared storage is in trouble: x.", message="STORAGE_LOST")
    with journal() as sink:
        event_journal.tell(event, 7)
        event_journal.tell(
            EventEntry("lease", "x", values={"epoch": "8"}, message="TAKEN_OVER"), 7
        )
    assert sink.named("epoch") == [("STORAGE_LOST", "7"), ("TAKEN_OVER", "8")]
    assert [entry["PRIORITY"] for entry in sink.entries] == ["3", "4"]
    assert sink.entries[0]["MESSAGE"] == event.text


@pytest.mark.parametrize("name", ["", "OF_A_NEWER_VERSION"])
def test_an_event_without_a_message_is_not_for_the_journal(name: str) -> None:
    with journal() as sink:
        event_journal.tell(EventEntry("state", "x", message=name), 7)
    assert sink.entries == []


def test_all_names_in_the_timeline_are_messages() -> None:
    tree = ast.parse(Path(timeline.__file__).read_text())
    words = {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    names = {word for word in words if word.isupper() and "_" in word}
    assert len(names) > 15
    assert names <= {*MESSAGES}


def test_the_leases_epoch_is_on_all_that_follows() -> None:
    with journal() as sink:
        event_journal.tell_lease(LeaseEntry("held", host_id=2, host_name="beta", epoch=9))
        event_journal.tell(EventEntry("host", "x", message="PEER_BACK"), 9)
    assert sink.entries[0]["MESSAGE"] == "lease held by beta (id 2), epoch 9"
    assert [entry["HA_EPOCH"] for entry in sink.entries] == ["9", "9"]


def test_incidents_open_once_and_close_and_are_on_what_is_said_meanwhile() -> None:
    kept = IncidentJournal()
    with journal() as sink:
        kept.take([STORAGE])
        kept.take([STORAGE])
        event_journal.tell(EventEntry("host", "x", message="PEER_BACK"), 1)
        kept.take([STORAGE, CLOCK])
        kept.take([CLOCK])
        kept.take([])
        event_journal.tell(EventEntry("host", "x", message="PEER_BACK"), 1)
    assert sink.named("incident", "kind") == [
        ("INCIDENT_OPENED", "1-5", "storage"),
        ("PEER_BACK", "1-5", ""),
        ("CLOCK_JUMPED", "1-6", "clock"),
        ("INCIDENT_CLOSED", "1-5", "storage"),
        ("INCIDENT_CLOSED", "1-6", "clock"),
        ("PEER_BACK", "", ""),
    ]
    assert sink.entries[0]["MESSAGE"] == "incident 1-5: Storage is lost: not readable"


def test_another_hosts_number_for_the_same_incident_is_no_new_one() -> None:
    kept = IncidentJournal()
    with journal() as sink:
        kept.take([STORAGE])
        kept.take([IncidentEntry("2-9", "storage", "critical", "Storage is lost", "", ("alpha",))])
        event_journal.tell(EventEntry("host", "x", message="PEER_BACK"), 1)
    assert sink.named("incident") == [("INCIDENT_OPENED", "1-5"), ("PEER_BACK", "2-9")]
