# SPDX-License-Identifier: Apache-2.0
"""The lockspaces, or the lock file, that leases are in: looked at, judged, repaired.

In use are, as configured:

    ownership   [sanlock] path, or [lease] path with the back end lockfile
    domain      dom_md/ids of the storage domain, where VM leases by sanlock are

A repair makes one anew that can't be used as it is, once every host id in it is proved free or
expired: unchanged for host-dead seconds by our own clock, in this broker's own looks. Nothing else
counts: no peer's word, no flag, no global maintenance. Any doubt is a refusal. Between the last
look and the write the bytes are compared once more.

Storage is reached through the lane only; nothing here waits for longer than its deadlines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Optional, Protocol

from ha_agent.broker.lease.rules import LeaseFormatError, decode, encode, initial_record
from ha_agent.broker.sanlock.lockspace_codec import LOCKSPACE_BYTES
from ha_agent.broker.sanlock.lockspace_watch import Judged, LockspaceWatch
from ha_agent.broker.sanlock.place import RESOURCE_OFFSET, decode_leader
from ha_agent.broker.snapshot import Snapshot
from ha_agent.config.schema import Config
from ha_agent.errors import BadInput, EnvironmentFault, HaAgentError
from ha_agent.instant import Instant

_REPAIR_CALLS = 4
_SHOWN_BAD = 10
_LONGEST_SECTOR = 4096


class Clock(Protocol):
    """What is needed of ports.Clock."""

    def now(self) -> Instant: ...

    async def sleep(self, duration_seconds: float) -> None: ...


class Lane(Protocol):
    """What is needed of storage_lane.StorageLane."""

    async def call(self, operation: str, deadline_seconds: float, **args: Any) -> Any: ...


class NotProven(HaAgentError):
    """Why nothing was written. `wait_seconds`: after how long it may be otherwise, if nobody
    renews; None where waiting does not help."""

    def __init__(self, why: str, wait_seconds: Optional[float] = None) -> None:
        super().__init__(why)
        self.wait_seconds = wait_seconds


@dataclass(frozen=True)
class Space:
    """One lockspace of sanlock. `resource` is the one beside it that a repair makes anew, too."""

    kind: str
    name: str
    path: str
    resource: str = ""


def spaces_of(config: Config) -> tuple[Space, ...]:
    """Return the lockspaces that this host uses, as configured."""
    found = []
    if config.lease.backend == "sanlock":
        lockspace, path = config.sanlock.lockspace, str(config.sanlock.path)
        found.append(Space("ownership", lockspace, path, config.engine.vm_uuid))
    domain, uuid = config.storage.domain_path, config.storage.domain_uuid
    if config.storage.is_block:
        found.append(Space("domain", uuid, str(Path("/dev") / uuid / "ids")))
    elif config.vdsm_server.vm_lease == "sanlock":
        found.append(Space("domain", uuid, str(domain / "dom_md" / "ids")))
    return tuple(found)


class Lockspaces:
    """Looks at them on demand, and now and then by itself, so that ages are known when asked."""

    def __init__(
        self, config: Config, lane: Lane, *, clock: Clock, picture: Callable[[], Snapshot]
    ) -> None:
        self._config = config
        self._lane = lane
        self._clock = clock
        self._picture = picture
        self._io_seconds = config.storage.io_deadline_seconds
        self._io_timeout_seconds = config.sanlock.io_timeout_seconds
        self.spaces = spaces_of(config)
        self._watches = {
            space.path: LockspaceWatch(
                self._io_timeout_seconds, float(config.sanlock.watchdog_fire_seconds)
            )
            for space in self.spaces
        }
        self._raw: Optional[tuple[bytes, Instant]] = None

    @property
    def repair_seconds(self) -> float:
        """What a repair may take."""
        return _REPAIR_CALLS * self._io_seconds * (1 + len(self.spaces))

    async def run(self) -> None:
        """Look at each renewal's turn, until cancelled."""
        while self.spaces:
            for space in self.spaces:
                watch = self._watches[space.path]
                sector_bytes = watch.sector_bytes if watch.is_known else _LONGEST_SECTOR
                # The check tells what went wrong; the next turn may be better.
                await self._tried(space, self._config.storage.max_hosts * sector_bytes)
            await self._clock.sleep(2.0 * self._io_timeout_seconds)

    async def _tried(self, space: Space, length_bytes: int) -> str:
        try:
            await self._look(space, length_bytes)
        except (EnvironmentFault, BadInput) as fault:
            return str(fault)
        return ""

    async def _look(self, space: Space, length_bytes: int = LOCKSPACE_BYTES) -> bytes:
        """Read and take notice; what a shorter file lacks counts as zeros. Returns its bytes."""
        began_at = self._clock.now()
        data: bytes = await self._lane.call(
            "lockspace_read", self._io_seconds, path=space.path, length_bytes=length_bytes
        )
        whole = data.ljust(min(length_bytes, LOCKSPACE_BYTES), b"\0")
        self._watches[space.path].look(whole, began_at, self._clock.now())
        return data

    def name_of(self, host_id: int) -> str:
        """Return the host's name by its status block, "" where it has none."""
        if host_id == self._config.host.id:
            return self._config.host.name
        names = {host.host_id: host.host_name for host in self._picture().hosts}
        return names.get(host_id, "")

    # Check -------------------------------------------------------------------------------

    async def check(self) -> dict[str, Any]:
        """Tell how all of them are; api/lockspace.py declares the fields. Raises nothing."""
        told = []
        if self._config.lease.backend == "lockfile":
            told.append(await self._check_file())
        for space in self.spaces:
            told.append(await self._check_space(space))
        daemon = ""
        if self.spaces:
            try:
                daemon = await self._lane.call("sanlock_answers", self._io_seconds)
            except HaAgentError as fault:
                daemon = str(fault)
        problems = [f"{one['path']}: {one['problem']}" for one in told if one["problem"]]
        verdict = "problem" if problems else "fine"
        if any(not one["readable"] for one in told):
            verdict = "unknown"
        elif verdict == "fine" and daemon:
            verdict, problems = "problem", [daemon]
        return {"verdict": verdict, "daemon": daemon, "problems": problems, "spaces": told}

    async def _check_space(self, space: Space) -> dict[str, Any]:
        fault = await self._tried(space, LOCKSPACE_BYTES)
        told: dict[str, Any] = {
            "kind": space.kind, "name": space.name, "path": space.path, "readable": not fault,
            "problem": fault, "owner": "", "hosts": [], "wait_seconds": 0.0,
        }  # fmt: skip
        if fault:
            return told
        judged = self._judged(space)
        told["problem"] = _fault_in(judged, space.name)
        told["wait_seconds"] = max((_wait_seconds(one) for one in judged), default=0.0)
        bad = [one for one in judged if one.lease.problem]
        used = [one for one in judged if not one.lease.problem and one.lease.generation]
        shown = sorted([*used, *bad[:_SHOWN_BAD]], key=lambda one: one.lease.host_id)
        told["hosts"] = [self._host(one) for one in shown]
        told["owner"] = await self._owner(space)
        return told

    async def _owner(self, space: Space) -> str:
        """Say who has the resource by its own record, in words; "" where there is none."""
        if not space.resource:
            return ""
        try:
            look = await self._lane.call(
                "lockspace_leader", self._io_seconds, path=space.path, offset=RESOURCE_OFFSET
            )
            leader = decode_leader(look, space.path)
        except HaAgentError as fault:
            return f"unknown: {fault}"
        if not leader.host_id:
            return "nobody yet"
        name = self.name_of(leader.host_id) or "unknown name"
        word = "held by" if leader.held else "free, last held by"
        return f"{word} host {leader.host_id} ({name}), epoch {leader.epoch}"

    def _host(self, judged: Judged) -> dict[str, Any]:
        lease = judged.lease
        return {
            "host_id": lease.host_id,
            "host_name": self.name_of(lease.host_id),
            "daemon": lease.daemon,
            "state": judged.state,
            "age_seconds": judged.unchanged_seconds,
            "is_renewal_age": judged.changed,
            "generation": lease.generation,
            "io_timeout_seconds": lease.io_timeout_seconds,
            "dead_after_seconds": judged.dead_after_seconds,
            "problem": lease.problem,
        }

    def _judged(self, space: Space) -> list[Judged]:
        return self._watches[space.path].judge()

    async def _check_file(self) -> dict[str, Any]:
        path = str(self._config.lease.path)
        told: dict[str, Any] = {
            "kind": "ownership", "name": "lock file", "path": path, "readable": True,
            "problem": "", "owner": "", "hosts": [], "wait_seconds": 0.0,
        }  # fmt: skip
        try:
            _block, fault, age_seconds = await self._look_at_file()
        except HaAgentError as error:
            return {**told, "readable": False, "problem": str(error)}
        told["problem"] = fault
        lease = self._picture().lease
        told["owner"] = f"{lease.state}, epoch {lease.epoch}"
        if lease.host_id:
            told["owner"] += f", host {lease.host_id} ({self.name_of(lease.host_id)})"
        told["wait_seconds"] = max(0.0, self._config.lease.lease_expiry_seconds - age_seconds)
        for host_id in await self._locked(range(1, self._config.storage.max_hosts + 1)):
            told["hosts"].append(
                {
                    "host_id": host_id, "host_name": self.name_of(host_id), "daemon": "",
                    "state": "live", "age_seconds": 0.0, "is_renewal_age": True,
                    "generation": 0, "io_timeout_seconds": 0, "dead_after_seconds": 0.0,
                    "problem": "",
                }
            )  # fmt: skip
        return told

    async def _look_at_file(self) -> tuple[bytes, str, float]:
        """Return the record's bytes, what is wrong with them, and for how long they are so."""
        path = str(self._config.lease.path)
        began_at = self._clock.now()
        block: bytes = await self._lane.call("lease_read", self._io_seconds, path=path)
        if self._raw is None or self._raw[0] != block:
            self._raw = block, began_at
        try:
            decode(block, path)
        except LeaseFormatError as fault:
            return block, str(fault), began_at - self._raw[1]
        return block, "", began_at - self._raw[1]

    async def _locked(self, host_ids: Sequence[int]) -> list[int]:
        locked: list[int] = await self._lane.call(
            "host_ids_locked",
            self._io_seconds,
            path=str(self._config.lease.path),
            host_ids=list(host_ids),
        )
        return locked

    # Host ids ----------------------------------------------------------------------------

    async def host_id_states(self, host_ids: Sequence[int]) -> dict[int, str]:
        """Return held, free or how it was judged, of each; raises EnvironmentFault, BadInput."""
        if self._config.lease.backend == "lockfile":
            locked = set(await self._locked(host_ids))
            return {one: "held" if one in locked else "free" for one in host_ids}
        space = self.spaces[0]
        await self._look(space)
        judged = {one.lease.host_id: one.state for one in self._judged(space)}
        return {one: judged.get(one, "free") for one in host_ids}

    async def why_held(self, host_id: int) -> str:
        """Say who holds a host id and since when; "" when nobody does.

        Raises EnvironmentFault or BadInput where that can't be told.
        """
        name = self.name_of(host_id) or "unknown name"
        if self._config.lease.backend == "lockfile":
            held = host_id in await self._locked([host_id])
            path = self._config.lease.path
            return f"host {host_id} ({name}) lives: it locks its id in {path}" if held else ""
        for space in self.spaces:
            await self._look(space)
            for judged in self._judged(space):
                if judged.lease.host_id == host_id and not judged.is_proven_unused:
                    return self._sentence(judged, space)
        return ""

    def _sentence(self, judged: Judged, space: Space) -> str:
        name = self.name_of(judged.lease.host_id) or judged.lease.daemon or "unknown name"
        verb = "was renewed" if judged.changed else "is watched, and unchanged, since"
        return (
            f"host id {judged.lease.host_id} ({name}) in {space.path} is {judged.state}: it {verb}"
            f" {judged.unchanged_seconds:.0f} s ago, and is proved expired when it stays so for"
            f" {judged.dead_after_seconds:.0f} s"
        )

    # Repair ------------------------------------------------------------------------------

    async def repair(self, dry_run: bool) -> list[str]:
        """Make anew what can't be used, and return what was done, or would be, in words.

        Raises NotProven, with nothing written to what it names; EnvironmentFault, BadInput.
        """
        said = []
        if self._config.lease.backend == "lockfile":
            said.append(await self._repair_file(dry_run))
        for space in self.spaces:
            said.append(await self._repair_space(space, dry_run))
        return said

    async def _repair_space(self, space: Space, dry_run: bool) -> str:
        data = await self._look(space)
        judged = self._judged(space)
        fault = _fault_in(judged, space.name)
        if not fault:
            return f"{space.path}: nothing to repair"
        unproven = [one for one in judged if not one.is_proven_unused]
        if unproven:
            worst = max(unproven, key=_wait_seconds)
            more = f" (and {len(unproven) - 1} more)" if len(unproven) > 1 else ""
            raise NotProven(self._sentence(worst, space) + more, _wait_seconds(worst))
        what = f"lockspace {space.name}" + (" and its resource" if space.resource else "")
        if dry_run:
            return f"{space.path}: {fault}; would make {what} anew: every host id is free or dead"
        is_known = any(not one.lease.problem for one in judged)
        answer = await self._lane.call(
            "lockspace_rewrite",
            _REPAIR_CALLS * self._io_seconds,
            path=space.path,
            lockspace=space.name,
            expected=data,
            sector_bytes=self._watches[space.path].sector_bytes if is_known else 0,
            io_timeout_seconds=self._io_timeout_seconds,
            resource=space.resource,
            resource_offset=RESOURCE_OFFSET,
        )
        if not answer["done"]:
            raise NotProven(f"{space.path} has changed since it was looked at")
        return f"{space.path}: {what} made anew"

    async def _repair_file(self, dry_run: bool) -> str:
        path = self._config.lease.path
        block, fault, age_seconds = await self._look_at_file()
        if not fault:
            return f"{path}: nothing to repair"
        expiry_seconds = self._config.lease.lease_expiry_seconds
        if age_seconds < expiry_seconds:
            raise NotProven(
                f"{path} is watched, and unchanged, since {age_seconds:.0f} s; it is proved that"
                f" nobody renews it when it stays so for {expiry_seconds:.0f} s",
                expiry_seconds - age_seconds,
            )
        if dry_run:
            return f"{path}: {fault}; would write a free lease record: nobody renews this one"
        answer = await self._lane.call(
            "lease_swap",
            _REPAIR_CALLS * self._io_seconds,
            path=str(path),
            expected=block,
            new=encode(initial_record("repaired")),
            lock_wait_seconds=self._io_seconds,
        )
        if not answer["done"]:
            raise NotProven(f"{path} has changed since it was looked at")
        return f"{path}: free lease record written"


def _wait_seconds(judged: Judged) -> float:
    if judged.is_proven_unused:
        return 0.0
    return max(0.0, judged.dead_after_seconds - judged.unchanged_seconds)


def _fault_in(judged: Sequence[Judged], name: str) -> str:
    """Say why a lockspace can't be used as it is; "" when it can."""
    bad = [one.lease for one in judged if one.lease.problem]
    if bad:
        first = f"host id {bad[0].host_id}: {bad[0].problem}"
        return f"{len(bad)} of {len(judged)} host ids can't be read ({first})"
    other = {one.lease.lockspace for one in judged} - {name}
    return f"it is the lockspace of {sorted(other)[0]!r}, not of {name!r}" if other else ""
