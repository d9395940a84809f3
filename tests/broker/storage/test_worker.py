# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import pathlib
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import msgpack
import pytest

from ha_agent.broker.storage import worker as storage_worker
from ha_agent.broker.storage.io_meter import IoMeter
from ha_agent.errors import BadInput

COMMAND = [sys.executable, "-m", "ha_agent.broker.storage.worker"]
COMMAND += ["--lane", "test-lane", "--run-dir", "/run/of/this/test"]


def slot_bytes(letter: str) -> bytes:
    return letter.encode() * 4096


@pytest.fixture
def volume(tmp_path: pathlib.Path) -> pathlib.Path:
    """Ten slots, of which 0, 3 and 7 are used."""
    path = tmp_path / "volume"
    slots = [bytes(4096)] * 10
    for used in (0, 3, 7):
        slots[used] = slot_bytes(str(used))
    path.write_bytes(b"".join(slots))
    return path


class TestSlots:
    def test_read_in_the_order_asked(self, volume: pathlib.Path) -> None:
        answer = storage_worker.read_slots(str(volume), [7, 0, 1])
        assert answer["slots"] == [
            {"slot": 7, "data": slot_bytes("7")},
            {"slot": 0, "data": slot_bytes("0")},
            {"slot": 1, "data": bytes(4096)},
        ]
        assert isinstance(answer["direct"], bool)

    def test_a_short_slot_is_that_slots_error(self, volume: pathlib.Path) -> None:
        os.truncate(volume, 8 * 4096 - 1)
        short, good = storage_worker.read_slots(str(volume), [7, 3])["slots"]
        assert short["slot"] == 7
        assert short["error"]["code"] == "ENODATA"
        assert "file ends at 32767" in short["error"]["message"]
        assert good == {"slot": 3, "data": slot_bytes("3")}

    def test_a_missing_volume_is_the_calls_error(self, tmp_path: pathlib.Path) -> None:
        with pytest.raises(FileNotFoundError):
            storage_worker.read_slots(str(tmp_path / "none"), [1])

    @pytest.mark.parametrize("slot", [-1, 4096, True, "1"])
    def test_slot_numbers_are_checked(self, volume: pathlib.Path, slot: Any) -> None:
        with pytest.raises(BadInput, match="slot number"):
            storage_worker.read_slots(str(volume), [slot])
        with pytest.raises(BadInput, match="slot number"):
            storage_worker.write_slot(str(volume), slot, bytes(4096))

    def test_scan_finds_the_used_slots(self, volume: pathlib.Path) -> None:
        answer = storage_worker.scan_slots(str(volume), 2001)
        assert [entry["slot"] for entry in answer["slots"]] == [0, 3, 7]
        assert answer["slots"][1]["data"] == slot_bytes("3")

    def test_scan_looks_at_count_slots(self, volume: pathlib.Path) -> None:
        answer = storage_worker.scan_slots(str(volume), 7)
        assert [entry["slot"] for entry in answer["slots"]] == [0, 3]

    def test_scan_of_a_file_that_ends_inside_a_slot(self, volume: pathlib.Path) -> None:
        os.truncate(volume, 8 * 4096 - 1000)
        entries = storage_worker.scan_slots(str(volume), 2001)["slots"]
        assert [entry["slot"] for entry in entries] == [0, 3, 7]
        assert entries[2]["error"]["code"] == "ENODATA"

    def test_scan_of_an_empty_file_misses_the_global_slot(self, tmp_path: pathlib.Path) -> None:
        path = tmp_path / "empty"
        path.touch()
        (entry,) = storage_worker.scan_slots(str(path), 2001)["slots"]
        assert (entry["slot"], entry["error"]["code"]) == (0, "ENODATA")

    def test_scan_beyond_one_read(self, tmp_path: pathlib.Path) -> None:
        path = tmp_path / "big"
        with path.open("wb") as file:
            for slot in (255, 256, 2000, 2001):
                file.seek(slot * 4096)
                file.write(slot_bytes("x"))
        answer = storage_worker.scan_slots(str(path), 2001)
        assert [entry["slot"] for entry in answer["slots"]] == [255, 256, 2000]

    def test_write_leaves_the_neighbours_alone(self, tmp_path: pathlib.Path) -> None:
        path = tmp_path / "guarded"
        path.write_bytes(b"\xa5" * 5 * 4096)
        answer = storage_worker.write_slot(str(path), 2, slot_bytes("n"), read_back=True)
        assert answer["equal"] is True
        guard = b"\xa5" * 2 * 4096
        assert path.read_bytes() == guard + slot_bytes("n") + guard

    def test_write_without_reading_back(self, volume: pathlib.Path) -> None:
        assert storage_worker.write_slot(str(volume), 2, slot_bytes("n"))["equal"] is None

    def test_only_whole_slots_are_written(self, volume: pathlib.Path) -> None:
        with pytest.raises(BadInput, match="4095 bytes"):
            storage_worker.write_slot(str(volume), 2, bytes(4095))


class TestAnswer:
    def test_errors_travel_as_code_and_message(self, tmp_path: pathlib.Path) -> None:
        args = {"path": str(tmp_path / "none"), "slots": [1]}
        reply = storage_worker.answer({"id": 5, "operation": "read_slots", "args": args})
        error = {"code": "ENOENT", "message": "No such file or directory"}
        assert reply == {"id": 5, "error": error}

    @pytest.mark.parametrize(
        "request_",
        [
            {"id": 1, "operation": "exec", "args": {}},
            {"id": 1, "operation": [1], "args": {}},
            {"id": 1, "operation": "ping"},
            {"id": 1, "operation": "ping", "args": [1]},
            [1, 2],
            None,
        ],
    )
    def test_bad_requests(self, request_: Any) -> None:
        assert storage_worker.answer(request_)["error"]["code"] == "bad_input"

    def test_wrong_arguments_are_our_own_mistake(self, capsys: pytest.CaptureFixture[str]) -> None:
        reply = storage_worker.answer({"id": 1, "operation": "ping", "args": {"x": 1}})
        assert reply["error"]["code"] == "internal"
        assert "Traceback" in capsys.readouterr().err


@pytest.fixture
def worker() -> Iterator[subprocess.Popen[bytes]]:
    pipe = subprocess.PIPE
    with subprocess.Popen(COMMAND, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        yield process
        process.kill()


def frame(message: Any) -> bytes:
    body = msgpack.packb(message)
    return struct.pack(">I", len(body)) + bytes(body)


def send(process: subprocess.Popen[bytes], data: bytes) -> None:
    assert process.stdin is not None
    process.stdin.write(data)
    process.stdin.flush()


def test_neighbouring_slots_are_read_at_once_and_come_in_the_order_asked(
    tmp_path: pathlib.Path,
) -> None:
    path = tmp_path / "volume"
    path.write_bytes(b"".join(bytes([n]) * 4096 for n in range(10)))
    meter = IoMeter()
    before = meter.read()
    entries = storage_worker.read_slots(str(path), [0, 1, 2, 7, 5, 6])["slots"]
    spent = meter.since(before)
    meter.close()
    assert [entry["slot"] for entry in entries] == [0, 1, 2, 7, 5, 6]
    assert all(entry["data"] == bytes([entry["slot"]]) * 4096 for entry in entries)
    if spent is not None and threading.active_count() == 1:
        assert spent[0] == 3


def test_a_run_that_ends_past_the_file_is_those_slots_error_alone(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "volume"
    path.write_bytes(bytes(2 * 4096))
    entries = storage_worker.read_slots(str(path), [0, 1, 2, 3])["slots"]
    assert ["error" in entry for entry in entries] == [False, False, True, True]


def receive(process: subprocess.Popen[bytes]) -> Any:
    assert process.stdout is not None
    (length,) = struct.unpack(">I", process.stdout.read(4))
    reply = msgpack.unpackb(process.stdout.read(length))
    reply.pop("io", None)  # differs from machine to machine
    return reply


PING = {"operation": "ping", "args": {}}


class TestProcess:
    def test_answers_in_order_and_ends_with_its_stdin(
        self, worker: subprocess.Popen[bytes]
    ) -> None:
        send(worker, frame({"id": 1, **PING}) + frame({"id": 2, **PING}))
        pid = {"pid": worker.pid}
        assert [receive(worker) for _ in range(2)] == [
            {"id": 1, "value": pid},
            {"id": 2, "value": pid},
        ]
        assert worker.stdin is not None
        worker.stdin.close()
        assert worker.wait(timeout=10) == 0

    def test_shows_whose_it_is(self, worker: subprocess.Popen[bytes]) -> None:
        send(worker, frame({"id": 1, **PING}))
        receive(worker)
        proc = pathlib.Path(f"/proc/{worker.pid}")
        arguments = proc.joinpath("cmdline").read_bytes().split(b"\0")
        assert b"/run/of/this/test" in arguments
        assert b"test-lane" in arguments
        assert proc.joinpath("comm").read_text() == "ha-io-test-lane\n"

    def test_a_stray_print_can_not_get_among_the_answers(
        self, worker: subprocess.Popen[bytes]
    ) -> None:
        send(worker, frame({"id": 1, **PING}))
        receive(worker)
        assert os.readlink(f"/proc/{worker.pid}/fd/1") == os.readlink(f"/proc/{worker.pid}/fd/2")

    def test_ignores_signals_that_a_stopping_broker_gets_too(
        self, worker: subprocess.Popen[bytes]
    ) -> None:
        send(worker, frame({"id": 1, **PING}))
        receive(worker)
        worker.send_signal(signal.SIGTERM)
        worker.send_signal(signal.SIGINT)
        send(worker, frame({"id": 2, **PING}))
        assert receive(worker)["id"] == 2

    def test_goes_on_after_a_frame_that_is_not_messagepack(
        self, worker: subprocess.Popen[bytes]
    ) -> None:
        send(worker, struct.pack(">I", 2) + b"\xc1\xc1" + frame({"id": 2, **PING}))
        assert receive(worker)["error"]["code"] == "bad_input"
        assert receive(worker)["id"] == 2

    def test_ends_at_a_frame_over_the_limit(self, worker: subprocess.Popen[bytes]) -> None:
        send(worker, struct.pack(">I", 100 * 1024 * 1024))
        _, errors = worker.communicate(timeout=10)
        assert worker.returncode == 1
        assert b"request of 104857600 bytes" in errors

    def test_dies_with_its_parent(self) -> None:
        """The middle process is killed and the worker's stdin stays open elsewhere."""
        keep_open, stdin = os.pipe()
        script = (
            "import subprocess, sys, time\n"
            f"p = subprocess.Popen({COMMAND!r}, stdin=0, stdout=subprocess.PIPE)\n"
            "p.stdout.read(4)\n"  # it has answered: it runs
            "print(p.pid, flush=True)\n"
            "time.sleep(60)\n"
        )
        os.write(stdin, frame({"id": 1, **PING}))
        with subprocess.Popen(
            [sys.executable, "-c", script], stdin=keep_open, stdout=subprocess.PIPE
        ) as parent:
            assert parent.stdout is not None
            pid = int(parent.stdout.readline())
            ended = os.pidfd_open(pid)
            parent.kill()
        poller = select.poll()
        poller.register(ended)
        assert poller.poll(10_000)
        for fd in (keep_open, stdin, ended):
            os.close(fd)

    def test_leaves_quietly_when_the_broker_died_before_it_read_an_answer(self) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.sendall(frame({"id": 1, **PING}))
            with subprocess.Popen(
                COMMAND, stdin=theirs.fileno(), stdout=theirs.fileno(), stderr=subprocess.PIPE
            ) as process:
                theirs.close()
                assert select.select([ours], [], [], 10)[0]
                ours.close()  # with the answer unread: the worker's next read is refused
                assert process.wait(timeout=10) == 0
                assert process.stderr is not None
                assert process.stderr.read() == b""

    def test_starts_without_the_heavy_modules(self) -> None:
        script = "import sys, ha_agent.broker.storage.worker; print('lxml' in sys.modules)"
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=10
        )
        assert done.stdout == "False\n"
