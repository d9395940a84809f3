# SPDX-License-Identifier: Apache-2.0
"""The shared storage as bytes: lock file and status volume, in sectors of 512 bytes.

What hosts can do to it are the storage worker's operations (broker/storage/worker.py,
broker/lease/file.py), at one moment each; delays and failures on the way are lane.py's. It keeps
what a place held a while ago, for hosts whose plain reads are stale.

It may lose a confirmed write of a status block for a host, but never one of the lease: the
lease's promises rest on storage that keeps what it has confirmed under a lock, and no protocol
over storage could do without.
"""

from __future__ import annotations

import hashlib
from collections import deque
from typing import Any, Callable, Optional

from ha_agent.broker.lease.rules import BLOCK_SIZE_BYTES, encode, initial_record

SECTOR_BYTES = 512
SLOT_BYTES = 4096
STATUS_BYTES = 512
LEASE = -1
"""The lock file's record, where slots of the status volume are 0 and up."""
VM_LEASE = -2
"""The VM lease as sanlock has it; with its hosts' leases ("delta leases") at the places below."""
_EMPTY = bytes(SLOT_BYTES)
_VERSIONS_KEPT = 12
# Two lines for people stand in a block in the host's own time zone; the digest is every host's.
_LOCAL_TIME_ENDS = b"\nconf_on_shared_storage="


class SharedStorage:
    """Lock file and status volume. `now` is the true time."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._places: dict[int, bytes] = {LEASE: encode(initial_record())}
        self._past: dict[int, deque[tuple[float, bytes]]] = {}
        self._digest = hashlib.sha256()
        self.lock_holder: Optional[object] = None
        """Who holds the byte-range lock on the lease's record."""
        self.host_ids: dict[int, tuple[object, str, str]] = {}
        """Who holds each host id's lock: the worker, host name and instance it has written."""
        self.on_write: Callable[[int, int, bytes, bytes], None] = lambda *_: None
        """Called with host id, place, bytes before and after each write that landed."""

    @property
    def used_slots(self) -> list[int]:
        """The slots of the status volume that were ever written."""
        return sorted(place for place in self._places if place >= 0)

    def read(self, place: int) -> bytes:
        """Return what is there now."""
        return self._places.get(place, _EMPTY)

    def read_old(self, place: int, seconds_ago: float) -> bytes:
        """Return what was there so long ago, as far as that is known."""
        then = self._now() - seconds_ago
        for replaced_at, data in self._past.get(place, ()):
            if replaced_at > then:
                return data
        return self.read(place)

    def write(self, host_id: int, place: int, data: bytes) -> None:
        """Write one place, as a whole."""
        now, before = self._now(), self.read(place)
        if place not in self._past:
            self._past[place] = deque(maxlen=_VERSIONS_KEPT)
        self._past[place].append((now, before))
        self._places[place] = data
        told = data[:STATUS_BYTES]
        if place > 0:
            told += data[max(0, data.find(_LOCAL_TIME_ENDS)) :].rstrip(b"\0")
        self._digest.update(f"{now!r} {host_id} {place}\n".encode() + told)
        self.on_write(host_id, place, before, data)

    def write_sectors(self, host_id: int, place: int, data: bytes, sectors: list[bool]) -> None:
        """Write only these sectors of a place: a write that is torn."""
        before = self.read(place)
        pieces = [
            (data if landed else before)[at * SECTOR_BYTES : (at + 1) * SECTOR_BYTES]
            for at, landed in enumerate(sectors)
        ]
        self.write(host_id, place, b"".join(pieces))

    def digest(self) -> str:
        """Return a SHA-256 over all writes so far: who, when, where, what."""
        return self._digest.hexdigest()

    def start_with_lease(self, block: bytes) -> None:
        """Begin with this record in the lock file."""
        assert len(block) == BLOCK_SIZE_BYTES
        self._places[LEASE] = block

    def start_with_slot(self, slot: int, block: bytes) -> None:
        """Begin with this block in the status volume."""
        self._places[slot] = block

    def start_with_sanlock(self, vm_lease: bytes, deltas: dict[int, bytes]) -> None:
        """Begin with this VM lease, and with these hosts' leases by their host ids."""
        self._places[VM_LEASE] = vm_lease
        for host_id, block in deltas.items():
            self._places[delta_place(host_id)] = block


def delta_place(host_id: int) -> int:
    """Return where sanlock has a host's lease."""
    return -100 - host_id


def slot_entries(slots: dict[int, bytes]) -> dict[str, Any]:
    """Return the answer to read_slots and scan_slots."""
    return {
        "direct": True,
        "slots": [{"slot": slot, "data": data} for slot, data in slots.items()],
    }
