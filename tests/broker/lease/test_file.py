# SPDX-License-Identifier: Apache-2.0
"""The lock file, with real files, locks and processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ha_agent import ofd_lock
from ha_agent.broker.lease import file as lease_file
from ha_agent.broker.lease.rules import LeaseIdentity, decode, encode, initial_record
from ha_agent.broker.storage.directio import open_file
from ha_agent.errors import BadInput, DeadlineExceeded

FREE = initial_record()


def identity(number: int) -> LeaseIdentity:
    return LeaseIdentity(number, f"host{number}", f"inst-{number}", "vm")


def taken(number: int) -> bytes:
    return encode(FREE.taken(identity(number), 0, "free"))


@pytest.fixture
def path(tmp_path: Path) -> str:
    path = str(tmp_path / "lease")
    assert lease_file.lease_initialise(path)["done"]
    return path


def child(code: str, *arguments: str) -> subprocess.Popen[str]:
    """Start a Python process that says 'ready' when it is."""
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys\nfrom ha_agent.broker.lease import file as lease_file\n" + code,
            *arguments,
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    return process


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


# The file itself.


def test_a_new_file_is_free_and_readable(path: str) -> None:
    assert Path(path).read_text().startswith("ha-agent-lease 1\nstate: free\n")
    assert lease_file.lease_read(path) == encode(FREE)
    assert os.listdir(os.path.dirname(path)) == ["lease"]  # no draft is left behind


def test_a_lease_in_use_is_never_initialised_over(path: str) -> None:
    lease_file.lease_swap(path, encode(FREE), taken(1), 1.0)
    assert lease_file.lease_initialise(path) == {"done": False, "block": taken(1)}
    assert lease_file.lease_read(path) == taken(1)
    assert lease_file.lease_initialise(path, overwrite=True)["done"]
    assert lease_file.lease_read(path) == encode(FREE)


@pytest.mark.parametrize("content", [b"", bytes(100), bytes(8192)])
def test_zeros_are_initialised_when_asked(tmp_path: Path, content: bytes) -> None:
    target = tmp_path / "lease"
    target.write_bytes(content)
    assert lease_file.lease_read(str(target)) == bytes(4096)
    assert lease_file.lease_initialise(str(target))["done"]
    assert lease_file.lease_read(str(target)) == encode(FREE)


def test_garbage_is_not_initialised_over(tmp_path: Path) -> None:
    target = tmp_path / "lease"
    target.write_bytes(b"somebody's data")
    assert not lease_file.lease_initialise(str(target))["done"]
    assert target.read_bytes() == b"somebody's data"


def test_the_files_folder_is_made_but_not_the_domain(tmp_path: Path) -> None:
    target = tmp_path / "ha_agent" / "vm.lease"
    assert lease_file.lease_initialise(str(target))["done"]
    assert lease_file.lease_read(str(target)) == encode(FREE)
    with pytest.raises(FileNotFoundError):
        lease_file.lease_initialise(str(tmp_path / "not mounted" / "ha_agent" / "vm.lease"))
    assert not (tmp_path / "not mounted").exists()


def test_a_link_to_a_volume_is_followed(tmp_path: Path) -> None:
    link = tmp_path / "hosted-engine.lease"
    link.symlink_to(tmp_path / "volume")
    assert lease_file.lease_initialise(str(link))["done"]
    assert link.is_symlink()
    assert (tmp_path / "volume").stat().st_size == 4096


# Compare and write.


def test_a_swap_touches_nothing_beyond_its_block(path: str) -> None:
    with open(path, "r+b") as file:
        file.seek(4096)
        file.write(b"guard" * 1000)
    before = Path(path).read_bytes()[4096:]
    assert lease_file.lease_swap(path, encode(FREE), taken(1), 1.0)["done"]
    assert Path(path).read_bytes()[4096:] == before


def test_a_swap_that_lost_says_what_is_there(path: str) -> None:
    lease_file.lease_swap(path, encode(FREE), taken(1), 1.0)
    answer = lease_file.lease_swap(path, encode(FREE), taken(2), 1.0)
    assert answer == {"done": False, "block": taken(1)}


@pytest.mark.parametrize("content", [bytes(4096), b"x" * 4096, b"ha-agent-lease 9\n"])
def test_what_does_not_decode_is_never_written_over(path: str, content: bytes) -> None:
    Path(path).write_bytes(content)
    assert not lease_file.lease_swap(path, encode(FREE), taken(1), 1.0)["done"]
    assert Path(path).read_bytes() == content


def test_only_a_record_is_written(path: str) -> None:
    with pytest.raises(BadInput):
        lease_file.lease_swap(path, encode(FREE), b"x" * 4096, 1.0)


def test_a_locked_record_is_waited_for_within_bounds(path: str) -> None:
    with open_file(path, write=True) as other:
        assert ofd_lock.try_lock(other.fd, 0, 4096)
        with pytest.raises(DeadlineExceeded, match="lock on the lease record"):
            lease_file.lease_swap(path, encode(FREE), taken(1), 0.05)
        assert lease_file.lease_read(path) == encode(FREE)  # looking needs no lock
    assert lease_file.lease_swap(path, encode(FREE), taken(1), 1.0)["done"]


RACER = """
path, expected, new = sys.argv[1], bytes.fromhex(sys.argv[2]), bytes.fromhex(sys.argv[3])
print("ready", flush=True)
sys.stdin.readline()
print(lease_file.lease_swap(path, expected, new, 5.0)["done"], flush=True)
"""


def test_of_racing_processes_exactly_one_takes_it(path: str) -> None:
    racers = [child(RACER, path, encode(FREE).hex(), taken(n).hex()) for n in (1, 2, 3)]
    try:
        assert {said(racer) for racer in racers} == {"ready"}
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.write("go\n")
            racer.stdin.flush()
        won = [said(racer) == "True" for racer in racers]
    finally:
        for racer in racers:
            end(racer)
    assert won.count(True) == 1
    assert decode(lease_file.lease_read(path)).host_id == won.index(True) + 1


RENEWER = """
from ha_agent.broker.lease.rules import decode, encode
path, block = sys.argv[1], bytes.fromhex(sys.argv[2])
while True:
    new = encode(decode(block).renewed())
    assert lease_file.lease_swap(path, block, new, 5.0)["done"]
    block = new
    print(decode(block).counter, flush=True)
"""


@pytest.mark.parametrize("after_renewals", [1, 3, 7, 20])
def test_sigkill_at_any_moment_leaves_a_whole_record_and_no_lock(
    path: str, after_renewals: int
) -> None:
    lease_file.lease_swap(path, encode(FREE), taken(1), 1.0)
    renewer = child(RENEWER, path, taken(1).hex())
    try:
        seen = [int(said(renewer)) for _ in range(after_renewals)]
    finally:
        os.kill(renewer.pid, signal.SIGKILL)
        assert renewer.stdout is not None
        rest = renewer.stdout.read()  # not communicate(): it skips what readline has buffered
        end(renewer)
    told = [*seen, *(int(line) for line in rest.split("\n")[:-1])]
    left = decode(lease_file.lease_read(path))
    assert left.counter in (told[-1], told[-1] + 1)  # the last may be written, but not told
    with open_file(path, write=True) as file:
        assert not ofd_lock.is_locked(file.fd, 0, 4096)


# Host ids.

HOLDER = """
print(lease_file.lease_hold_host_id(sys.argv[1], 7, "alpha", "inst-a")["held"], flush=True)
sys.stdin.readline()
"""


def test_a_host_id_is_held_as_long_as_its_process_lives(path: str) -> None:
    holder = child(HOLDER, path)
    try:
        assert said(holder) == "True"
        answer = lease_file.lease_hold_host_id(path, 7, "beta", "inst-b")
        assert answer == {"held": False, "host_name": "alpha", "instance": "inst-a"}
        # The lease's own lock and record are untouched by it.
        assert lease_file.lease_swap(path, encode(FREE), taken(1), 1.0)["done"]
    finally:
        end(holder)
    again = child(HOLDER, path)
    try:
        assert said(again) == "True"
    finally:
        end(again)


REPLACED = """
import os
path = sys.argv[1]
first = lease_file.lease_hold_host_id(path, 7, "alpha", "inst-a")
again = lease_file.lease_hold_host_id(path, 7, "alpha", "inst-a")
os.rename(path, path + ".old")
lease_file.lease_initialise(path)
fresh = lease_file.lease_hold_host_id(path, 7, "alpha", "inst-a")
print(first["held"], again["held"], fresh["held"], flush=True)
sys.stdin.readline()
"""


def test_a_replaced_lock_file_is_held_anew(path: str) -> None:
    holder = child(REPLACED, path)
    try:
        assert said(holder) == "True True True"
        assert not lease_file.lease_hold_host_id(path, 7, "beta", "inst-b")["held"]
    finally:
        end(holder)


@pytest.mark.parametrize("host_id", [0, -1, 65536])
def test_a_host_id_out_of_range_is_refused(path: str, host_id: int) -> None:
    with pytest.raises(BadInput, match="host id"):
        lease_file.lease_hold_host_id(path, host_id, "alpha", "inst-a")


def test_damaged_host_text_still_refuses(path: str) -> None:
    holder = child(HOLDER, path)
    try:
        assert said(holder) == "True"
        with open(path, "r+b") as file:
            file.seek(7 * 4096)
            file.write(b"\xff\xfe" * 100)
        answer = lease_file.lease_hold_host_id(path, 7, "beta", "inst-b")
        assert answer == {"held": False, "host_name": "", "instance": ""}
    finally:
        end(holder)
