# SPDX-License-Identifier: Apache-2.0
"""The register of hosts on shared storage: takes a host id for a host that joins, gives it back.

What is decided stands in host_id.py; here it is brought about, so that two hosts that join at once
get different ids:

    look     all slots are read; those that matter and are not stopped are watched: a host lives
             that changes its block within host_alive_seconds, the predecessor's within 60 s
    ask      is the id that was chosen held by a running host all the same? then another one
    write    the slot, if it is still what it was at the look, and read it back, and see that no
             other machine of this name has one now. On file domains
             under the lock of <engine VM>.hosts (broker/blocks/register_ops.py). Block domains
             have no such lock: there the slot is left alone until a write of another host, begun
             before ours was seen, has landed or was given up, and is read once more
    hold     back end sanlock: the id is taken in our lockspace, too (sanlock_id.py). Who does not
             get it gives its slot back and looks again
    check    the slot is read once more through a new look

With the back end lockfile the broker holds the id as soon as it runs. A kill at any point leaves a
slot with this host's name, which the next run finds, or none. All calls have deadlines and raise
EnvironmentFault or BadInput; refusals are SetupRefused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional

from ha_agent.broker.blocks.codec import STATUS_BYTES
from ha_agent.broker.lease.storage import Lane
from ha_agent.broker.sanlock import lockspace_codec
from ha_agent.broker.storage.lane import StorageFault
from ha_agent.setup.join import host_id as rules
from ha_agent.setup.join.host_id import Bound, Choice, Joiner, Slot
from ha_agent.setup.join.sanlock_id import Clock, SanlockId, SanlockSpace
from ha_agent.setup.step import Say, SetupFailed, SetupRefused

_LOOK_AGAIN_SECONDS = 0.5
_PREDECESSOR_ALIVE_SECONDS = 60.0
_LOCK_WAIT_SECONDS = 10.0
_ROUNDS = 200
MAX_HOSTS_KEY = "max_hosts in [storage] (ha_agent_storage_max_hosts in hosted-engine.conf)"


@dataclass(frozen=True)
class RegisterPlace:
    """Where things are. `hosts_path` is the lock's file, `lease_path` the lock file of the
    ownership lease; "" where there is none. `ids_path` is VDSM's lockspace on the domain, ""
    where there is none: an id that is held there is not given to a new host. After
    `settle_seconds` another host's write has landed or was given up; for storage without locks."""

    status_path: str
    hosts_path: str
    lease_path: str
    ids_path: str
    max_hosts: int
    io_deadline_seconds: float
    host_alive_seconds: float
    settle_seconds: float
    sanlock: Optional[SanlockSpace] = None


@dataclass(frozen=True)
class Standing:
    """What the register says: all hosts, and which ids have this host's name and machine."""

    hosts: tuple[Slot, ...]
    ours: tuple[int, ...]


class HostRegister:
    """The register of one cluster, for one host."""

    def __init__(self, lane: Lane, place: RegisterPlace, joiner: Joiner, *, clock: Clock) -> None:
        self._lane = lane
        self._place = place
        self._joiner = joiner
        self._clock = clock
        self._sanlock = SanlockId(
            lane, place.sanlock, clock=clock, io_deadline_seconds=place.io_deadline_seconds
        )

    async def standing(self) -> Standing:
        """Look once, at what is there. Raises as the module says."""
        slots = await self._scan()
        ours = [i for i in sorted(slots) if rules.is_registered_as(slots[i], self._joiner)]
        return Standing(tuple(slots[i] for i in sorted(slots)), tuple(ours))

    async def would_take(self, wanted: Optional[int], known: Optional[int]) -> Optional[Choice]:
        """Return what `take` would take now, and change nothing; None where a slot would have to
        be watched first. Raises as `take`."""
        slots = await self._scan()
        if rules.to_watch(slots, self._joiner, wanted):
            return None
        own = await self._sanlock.own_id()
        return await self._choose(slots, wanted, own or known, {}, set())

    async def take(self, wanted: Optional[int], known: Optional[int], say: Say) -> int:
        """Take a host id and return it: `wanted`, or ours from before, or the next free one.

        `known` is the one that this host had. Raises SetupRefused, SetupFailed, and as the module
        says. May be repeated after a kill at any point.
        """
        refused: set[int] = set()
        for _round in range(_ROUNDS):
            slots = await self._scan()
            alive = await self._watch(slots, wanted, say)
            own = await self._sanlock.own_id()
            choice = await self._choose(slots, wanted, own or known, alive, refused)
            host_id = choice.host_id
            if own and own != host_id:
                await self._give_up(own, slots)
            written = await self._write(choice)
            if written is None:
                say(f"host id {host_id} was taken by another host a moment ago")
            elif await self._has_twin(host_id):
                say("another machine with this host's name joins at the same moment")
                await self._swap(host_id, written, rules.FREE_SLOT)
            elif await self._sanlock.hold(host_id, say):
                await self._check(host_id)
                return host_id
            else:
                say(f"host id {host_id} is held by another host")
                refused.add(host_id)
                await self._swap(host_id, written, rules.FREE_SLOT)
        raise SetupFailed("other hosts take every host id that is tried; try again")

    async def give_back(self, host_id: int) -> str:
        """Clear this host's slot and leave the lockspace; say what was done.

        Raises SetupRefused where the slot is another host's by now, and as the module says.
        """
        slot = (await self._scan()).get(host_id)
        if slot is not None:
            if not rules.is_registered_as(slot, self._joiner):
                whose = slot.problem or slot.host_name
                raise SetupRefused(f"the slot of host id {host_id} is not this host's: {whose}")
            told = await self._swap(host_id, slot.data, rules.FREE_SLOT)
            if not told["done"]:
                raise SetupFailed(
                    f"host id {host_id} wrote its block at the same moment: does its agent run?"
                )
        await self._sanlock.leave(host_id)
        return f"host id {host_id} is free" + ("" if slot is not None else " (it was already)")

    # The slots ------------------------------------------------------------------------------

    async def _scan(self) -> dict[int, Slot]:
        answer: dict[str, Any] = await self._lane.call(
            "scan_slots",
            self._place.io_deadline_seconds,
            path=self._place.status_path,
            count=self._place.max_hosts + 1,
        )
        found = {}
        for entry in answer["slots"]:
            if entry["slot"]:
                slot = _slot_of(entry)
                if slot is not None:
                    found[slot.host_id] = slot
        return found

    async def _watch(
        self, slots: dict[int, Slot], wanted: Optional[int], say: Say
    ) -> dict[int, float]:
        """Return who of those that matter is alive, with the age of the last change; `slots` gets
        what they hold at the end."""
        watched = {one.host_id: one for one in rules.to_watch(slots, self._joiner, wanted)}
        if not watched:
            return {}
        window_seconds = max(
            self._place.host_alive_seconds if one.is_ours else _PREDECESSOR_ALIVE_SECONDS
            for one in watched.values()
        )
        names = ", ".join(f"{one.host_id} ({one.host_name})" for one in watched.values())
        say(f"watching host id {names} for up to {window_seconds:g} s: does somebody use it?")
        ends_at = self._clock.now() + window_seconds
        alive: dict[int, float] = {}
        while len(alive) < len(watched) and self._clock.now() < ends_at:
            await self._clock.sleep(_LOOK_AGAIN_SECONDS)
            looked_at = self._clock.now()
            for entry in await self._read(sorted(watched)):
                before = watched[entry["slot"]]
                if "data" in entry and not rules.same_status(entry["data"], before.data):
                    alive[before.host_id] = self._clock.now() - looked_at
                    now = _slot_of(entry)
                    if now is None:
                        slots.pop(before.host_id)
                        alive.pop(before.host_id)
                        watched.pop(before.host_id)
                    else:
                        slots[before.host_id] = now
        return alive

    async def _read(self, slots: list[int]) -> list[dict[str, Any]]:
        answer = await self._lane.call(
            "read_slots",
            self._place.io_deadline_seconds,
            path=self._place.status_path,
            slots=slots,
        )
        entries: list[dict[str, Any]] = answer["slots"]
        return entries

    async def _write(self, choice: Choice) -> Optional[bytes]:
        """Write our block, and return it; None when another host was quicker."""
        now, wall = self._clock.now(), self._clock.wall()
        data = rules.joined_slot(choice.host_id, self._joiner, now, wall)
        told = await self._swap(choice.host_id, choice.expected, data)
        leavings = told["data"]
        if not told["done"] and not choice.ours and not any(leavings[:STATUS_BYTES]):
            # Nobody's slot, with lines for people left in it, as by a write that was torn.
            told = await self._swap(choice.host_id, leavings, data)
        if not told["done"]:
            return None
        if not self._place.hosts_path:
            await self._clock.sleep(self._place.settle_seconds)
            [entry] = await self._read([choice.host_id])
            if entry.get("data") != data:
                return None
        return data

    async def _has_twin(self, host_id: int) -> bool:
        """Whether another machine has joined with our name since we looked. Of two that do so at
        once the one that wrote last sees the other, which the next look refuses."""
        slots = await self._scan()
        return any(rules.is_twin(slots[i], self._joiner) for i in slots if i != host_id)

    async def _swap(self, host_id: int, expected: bytes, data: bytes) -> dict[str, Any]:
        lock_wait_seconds = _LOCK_WAIT_SECONDS if self._place.hosts_path else 0.0
        answer: dict[str, Any] = await self._lane.call(
            "swap_slot",
            self._place.io_deadline_seconds + lock_wait_seconds,
            path=self._place.status_path,
            slot=host_id,
            expected=expected,
            data=data,
            lock_path=self._place.hosts_path,
            lock_wait_seconds=lock_wait_seconds,
        )
        return answer

    async def _check(self, host_id: int) -> None:
        slot = (await self._scan()).get(host_id)
        if not rules.is_registered_as(slot, self._joiner):
            raise SetupFailed(f"the slot of host id {host_id} reads back as another host's")

    # Who else may use an id -----------------------------------------------------------------

    async def _choose(
        self,
        slots: dict[int, Slot],
        wanted: Optional[int],
        known: Optional[int],
        alive: dict[int, float],
        refused: set[int],
    ) -> Choice:
        """Choose, ask whether a running host holds what was chosen, and choose again without."""
        bound = await self._bound()
        in_use = set(refused)
        strict, soft = (set(), set()) if wanted else await self._held_ids(slots, known)
        while True:
            try:
                choice = rules.choose(
                    slots, self._joiner, bound,
                    wanted=wanted, known=known, alive=alive, in_use=in_use | strict | soft,
                )  # fmt: skip
            except SetupRefused:
                if not soft:
                    raise
                soft = set()
                continue
            if not await self._is_locked(choice.host_id):
                return choice
            in_use.add(choice.host_id)

    async def _is_locked(self, host_id: int) -> bool:
        """Whether a broker that runs holds the id by a lock in the lock file."""
        if not self._place.lease_path:
            return False
        try:
            locked = await self._lane.call(
                "host_ids_locked",
                self._place.io_deadline_seconds,
                path=self._place.lease_path,
                host_ids=[host_id],
            )
        except StorageFault as error:
            if error.errno_name == "ENOENT":
                return False  # a cluster of the predecessor's, which has no lock file
            raise
        return bool(locked)

    async def _held_ids(
        self, slots: dict[int, Slot], known: Optional[int]
    ) -> tuple[set[int], set[int]]:
        """Return the ids without a slot that are held in VDSM's lockspace, and those in ours.

        The first may be those of the engine's other hosts, which run no hosted engine. The second
        may be of hosts that died and were removed, so they are given when all others are taken.
        """
        space = self._place.sanlock
        theirs = await self._held_in(self._place.ids_path)
        ours = await self._held_in(space.path if space else "")
        return theirs - set(slots), ours - set(slots) - {known}

    async def _held_in(self, path: str) -> set[int]:
        if not path:
            return set()
        try:
            data: bytes = await self._lane.call(
                "lockspace_read",
                self._place.io_deadline_seconds,
                path=path,
                length_bytes=lockspace_codec.LOCKSPACE_BYTES,
            )
        except StorageFault as error:
            if error.errno_name in ("ENOENT", "EACCES"):
                return set()  # not there, or not for us: the slots are the register
            raise
        return _held_in(data, self._place.max_hosts)

    async def _bound(self) -> Bound:
        most = self._place.max_hosts
        room = await self._sanlock.room()
        if room is not None and room.most < most:
            return room
        return Bound(most, f"raise {MAX_HOSTS_KEY} on all hosts")

    async def _give_up(self, own: int, slots: dict[int, Slot]) -> None:
        """The daemon has another id than the one that is to be taken: leave it if it is nobody's,
        as after a join that was killed before its slot was written."""
        slot = slots.get(own)
        if slot is not None and not rules.is_registered_as(slot, self._joiner):
            whose = slot.host_name or slot.problem
            raise SetupRefused(
                f"this host's sanlock daemon has host id {own}, whose slot is {whose}'s"
            )
        await self._sanlock.leave(own)


def _slot_of(entry: dict[str, Any]) -> Optional[Slot]:
    if "error" in entry:
        why = f"{entry['error']['message']} ({entry['error']['code']})"
        return rules.unreadable_slot(entry["slot"], why)
    return rules.read_slot(entry["slot"], entry["data"])


def _held_in(data: bytes, max_hosts: int) -> set[int]:
    size = lockspace_codec.sector_bytes_of(data)
    found = set()
    for host_id in range(1, min(max_hosts, len(data) // size) + 1):
        sector = data[(host_id - 1) * size : host_id * size]
        if any(sector):
            lease = lockspace_codec.decode(sector, host_id)
            if not lease.problem and not lease.is_free:
                found.add(host_id)
    return found
