# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import http.server
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.failure_watch import (
    PageWitness,
    QemuWitness,
    StatusWitness,
    can_run_guest_code,
    line_pattern,
    longest_silence,
)
from demo.guest import HEALTH_BODY, HEALTH_PATH

LIMIT_SECONDS = 60.0


def status_of(state: str, own: str = "0" * 16, shared: str = "0" * 16) -> str:
    return f"Name:\tqemu-system-x86\nState:\t{state} (word)\nSigPnd:\t{own}\nShdPnd:\t{shared}\n"


@pytest.mark.parametrize(
    ("status", "can"),
    [
        (status_of("R"), True),
        (status_of("S"), True),
        (status_of("T"), True),  # may be let go on
        (status_of("D"), True),
        (status_of("D", own=f"{1 << 8:016x}"), False),
        (status_of("D", shared=f"{1 << 8:016x}"), False),
        (status_of("D", own=f"{1 << 14:016x}"), True),  # SIGTERM is QEMU's own affair
        (status_of("Z"), False),
        (status_of("X"), False),
    ],
)
def test_who_is_dead_or_about_to_be_runs_no_guest_code(status: str, can: bool) -> None:
    assert can_run_guest_code(status) is can


@contextmanager
def qemu(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that the kernel calls qemu, with the folder among its arguments."""
    named = folder / "qemu-system-x86_64"
    named.symlink_to(sys.executable)
    code = "print(1, flush=True); import time; time.sleep(600)"
    with subprocess.Popen(
        [str(named), "-c", code, f"{folder}/run"], stdout=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield process
        finally:
            process.kill()


def test_a_qemu_is_seen_to_come_and_go(tmp_path: Path) -> None:
    witness = QemuWitness({f"{tmp_path}/": "host7"})
    witness.look()
    with qemu(tmp_path) as process:
        witness.look()
        (found,) = witness.running()
        assert (found.pid, found.host, found.ended_at) == (process.pid, "host7", None)
        witness.look()
        assert witness.running() == [found]
        process.send_signal(signal.SIGKILL)
        process.wait(LIMIT_SECONDS)
        witness.look()
    assert witness.running() == []
    (ended,) = witness.ran_since(found.begun_at)
    assert ended.ended_at is not None
    assert ended.ended_at > found.begun_at
    assert witness.ran_since(ended.ended_at) == []
    assert witness.most_at_once == 1


def test_two_at_once_are_remembered_until_it_begins_anew(tmp_path: Path) -> None:
    folders = tmp_path / "a", tmp_path / "b"
    for folder in folders:
        folder.mkdir()
    witness = QemuWitness({f"{folder}/": folder.name for folder in folders})
    with qemu(folders[0]):
        with qemu(folders[1]):
            witness.look()
            assert {one.host for one in witness.running()} == {"a", "b"}
        witness.look()
        assert witness.most_at_once == 2
        witness.begin()
        assert witness.most_at_once == 1


def test_a_qemu_of_nobody_is_not_counted(tmp_path: Path) -> None:
    witness = QemuWitness({"/elsewhere/": "host1"})
    with qemu(tmp_path):
        witness.look()
    assert witness.running() == []


class Page(http.server.BaseHTTPRequestHandler):
    """An engine's page, good or not by what the server's `good` says."""

    def do_GET(self) -> None:
        is_good = getattr(self.server, "good", False) and self.path == HEALTH_PATH
        self.send_response(200)
        self.end_headers()
        self.wfile.write((HEALTH_BODY if is_good else "DB Down!").encode())

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def page() -> Iterator[http.server.ThreadingHTTPServer]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_only_a_good_page_counts(page: http.server.ThreadingHTTPServer) -> None:
    witness = PageWitness(page.server_address[1])
    witness.look()
    assert witness.good_since(0) is None
    page.good = True  # type: ignore[attr-defined]
    witness.look()
    first = witness.good_since(0)
    assert first is not None
    witness.look()
    assert witness.good_between(0, first) == [first]
    second = witness.good_since(first + 1e-9)
    assert second is not None
    assert witness.good_between(0, second) == [first, second]


def test_nobody_at_the_port_is_no_good_page(page: http.server.ThreadingHTTPServer) -> None:
    witness = PageWitness(page.server_address[1])
    page.server_close()
    witness.look()
    assert witness.good_since(0) is None


def test_the_silence_is_also_the_one_before_the_first_and_after_the_last() -> None:
    assert longest_silence([], 2.0, 9.0) == 7.0
    assert longest_silence([3.0, 4.0, 8.0], 2.0, 9.0) == 4.0
    assert longest_silence([8.0, 6.0], 2.0, 9.0) == 4.0
    assert longest_silence([3.0], 2.0, 9.0) == 6.0


def test_words_of_a_document_are_found_in_one_line() -> None:
    pattern = line_pattern("! lease: …: does (it) hang?")
    assert pattern.search("first\n! lease: not renewed: does (it) hang? yes\n")
    assert not pattern.search("! lease: not renewed\nlast: does (it) hang?\n")


def looks(witness: StatusWitness) -> bool:
    for host in ("host1", "host2"):
        witness.look(host)
    return witness.was_seen


def test_what_was_seen_stays_seen_until_the_next_words() -> None:
    said = {"host1": "Engine VM runs on host1", "host2": ""}
    witness = StatusWitness(said.__getitem__)
    assert not looks(witness)
    witness.begin("Engine VM … host2")
    assert not looks(witness)
    said["host2"] = "Engine VM starts on host2"
    assert looks(witness)
    said["host2"] = ""
    assert looks(witness)
    witness.begin("Engine VM … host3")
    assert not looks(witness)
