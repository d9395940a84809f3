# SPDX-License-Identifier: Apache-2.0
"""From one kind of agent to the other on this host, with the engine VM left running.

Order of the switch, either way:

    1  stop the agent that goes, then its broker     from here nobody watches the VM on this host
    2  disable its units                             a reboot from here starts neither kind
    3  enable the units that come, and start them    the new agent finds the VM and adopts it

At no moment both kinds run. No stop ends the VM: it is VDSM's. Agents of other hosts may find that
nobody holds it, and try a start; the VM lease, which lives as long as the VM, refuses that.

A unit's own name decides which agent it is, never the predecessor's name alone: while ours are
enabled that is an alias of ours (services.py).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from ha_agent.errors import EnvironmentFault
from ha_agent.ports import Clock
from ha_agent.setup.services import (
    OUR_AGENT,
    OUR_BROKER,
    OUR_SOCKET,
    OUR_UNITS,
    PREDECESSOR_AGENT,
    PREDECESSOR_BROKER,
    PREDECESSOR_UNITS,
    Services,
    UnitState,
)
from ha_agent.setup.step import Found, Say, SetupFailed, SetupRefused
from ha_agent.setup.upgrade.backup import UnitEntry
from ha_agent.setup.upgrade.ground import Watch

WATCH_SECONDS = 180.0
_POLL_SECONDS = 1.0
_NO_AGENT = "The engine VM may be without an agent on this host until it is done"
# Below the root: where administrators put units, with the links of `systemctl enable`, and where
# distributions' packages do.
_OWN_UNITS = "etc/systemd/system"
_UNIT_FOLDERS = ("usr/lib/systemd/system", "lib/systemd/system")


class SwitchToOurs:
    """Stops and disables the predecessor's units, enables and starts ours."""

    name = "switch"
    title = "stop the predecessor's agent and broker, start ours; the engine VM goes on"
    reads: Sequence[str] = ("the units' state",)
    writes: Sequence[str] = (*PREDECESSOR_UNITS, *OUR_UNITS)

    def __init__(self, services: Services, root: Path) -> None:
        """`root` is where an administrator's own unit files are."""
        self._services = services
        self._root = root

    async def look(self) -> Found:
        """Raise SetupRefused when our units are not installed, or can't get their old names."""
        for name in PREDECESSOR_UNITS:
            self._refuse_own_file(self._root / _OWN_UNITS / name)
        states = await self._services.states((*PREDECESSOR_UNITS, *OUR_UNITS))
        missing = [name for name in OUR_UNITS if not states[name].exists]
        if missing:
            raise SetupRefused(f"systemd has no {', '.join(missing)}: is ha-agent installed?")
        theirs = [unit.text for unit in _left(states, PREDECESSOR_UNITS)]
        ours = [
            states[name].text
            for name in OUR_UNITS
            if not (states[name].enabled and states[name].running)
        ]
        if theirs or ours:
            return Found(False, "; ".join((*theirs, *ours)))
        return Found(True, "our units run and are enabled, the predecessor's do not run")

    async def do(self, say: Say) -> str:
        """Switch. A re-run goes on where it ended. Raises SetupFailed with what to do then."""
        states = await self._services.states((*PREDECESSOR_UNITS, *OUR_UNITS))
        try:
            if _left(states, PREDECESSOR_UNITS):
                # Ours that run all the same have not read what this upgrade has written.
                await self._stop_ours(states, say)
            await _retire(self._services, states, (PREDECESSOR_AGENT, PREDECESSOR_BROKER), say)
            await self._services.enable(OUR_UNITS)
            # The socket first, so that the agent's first call waits for the broker.
            for name in (OUR_SOCKET, OUR_BROKER, OUR_AGENT):
                say(f"start {name}")
                await self._services.start([name])
        except EnvironmentFault as fault:
            raise SetupFailed(
                f"{fault}. {_NO_AGENT}; run this again, or `ha-agent downgrade`"
            ) from fault
        return "our units run and are enabled"

    async def _stop_ours(self, states: Mapping[str, UnitState], say: Say) -> None:
        for name in (OUR_AGENT, OUR_SOCKET, OUR_BROKER):
            if states[name].running:
                say(f"stop {name}")
                await self._services.stop([name])

    def _refuse_own_file(self, path: Path) -> None:
        """Our alias needs the place: `systemctl enable` refuses after theirs were stopped."""
        ours = path.name[len("ovirt-") :]
        try:
            told = path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise EnvironmentFault(f"can't look at {path}: {error.strerror}") from error
        if stat.S_ISLNK(told.st_mode) and Path(os.readlink(path)).name == ours:
            return
        raise SetupRefused(
            f"{path} is in the way: {ours} gets that name, too. Move it away, or"
            f" `systemctl unmask {path.name}` where it is masked"
        )


class SwitchToTheirs:
    """Stops and disables ours; the predecessor's units become what the backup says they were."""

    name = "switch-back"
    title = "stop our agent and broker; the engine VM goes on"
    reads: Sequence[str] = ("the units' state",)
    writes: Sequence[str] = OUR_UNITS

    def __init__(self, services: Services) -> None:
        self._services = services

    async def look(self) -> Found:
        """Done when ours neither run nor are enabled."""
        states = await self._services.states((*PREDECESSOR_UNITS, *OUR_UNITS))
        left = [unit.text for unit in _left(states, OUR_UNITS)]
        if left:
            return Found(False, "; ".join(left))
        return Found(True, "our units do not run and are not enabled")

    async def do(self, say: Say) -> str:
        """Stop the agent first, so that it says in its status block that it stopped."""
        states = await self._services.states(OUR_UNITS)
        await _retire(self._services, states, (OUR_AGENT, OUR_SOCKET, OUR_BROKER), say)
        return "our units are stopped and disabled"


class StartTheirs:
    """Gives the predecessor's units the state that the backup kept."""

    name = "start-predecessor"
    title = "start the predecessor's broker and agent again"
    reads: Sequence[str] = ("the units' state", "the backup")
    writes: Sequence[str] = PREDECESSOR_UNITS

    def __init__(self, services: Services, kept: Mapping[str, UnitEntry], root: Path) -> None:
        """`root` is where the packages' unit files are."""
        self._services = services
        self._root = root
        self._kept = {name: kept[name] for name in PREDECESSOR_UNITS if name in kept}

    async def look(self) -> Found:
        """Raise SetupRefused when a unit is not installed any more."""
        states = await self._services.states(PREDECESSOR_UNITS)
        missing = [name for name in self._kept if not self._is_installed(states[name])]
        if missing:
            names = ", ".join(missing)
            raise SetupRefused(f"systemd has no {names}: install the predecessor's package again")
        wanting = [states[name].text for name in self._kept if not self._is_as_kept(states[name])]
        if wanting:
            return Found(False, "; ".join(wanting))
        return Found(True, "; ".join(states[name].text for name in self._kept) or "none was here")

    async def do(self, say: Say) -> str:
        """Enable and start, the broker first."""
        states = await self._services.states((*PREDECESSOR_UNITS, *OUR_UNITS))
        if _left(states, OUR_UNITS):
            raise SetupFailed("our units run still")
        order = (PREDECESSOR_BROKER, PREDECESSOR_AGENT)
        enabled = [name for name in order if name in self._kept and self._kept[name].enabled]
        try:
            if enabled:
                await self._services.enable(enabled)
            for name in order:
                if name in self._kept and self._kept[name].running:
                    say(f"start {name}")
                    await self._services.start([name])
        except EnvironmentFault as fault:
            raise SetupFailed(f"{fault}. {_NO_AGENT}; run this again") from fault
        return "the predecessor's units are as they were"

    def _is_installed(self, unit: UnitState) -> bool:
        # While our alias has the name, systemd does not tell of the unit behind it.
        files = (self._root / folder / unit.name for folder in _UNIT_FOLDERS)
        return unit.exists if not unit.is_other else any(file.exists() for file in files)

    def _is_as_kept(self, unit: UnitState) -> bool:
        kept = self._kept[unit.name]
        has_all = (unit.enabled or not kept.enabled) and (unit.running or not kept.running)
        return has_all and not unit.is_other


class SeeItWatch:
    """Waits until our agent watches the engine VM."""

    name = "watching"
    title = "see our agent watch the engine VM"
    reads: Sequence[str] = ("the broker's socket",)
    writes: Sequence[str] = ()

    def __init__(self, watch: Watch, clock: Clock) -> None:
        self._watch = watch
        self._clock = clock

    async def look(self) -> Found:
        """Done when the agent has left its first state."""
        return Found(*await self._watch.look())

    async def do(self, say: Say) -> str:
        """Wait. Raises SetupFailed with what the broker says last."""
        ends_at = self._clock.now() + WATCH_SECONDS
        last = ""
        while True:
            watches, text = await self._watch.look()
            if watches:
                return text
            if text != last:
                say(text)
                last = text
            if self._clock.now() >= ends_at:
                raise SetupFailed(
                    f"our agent does not watch the VM after {WATCH_SECONDS:g} s: {text}. See"
                    " `journalctl -u ha-agent -u ha-broker`; `ha-agent downgrade` goes back"
                )
            await self._clock.sleep(_POLL_SECONDS)


def _left(states: Mapping[str, UnitState], names: Sequence[str]) -> list[UnitState]:
    """Return those units, by their own names, that run or would at the next boot."""
    return [
        states[name]
        for name in names
        if states[name].exists
        and not states[name].is_other
        and (states[name].running or states[name].enabled)
    ]


async def _retire(
    services: Services, states: Mapping[str, UnitState], names: Sequence[str], say: Say
) -> None:
    """Stop units in this order and disable them; names that stand for others are left alone."""
    own = [name for name in names if states[name].exists and not states[name].is_other]
    for name in own:
        if states[name].running:
            say(f"stop {name}")
            await services.stop([name])
    enabled = [name for name in own if states[name].enabled]
    if enabled:
        await services.disable(enabled)
