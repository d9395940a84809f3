# SPDX-License-Identifier: Apache-2.0
"""When a certificate is warned of, in which words, and the entries on the wire."""

from __future__ import annotations

import dataclasses

import pytest

from ha_agent.broker.push.entry import (
    CertificateEntry,
    PushCounters,
    PushEntry,
    expiry_text,
    warning_days,
)
from ha_agent.broker.snapshot import Snapshot, from_wire, to_wire
from ha_agent.instant import Instant

DAY = 86400.0


@pytest.mark.parametrize(
    ("days", "warned"),
    [(31, -1), (30, 30), (8, 30), (7, 7), (1.5, 7), (1, 1), (0.1, 1), (0, 0), (-400, 0)],
)
def test_thirty_seven_and_one_days_before_and_at_the_end(days: float, warned: int) -> None:
    assert warning_days(days * DAY) == warned


def test_the_words() -> None:
    good = CertificateEntry("vdsm", "/pki/cert.pem", "CN=h1", warning_days=-1)
    assert expiry_text(good, "then") == ""
    for days, words in ((7, "expires within 7 days, at then"), (1, "within 1 day, at then")):
        assert words in expiry_text(dataclasses.replace(good, warning_days=days), "then")
    over = dataclasses.replace(good, warning_days=0)
    assert expiry_text(over, "then") == (
        "The vdsm certificate in /pki/cert.pem (CN=h1) has expired, at then"
    )
    bad = CertificateEntry("vdsm", "/pki/cert.pem", problem="No such file")
    assert "can't be read: No such file" in expiry_text(bad, "then")
    peer = CertificateEntry("engine", subject="CN=e", warning_days=30)
    assert expiry_text(peer, "then").startswith("The engine certificate (CN=e) expires")


def test_they_come_back_from_the_wire() -> None:
    push = PushEntry("listening", "[::]:54324", counters=PushCounters(accepted=3))
    certificate = CertificateEntry("vdsm", "/x", "CN=h1", 1.0, 2.0, 7)
    snapshot = Snapshot(1, 1, "h1", "vm", Instant(5.0), push=push, certificates=(certificate,))
    assert from_wire(Snapshot, to_wire(snapshot), where="test") == snapshot
