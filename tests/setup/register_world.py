# SPDX-License-Identifier: Apache-2.0
"""A status volume and hosts that join it: for tests of the register of host ids."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Optional

from ha_agent.broker.blocks import codec
from ha_agent.broker.blocks.codec import SLOT_BYTES, StatusBlock, key_value_lines
from ha_agent.broker.storage import worker
from ha_agent.broker.storage.lane import StorageFault
from ha_agent.clock import SystemClock
from ha_agent.errors import BadInput
from ha_agent.instant import Instant, WallTime
from ha_agent.setup.join.host_id import Joiner, machine_mark
from ha_agent.setup.join.host_register import HostRegister, RegisterPlace

VOLUME_SLOTS = 100
IDS_AT = "dom_md/ids"
VM_ELSEWHERE = {"vm": "down_missing", "health": "bad", "detail": "unknown", "reason": "not here"}


class HereLane:
    """A storage lane without a process: the worker's own operations, in this one."""

    async def call(self, operation: str, deadline_seconds: float, **args: Any) -> Any:
        reply = worker.answer({"id": 1, "operation": operation, "args": args})
        error = reply.get("error")
        if error is None:
            return reply["value"]
        if error["code"] == "bad_input":
            raise BadInput(error["message"])
        raise StorageFault(error["code"], operation, str(args.get("path", "")), error["message"])


class JumpClock:
    """Sleeping is over at once; `on_sleep` is what happens meanwhile."""

    def __init__(self) -> None:
        self.at = 1000.0
        self.on_sleep: Any = lambda: None

    def now(self) -> Instant:
        return Instant(self.at)

    def wall(self) -> WallTime:
        return WallTime(1_700_000_000.0)

    async def sleep(self, duration_seconds: float) -> None:
        self.at += max(0.0, duration_seconds)
        self.on_sleep()


def make_place(folder: Path, **changes: Any) -> RegisterPlace:
    """Make a folder's domain with an empty status volume, unless the domain is there."""
    status = folder / "status"
    if not (folder / "dom_md").exists():
        with status.open("wb") as file:
            file.truncate(VOLUME_SLOTS * SLOT_BYTES)
        (folder / "dom_md").mkdir()
    place = RegisterPlace(
        status_path=str(status),
        hosts_path=str(folder / "ha_agent" / "vm.hosts"),
        lease_path=str(folder / "ha_agent" / "vm.lease"),
        ids_path=str(folder / IDS_AT),
        max_hosts=64,
        io_deadline_seconds=10.0,
        host_alive_seconds=30.0,
        settle_seconds=10.0,
    )
    return dataclasses.replace(place, **changes)


def joiner(name: str, machine: str = "") -> Joiner:
    return Joiner(f"{name}.example.com", machine_mark(machine or name))


def register(
    folder: Path, name: str, machine: str = "", clock: Any = None, **changes: Any
) -> HostRegister:
    """The register as host `name` sees it."""
    place = make_place(folder, **changes)
    return HostRegister(HereLane(), place, joiner(name, machine), clock=clock or SystemClock())


def write_block(
    folder: Path, host_id: int, name: str, *, second: int = 7, stopped: bool = False
) -> None:
    """Write the block of a host whose agent runs, or has been stopped."""
    make_place(folder)
    block = StatusBlock(
        host_id, f"{name}.example.com", second, 3400, VM_ELSEWHERE, stopped=stopped
    )
    lines = key_value_lines({"agent": "ha-agent 1.0"})
    write_raw(folder, host_id, codec.encode(block, lines))


def write_raw(folder: Path, host_id: int, data: bytes) -> None:
    make_place(folder)
    with (folder / "status").open("r+b") as file:
        file.seek(host_id * SLOT_BYTES)
        file.write(data.ljust(SLOT_BYTES, b"\0"))


def read_raw(folder: Path, host_id: int) -> bytes:
    return (folder / "status").read_bytes()[host_id * SLOT_BYTES :][:SLOT_BYTES]


def read_block(folder: Path, host_id: int) -> Optional[StatusBlock]:
    return codec.decode(read_raw(folder, host_id), slot=host_id)


def mute(_text: str) -> None:
    """Nobody reads what is said."""
