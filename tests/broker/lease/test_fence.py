# SPDX-License-Identifier: Apache-2.0
"""The guard with real processes, whose command lines look like QEMU's."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest

from ha_agent.broker.identity import read_boot_id
from ha_agent.broker.lease.fence import SETTLE_SECONDS, Guard, VmProcesses
from ha_agent.broker.lease.fence_deadline import (
    DEADLINE_NAME,
    LOG_NAME,
    RESULT_NAME,
    FenceDeadline,
    GuardFence,
    read_deadline,
    write_deadline,
)
from ha_agent.clock import SystemClock
from ha_agent.instant import Instant

CLOCK = SystemClock()
BOOT_ID = read_boot_id()
LIMIT_SECONDS = 20.0

StartVm = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def vm_uuid() -> str:
    return str(uuid.uuid4())


@pytest.fixture
def start_vm(vm_uuid: str) -> Iterator[StartVm]:
    started = []

    def start(*more: str, uuid_of_vm: str = vm_uuid, code: str = "") -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", code + "\nprint('up', flush=True)\ninput()", "-uuid"]
        process = subprocess.Popen(
            [*command, uuid_of_vm, *more], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def wait_for(what: Callable[[], Any]) -> None:
    ends_at = CLOCK.now() + LIMIT_SECONDS
    while not what():
        assert CLOCK.now() < ends_at, "did not happen in time"
        CLOCK.block(0.01)


def result(run_dir: Path) -> dict[str, Any]:
    answer = json.loads((run_dir / RESULT_NAME).read_text())
    assert isinstance(answer, dict)
    return answer


def is_gone(run_dir: Path) -> bool:
    return (run_dir / RESULT_NAME).exists() and bool(result(run_dir)["gone"])


def arm(run_dir: Path, vm_uuid: str, fence_at: float, epoch: int = 7) -> None:
    write_deadline(run_dir, FenceDeadline(vm_uuid, BOOT_ID, Instant(fence_at), epoch))


# The guard's looks, at Instants of the test's choosing.


def test_the_vm_lives_until_the_deadline_and_not_longer(
    tmp_path: Path, vm_uuid: str, start_vm: StartVm
) -> None:
    vm = start_vm()
    arm(tmp_path, vm_uuid, 100.0)
    guard = Guard(tmp_path, BOOT_ID, "")
    assert guard.look(Instant(99.9)) == pytest.approx(0.1)
    assert vm.poll() is None
    guard.look(Instant(100.0))
    assert vm.wait(LIMIT_SECONDS) == -signal.SIGKILL
    wait_for(lambda: guard.look(Instant(100.1)) and result(tmp_path)["gone"])
    done = result(tmp_path)
    assert (done["ended_pids"], done["epoch"], done["vm_uuid"]) == ([vm.pid], 7, vm_uuid)


@pytest.mark.parametrize("hangs_first", [True, False])
def test_a_process_that_can_not_be_looked_at_spares_no_vm(
    tmp_path: Path, vm_uuid: str, start_vm: StartVm, hangs_first: bool
) -> None:
    """Reading /proc/<pid>/cmdline hangs while that process waits for storage with its memory's
    lock taken; a FIFO without a writer hangs alike."""
    vm = start_vm()
    proc = tmp_path / "proc"
    for pid in ("1", "2"):
        (proc / pid).mkdir(parents=True)
        os.mkfifo(proc / pid / "cmdline")
    if not hangs_first:
        (proc / str(vm.pid)).symlink_to(f"/proc/{vm.pid}")
    arm(tmp_path, vm_uuid, 100.0)
    guard = Guard(tmp_path, BOOT_ID, "", proc)
    guard.look(Instant(90.0))
    if hangs_first:
        (proc / str(vm.pid)).symlink_to(f"/proc/{vm.pid}")
    seconds = iter(range(100, 1000))
    wait_for(lambda: guard.look(Instant(float(next(seconds)))) and vm.poll() is not None)
    assert vm.returncode == -signal.SIGKILL
    for pid in ("1", "2"):  # let the threads end
        os.close(os.open(proc / pid / "cmdline", os.O_RDWR))


def said_as(uid: int, vm_uuid: str) -> str:
    """Return what a guard of that user, without capabilities, says long before the deadline."""
    read, write = os.pipe()
    with tempfile.TemporaryDirectory() as name:
        os.chown(name, uid, uid)
        pid = os.fork()
        if pid == 0:
            os.setresuid(uid, uid, uid)
            sys.stderr = os.fdopen(write, "w")
            arm(Path(name), vm_uuid, 1000.0)
            guard = Guard(Path(name), BOOT_ID, "")
            for second in range(0, 500, 5):
                guard.look(Instant(second))
            os._exit(0)
        os.close(write)
        with os.fdopen(read) as told:
            text = told.read()
        os.waitpid(pid, 0)
    return text


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a process of another user")
def test_a_guard_that_may_not_end_the_vm_says_so_in_time_and_once(
    vm_uuid: str, start_vm: StartVm
) -> None:
    vm = start_vm()
    told = f"ha-agent fence: can't end pid {vm.pid}: Operation not permitted\n"
    assert said_as(36, vm_uuid) == told
    assert said_as(0, vm_uuid) == ""
    assert vm.poll() is None


def test_a_renewed_deadline_spares_the_vm(tmp_path: Path, vm_uuid: str, start_vm: StartVm) -> None:
    vm = start_vm()
    guard = Guard(tmp_path, BOOT_ID, "")
    for renewed in range(100, 110):
        arm(tmp_path, vm_uuid, renewed + 11.0)
        assert guard.look(Instant(renewed + 10.5))
    assert vm.poll() is None


def test_a_vm_that_starts_after_the_deadline_is_ended_too(
    tmp_path: Path, vm_uuid: str, start_vm: StartVm
) -> None:
    arm(tmp_path, vm_uuid, 100.0)
    guard = Guard(tmp_path, BOOT_ID, "")
    guard.look(Instant(101.0))
    assert result(tmp_path) == {
        "vm_uuid": vm_uuid,
        "epoch": 7,
        "fence_at": 100.0,
        "looked_at": 101.0,
        "ended_pids": [],
        "gone": True,
    }
    late = start_vm()
    guard.look(Instant(102.0))
    assert late.wait(LIMIT_SECONDS) == -signal.SIGKILL


def test_other_vms_and_other_hosts_vms_are_left_alone(
    tmp_path: Path, vm_uuid: str, start_vm: StartVm
) -> None:
    other_vm = start_vm("/demo/host1/disk", uuid_of_vm=str(uuid.uuid4()))
    other_host = start_vm("/demo/host2/disk")
    ours = start_vm("file=/demo/host1/disk")
    mentions = start_vm(f"/demo/host1/{vm_uuid}", uuid_of_vm="none")
    arm(tmp_path, vm_uuid.upper(), 100.0)
    guard = Guard(tmp_path, BOOT_ID, "/demo/host1")
    guard.look(Instant(100.0))
    assert ours.wait(LIMIT_SECONDS) == -signal.SIGKILL
    wait_for(lambda: guard.look(Instant(100.1)) and result(tmp_path)["gone"])
    assert [vm.poll() for vm in (other_vm, other_host, mentions)] == [None, None, None]


def test_a_stopped_vm_is_ended_too(tmp_path: Path, vm_uuid: str, start_vm: StartVm) -> None:
    vm = start_vm()
    os.kill(vm.pid, signal.SIGSTOP)
    arm(tmp_path, vm_uuid, 100.0)
    Guard(tmp_path, BOOT_ID, "").look(Instant(100.0))
    assert vm.wait(LIMIT_SECONDS) == -signal.SIGKILL


def test_a_zombie_is_gone(vm_uuid: str, start_vm: StartVm) -> None:
    vm = start_vm()
    processes = VmProcesses(vm_uuid, "")
    processes.scan()
    assert processes.alive() == [vm.pid]
    processes.kill()
    wait_for(lambda: processes.alive() == [])
    assert vm.returncode is None  # nobody has waited for it: it is a zombie now
    processes.scan()
    assert processes.alive() == []


def test_a_deadline_of_another_boot_is_removed(
    tmp_path: Path, vm_uuid: str, start_vm: StartVm
) -> None:
    vm = start_vm()
    write_deadline(tmp_path, FenceDeadline(vm_uuid, "another boot", Instant(1.0), 7))
    assert Guard(tmp_path, BOOT_ID, "").look(Instant(1e9)) is None
    assert read_deadline(tmp_path) is None
    assert vm.poll() is None


def test_nothing_armed_is_nothing_to_do(tmp_path: Path) -> None:
    assert Guard(tmp_path, BOOT_ID, "").look(Instant(1.0)) is None


def test_a_damaged_file_does_not_disarm(tmp_path: Path, vm_uuid: str, start_vm: StartVm) -> None:
    vm = start_vm()
    arm(tmp_path, vm_uuid, 100.0)
    guard = Guard(tmp_path, BOOT_ID, "")
    guard.look(Instant(99.0))
    (tmp_path / DEADLINE_NAME).write_text("{")
    guard.look(Instant(100.0))
    assert vm.wait(LIMIT_SECONDS) == -signal.SIGKILL


@pytest.mark.parametrize("blanks", ["", "   "], ids=["as usual", "written in place"])
def test_a_deadline_that_did_its_work_is_retired(
    tmp_path: Path, vm_uuid: str, blanks: str
) -> None:
    arm(tmp_path, vm_uuid, 100.0)
    with (tmp_path / DEADLINE_NAME).open("a") as file:
        file.write(blanks)
    guard = Guard(tmp_path, BOOT_ID, "")
    guard.look(Instant(100.0))
    guard.look(Instant(100.0 + SETTLE_SECONDS - 0.1))
    assert read_deadline(tmp_path) is not None
    guard.look(Instant(100.0 + SETTLE_SECONDS))
    assert read_deadline(tmp_path) is None
    assert guard.look(Instant(200.0)) is None


# The guard as a process.

BROKER = """
import sys
from pathlib import Path
from ha_agent.broker.lease.fence_deadline import GuardFence
from ha_agent.instant import Instant
run_dir, vm_uuid, boot_id, marker, fence_at = sys.argv[1:6]
fence = GuardFence(Path(run_dir), vm_uuid, boot_id, marker)
fence.arm(Instant(float(fence_at)), 7)
print("armed", flush=True)
for line in sys.stdin:
    fence.arm(Instant(float(line)), 7)
    print("armed", flush=True)
"""


def start_broker(run_dir: Path, vm_uuid: str, fence_at: Instant) -> subprocess.Popen[str]:
    arguments = [str(run_dir), vm_uuid, BOOT_ID, str(run_dir), str(fence_at.boottime_seconds)]
    broker = subprocess.Popen(
        [sys.executable, "-c", BROKER, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert broker.stdout is not None
    assert broker.stdout.readline() == "armed\n"
    return broker


def guards_of(run_dir: Path) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                arguments = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"ha_agent.broker.lease.fence" in arguments and str(run_dir).encode() in arguments:
                found.append(int(entry.name))
    return found


@pytest.fixture
def run_dir(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    for pid in guards_of(tmp_path):
        os.kill(pid, signal.SIGKILL)


def test_the_vm_of_a_killed_broker_ends_at_its_deadline(
    run_dir: Path, vm_uuid: str, start_vm: StartVm
) -> None:
    vm = start_vm(f"file={run_dir}/disk")
    fence_at = CLOCK.now() + 1.0
    broker = start_broker(run_dir, vm_uuid, fence_at)
    os.killpg(broker.pid, signal.SIGKILL)  # the whole group: the guard must not be in it
    broker.communicate()
    poll = select.poll()
    poll.register(os.pidfd_open(vm.pid), select.POLLIN)
    assert poll.poll(LIMIT_SECONDS * 1000)
    ended_at = CLOCK.now()
    assert fence_at <= ended_at < fence_at + 1.0
    assert vm.wait() == -signal.SIGKILL
    wait_for(lambda: is_gone(run_dir))
    assert f"ending VM {vm_uuid}, pid {vm.pid}" in (run_dir / LOG_NAME).read_text()


def tell(broker: subprocess.Popen[str], fence_at: Instant) -> None:
    assert broker.stdin is not None
    assert broker.stdout is not None
    broker.stdin.write(f"{fence_at.boottime_seconds}\n")
    broker.stdin.flush()
    assert broker.stdout.readline() == "armed\n"


def test_a_broker_that_renews_keeps_its_vm_and_one_guard(
    run_dir: Path, vm_uuid: str, start_vm: StartVm
) -> None:
    vm = start_vm(f"file={run_dir}/disk")
    broker = start_broker(run_dir, vm_uuid, CLOCK.now() + 0.8)
    try:
        for _ in range(15):
            CLOCK.block(0.1)
            tell(broker, CLOCK.now() + 0.8)
        assert vm.poll() is None
        assert len(guards_of(run_dir)) == 1
    finally:
        broker.kill()
        broker.communicate()


def test_a_hung_broker_is_no_excuse(run_dir: Path, vm_uuid: str, start_vm: StartVm) -> None:
    vm = start_vm(f"file={run_dir}/disk")
    broker = start_broker(run_dir, vm_uuid, CLOCK.now() + 0.6)
    try:
        os.kill(broker.pid, signal.SIGSTOP)
        assert vm.wait(LIMIT_SECONDS) == -signal.SIGKILL
    finally:
        broker.kill()
        broker.communicate()


def test_the_guard_ignores_sigterm_and_is_replaced_when_it_dies(
    run_dir: Path, vm_uuid: str
) -> None:
    far = CLOCK.now() + 3600.0
    broker = start_broker(run_dir, vm_uuid, far)
    try:
        wait_for(lambda: len(guards_of(run_dir)) == 1)
        (first,) = guards_of(run_dir)
        wait_for(lambda: _ignores_sigterm(first))
        os.kill(first, signal.SIGTERM)
        tell(broker, far)
        assert guards_of(run_dir) == [first]
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: not guards_of(run_dir))

        def replaced() -> bool:
            # As each renewal does: the one right after the kill may find it not quite dead yet.
            tell(broker, far)
            return len(guards_of(run_dir)) == 1

        wait_for(replaced)
        assert guards_of(run_dir) != [first]
    finally:
        broker.kill()
        broker.communicate()


def _ignores_sigterm(pid: int) -> bool:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("SigIgn:"):
            return bool(int(line.split()[1], 16) >> (signal.SIGTERM - 1) & 1)
    return False


def test_the_guard_outlives_its_broker_only_while_armed(run_dir: Path, vm_uuid: str) -> None:
    broker = start_broker(run_dir, vm_uuid, CLOCK.now() + 3600.0)
    wait_for(lambda: len(guards_of(run_dir)) == 1)
    broker.kill()
    broker.communicate()
    CLOCK.block(0.6)
    assert len(guards_of(run_dir)) == 1
    GuardFence(run_dir, vm_uuid, BOOT_ID).disarm()
    wait_for(lambda: not guards_of(run_dir))


def test_a_restarted_broker_uses_the_guard_that_is_there(run_dir: Path, vm_uuid: str) -> None:
    far = CLOCK.now() + 3600.0
    first = start_broker(run_dir, vm_uuid, far)
    wait_for(lambda: (run_dir / "fence.lock").exists() and len(guards_of(run_dir)) == 1)
    guards = guards_of(run_dir)
    wait_for(lambda: _ignores_sigterm(guards[0]))
    CLOCK.block(0.2)
    first.kill()
    first.communicate()
    second = start_broker(run_dir, vm_uuid, far)
    try:
        assert guards_of(run_dir) == guards
    finally:
        second.kill()
        second.communicate()
