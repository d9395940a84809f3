# SPDX-License-Identifier: Apache-2.0
"""Host ids taken and given back: on a directory, by many processes at once, killed, by sanlock."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

import pytest

from ha_agent import ofd_lock
from ha_agent.broker.blocks.codec import StatusBlock, encode
from ha_agent.broker.lease import file as lease_file
from ha_agent.errors import BadInput, EnvironmentFault
from ha_agent.setup.join.host_id import FREE_SLOT
from ha_agent.setup.join.host_register import HostRegister
from ha_agent.setup.step import SetupFailed, SetupRefused
from tests.setup.register_world import (
    VM_ELSEWHERE,
    HereLane,
    JumpClock,
    joiner,
    make_place,
    mute,
    read_block,
    read_raw,
    register,
    write_block,
    write_raw,
)

ROOT = Path(__file__).parents[3]
PROGRAM = """
import asyncio, os, sys
from pathlib import Path
from ha_agent.errors import HaAgentError
from tests.setup.register_world import mute, register
folder, names = Path(sys.argv[1]), sys.argv[2:]
go, gate = os.pipe()
children = []
for name in names:
    pid = os.fork()
    if not pid:
        os.close(gate)
        os.read(go, 1)  # all begin together
        try:
            code = asyncio.run(register(folder, name).take(None, None, mute))
        except HaAgentError as error:
            print(error, file=sys.stderr)
            code = 255
        os._exit(code)
    children.append(pid)
os.close(gate)
print(*[os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children])
"""


def take(
    folder: Path, name: str, wanted: Optional[int] = None, machine: str = "", **more: Any
) -> int:
    one = register(folder, name, machine, **more)
    return asyncio.run(one.take(wanted, None, mute))


def test_hosts_in_turn_get_the_next_ids(tmp_path: Path) -> None:
    write_block(tmp_path, 2, "beta")
    assert [take(tmp_path, name) for name in ("alpha", "gamma", "delta")] == [1, 3, 4]
    assert take(tmp_path, "gamma") == 3
    assert take(tmp_path, "zeta", wanted=9) == 9
    block = read_block(tmp_path, 3)
    assert block is not None
    assert (block.host_name, block.stopped) == ("gamma.example.com", True)


def test_a_slot_that_can_not_be_read_is_left_alone(tmp_path: Path) -> None:
    write_raw(tmp_path, 1, b"7|1|x")
    write_raw(tmp_path, 2, b"\xff\xfe")
    before = [read_raw(tmp_path, n) for n in (1, 2)]
    assert take(tmp_path, "alpha") == 3
    assert [read_raw(tmp_path, n) for n in (1, 2)] == before
    with pytest.raises(SetupRefused, match="host id 2 is taken"):
        take(tmp_path, "beta", wanted=2)


def test_twenty_processes_at_once_get_twenty_ids(tmp_path: Path) -> None:
    write_block(tmp_path, 7, "someone")
    names = [f"host{n}" for n in range(20)]
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path), *names],
        cwd=ROOT, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert ended.stderr == ""
    ids = [int(word) for word in ended.stdout.split()]
    assert sorted(ids) == [n for n in range(1, 22) if n != 7]
    for name, host_id in zip(names, ids):
        block = read_block(tmp_path, host_id)
        assert block is not None
        assert block.host_name == f"{name}.example.com"


async def test_one_that_loses_the_race_takes_the_next(tmp_path: Path) -> None:
    class Raced(HereLane):
        raced = False

        async def call(self, operation: str, deadline_seconds: float, **args: Any) -> Any:
            if operation == "swap_slot" and not self.raced:
                self.raced = True
                write_block(tmp_path, 1, "quick")
            return await super().call(operation, deadline_seconds, **args)

    one = HostRegister(Raced(), make_place(tmp_path), joiner("slow"), clock=JumpClock())
    assert await one.take(None, None, mute) == 2
    assert read_block(tmp_path, 1).host_name == "quick.example.com"  # type: ignore[union-attr]


async def test_killed_between_the_slot_and_the_answer(tmp_path: Path) -> None:
    class Killed(HereLane):
        async def call(self, operation: str, deadline_seconds: float, **args: Any) -> Any:
            answer = await super().call(operation, deadline_seconds, **args)
            if operation == "swap_slot":
                raise KeyboardInterrupt
            return answer

    one = HostRegister(Killed(), make_place(tmp_path), joiner("alpha"), clock=JumpClock())
    with pytest.raises(KeyboardInterrupt):
        await one.take(None, None, mute)
    assert await register(tmp_path, "beta").take(None, None, mute) == 2
    assert await register(tmp_path, "alpha").take(None, None, mute) == 1


async def test_the_lock_of_a_joiner_that_hangs_has_a_deadline(tmp_path: Path) -> None:
    place = make_place(tmp_path)
    Path(place.hosts_path).parent.mkdir()
    with open(place.hosts_path, "wb") as held:
        assert ofd_lock.try_lock(held.fileno(), 0, 1)
        with pytest.raises(EnvironmentFault, match="another host joins or leaves"):
            await HereLane().call(
                "swap_slot", 1, path=place.status_path, slot=1, expected=FREE_SLOT,
                data=b"x" * 4096, lock_path=place.hosts_path, lock_wait_seconds=0.05,
            )  # fmt: skip
    assert read_raw(tmp_path, 1) == FREE_SLOT
    assert await register(tmp_path, "alpha").take(None, None, mute) == 1


# --- who lives ---------------------------------------------------------------------------------


async def test_a_host_of_our_name_that_lives(tmp_path: Path) -> None:
    write_block(tmp_path, 4, "alpha")
    clock = JumpClock()
    clock.on_sleep = lambda: write_block(tmp_path, 4, "alpha", second=int(clock.at))
    with pytest.raises(SetupRefused, match=r"host id 4 has this host's name.*lives"):
        await register(tmp_path, "alpha", clock=clock).take(None, None, mute)
    with pytest.raises(SetupRefused, match=r"host id 4 is alpha.example.com's, alive"):
        await register(tmp_path, "beta", clock=clock).take(4, None, mute)


async def test_our_own_silent_block_is_ours_again_once_watched(tmp_path: Path) -> None:
    write_block(tmp_path, 4, "alpha")
    clock = JumpClock()
    said: list[str] = []
    began = clock.now()
    assert await register(tmp_path, "alpha", clock=clock).take(None, None, said.append) == 4
    assert clock.now() - began >= 30
    assert "watching host id 4" in said[0]


async def test_the_predecessors_block_is_watched_for_its_minute(tmp_path: Path) -> None:
    write_raw(tmp_path, 4, encode(StatusBlock(4, "alpha.example.com", 5, 0, VM_ELSEWHERE)))
    clock = JumpClock()
    began = clock.now()
    assert await register(tmp_path, "alpha", clock=clock).take(None, None, mute) == 4
    assert clock.now() - began >= 60


async def test_a_stopped_block_of_ours_needs_no_watch(tmp_path: Path) -> None:
    write_block(tmp_path, 4, "alpha", stopped=True)
    clock = JumpClock()
    began = clock.now()
    assert await register(tmp_path, "alpha", clock=clock).take(None, None, mute) == 4
    assert clock.now() == began


async def test_a_block_that_is_removed_while_it_is_watched(tmp_path: Path) -> None:
    write_block(tmp_path, 4, "alpha")
    clock = JumpClock()
    clock.on_sleep = lambda: write_raw(tmp_path, 4, b"")
    assert await register(tmp_path, "alpha", clock=clock).take(None, None, mute) == 1


async def test_another_machine_with_our_name_that_has_just_joined(tmp_path: Path) -> None:
    assert await register(tmp_path, "alpha", "one").take(None, None, mute) == 1
    with pytest.raises(SetupRefused, match="another machine"):
        await register(tmp_path, "alpha", "two").take(None, None, mute)


async def test_an_id_that_a_broker_holds_is_not_given(tmp_path: Path) -> None:
    place = make_place(tmp_path)
    lease_file.lease_initialise(place.lease_path)
    with held_host_id(place.lease_path, 1):
        assert await register(tmp_path, "alpha").take(None, None, mute) == 2
        with pytest.raises(SetupRefused, match="running host without a status block"):
            await register(tmp_path, "beta").take(1, None, mute)
    with held_host_id(place.lease_path, 2), pytest.raises(SetupRefused, match="holds its id"):
        await register(tmp_path, "alpha").take(None, None, mute)


@contextlib.contextmanager
def held_host_id(path: str, host_id: int) -> Iterator[None]:
    with open(path, "r+b") as file:
        assert ofd_lock.try_lock(file.fileno(), lease_file.HOST_LOCK_OFFSET + host_id, 1)
        yield


async def test_as_many_hosts_as_configured(tmp_path: Path) -> None:
    for name in ("a", "b"):
        await register(tmp_path, name, max_hosts=2).take(None, None, mute)
    with pytest.raises(SetupRefused, match="ha_agent_storage_max_hosts"):
        await register(tmp_path, "c", max_hosts=2).take(None, None, mute)


# --- giving back -------------------------------------------------------------------------------


async def test_a_host_gives_its_id_back(tmp_path: Path) -> None:
    one = register(tmp_path, "alpha")
    assert await one.take(None, None, mute) == 1
    assert (await one.standing()).ours == (1,)
    assert await one.give_back(1) == "host id 1 is free"
    assert read_raw(tmp_path, 1) == FREE_SLOT
    assert (await one.standing()).ours == ()
    assert await one.give_back(1) == "host id 1 is free (it was already)"


async def test_another_hosts_slot_is_not_cleared(tmp_path: Path) -> None:
    write_block(tmp_path, 2, "beta")
    with pytest.raises(SetupRefused, match="not this host's: beta"):
        await register(tmp_path, "alpha").give_back(2)
    write_raw(tmp_path, 2, b"9|9|")
    with pytest.raises(SetupRefused, match="format version 9"):
        await register(tmp_path, "alpha").give_back(2)


async def test_an_agent_that_still_writes(tmp_path: Path) -> None:
    class Writing(HereLane):
        async def call(self, operation: str, deadline_seconds: float, **args: Any) -> Any:
            if operation == "swap_slot":
                write_block(tmp_path, 2, "alpha", second=99)
            return await super().call(operation, deadline_seconds, **args)

    write_block(tmp_path, 2, "alpha")
    one = HostRegister(Writing(), make_place(tmp_path), joiner("alpha"), clock=JumpClock())
    with pytest.raises(SetupFailed, match="does its agent run"):
        await one.give_back(2)


async def test_a_volume_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match="gone"):
        await register(tmp_path, "alpha", status_path=str(tmp_path / "gone")).standing()


async def test_the_domain_folder_is_never_made(tmp_path: Path) -> None:
    lost = str(tmp_path / "unmounted" / "ha_agent" / "vm.hosts")
    with pytest.raises(EnvironmentFault):
        await register(tmp_path, "alpha", hosts_path=lost).take(None, None, mute)
    assert not (tmp_path / "unmounted").exists()


async def test_a_slot_out_of_range(tmp_path: Path) -> None:
    with pytest.raises(BadInput):
        await HereLane().call(
            "swap_slot", 1, path=make_place(tmp_path).status_path, slot=0, expected=FREE_SLOT,
            data=FREE_SLOT, lock_path="", lock_wait_seconds=1,
        )  # fmt: skip


async def test_without_locks_the_slot_is_read_once_more(tmp_path: Path) -> None:
    clock = JumpClock()
    clock.on_sleep = lambda: write_block(tmp_path, 1, "quick") if clock.at < 1015 else None
    one = register(tmp_path, "slow", clock=clock, hosts_path="")
    assert await one.take(None, None, mute) == 2
    block = read_block(tmp_path, 1)
    assert block is not None
    assert block.host_name == "quick.example.com"


async def test_a_lock_is_waited_for_only_where_there_is_one(tmp_path: Path) -> None:
    """Else a write of another host could land after that one has settled on the id."""
    asked: list[float] = []

    class Timed(HereLane):
        async def call(self, operation: str, deadline_seconds: float, **args: Any) -> Any:
            if operation == "swap_slot":
                asked.append(deadline_seconds)
            return await super().call(operation, deadline_seconds, **args)

    place = make_place(tmp_path, hosts_path="")
    one = HostRegister(Timed(), place, joiner("alpha"), clock=JumpClock())
    assert await one.take(None, None, mute) == 1
    assert asked == [place.settle_seconds]


async def test_a_slot_of_which_only_the_lines_for_people_are_left(tmp_path: Path) -> None:
    """As after a write that was torn: to all readers nobody uses it, so it is free."""
    write_raw(tmp_path, 1, bytes(512) + b"state=EngineDown\n")
    assert await register(tmp_path, "alpha").take(None, None, mute) == 1
    block = read_block(tmp_path, 1)
    assert block is not None
    assert "EngineDown" not in block.extra


@pytest.mark.parametrize("ours_is", [1, 2])
async def test_two_of_one_name_that_want_two_ids_at_once(tmp_path: Path, ours_is: int) -> None:
    """Neither saw the other when it looked."""

    class Raced(HereLane):
        raced = False

        async def call(self, operation: str, deadline_seconds: float, **args: Any) -> Any:
            if operation == "swap_slot" and not self.raced:
                self.raced = True
                other = register(tmp_path, "alpha", "two")
                assert await other.take(3 - ours_is, None, mute) == 3 - ours_is
            return await super().call(operation, deadline_seconds, **args)

    one = HostRegister(Raced(), make_place(tmp_path), joiner("alpha", "one"), clock=JumpClock())
    with pytest.raises(SetupRefused, match="another machine"):
        await one.take(ours_is, None, mute)
    assert read_raw(tmp_path, ours_is) == FREE_SLOT
    assert read_block(tmp_path, 3 - ours_is) is not None
