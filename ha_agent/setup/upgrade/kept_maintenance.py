# SPDX-License-Identifier: Apache-2.0
"""This host's local maintenance goes with it, from the predecessor to us and back.

Each kind keeps it in a ha.conf of its own (maintenance_file.py). The one of the kind that is at
work counts; the other is as old as the last move, and must not come into force again: a host that
is believed to be out of maintenance starts the engine VM while somebody pulls its disks.

    to us      ours from an earlier time is removed; our broker then takes theirs over when it
               starts (maintenance_file.take_over)
    and back   what ours says is written into theirs, once our daemons are stopped; then ours is
               removed. Other keys of theirs stay; an end that was set for it is told, since the
               predecessor knows none. Where an upgrade was cut off before theirs were stopped,
               theirs counts still, and ours is only removed
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from ha_agent import maintenance_file
from ha_agent.compat.conf_writer import write_conf
from ha_agent.errors import EnvironmentFault
from ha_agent.setup.host_files import remove_file
from ha_agent.setup.services import OUR_UNITS, PREDECESSOR_UNITS, Services
from ha_agent.setup.step import Found, Say, SetupFailed
from ha_agent.setup.upgrade.predecessor_host import HA_CONF


class ForgetOldMaintenance:
    """Removes a ha.conf of ours that is from before, while ours are not at work."""

    name = "old-maintenance"
    title = "see that only the predecessor's local maintenance counts"
    reads: Sequence[str] = ("our own ha.conf", "the units' state")
    writes: Sequence[str] = ("our own ha.conf, which is removed when it is from before",)

    def __init__(self, state_dir: Path, services: Services) -> None:
        self._path = state_dir / maintenance_file.FILE_NAME
        self._services = services

    async def look(self) -> Found:
        """Done when ours are at work: then the file is theirs by right."""
        if not self._path.exists():
            return Found(True, f"there is no {self._path}")
        if await _are_at_work(self._services, OUR_UNITS):
            return Found(True, f"our units are at work, and {self._path} is of now")
        return Found(False, f"{self._path} is from before")

    async def do(self, say: Say) -> str:  # noqa: ARG002
        """Remove it. Raises EnvironmentFault."""
        remove_file(self._path)
        return f"{self._path} is removed"


class HandMaintenanceBack:
    """Writes our maintenance into the predecessor's ha.conf, and removes ours."""

    name = "maintenance"
    title = "hand local maintenance back"

    def __init__(self, state_dir: Path, root: Path, services: Services) -> None:
        self._services = services
        self._ours = state_dir / maintenance_file.FILE_NAME
        self._theirs = root / HA_CONF

    async def look(self) -> Found:
        """Raise BadInput for a file that can't be used, before our daemons are stopped."""
        if not self._ours.exists():
            return Found(True, f"there is no {self._ours}")
        if await _are_at_work(self._services, PREDECESSOR_UNITS):
            return Found(False, f"{self._ours} is from before, the predecessor's counts still")
        ours = maintenance_file.read(self._ours)
        maintenance_file.read(self._theirs)
        return Found(False, f"this host is {'' if ours.active else 'not '}in local maintenance")

    async def do(self, say: Say) -> str:
        """Write theirs first: a kill in between leaves both. Raises SetupFailed."""
        if await _are_at_work(self._services, PREDECESSOR_UNITS):
            remove_file(self._ours)
            return f"{self._ours} is removed"
        ours, theirs = maintenance_file.read(self._ours), maintenance_file.read(self._theirs)
        if ours.by_operator and ours.until:
            say(f"it was to end {ours.until}; the predecessor does not end it by itself")
        flags = (ours.by_engine, ours.by_operator)
        if flags != (theirs.by_engine, theirs.by_operator):
            kept = dataclasses.replace(ours, others=theirs.others)
            self._write(maintenance_file.form(kept))
        remove_file(self._ours)
        return f"{self._theirs} says {'yes' if ours.active else 'no'}"

    def _write(self, text: str) -> None:
        try:
            folder = self._theirs.parent.stat()
        except OSError as error:
            raise SetupFailed(f"{self._theirs.parent}: {error.strerror}") from error
        try:
            # A new one is the folder's owner's: the predecessor's agent is not root.
            write_conf(self._theirs, text, mode=0o644, owner=(folder.st_uid, folder.st_gid))
        except EnvironmentFault as fault:
            raise SetupFailed(str(fault)) from fault


async def _are_at_work(services: Services, names: Sequence[str]) -> bool:
    states = await services.states(names)
    return any(
        unit.exists and not unit.is_other and (unit.running or unit.enabled)
        for unit in states.values()
    )
