# SPDX-License-Identifier: Apache-2.0
"""What the picture says of the engine's push and of certificates, as values. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

WARN_DAYS = (30, 7, 1)
"""A certificate that ends within so many days is warned of, once for each."""
_DAY_SECONDS = 86400.0


@dataclass(frozen=True)
class CertificateEntry:
    """One certificate in a file that this host depends on, or that a peer showed.

    `role` says whose it is: "push", "push CA", "vdsm", "vdsm CA", or of a peer that showed it,
    "engine" or "vdsm server"; `path` is empty for those two. `problem` is why
    the file can't be read; the rest is empty then. `warning_days` is the smallest of WARN_DAYS
    within which it ends, 0 when it has ended, and -1 when there is more time than that.
    """

    role: str
    path: str = ""
    subject: str = ""
    not_before_unix_seconds: float = 0.0
    not_after_unix_seconds: float = 0.0
    warning_days: int = -1
    problem: str = ""


@dataclass(frozen=True)
class PushCounters:
    """What the listener has met since the broker began. Every one is a number of connections,
    but those from `calls` on, which are calls."""

    accepted: int = 0
    unknown_ca: int = 0
    certificate_expired: int = 0
    no_certificate: int = 0
    wrong_subject: int = 0
    bad_handshake: int = 0
    plain_text: int = 0
    handshake_deadline: int = 0
    too_many: int = 0
    bad_message: int = 0
    calls: int = 0
    puts: int = 0
    refreshes: int = 0
    old_version: int = 0
    too_large: int = 0
    refused: int = 0


@dataclass(frozen=True)
class PushEntry:
    """The TLS listener. `state`: off, listening, or waiting with `problem` saying for what.

    `problem` of a listening one: a new certificate can't be used, so the one before still is.
    `last_peer` is who was let in last.
    """

    state: str = "off"
    address: str = ""
    problem: str = ""
    connections: int = 0
    last_peer: str = ""
    last_at_unix_seconds: float = 0.0
    counters: PushCounters = field(default_factory=PushCounters)


def warning_days(left_seconds: float) -> int:
    """Return CertificateEntry.warning_days for so much time left."""
    if left_seconds <= 0:
        return 0
    near = [days for days in WARN_DAYS if left_seconds <= days * _DAY_SECONDS]
    return min(near, default=-1)


def expiry_text(entry: CertificateEntry, until: str) -> str:
    """Return what a person is to know of a certificate's end, `until`, as a sentence without its
    full stop; "" for nothing."""
    where = f"{entry.role} certificate{f' in {entry.path}' if entry.path else ''}"
    if entry.problem:
        return f"The {where} can't be read: {entry.problem}"
    if entry.warning_days < 0:
        return ""
    if entry.warning_days == 0:
        return f"The {where} ({entry.subject}) has expired, at {until}"
    noun = "day" if entry.warning_days == 1 else "days"
    return (
        f"The {where} ({entry.subject}) expires within {entry.warning_days} {noun}, at {until}:"
        " let the engine renew this host's certificates (Enroll Certificate)"
    )
