# SPDX-License-Identifier: Apache-2.0
"""One notification, and its forms: an e-mail, and the JSON for webhooks and programs.

    {"version": 1, "vm_uuid": "…", "sender": "alpha", "at_unix_seconds": 1700000000.0,
     "subject": "[hosted engine] critical: …", "text": "…", "test": false,
     "incidents": [{"id": "1-1700000000", "state": "opened", "kind": "engine-down",
                    "severity": "critical", "title": "…", "detail": "…", "hosts": ["alpha"],
                    "opened_unix_seconds": …, "closed_unix_seconds": null}]}

No text from outside can make a header: control characters are gone before, and EmailMessage
refuses line ends. A mail about the end of an incident, or a change, points to the first one
(References), whichever host sent that: a thread has one name, made of VM and incident.
"""

from __future__ import annotations

import email.policy
from collections.abc import Sequence
from dataclasses import dataclass
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import formatdate
from typing import Any

from ha_agent.broker.incidents.text import Item, one_line, subject
from ha_agent.errors import BadInput
from ha_agent.instant import WallTime

MAX_TEXT_CHARACTERS = 60_000
# An id that is longer than a line would be encoded, and then names no thread any more.
_POLICY = email.policy.SMTP.clone(max_line_length=900)
_RULE = "\n\n" + "-" * 72 + "\n\n"


@dataclass(frozen=True)
class Notice:
    """What is to be told, as plain values, which go to the worker as JSON."""

    body: dict[str, Any]
    message_id: str
    references: tuple[str, ...]


def notice(
    items: Sequence[Item],
    *,
    sender: str,
    vm_uuid: str,
    wall: WallTime,
    notes: Sequence[str] = (),
    test: bool = False,
) -> Notice:
    """Return the message of one or several incidents. `notes` are added at its end."""
    blocks = [f"{item.title}\n\n{item.text}" for item in items]
    foot = (
        *notes,
        f"Sent by ha-agent on {sender}. More: `ha-agent incidents` and `ha-agent explain` on any "
        "host of the hosted engine.",
    )
    text = _RULE.join((*blocks, "\n".join(foot))) + "\n"
    title = subject(items) if items else "[hosted engine] this is a test"
    body = {
        "version": 1,
        "vm_uuid": vm_uuid,
        "sender": sender,
        "at_unix_seconds": wall.unix_seconds,
        "subject": title,
        "text": text[:MAX_TEXT_CHARACTERS],
        "test": test,
        "incidents": [_values(item) for item in items],
    }
    roots = tuple(_thread(item.incident.id, vm_uuid) for item in items)
    fresh = [root for root, item in zip(roots, items) if item.state == "opened"]
    if len(items) == 1 and fresh:
        return Notice(body, fresh[0], ())
    own = f"<{int(wall.unix_seconds * 1000)}.{_safe(sender)}@{vm_uuid}.ha-agent.invalid>"
    return Notice(body, own, roots[-20:])


def mail(sent: Notice, *, mail_from: str, mail_to: Sequence[str]) -> EmailMessage:
    """Return the e-mail. Raises BadInput when an address can't be used."""
    message = EmailMessage(policy=_POLICY)
    body = sent.body
    try:
        message["From"] = _address(mail_from, "oVirt hosted engine")
        message["To"] = tuple(_address(one) for one in mail_to)
        message["Subject"] = one_line(str(body["subject"]), 200)
        message["Date"] = formatdate(float(body["at_unix_seconds"]), localtime=True)
        message["Message-ID"] = one_line(sent.message_id, 250)
        if sent.references:
            message["In-Reply-To"] = one_line(sent.references[0], 250)
            message["References"] = " ".join(one_line(one, 250) for one in sent.references)
        # Answers of holiday messages and lists help nobody here.
        message["Auto-Submitted"] = "auto-generated"
        message["X-Auto-Response-Suppress"] = "All"
        message.set_content(_plain(str(body["text"])))
    except (ValueError, IndexError) as error:
        raise BadInput(f"no mail can be made: {error}", where="notify") from None
    return message


def _address(text: str, name: str = "") -> Address:
    return Address(display_name=name, addr_spec=text)


def _plain(text: str) -> str:
    return "".join(c if c.isprintable() or c == "\n" else " " for c in text)


def _thread(incident_id: str, vm_uuid: str) -> str:
    return f"<{_safe(incident_id)}@{vm_uuid}.ha-agent.invalid>"


def _safe(text: str) -> str:
    safe = "".join(c if c.isascii() and (c.isalnum() or c in ".-_") else "_" for c in text)
    return safe[:100] or "_"


def _values(item: Item) -> dict[str, Any]:
    one = item.incident
    return {
        "id": one.id,
        "state": item.state,
        "kind": one.kind,
        "severity": one.severity,
        "title": item.title,
        "detail": one_line(one.detail, 2000),
        "hosts": list(one.hosts),
        "opened_unix_seconds": one.opened_unix_seconds,
        "closed_unix_seconds": one.closed_unix_seconds,
    }
