# SPDX-License-Identifier: Apache-2.0
"""The forms of a message."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha_agent.broker.incidents.book import Incident
from ha_agent.broker.incidents.text import Texts
from ha_agent.broker.notify.message import MAX_TEXT_CHARACTERS, Notice, mail, notice
from ha_agent.errors import BadInput
from ha_agent.instant import WallTime

TEXTS = Texts(Path("/nonexistent"), "vm", "alpha")
VM = "35aecb25-6470-45d0-b1fb-c4a1b0f2a0a1"
WALL = WallTime(1_700_000_300.0)


def incident(number: int = 1, kind: str = "engine-down", **more: object) -> Incident:
    values: dict[str, object] = {
        "id": f"1-{1_700_000_000 + number}",
        "key": kind,
        "kind": kind,
        "detail": "nobody has it",
        "hosts": ("alpha",),
        "opened_unix_seconds": 1_700_000_000.0,
        "changed_unix_seconds": 1_700_000_000.0,
    }
    return Incident(**{**values, **more})  # type: ignore[arg-type]


def made(*incidents: Incident, told_step: int = 0) -> Notice:
    items = [TEXTS.item(one, told_step) for one in incidents]
    return notice(items, sender="alpha", vm_uuid=VM, wall=WALL, notes=("A note.",))


def test_the_end_points_to_the_beginning() -> None:
    opened = made(incident())
    closed = made(incident(closed_unix_seconds=1_700_000_240.0), told_step=2)
    assert opened.references == ()
    assert closed.references == (opened.message_id,)
    assert closed.message_id != opened.message_id
    assert "Resolved after 4 min 0 s." in closed.body["text"]
    sent = mail(closed, mail_from="a@example.org", mail_to=["b@example.org"])
    assert sent["In-Reply-To"] == opened.message_id
    assert f"\r\nIn-Reply-To: {opened.message_id}\r\n".encode() in sent.as_bytes()


def test_a_digest_has_all_and_the_worst_as_its_subject() -> None:
    one = made(incident(1, "penalty"), incident(2), incident(3, "certificate"))
    assert one.body["subject"] == "[hosted engine] critical: The engine VM is down (and 2 more)"
    assert [row["kind"] for row in one.body["incidents"]] == [
        "penalty",
        "engine-down",
        "certificate",
    ]
    assert one.body["text"].count("What you should do") == 3
    assert "A note." in one.body["text"]


def test_what_was_over_before_it_was_told_is_told_as_that() -> None:
    one = made(incident(closed_unix_seconds=1_700_000_240.0))
    assert one.body["incidents"][0]["state"] == "closed"
    assert "Resolved already" in one.body["text"]
    assert "What happened" in one.body["text"]


def test_a_message_has_a_limit() -> None:
    one = made(*(incident(n, detail="x" * 10_000) for n in range(30)))
    assert len(one.body["text"]) == MAX_TEXT_CHARACTERS


@given(st.text(), st.text(), st.text())
def test_no_text_makes_a_header(detail: str, host: str, id_: str) -> None:
    """Whatever other hosts, storage or files say."""
    one = made(incident(kind="penalty", detail=detail, hosts=(host,), id=id_))
    sent = mail(one, mail_from="a@example.org", mail_to=["b@example.org"])
    data = sent.as_bytes()
    head = data.split(b"\r\n\r\n", 1)[0]
    names = [line.split(b":")[0] for line in head.split(b"\r\n") if line[:1] not in b" \t"]
    assert len(names) == len(set(names))
    assert set(names) <= {
        *(b"From", b"To", b"Subject", b"Date", b"Message-ID", b"Auto-Submitted"),
        *(b"X-Auto-Response-Suppress", b"Content-Type", b"Content-Transfer-Encoding"),
        b"MIME-Version",
    }


def test_an_address_that_is_none() -> None:
    with pytest.raises(BadInput, match="no mail"):
        mail(made(incident()), mail_from="a@b\r\nBcc: c", mail_to=["b@example.org"])


def test_a_test_says_first_that_it_is_one() -> None:
    one = notice((), sender="alpha", vm_uuid=VM, wall=WALL, notes=("A test.",), test=True)
    assert one.body["text"].startswith("A test.\n")
    assert one.body["subject"] == "[hosted engine] this is a test"
