# SPDX-License-Identifier: Apache-2.0
"""Who counts as a VM that could run."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

import pytest

from lab.qemu_watch import (
    UNKNOWN_HOST,
    Found,
    QemuWatch,
    open_names,
    parent_of,
    pid_namespace,
    without_children,
)

UUID = "7c2d3f2e-0000-4000-8000-000000000077"


def watch(*, leaders: Optional[dict[str, int]] = None, disk: str = "no/such/disk") -> QemuWatch:
    known = dict(leaders or {})
    return QemuWatch((UUID,), (disk,), lambda: dict(known))


def test_the_worst_moment_is_kept_until_the_next_case() -> None:
    qemus = watch()
    one, two = Found(11, 1, "pid:[1]"), Found(12, 1, "pid:[2]")
    qemus.note([one])
    qemus.note([one, two])
    qemus.note([two])
    assert qemus.worst()[0] == 2
    assert {run.pid for run in qemus.worst()[1]} == {11, 12}
    assert [run.pid for run in qemus.running()] == [12]
    qemus.begin()
    assert qemus.worst()[0] == 1


def test_a_run_has_its_begin_and_its_end() -> None:
    qemus = watch()
    begun = time.monotonic()
    qemus.note([Found(11, 1, "pid:[1]")])
    qemus.note([])
    qemus.note([Found(12, 1, "pid:[1]")])
    first, second = qemus.runs(begun)
    assert (first.pid, second.pid) == (11, 12)
    assert first.ended_at is not None
    assert first.ended_at <= second.begun_at
    assert second.ended_at is None
    assert first.host == UNKNOWN_HOST


def test_a_fork_of_it_is_no_second_vm() -> None:
    parent, child = Found(11, 1, "pid:[1]"), Found(12, 11, "pid:[1]")
    assert without_children([child, parent]) == [parent]
    assert without_children([child]) == [child]


def test_the_parent_is_read_from_its_status() -> None:
    assert parent_of("Name:\tqemu\nPPid:\t4711\nTracerPid:\t3\n") == 4711
    assert parent_of("Name:\tqemu\n") == 0


@pytest.fixture
def qemu(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is named as QEMU and has the VM's id in its arguments, and a disk open."""
    program = tmp_path / "qemu-system-lab"
    program.symlink_to(sys.executable)
    disk = tmp_path / "disk"
    disk.write_bytes(b"")
    code = "import sys, time; f = open(sys.argv[1]); print(flush=True); time.sleep(600)"
    words = [str(program), "-c", code, str(disk), "-uuid", UUID]
    # What a process is called is the name of the file that was run, after all links.
    rename = "import ctypes; ctypes.CDLL(None).prctl(15, b'qemu-system-lab', 0, 0, 0); "
    words[2] = rename + code
    process = subprocess.Popen(words, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.wait(10)
        if process.stdout is not None:
            process.stdout.close()


def test_a_real_process_is_found_on_its_host(qemu: subprocess.Popen[bytes]) -> None:
    qemus = watch(leaders={"host1": os.getpid()})
    qemus.look()
    (run,) = qemus.running()
    assert (run.pid, run.host) == (qemu.pid, "host1")
    qemu.kill()
    qemu.wait(10)
    qemus.look()
    assert not qemus.running()


def test_whoever_has_the_disk_open_counts(qemu: subprocess.Popen[bytes], tmp_path: Path) -> None:
    by_disk = QemuWatch(("no such vm",), (f"{tmp_path.name}/disk",), lambda: {})
    by_disk.look()
    assert [run.pid for run in by_disk.running()] == [qemu.pid]
    neither = QemuWatch(("no such vm",), ("no/such/disk",), lambda: {})
    neither.look()
    assert not neither.running()


def test_who_is_seen_before_it_becomes_qemu_is_seen_afterwards_too() -> None:
    # What libvirtd forks is named as the thread of it that does.
    rename = "import ctypes, sys, time; name = ctypes.CDLL(None).prctl; "
    code = (
        f"{rename}name(15, b'rpc-libvirtd', 0, 0, 0); print(flush=True); sys.stdin.readline(); "
        "name(15, b'qemu-system-lab', 0, 0, 0); print(flush=True); time.sleep(600)"
    )
    words = [sys.executable, "-c", code, "-uuid", UUID]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        qemus = watch()
        qemus.look()
        assert not qemus.running()
        process.stdin.write(b"\n")
        process.stdin.flush()
        process.stdout.readline()
        qemus.look()
        assert [run.pid for run in qemus.running()] == [process.pid]
    finally:
        process.kill()
        process.communicate(timeout=10)


def test_what_is_gone_has_no_names() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait(10)
    assert open_names(process.pid) == []
    assert pid_namespace(process.pid) == ""
