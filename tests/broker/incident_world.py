# SPDX-License-Identifier: Apache-2.0
"""Some hosts with their incidents, in virtual time: pictures, keepers, senders, a mail box.

What hosts read of each other is what their keepers' lines say, at the next look.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Callable, Optional

from ha_agent.broker.incidents.file import Kept
from ha_agent.broker.incidents.keeper import SETTLING_SECONDS, IncidentKeeper, Wanted
from ha_agent.broker.incidents.text import Texts
from ha_agent.broker.notify.channel import Outcome
from ha_agent.broker.notify.message import Notice
from ha_agent.broker.notify.sender import Limits, Sender
from ha_agent.broker.snapshot import (
    DefinitionEntry,
    HostEntry,
    LeaseEntry,
    Report,
    Snapshot,
    StorageEntry,
)
from ha_agent.instant import Instant
from tests.fakes import FakeClock

VM = "00000000-0000-4000-8000-000000000001"
NAMES = {1: "alpha", 2: "beta", 3: "gamma"}
UP = {"vm": "up", "health": "good", "detail": "Up", "reason": ""}
DOWN = {"vm": "down", "health": "bad", "detail": "Down", "reason": "nobody knows"}
ALIVE_SECONDS = 30.0


class Box:
    """Where all messages arrive. `refuses` names hosts whose messages don't get through."""

    def __init__(self) -> None:
        self.mails: list[tuple[str, Notice]] = []
        self.refuses: set[str] = set()

    @property
    def subjects(self) -> list[str]:
        return [str(one.body["subject"]) for _, one in self.mails]


@dataclass
class BoxChannel:
    """One host's way to the box."""

    box: Box
    host: str
    name: str = "mail"

    async def deliver(self, notice: Notice) -> Outcome:
        if self.host in self.box.refuses:
            return Outcome(False, "refused")
        self.box.mails.append((self.host, notice))
        return Outcome(True, "taken")


class MemoryDisk:
    """Keeps what a host has on its disk."""

    def __init__(self) -> None:
        self.kept: Optional[Kept] = None

    def save(self, kept: Kept) -> None:
        self.kept = kept


class Host:
    """One host. `runs`: its broker; `writes`: its block reaches the others."""

    def __init__(self, world: World, host_id: int) -> None:
        self.world, self.host_id, self.name = world, host_id, NAMES[host_id]
        self.runs = self.writes = self.reads = True
        self.status = UP if host_id == 1 else {**DOWN, "vm": "down_missing"}
        self.line = ""
        self.changed_at = world.clock.now()
        self.read_at = world.clock.now()
        self.agent_starts: list[Instant] = []
        self.report = Report(score=3400, made_at=world.clock.now())
        self.more: dict[str, object] = {}
        self.entry_more: dict[str, object] = {}
        self.disk = MemoryDisk()
        self.start()

    def start(self) -> None:
        """Start its broker, with what is on its disk."""
        world, now = self.world, self.world.clock.now()
        kept = self.disk.kept or Kept(boot_id="boot")
        self.began_at = now
        self.keeper = IncidentKeeper(
            self.host_id,
            self.name,
            replace(kept, starts=(*kept.starts, now)),
            texts=world.texts,
            wanted=world.wanted,
            disk=self.disk,
            now=now,
        )
        self.sender = Sender(
            BoxChannel(world.box, self.name),
            self.keeper,
            world.limits,
            host_name=self.name,
            vm_uuid=VM,
            clock=world.clock,
        )

    @property
    def can(self) -> int:
        settling = self.world.clock.now() - self.began_at < SETTLING_SECONDS
        return 0 if settling else 1 if self.sender.fails else 2

    def entry(self, now: Instant) -> HostEntry:
        return replace(
            HostEntry(
                self.host_id,
                self.name,
                alive=now - self.changed_at <= ALIVE_SECONDS,
                score=3400,
                engine_status=self.status,
                state="EngineUp",
                changed_at=self.changed_at,
                incidents=self.line,
            ),
            **self.entry_more,  # type: ignore[arg-type]
        )

    def picture(self) -> Snapshot:
        now = self.world.clock.now()
        if self.reads:
            self.read_at = now
        snapshot = Snapshot(
            version=1,
            host_id=self.host_id,
            host_name=self.name,
            vm_uuid=VM,
            made_at=now,
            lease=LeaseEntry(state="held"),
            hosts=tuple(host.entry(now) for host in self.world.hosts.values()),
            global_maintenance=False,
            definition=DefinitionEntry(available=True, identity="d1"),
            storage=StorageEntry(
                read_at=self.read_at, problem="" if self.reads else "no answer within 5 s"
            ),
            agent=replace(self.report, made_at=now),
        )
        return replace(snapshot, **self.more)  # type: ignore[arg-type]


class World:
    """Hosts, a clock that jumps, one mail box."""

    def __init__(self, count: int = 1, **limits: float) -> None:
        self.clock = FakeClock(100_000.0)
        self.box = Box()
        self.texts = Texts(Path("/nonexistent"), VM, "test")
        self.wanted = Wanted()
        self.limits = Limits(
            limits.get("digest_seconds", 30.0), int(limits.get("max_per_hour", 12))
        )
        self.hosts: dict[int, Host] = {}
        for host_id in range(1, count + 1):
            self.hosts[host_id] = Host(self, host_id)

    async def run(
        self, duration_seconds: float, each: Callable[[float], None] = lambda at: None
    ) -> None:
        """Let time pass in steps of five seconds; `each` is called before every step."""
        passed = 0.0
        while passed < duration_seconds:
            each(passed)
            for host in self.hosts.values():
                await self._step(host)
            await self.clock.sleep(5.0)
            passed += 5.0

    async def _step(self, host: Host) -> None:
        now, wall = self.clock.now(), self.clock.wall()
        if host.runs:
            host.keeper.look(host.picture(), wall, can=host.can, agent_starts=host.agent_starts)
            batch = host.sender.due(now, wall)
            if batch is not None:
                host.sender.done(batch, await host.sender.channel.deliver(batch.notice))
        if host.writes and host.runs:
            host.changed_at, host.line = now, host.keeper.line
