# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ha_agent.journal_socket import Entry, JournalSocket, encode, send_or_drop


def read_entry(data: bytes) -> dict[str, str]:
    """Read an entry as journald does, by the protocol's text."""
    entry = {}
    while data:
        line, _, rest = data.partition(b"\n")
        name, is_short, value = line.partition(b"=")
        if is_short:
            data = rest
        else:
            (length,) = struct.unpack("<Q", rest[:8])
            value, end, data = (
                rest[8 : 8 + length],
                rest[8 + length : 9 + length],
                rest[9 + length :],
            )
            assert end == b"\n"
        entry[name.decode()] = value.decode()
    return entry


class Journald:
    """The other end, which reads when it is told to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(30)

    def read(self) -> dict[str, str]:
        return read_entry(self.socket.recv(1 << 20))


def lost(count: int) -> Entry:
    return {"MESSAGE": f"{count} lost"}


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[Journald]:
    made = Journald(tmp_path / "journal")
    yield made
    made.socket.close()


def test_values_with_line_feeds_and_any_text_come_out_as_they_went_in() -> None:
    entry = {"MESSAGE": "two\nlines\n", "HA_A": "x=y", "HA_B": "", "HA_C": "ö\udce4"}
    assert read_entry(encode(entry)) == {**entry, "HA_C": "ö\\udce4"}


def test_long_values_are_cut_so_that_an_entry_fits_a_datagram(journald: Journald) -> None:
    entry = {"MESSAGE": "ö" * 300_000, **{f"HA_{n}": "x" * 10_000 for n in range(40)}}
    assert send_or_drop(entry, journald.path)
    got = journald.read()
    assert got["MESSAGE"] == "ö" * (32 * 1024) + " … (cut)"
    assert got["HA_7"] == "x" * 2048 + " … (cut)"


def test_a_journald_that_takes_nothing_is_never_waited_for(journald: Journald) -> None:
    sender = JournalSocket(lost, path=journald.path)
    for number in range(1000):  # the kernel takes ten to some hundreds
        sender.send({"MESSAGE": str(number)})
    assert [journald.read()["MESSAGE"] for _ in range(1000)] == [str(n) for n in range(1000)]
    sender.close()


_WITHOUT_THREADS = """
import resource, sys
from ha_agent.journal_socket import JournalSocket
sender = JournalSocket(lambda count: {"MESSAGE": "lost"}, path=sys.argv[1])
# The stack of a new thread is more than there is; root is not kept to a number of threads.
resource.setrlimit(resource.RLIMIT_AS, (300 << 20, 300 << 20))
import threading
threading.stack_size(600 << 20)
for number in range(1000):
    sender.send({"MESSAGE": str(number)})
print("sent")
sys.stdin.readline()
sender.send({"MESSAGE": "last"})
sender.close()
"""


def test_a_process_that_gets_no_thread_goes_on(journald: Journald) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _WITHOUT_THREADS, str(journald.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as sender:
        try:
            assert sender.stdout is not None
            assert sender.stdin is not None
            assert sender.stdout.readline() == "sent\n"
            taken = [journald.read()["MESSAGE"] for _ in range(5)]
            sender.stdin.write("\n")
            sender.stdin.flush()
            while taken[-1] != "last":
                taken.append(journald.read()["MESSAGE"])
        finally:
            sender.kill()
    assert taken == [*map(str, range(1000)), "last"]


def kernel_takes(journald: Journald) -> int:
    """Return how many entries fit into the socket's queue, and empty it."""
    count = 0
    while send_or_drop({"MESSAGE": "x"}, journald.path):
        count += 1
    for _ in range(count):
        journald.read()
    return count


def test_what_is_over_the_bound_is_lost_and_told(journald: Journald) -> None:
    room = kernel_takes(journald)
    size = len(encode({"MESSAGE": "0000"}))
    sender = JournalSocket(lost, path=journald.path, kept_bytes=10 * size)
    sent = [f"{number:04}" for number in range(room + 100)]
    for text in sent:
        sender.send({"MESSAGE": text})
    seen = [journald.read()["MESSAGE"] for _ in range(room + 11)]
    assert seen == [*sent[:room], "90 lost", *sent[-10:]]
    sender.close()


def test_close_waits_for_a_journald_that_takes_one_after_the_other(journald: Journald) -> None:
    sender = JournalSocket(lost, path=journald.path)
    for number in range(500):
        sender.send({"MESSAGE": str(number)})
    seen: list[str] = []
    reader = threading.Thread(
        target=lambda: seen.extend(journald.read()["MESSAGE"] for _ in range(500))
    )
    reader.start()
    sender.close()
    reader.join(30)
    assert seen == [str(number) for number in range(500)]


def test_a_socket_that_is_made_anew_gets_what_came_meanwhile(tmp_path: Path) -> None:
    first = Journald(tmp_path / "journal")
    sender = JournalSocket(lost, path=first.path)
    first.socket.close()
    first.path.unlink()
    sender.send({"MESSAGE": "meanwhile"})
    second = Journald(first.path)
    assert second.read() == {"MESSAGE": "meanwhile"}
    sender.send({"MESSAGE": "later"})
    assert second.read() == {"MESSAGE": "later"}
    sender.close()
    second.socket.close()


def test_close_gives_the_last_ones_a_chance(journald: Journald) -> None:
    sender = JournalSocket(lost, path=journald.path)
    journald.path.rename(journald.path.with_name("away"))
    sender.send({"MESSAGE": "last words"})
    journald.path.with_name("away").rename(journald.path)
    sender.close()
    assert journald.read() == {"MESSAGE": "last words"}
    sender.send({"MESSAGE": "too late"})  # no exception


def test_one_shot_tells_whether_it_was_taken(tmp_path: Path, journald: Journald) -> None:
    assert not send_or_drop({"MESSAGE": "x"}, tmp_path / "none")
    results = [send_or_drop({"MESSAGE": "x"}, journald.path) for _ in range(1000)]
    assert results[0]
    assert not results[-1], "its queue is full, and nobody waited"


def test_no_journal_at_all_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        JournalSocket(lost, path=tmp_path / "none")
