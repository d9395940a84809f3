# SPDX-License-Identifier: Apache-2.0
"""This host's local maintenance: sets it, ends it, and says who did it, when, why, until when.

The wish stands in ha.conf (maintenance_file.py), which the agent watches; the engine and the
predecessor's tools may write it, too. So it is read again every few seconds. An end that has
come clears the operator's wish, never the engine's. On the boot that it was set on the boot-time
clock tells; after a reboot the calendar has to. An end that can't be read is none: longer in
maintenance hurts less than a VM that starts while somebody pulls disks.
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import logging
from pathlib import Path
from typing import Any, Callable, Optional, Protocol

from ha_agent import maintenance_file
from ha_agent.errors import BadInput, EnvironmentFault
from ha_agent.instant import Instant, WallTime
from ha_agent.maintenance_file import LocalMaintenance

log = logging.getLogger(__name__)

_LOOK_INTERVAL_SECONDS = 2.0
_NOTE_BYTES = 1000
_NO_NOTES: dict[str, Any] = {
    **dict.fromkeys(("who", "when", "why", "until", "boot_id"), ""),
    "ends_boottime_seconds": None,
}


class Clock(Protocol):
    """What is needed of ports.Clock."""

    def now(self) -> Instant: ...

    def wall(self) -> WallTime: ...

    async def sleep(self, duration_seconds: float) -> None: ...


class LocalMaintenanceKeeper:
    """Writes ha.conf; the only one of ours that does."""

    def __init__(
        self,
        state_dir: Path,
        *,
        clock: Clock,
        boot_id: str,
        on_note: Callable[[str], None],
    ) -> None:
        """`on_note` is told the sentence for the status block, "" out of maintenance."""
        self._path = state_dir / maintenance_file.FILE_NAME
        self._clock = clock
        self._boot_id = boot_id
        self._on_note = on_note
        self._busy = asyncio.Lock()
        self._problem = ""
        self.active: Optional[bool] = None
        """Whether it was on at the last look, None before the first."""

    async def set(
        self,
        enabled: bool,
        *,
        who: str,
        reason: str = "",
        for_seconds: Optional[float] = None,
    ) -> LocalMaintenance:
        """Set or clear it; returns what the file says when it is read back.

        Clearing it clears the engine's flag, too, as the predecessor's `none` does. Raises
        EnvironmentFault, and BadInput for a file that can't be used.
        """
        wall, now = self._clock.wall(), self._clock.now()

        def change(state: LocalMaintenance) -> LocalMaintenance:
            end = None if for_seconds is None or not enabled else now + for_seconds
            return dataclasses.replace(
                state,
                by_operator=enabled,
                by_engine=state.by_engine and enabled,
                who=who,
                when=wall.iso(),
                why=reason,
                until="" if end is None else (wall + (for_seconds or 0.0)).iso(),
                ends_boottime_seconds=None if end is None else end.boottime_seconds,
                boot_id="" if end is None else self._boot_id,
            )

        async with self._busy:
            found = await self._change(change)
        if found.active is not enabled:
            raise EnvironmentFault(f"{self._path} reads back local maintenance {found.active}")
        self.active = found.active
        log.info("local maintenance set to %s by %s", "on" if enabled else "off", who)
        self._on_note(note_of(found))
        return found

    async def read(self) -> LocalMaintenance:
        """Return what the file says. Raises EnvironmentFault, BadInput."""
        async with self._busy:
            return await _in_thread(lambda: maintenance_file.read(self._path))

    async def set_key(self, key: str, value: str, *, who: str) -> None:
        """Set one key of the file and leave the others, as the predecessor's tools do.

        So the engine, which sets its flag through VDSM, does not end what an operator began.
        Raises BadInput for a flag that is neither true nor false, and as `set`.
        """
        now = self._clock.wall().iso()
        async with self._busy:
            found = await self._change(lambda old: _with_key(old, key, value, who, now))
        self.active = found.active
        log.info("%s set %s in ha.conf", who, key)
        self._on_note(note_of(found))

    async def run(self) -> None:
        """Look for ever, as the module says."""
        while True:
            try:
                await self.look()
                self._problem = ""
            except (EnvironmentFault, BadInput) as fault:
                if str(fault) != self._problem:
                    log.warning("local maintenance: %s", fault)
                self._problem, self.active = str(fault), self.active or False
            await self._clock.sleep(_LOOK_INTERVAL_SECONDS)

    async def look(self) -> None:
        """Read the file once, and end what is over. Raises EnvironmentFault, BadInput."""
        async with self._busy:
            state = await _in_thread(lambda: maintenance_file.read(self._path))
            if state.by_operator and self._over(state):
                log.warning("local maintenance that %s set is over: its time has come", state.who)
                state = await self._change(_without_operator)
        self.active = state.active
        self._on_note(note_of(state))

    def _over(self, state: LocalMaintenance) -> bool:
        if state.ends_boottime_seconds is not None and state.boot_id == self._boot_id:
            return self._clock.now() >= Instant(state.ends_boottime_seconds)
        until = _wall_time(state.until)
        return until is not None and self._clock.wall() >= until

    async def _change(
        self, change: Callable[[LocalMaintenance], LocalMaintenance]
    ) -> LocalMaintenance:
        def work() -> LocalMaintenance:
            maintenance_file.write(self._path, change(maintenance_file.read(self._path)))
            return maintenance_file.read(self._path)

        return await _in_thread(work)


def note_of(state: LocalMaintenance) -> str:
    """Return who, when, why and until when as one sentence; "" out of maintenance."""
    if not state.active:
        return ""
    parts = [f"since {state.when}" if state.when else "", f"by {state.who}" if state.who else ""]
    parts.append(f"until {state.until}" if state.until else "")
    told = " ".join(part for part in parts if part) or "by the engine"
    note = f"{told}: {state.why}" if state.why else told
    # Anybody may write ha.conf, and a block that does not fit is not written.
    return note.encode("utf-8", "replace")[:_NOTE_BYTES].decode("utf-8", "ignore")


def _without_operator(state: LocalMaintenance) -> LocalMaintenance:
    others = state.others
    return LocalMaintenance(by_engine=state.by_engine, others=others)


def _with_key(
    old: LocalMaintenance, key: str, value: str, who: str, when: str
) -> LocalMaintenance:
    new = maintenance_file.with_key(old, key, value)
    if new.by_operator and not old.by_operator:
        return dataclasses.replace(new, **{**_NO_NOTES, "who": who, "when": when})
    if old.by_operator and not new.by_operator:
        # Who, why and until when were of the operator's wish.
        return dataclasses.replace(new, **_NO_NOTES)
    return new


def _wall_time(text: str) -> Optional[WallTime]:
    try:
        return WallTime(datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%S%z").timestamp())
    except ValueError:
        return None


async def _in_thread(work: Callable[[], LocalMaintenance]) -> LocalMaintenance:
    return await asyncio.get_running_loop().run_in_executor(None, work)
