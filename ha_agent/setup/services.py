# SPDX-License-Identifier: Apache-2.0
"""systemd's units as set-up sees and changes them: ours, and the predecessor's.

Every call runs `systemctl` with a deadline. A name is not a unit: our units carry the
predecessor's names as aliases once they are enabled (`Alias=` in systemd/*.service), so that
`systemctl stop ovirt-ha-agent` may mean either agent. `UnitState.real_name` tells which one; who
stops or disables the predecessor's units must look at it first.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ha_agent.errors import DeadlineExceeded, EnvironmentFault
from ha_agent.waiting import within

PREDECESSOR_AGENT = "ovirt-ha-agent.service"
PREDECESSOR_BROKER = "ovirt-ha-broker.service"
PREDECESSOR_UNITS = (PREDECESSOR_AGENT, PREDECESSOR_BROKER)
OUR_AGENT, OUR_BROKER, OUR_SOCKET = "ha-agent.service", "ha-broker.service", "ha-broker.socket"
OUR_UNITS = (OUR_SOCKET, OUR_BROKER, OUR_AGENT)

LOOK_SECONDS = 20.0
# Longer than any unit's TimeoutStopSec here; the predecessor's have systemd's default, 90 s.
CHANGE_SECONDS = 180.0
_MAX_ANSWER_BYTES = 64 * 1024
_PROPERTIES = ("Id", "LoadState", "ActiveState", "UnitFileState")
_RUNNING = ("active", "activating", "reloading", "deactivating")


@dataclass(frozen=True)
class UnitState:
    """One unit. `real_name` is the unit that the name stands for; `exists`: there is one."""

    name: str
    real_name: str
    exists: bool
    running: bool
    enabled: bool

    @property
    def is_other(self) -> bool:
        """Whether the name is an alias of another unit, as those that ours carry."""
        return self.exists and self.real_name != self.name

    @property
    def text(self) -> str:
        """The state in words."""
        if not self.exists:
            return f"there is no {self.name}"
        if self.is_other:
            return f"{self.name} is another name of {self.real_name}"
        running = "runs" if self.running else "does not run"
        return f"{self.name} {running} and is {'enabled' if self.enabled else 'not enabled'}"


class Services(Protocol):
    """What set-up needs of systemd. Every call ends; each raises EnvironmentFault."""

    async def states(self, names: Sequence[str]) -> dict[str, UnitState]: ...

    async def enable(self, names: Sequence[str]) -> None: ...

    async def disable(self, names: Sequence[str]) -> None: ...

    async def start(self, names: Sequence[str]) -> None: ...

    async def stop(self, names: Sequence[str]) -> None: ...


class Systemctl:
    """Services by the program of that name; `program` is for where it is not in PATH."""

    def __init__(self, program: str = "systemctl") -> None:
        self._program = program

    async def states(self, names: Sequence[str]) -> dict[str, UnitState]:
        """Return the state of each name; a unit that is not there has `exists` False."""
        properties = [f"--property={','.join(_PROPERTIES)}"]
        text = await self._run(LOOK_SECONDS, "show", *properties, "--", *names)
        return parse_show(text, names)

    async def enable(self, names: Sequence[str]) -> None:
        """Enable units; their aliases are made with them."""
        await self._run(CHANGE_SECONDS, "enable", "--", *names)

    async def disable(self, names: Sequence[str]) -> None:
        """Disable units; their aliases go with them."""
        await self._run(CHANGE_SECONDS, "disable", "--", *names)

    async def start(self, names: Sequence[str]) -> None:
        """Start units and wait until systemd calls them started."""
        await self._run(CHANGE_SECONDS, "start", "--", *names)

    async def stop(self, names: Sequence[str]) -> None:
        """Stop units and wait until they have ended."""
        await self._run(CHANGE_SECONDS, "stop", "--", *names)

    async def _run(self, deadline_seconds: float, *words: str) -> str:
        what = f"{self._program} {words[0]} {' '.join(words[words.index('--') + 1 :])}"
        try:
            process = await asyncio.create_subprocess_exec(
                self._program,
                *words,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
        except OSError as error:
            raise EnvironmentFault(f"{what}: can't be run: {error.strerror}") from error
        try:
            out, complaint = await within(deadline_seconds, process.communicate())
        except asyncio.TimeoutError:
            raise DeadlineExceeded(what, deadline_seconds) from None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if process.returncode != 0:
            said = complaint.decode("utf-8", "replace").strip()[:500]
            raise EnvironmentFault(f"{what}: {said or f'exit code {process.returncode}'}")
        return out[:_MAX_ANSWER_BYTES].decode("utf-8", "replace")


def parse_show(text: str, names: Sequence[str]) -> dict[str, UnitState]:
    """Read what `systemctl show` prints: a paragraph of KEY=VALUE for each name, in order.

    Raises EnvironmentFault when there are more or fewer paragraphs than names.
    """
    paragraphs = [part for part in text.strip().split("\n\n") if part.strip()]
    if len(paragraphs) != len(names):
        raise EnvironmentFault(
            f"systemctl show: {len(paragraphs)} units told of, {len(names)} asked about"
        )
    states = {}
    for name, paragraph in zip(names, paragraphs):
        values = dict(line.partition("=")[::2] for line in paragraph.splitlines())
        # A unit file that can't be read may be there all the same: only not-found says that
        # there is none.
        exists = values.get("LoadState", "") not in ("", "not-found")
        states[name] = UnitState(
            name=name,
            real_name=values.get("Id") or name,
            exists=exists,
            running=values.get("ActiveState") in _RUNNING,
            enabled=values.get("UnitFileState", "").startswith("enabled"),
        )
    return states
