# SPDX-License-Identifier: Apache-2.0
"""A slot compared and written under the lock; tests/setup/join/test_host_register.py has more."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from ha_agent.broker.blocks.register_ops import OPERATIONS, swap_slot
from ha_agent.errors import BadInput, DeadlineExceeded
from ha_agent.ofd_lock import try_lock

ZEROS = bytes(4096)


def block(text: str) -> bytes:
    return text.encode().ljust(4096, b"\0")


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    path = tmp_path / "status"
    path.write_bytes(bytes(8 * 4096))
    return path


def swap(volume: Path, slot: int, expected: bytes, data: bytes) -> bool:
    lock = str(volume.with_name("ha_agent") / "vm.hosts")
    return bool(swap_slot(str(volume), slot, expected, data, lock, 5.0)["done"])


def test_only_what_was_judged_is_replaced(volume: Path) -> None:
    assert swap(volume, 3, ZEROS, block("mine"))
    assert not swap(volume, 3, ZEROS, block("theirs"))
    assert swap(volume, 3, ZEROS, block("mine"))  # it has been written already
    assert swap(volume, 3, block("mine"), ZEROS)
    assert volume.read_bytes() == bytes(8 * 4096)


def test_a_slot_past_the_end_of_the_file(volume: Path) -> None:
    assert swap(volume, 20, ZEROS, block("mine"))
    assert volume.read_bytes()[20 * 4096 :] == block("mine")


def test_without_a_lock_file(volume: Path) -> None:
    assert swap_slot(str(volume), 1, ZEROS, block("x"), "", 1.0)["done"]
    assert os.listdir(volume.parent) == ["status"]


def test_of_many_threads_one_writes(volume: Path) -> None:
    done: list[int] = []

    def run(number: int) -> None:
        if swap(volume, 2, ZEROS, block(f"host {number}")):
            done.append(number)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(done) == 1
    assert volume.read_bytes()[2 * 4096 :][:4096] == block(f"host {done[0]}")


def test_the_lock_is_waited_for_with_a_deadline(volume: Path) -> None:
    lock = volume.with_name("vm.hosts")
    with lock.open("wb") as held:
        assert try_lock(held.fileno(), 0, 1)
        with pytest.raises(DeadlineExceeded, match="another host joins"):
            swap_slot(str(volume), 1, ZEROS, block("x"), str(lock), 0.02)
    assert swap_slot(str(volume), 1, ZEROS, block("x"), str(lock), 0.02)["done"]


@pytest.mark.parametrize(("slot", "data"), [(0, ZEROS), (2001, ZEROS), (1, b"short")])
def test_what_can_not_be_a_slot(volume: Path, slot: int, data: bytes) -> None:
    with pytest.raises(BadInput):
        swap_slot(str(volume), slot, ZEROS, data, "", 1.0)


def test_the_worker_knows_it() -> None:
    assert OPERATIONS["swap_slot"] is swap_slot
