# SPDX-License-Identifier: Apache-2.0
"""Incidents and notifications as a part of the broker: the loops, and the verbs.

incidents    {}   the open and the recent ones, and how the channels do
notify.test  {}   sends a test on every channel, and tells what became of it
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Callable, Protocol

from ha_agent.broker.api.arguments import Access, bound
from ha_agent.broker.api.verb import Field, Kind, Verb, Who
from ha_agent.broker.event_journal import IncidentJournal
from ha_agent.broker.event_log import EventLog
from ha_agent.broker.incidents.file import IncidentFile
from ha_agent.broker.incidents.incident import IncidentEntry
from ha_agent.broker.incidents.keeper import SETTLING_SECONDS, IncidentKeeper, Wanted
from ha_agent.broker.incidents.text import Texts
from ha_agent.broker.notify.channel import channels
from ha_agent.broker.notify.message import notice
from ha_agent.broker.notify.sender import Clock, Limits, Sender
from ha_agent.broker.part import Part
from ha_agent.broker.rpc.server import Handler, Peer
from ha_agent.broker.snapshot import Snapshot, to_wire
from ha_agent.config.schema import Config
from ha_agent.instant import Instant

LOOK_SECONDS = 2.0
_START_STATE = "StartState"
_STARTS_LOOKED_AT = 200
_GRACE_SECONDS = 5.0

VERBS = (
    Verb(
        "incidents",
        "Tells the open and the recent incidents, and how the channels of notification do.",
        result=(
            Field("open", Kind.LIST, "the worst first", shape=IncidentEntry),
            Field("recent", Kind.LIST, "those that are over, newest first", shape=IncidentEntry),
            Field("leads", Kind.FLAG, "whether this host tells what nobody has told yet"),
            Field("channels", Kind.LIST, "each: name, waiting, sent_last_hour, failed_tries, …"),
        ),
    ),
    Verb(
        "notify.test",
        "Sends a test message on every channel that is configured on this host.",
        who=Who.CHANGE,
        result=(Field("channels", Kind.LIST, "each: name, ok, detail"),),
        deadline="[notify] deadline_seconds, and 5 s",
    ),
)


class BoardPort(Protocol):
    """What is needed of watch.Board."""

    def read(self) -> Snapshot: ...

    def update(self, **parts: Any) -> None: ...


class Incidents:
    """The keeper and the senders, put together from the configuration. Reads files; blocks."""

    def __init__(
        self,
        config: Config,
        board: BoardPort,
        events: EventLog,
        *,
        clock: Clock,
        boot_id: str,
        set_line: Callable[[str], None],
        environ: Mapping[str, str],
    ) -> None:
        """`set_line` takes the line for this host's status block; `environ`: for systemd's
        CREDENTIALS_DIRECTORY."""
        host, notify = config.host, config.notify
        self._board = board
        self._events = events
        self._clock = clock
        self._set_line = set_line
        self._vm_uuid = config.engine.vm_uuid
        self._name = host.name
        self._began_at = clock.now()
        self._journal = IncidentJournal()
        self._file = IncidentFile(host.state_dir, boot_id)
        self.keeper = IncidentKeeper(
            host.id,
            host.name,
            self._file.load(self._began_at),
            texts=Texts(Path(notify.templates_dir), config.engine.vm_uuid, host.name),
            wanted=Wanted(notify.severity, notify.muted),
            disk=self._file,
            now=self._began_at,
        )
        self.senders = [
            Sender(
                channel,
                self.keeper,
                Limits(notify.digest_seconds, notify.max_per_hour),
                host_name=host.name,
                vm_uuid=config.engine.vm_uuid,
                clock=clock,
            )
            for channel in channels(notify, host.name, environ)
        ]
        self._deadline_seconds = notify.deadline_seconds + _GRACE_SECONDS

    def part(self, access: Access) -> Part:
        """Return what the broker is to do."""
        return Part(
            "incidents",
            self.handlers(access),
            {"notify.test": self._deadline_seconds},
            (self.run, *(sender.run for sender in self.senders)),
            close=self.close,
        )

    def handlers(self, access: Access) -> dict[str, Handler]:
        """Return the verbs."""
        return bound(VERBS, {"incidents": self._incidents, "notify.test": self._test}, access)

    async def run(self) -> None:
        """Look for ever."""
        self._file.start()
        while True:
            self.look()
            await self._clock.sleep(LOOK_SECONDS)

    def look(self) -> None:
        """Look at the board once."""
        snapshot = self._board.read()
        starts = self._agent_starts(snapshot.made_at)
        self.keeper.look(snapshot, self._clock.wall(), can=self._can(), agent_starts=starts)
        self._set_line(self.keeper.line)
        entries = self.keeper.entries()
        self._journal.take(entries)
        self._board.update(incidents=entries)

    async def close(self) -> None:
        """Write what is queued for the disk; for two seconds at most, in a thread."""
        await asyncio.get_running_loop().run_in_executor(None, self._file.stop)

    def _can(self) -> int:
        if not self.senders or self._clock.now() - self._began_at < SETTLING_SECONDS:
            return 0
        return 1 if all(sender.fails for sender in self.senders) else 2

    def _agent_starts(self, now: Instant) -> list[Instant]:
        wall = self._clock.wall().unix_seconds
        return [
            now + (event.at_unix_seconds - wall)
            for event in self._events.latest(_STARTS_LOOKED_AT)
            if event.kind == "state" and event.values.get("from") == _START_STATE
        ]

    async def _incidents(self, _params: Mapping[str, Any], _peer: Peer) -> Any:
        both = self.keeper.entries(closed=True)
        return {
            "open": [to_wire(one) for one in both if one.closed_unix_seconds is None],
            "recent": [to_wire(one) for one in both if one.closed_unix_seconds is not None],
            "leads": self.keeper.leads,
            "channels": [sender.view() for sender in self.senders],
        }

    async def _test(self, _params: Mapping[str, Any], _peer: Peer) -> Any:
        sent = notice(
            (),
            sender=self._name,
            vm_uuid=self._vm_uuid,
            wall=self._clock.wall(),
            notes=("This is a test: somebody ran `ha-agent notify test`. Nothing is wrong.",),
            test=True,
        )
        outcomes = await asyncio.gather(*(sender.channel.deliver(sent) for sender in self.senders))
        for sender, outcome in zip(self.senders, outcomes):
            sender.note(outcome)
        return {
            "channels": [
                {"name": sender.channel.name, "ok": outcome.ok, "detail": outcome.detail}
                for sender, outcome in zip(self.senders, outcomes)
            ]
        }
