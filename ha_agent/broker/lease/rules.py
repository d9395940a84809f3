# SPDX-License-Identifier: Apache-2.0
"""The ownership lease: its times, its record on disk, and how others judge it. Pure.

Nothing here reads a clock or a file: Instants and records come in, judgements go out.

The timeline of a host's death
------------------------------
Seconds since the owner's last renewal that succeeded began, with the default times:

    0   the owner reads its clock (T), then sends the renewal
    0+  the renewal is on disk; the owner rewrites its fence deadline: T + 11
    0.2 another host's read shows the new counter (lease/rhythm.py); it reads its clock when
        the reply is in (R, never before T) and counts from there
    3   the next renewal was due                              renew_interval_seconds
    7   a renewal that hung would have been given up          renew_interval + renew_deadline
    9   the third renewal in a row was due                    3 * renew_interval
    11  fence: the owner's host ends its VM                   fence_after_seconds
    15  R + 15 passes at the others; a read that is *sent*    lease_expiry_seconds
        after it and still shows the same record proves that the lease has expired
    16  the best host has long taken it, about 0.2 s after    takeover_step_seconds
        R + 15; each next host in rank waits one step longer,
        so that they don't all try at once

Why it is safe:
- The owner counts from before it sent (T), everybody else from after they received (R). The
  record can't be read before it was written, so T <= R whatever storage delays: the owner's
  11 s always end before anybody's 15 s, by the fence margin.
- The margin covers what is not exact: the guard looks every 0.25 s, killing takes time, and
  two hosts' clocks drift apart (4 s in 15 s is far more than crystals do). No host's clock
  is ever compared with another's.
- A late or failed read proves nothing: only an old sight of the record *and* a fresh one do.
- Judging is not taking. A take is a compare and write under a byte-range lock against exactly
  the record that was judged, so a renewal that lands in between makes the take fail.
- 3 * renew_interval < fence_after: two renewals may fail before a healthy VM is ended.
- renew_interval + renew_deadline < fence_after: one that hangs leaves time for another.
- Clocks are CLOCK_BOOTTIME: a host that was suspended finds its deadline passed.

The record on disk
------------------
One block of 4096 bytes at offset 0 of the lock file, written by a single write, readable with
`cat`: UTF-8 lines, then NUL bytes to the end.

    ha-agent-lease 1        format version
    state: held             held or free
    host_id: 2              who holds it, or who released it; 0 = nobody yet
    host_name: alpha.example
    instance: <uuid>        one per boot and run folder of a broker (identity.py)
    vm_uuid: <uuid>
    epoch: 7                raised by each take, never by a renewal
    counter: 1234           raised by every write, never set back
    note: taken: free       why it was last taken or released
    crc32: 89abcdef         of all bytes before this line

A block of zeros is a lock file that nobody has initialised. It, and anything else that does
not decode to the last bit, is never taken for free.

Offset 4096 * host_id of the same file may hold a block that says who uses that host id; only
lease/file.py reads it, for the text of an error.
"""

from __future__ import annotations

import dataclasses
import functools
import zlib
from dataclasses import dataclass
from typing import Optional

from ha_agent.errors import BadInput
from ha_agent.instant import Instant

BLOCK_SIZE_BYTES = 4096
FORMAT_VERSION = 1
GUARD_POLL_SECONDS = 0.25

HELD = "held"
FREE = "free"

_MAGIC = "ha-agent-lease"
_KEYS = ("state", "host_id", "host_name", "instance", "vm_uuid", "epoch", "counter", "note")
_TEXT_MAX_CHARS = 255
_NUMBER_MAX = 2**63 - 1


class LeaseFormatError(BadInput):
    """The block is not a lease record of our format. Never retried as if it were free."""


class LeaseNotInitialised(LeaseFormatError):
    """The block is all zeros: nobody has initialised this lock file."""


@dataclass(frozen=True)
class LeaseTimes:
    """The lease's times in seconds; the module docstring says how they relate and why."""

    renew_interval_seconds: float = 3.0
    lease_expiry_seconds: float = 15.0
    fence_margin_seconds: float = 4.0
    takeover_step_seconds: float = 1.0
    renew_deadline_seconds: float = 4.0

    @property
    def fence_after_seconds(self) -> float:
        """How long after the start of its last good renewal the owner's VM is ended."""
        return self.lease_expiry_seconds - self.fence_margin_seconds

    def faults(self) -> list[str]:
        """Return what is wrong with these times, a sentence each; empty when they are safe."""
        faults = [
            f"{field.name} must be more than 0"
            for field in dataclasses.fields(self)
            if not getattr(self, field.name) > 0
        ]
        if not self.fence_after_seconds < self.lease_expiry_seconds:
            faults.append("fence_margin_seconds must leave the fence before lease_expiry_seconds")
        if not self.fence_margin_seconds >= 2 * GUARD_POLL_SECONDS:
            faults.append(
                f"fence_margin_seconds must be at least {2 * GUARD_POLL_SECONDS:g}: the guard"
                f" looks every {GUARD_POLL_SECONDS:g} s"
            )
        if not 3 * self.renew_interval_seconds < self.fence_after_seconds:
            faults.append(
                f"3 * renew_interval_seconds ({3 * self.renew_interval_seconds:g}) must be less"
                f" than lease_expiry_seconds - fence_margin_seconds"
                f" ({self.fence_after_seconds:g})"
            )
        if not self.renew_interval_seconds + self.renew_deadline_seconds < (
            self.fence_after_seconds
        ):
            faults.append(
                "renew_interval_seconds + renew_deadline_seconds must be less than"
                f" lease_expiry_seconds - fence_margin_seconds ({self.fence_after_seconds:g})"
            )
        return faults


@dataclass(frozen=True)
class LeaseIdentity:
    """Who a broker is in the lease: `instance` is one boot's run folder of one broker."""

    host_id: int
    host_name: str
    instance: str
    vm_uuid: str


@dataclass(frozen=True)
class LeaseRecord:
    """What the lock file says. Equal records are the same write: `counter` is never reused."""

    state: str
    host_id: int
    host_name: str
    instance: str
    vm_uuid: str
    epoch: int
    counter: int
    note: str

    @property
    def order(self) -> tuple[int, int]:
        """Later writes compare greater, as long as storage does not lose any."""
        return self.epoch, self.counter

    def held_by(self, identity: LeaseIdentity) -> bool:
        """Whether this very broker (this boot, this run folder) wrote it as its own."""
        return self.state == HELD and self.instance == identity.instance

    def adoptable_by(self, identity: LeaseIdentity, given_up_epoch: int) -> bool:
        """Whether that broker wrote it for its VM, and has not given up that epoch since."""
        same_vm = self.vm_uuid == identity.vm_uuid
        return self.held_by(identity) and same_vm and self.epoch > given_up_epoch

    def renewed(self) -> LeaseRecord:
        """Return the record of the owner's next renewal."""
        return dataclasses.replace(self, counter=self.counter + 1)

    def taken(self, identity: LeaseIdentity, after_epoch: int, note: str) -> LeaseRecord:
        """Return the record that takes the lease; its epoch is above all that were seen."""
        return LeaseRecord(
            state=HELD,
            host_id=identity.host_id,
            host_name=identity.host_name,
            instance=identity.instance,
            vm_uuid=identity.vm_uuid,
            epoch=max(self.epoch, after_epoch) + 1,
            counter=self.counter + 1,
            note=clean_note(note),
        )

    def released(self, note: str) -> LeaseRecord:
        """Return the record that gives the lease up; it keeps who held it last."""
        return dataclasses.replace(
            self, state=FREE, counter=self.counter + 1, note=clean_note(note)
        )


def initial_record(note: str = "initialised") -> LeaseRecord:
    """Return the free record of a new lock file."""
    return LeaseRecord(FREE, 0, "", "", "", 0, 0, clean_note(note))


def clean_note(note: str) -> str:
    """Make any text fit the one line that a record has for it."""
    if not note.isprintable():
        note = "".join(c if c.isprintable() else " " for c in note)
    return note.strip()[:_TEXT_MAX_CHARS]


def encode(record: LeaseRecord) -> bytes:
    """Return the record's block of 4096 bytes. BadInput names a field that does not fit."""
    values = vars(record)
    _check(values, "lease record")
    lines = [f"{_MAGIC} {FORMAT_VERSION}"]
    lines.extend(f"{key}: {values[key]}".rstrip() for key in _KEYS)
    body = ("\n".join(lines) + "\n").encode()
    block = body + f"crc32: {zlib.crc32(body):08x}\n".encode()
    return block.ljust(BLOCK_SIZE_BYTES, b"\0")


@functools.lru_cache(maxsize=16)  # nearly every look finds what the last one found
def decode(block: bytes, where: str = "lock file") -> LeaseRecord:
    """Read one block of 4096 bytes.

    Raises LeaseNotInitialised for zeros, and LeaseFormatError that names what is wrong for
    everything that `encode` would not have written.
    """
    if len(block) != BLOCK_SIZE_BYTES:
        raise LeaseFormatError(
            f"{len(block)} bytes in place of a block of {BLOCK_SIZE_BYTES}", where=where
        )
    if not block.strip(b"\0"):
        raise LeaseNotInitialised(
            "all zeros: this lock file has never been initialised", where=where
        )
    text, _, padding = block.partition(b"\0")
    version = text.split(b"\n", 1)[0].split(b" ")
    if version[0] != _MAGIC.encode() or len(version) != 2:
        raise LeaseFormatError(f"not a lease record: it begins {block[:16]!r}", where=where)
    if version[1] != str(FORMAT_VERSION).encode():
        raise LeaseFormatError(
            f"lease format version {version[1][:16]!r}; this program reads {FORMAT_VERSION}",
            where=where,
        )
    crc_at = text.rfind(b"\ncrc32: ") + 1
    if not crc_at:
        raise LeaseFormatError("no crc32 line", where=where)
    if text[crc_at:] != f"crc32: {zlib.crc32(text[:crc_at]):08x}\n".encode():
        raise LeaseFormatError("crc32 does not match: damaged or torn", where=where, offset=crc_at)
    if padding.strip(b"\0"):
        raise LeaseFormatError("bytes after the end of the record", where=where)
    return _record_of(text[:crc_at], where)


def _record_of(body: bytes, where: str) -> LeaseRecord:
    try:
        lines = body.decode().split("\n")[1:-1]
    except UnicodeDecodeError as error:
        raise LeaseFormatError("not UTF-8", where=where, offset=error.start) from None
    if len(lines) != len(_KEYS):
        raise LeaseFormatError(f"{len(lines)} fields in place of {len(_KEYS)}", where=where)
    values: dict[str, object] = {}
    for key, line in zip(_KEYS, lines):
        name, _, value = line.partition(":")
        if name != key:
            raise LeaseFormatError(f"field {name[:32]!r} where {key!r} belongs", where=where)
        values[key] = value[1:]
    for key in ("host_id", "epoch", "counter"):
        digits = str(values[key])
        if not (digits.isascii() and digits.isdigit() and len(digits) <= 19):
            raise LeaseFormatError(f"{key} is not a number: {digits[:32]!r}", where=where)
        values[key] = int(digits)
    _check(values, where)
    record = LeaseRecord(**values)  # type: ignore[arg-type]  # _check has looked at each
    if encode(record).rstrip(b"\0").rsplit(b"crc32", 1)[0] != body:
        raise LeaseFormatError("not written as this program writes it", where=where)
    return record


def _check(values: dict[str, object], where: str) -> None:
    if values["state"] not in (HELD, FREE):
        raise LeaseFormatError(f"unknown state {values['state']!r}", where=where)
    for key in ("host_id", "epoch", "counter"):
        number = values[key]
        if not isinstance(number, int) or not 0 <= number <= _NUMBER_MAX:
            raise LeaseFormatError(f"{key} out of range: {number!r}", where=where)
    for key in ("host_name", "instance", "vm_uuid", "note"):
        text = values[key]
        if not isinstance(text, str) or len(text) > _TEXT_MAX_CHARS or text != clean_note(text):
            raise LeaseFormatError(f"{key} does not fit one line: {text!r:.80}", where=where)
    if values["state"] == HELD and not (values["host_id"] and values["instance"]):
        raise LeaseFormatError("held, but by nobody", where=where)


@dataclass(frozen=True)
class Judgement:
    """What an observer may say of the lease now.

    `state` is unknown (nothing read yet), unreadable, free, held or expired; `record` is None
    for the first two. `expires_at` is when the wait for this record ends: a read sent after it
    must still show the record before the state becomes expired. `since` is when the record
    was first seen. `reason` says why, in words, where it is not plain.
    """

    state: str
    record: Optional[LeaseRecord] = None
    since: Optional[Instant] = None
    expires_at: Optional[Instant] = None
    reason: str = ""


class LeaseObserver:
    """Judges the lease by what reads have shown, on this host's own clock.

    Tell it of every read that succeeded (`saw`) and of every block that did not decode
    (`saw_unreadable`); a read that failed or came too late is not told, as it proves nothing.
    """

    def __init__(self, times: LeaseTimes) -> None:
        self._times = times
        self._record: Optional[LeaseRecord] = None
        self._since: Optional[Instant] = None
        self._settled = False
        self._distrusted = False
        self._newest: Optional[LeaseRecord] = None
        self._unreadable = ""
        self._judged: Optional[Judgement] = None  # by the looks so far
        self.highest_epoch = 0

    def saw(self, record: LeaseRecord, sent: Instant, received: Instant) -> None:
        """Take in a record that was read.

        `sent` is an Instant from before the read was sent, `received` one from after its reply
        was in. A wait begins at `received` of the read that first showed the record (its write
        may have begun as late as that) and ends only by a read whose `sent` is past the end
        (an earlier one may show storage as it was before).
        """
        self._unreadable, self._judged = "", None
        if record == self._record and self._since is not None:
            if sent >= self._since + self._times.lease_expiry_seconds:
                self._settled = True
                # A record that went back and stayed for the whole wait is the new truth.
                self._distrusted = False
                self._newest = record
            return
        newest = self._newest
        self._distrusted = self._distrusted or (
            newest is not None and record != newest and record.order <= newest.order
        )
        if newest is None or record.order > newest.order:
            self._newest = record
        self._record, self._since, self._settled = record, received, False
        self.highest_epoch = max(self.highest_epoch, record.epoch)

    def saw_unreadable(self, reason: str) -> None:
        """Take in that the block did not decode; whatever is read next is waited for anew."""
        self._unreadable, self._judged = reason, None
        self._record, self._since, self._settled = None, None, False

    def judge(self) -> Judgement:
        """Say what the reads so far allow to be said."""
        if self._judged is None:
            self._judged = self._judge()
        return self._judged

    def _judge(self) -> Judgement:
        if self._unreadable:
            return Judgement("unreadable", reason=self._unreadable)
        record, since = self._record, self._since
        if record is None or since is None:
            return Judgement("unknown", reason="not read yet")
        expires_at = since + self._times.lease_expiry_seconds
        if self._distrusted:
            # Somebody who has seen the newer record may be running the VM: also a record
            # that says free must stand for the whole wait first.
            return Judgement(
                "held", record, since, expires_at, "epoch or counter went backwards on storage"
            )
        if record.state == FREE:
            return Judgement("free", record, since)
        if self._settled:
            return Judgement("expired", record, since, expires_at)
        return Judgement("held", record, since, expires_at)
