# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from ha_agent.broker.lease.rules import decode, encode, initial_record
from ha_agent.sim.storage import LEASE, SharedStorage

A, B = b"a" * 4096, b"b" * 4096


def made(now: list[float]) -> SharedStorage:
    return SharedStorage(lambda: now[0])


def test_a_new_one_has_a_free_lease_and_empty_slots() -> None:
    storage = made([0.0])
    assert decode(storage.read(LEASE)) == initial_record()
    assert storage.read(7) == bytes(4096)
    assert storage.used_slots == []


def test_writes_are_told_with_what_they_replace() -> None:
    storage = made([0.0])
    told: list[tuple[int, int, bytes, bytes]] = []
    storage.on_write = lambda *write: told.append(write)
    storage.write(3, 3, A)
    storage.write(3, 3, B)
    assert told == [(3, 3, bytes(4096), A), (3, 3, A, B)]


def test_the_past_can_be_read() -> None:
    now = [10.0]
    storage = made(now)
    storage.write(1, 1, A)
    now[0] = 20.0
    storage.write(1, 1, B)
    now[0] = 21.0
    assert storage.read_old(1, 0.5) == B
    assert storage.read_old(1, 5.0) == A
    assert storage.read_old(1, 15.0) == bytes(4096)
    assert storage.read_old(2, 15.0) == bytes(4096)


def test_a_torn_write_lands_by_sectors() -> None:
    storage = made([0.0])
    storage.write(1, 1, A)
    storage.write_sectors(1, 1, B, [True, False, True] + [False] * 5)
    assert storage.read(1) == b"b" * 512 + b"a" * 512 + b"b" * 512 + b"a" * 2560


def test_the_digest_tells_who_wrote_what_when() -> None:
    def digest(host_id: int, at: float, data: bytes) -> str:
        storage = made([at])
        storage.write(host_id, 1, data)
        return storage.digest()

    digests = {digest(1, 0.0, A), digest(2, 0.0, A), digest(1, 1.0, A), digest(1, 0.0, B)}
    assert len(digests) == 4
    assert digest(1, 0.0, A) in digests


def test_the_digest_does_not_know_the_time_zone() -> None:
    def digest(zone: str) -> str:
        storage = made([0.0])
        lines = f"timestamp=5 (Tue {zone})\nconf_on_shared_storage=True\nstate=EngineUp\n"
        storage.write(1, 1, (b"1|1|5".ljust(512, b"\0") + lines.encode()).ljust(4096, b"\0"))
        return storage.digest()

    assert digest("12:00") == digest("21:00")


def test_a_simulation_may_begin_with_a_lease() -> None:
    storage = made([0.0])
    record = initial_record("before")
    storage.start_with_lease(encode(record))
    assert decode(storage.read(LEASE)) == record
