# SPDX-License-Identifier: Apache-2.0
"""VM records on disk."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ha_agent.vdsm.vm import registry
from ha_agent.vdsm.vm.registry import VmRecord
from tests.vdsm.embedded import VM

RECORD = VmRecord(
    uuid=VM,
    name='a "b" é',
    xml="<domain/>",
    status="Up",
    pid=7,
    start_ticks=9,
    is_lease_held=True,
    started_at_seconds=1.5,
)


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    registry.save(tmp_path, RECORD)
    assert registry.load_all(tmp_path) == ([RECORD], {})
    changed = dataclasses.replace(RECORD, status="Down", exit_code=1)
    registry.save(tmp_path, changed)
    assert registry.load_all(tmp_path) == ([changed], {})
    assert os.listdir(tmp_path / VM) == ["vm.json"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        json.dumps({**RECORD.__dict__, "pid": "7"}),
        json.dumps({**RECORD.__dict__, "status": "?"}),
        '{"uuid": "x"}',
    ],
)
def test_a_broken_record_is_that_vms_problem(tmp_path: Path, text: str) -> None:
    registry.save(tmp_path, RECORD)
    other = "55555555-5555-4555-8555-555555555555"
    (tmp_path / other).mkdir()
    (tmp_path / other / "vm.json").write_text(text)
    records, faults = registry.load_all(tmp_path)
    assert records == [RECORD]
    assert other in str(faults.pop(other))
    assert not faults


def test_a_record_of_another_vm_is_not_believed(tmp_path: Path) -> None:
    registry.save(tmp_path, RECORD)
    (tmp_path / VM).rename(tmp_path / "other")
    records, faults = registry.load_all(tmp_path)
    assert records == []
    assert "is about VM" in str(faults["other"])


def test_forgetting_keeps_the_logs(tmp_path: Path) -> None:
    registry.save(tmp_path, RECORD)
    for name in ("qmp.sock", "qemu.pid", "qemu.log", "console.log"):
        (tmp_path / VM / name).write_text(name)
    registry.forget(tmp_path, VM)
    assert registry.load_all(tmp_path) == ([], {})
    assert sorted(os.listdir(tmp_path / VM)) == ["console.log", "qemu.log"]
    registry.prepare_dir(tmp_path, VM)
    assert sorted(os.listdir(tmp_path / VM)) == ["console.log.1", "qemu.log.1"]
    registry.forget(tmp_path, "unknown")


def test_the_start_time_tells_processes_with_one_pid_apart() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        ticks = registry.start_ticks(child.pid)
        mine = registry.start_ticks(os.getpid())
        assert ticks is not None
        assert mine is not None
        assert ticks >= mine > 0
        assert registry.start_ticks(child.pid) == ticks
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert registry.start_ticks(child.pid) is None  # a zombie runs nothing
    finally:
        child.communicate()
    assert registry.start_ticks(child.pid) is None


def test_a_qemu_is_found_by_its_command_line(tmp_path: Path) -> None:
    pid_file = str(tmp_path / VM / "qemu.pid")
    arguments = [sys.executable, "-c", "input()", "-uuid", VM, "-pidfile", pid_file]
    child = subprocess.Popen(arguments, stdin=subprocess.PIPE)
    try:
        while registry.running_qemus(tmp_path).get(VM) != child.pid:
            assert child.poll() is None
        assert registry.running_qemus(tmp_path / "other").get(VM) is None
    finally:
        child.kill()
        child.communicate()
    assert registry.running_qemus(tmp_path).get(VM) is None
