# SPDX-License-Identifier: Apache-2.0
"""A simulated host's sanlock daemon, and the watchdog that stands behind it.

It follows sanlock(8) and its timeouts.h (w: when its last renewal on storage was begun):

    every 2 io     all hosts' leases are read, then its own is renewed: "delta leases"
    w + 8 io       it ends the holder (SIGTERM) and the engine VM, whose QEMU is registered too;
                   when both are gone it leaves the lockspace
    w + 8 io + wd  at the latest the watchdog has reset the host, unless it has left: also when
                   the daemon was killed or stopped
    8 io + wd      after this daemon last saw another host's lease change, that host is dead

A resource (ownership, VM lease) is given to one host and generation; another may have it when it
is free, or when that host has left, came anew or is dead. On storage a resource is a record of
broker/lease/rules.py, with the generation as its instance, so that the rules read it whatever
the back end; sanlock's own format is the real daemon's and its tests'. A swap lands as a whole if
nothing has changed since the read, for what paxos promises; so a write that hung lands late only
where nothing came in between.

As the real one, it counts with a clock that stands still while the host sleeps. That a watchdog
fires a little before its time is what makes it bear clocks of 2 %: it was fed a moment before.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Optional

from ha_agent.broker.lease.rules import FREE, HELD, LeaseIdentity, LeaseRecord, decode, encode
from ha_agent.errors import EnvironmentFault
from ha_agent.sim.lane import SimLane
from ha_agent.sim.loop import Process, SimHandle
from ha_agent.sim.storage import LEASE, SLOT_BYTES, VM_LEASE, delta_place
from ha_agent.vdsm.vm_status import ExitReason

if TYPE_CHECKING:
    from ha_agent.sim.guest import EngineVm
    from ha_agent.sim.host import SimHost

_RETRY_SECONDS = 0.5
_KILL_SECONDS = (0.05, 0.5)
_WATCHDOG_SHARE = (0.6, 0.85)
_DELTA = struct.Struct("<QQI64s")


@dataclass(frozen=True)
class Delta:
    """One host id's lease on storage; `timestamp` 0: free."""

    name: str = ""
    generation: int = 0
    timestamp: int = 0
    io_timeout_seconds: int = 0

    def encoded(self) -> bytes:
        """Return its block."""
        fields = (self.generation, self.timestamp, self.io_timeout_seconds, self.name.encode())
        return _DELTA.pack(*fields).ljust(SLOT_BYTES, b"\0")


def delta_of(block: bytes) -> Delta:
    """Read a block that `encoded` made, or zeros."""
    generation, timestamp, io_timeout_seconds, name = _DELTA.unpack_from(block)
    return Delta(name.rstrip(b"\0").decode(), generation, timestamp, io_timeout_seconds)


class Watchdog:
    """Resets its host when it was not fed for too long; it is the kernel's, not the daemon's."""

    def __init__(self, host: SimHost) -> None:
        self._host = host
        self._timer: Optional[SimHandle] = None

    def feed(self, within_seconds: float) -> None:
        """Let the host live for so long."""
        self.stop()
        self._timer = self._host.kernel.call_later(within_seconds, self._host.reset)

    def stop(self) -> None:
        """Nothing is held here any more."""
        if self._timer is not None:
            self._timer.cancel()


class SimSanlock:
    """The daemon. `held`: the epoch of the ownership that each registered process has."""

    def __init__(self, host: SimHost, process: Process) -> None:
        self.process = process
        self.times = host.world.spec.sanlock
        self.joined: Optional[bool] = False
        self.generation = 0
        self.held: dict[int, int] = {}
        self.seen: dict[int, tuple[Delta, float]] = {}
        self.lane = SimLane(host.world.loop, host.path, "sanlock")
        self._host = host
        self._dice = host.dice.stream("sanlock")
        self.watchdog = Watchdog(host)
        self._renewed_at = 0.0
        self._busy = 0

    # The lockspace -----------------------------------------------------------------------

    def begin_to_join(self) -> None:
        """Join with this host's id, unless that is done or under way."""
        if self.joined is False:
            self.joined = None
            self.process.spawn(self._join())

    def has_joined_before(self) -> None:
        """It has been of the lockspace for longer than the simulation."""
        self.joined, self.generation = True, 1
        storage = self._host.world.storage
        for host_id in self._host.world.hosts:
            delta = delta_of(storage.read(delta_place(host_id)))
            self.seen[host_id] = (delta, self._host.monotonic())
        self._renewed()
        self.process.spawn(self._renew_on())

    async def _join(self) -> None:
        try:
            joined = await self._take_host_id()
        except EnvironmentFault:
            joined = False
        if not joined:
            self.joined = False
            return
        self.joined = True
        self._host.say(f"sanlock joins the lockspace, generation {self.generation}")
        await self._renew_on()

    async def _take_host_id(self) -> bool:
        old = await self._own_delta()
        if old.timestamp and old.name != self._host.name:
            # Another machine uses the id, or did so until it died.
            for wait_seconds in (self.times.renew_interval_seconds, self.times.host_dead_seconds):
                await self._host.clock.sleep(2.0 * wait_seconds)
                if await self._own_delta() != old:
                    return False
        self.generation = old.generation + 1
        self._renewed()
        new = self._delta()
        if not await self._swap(self._own_place, old.encoded(), new.encoded()):
            return False
        await self._host.clock.sleep(self.times.renew_interval_seconds)
        return await self._own_delta() == new

    async def _renew_on(self) -> None:
        fail_seconds = 8.0 * self.times.io_timeout_seconds
        pause_seconds = float(self.times.renew_interval_seconds)
        while True:
            await self._host.clock.sleep(pause_seconds)
            begun = self._host.monotonic()
            left_seconds = self._renewed_at + fail_seconds - begun
            if left_seconds <= 0:
                await self._end_processes()
                return
            pause_seconds = min(_RETRY_SECONDS, left_seconds)
            if await self._renew(begun, left_seconds):
                pause_seconds = self.times.renew_interval_seconds + begun - self._host.monotonic()

    async def _renew(self, begun: float, left_seconds: float) -> bool:
        try:
            found = await self._read_all(left_seconds)
            own = found[self._own_place]
            sound = delta_of(own)
            if (sound.name, sound.generation) != (self._host.name, self.generation):
                return False  # it was taken from us
            new = replace(sound, timestamp=max(int(begun), sound.timestamp + 1))
            if not await self._swap(self._own_place, own, new.encoded(), left_seconds):
                return False
        except EnvironmentFault:
            return False
        self._renewed(begun)
        for place in (LEASE, VM_LEASE):
            self.tidy(place)
        return True

    def _renewed(self, begun: Optional[float] = None) -> None:
        self._renewed_at = self._host.monotonic() if begun is None else begun
        share = self._dice.uniform(*_WATCHDOG_SHARE)
        left_seconds = self._renewed_at - self._host.monotonic()
        left_seconds += 8 * self.times.io_timeout_seconds
        self.watchdog.feed(left_seconds + share * self.times.watchdog_fire_seconds)

    async def _end_processes(self) -> None:
        host = self._host
        self.joined = None
        host.say("sanlock ends what holds leases: its own can't be renewed")
        if host.holder is not None and host.holder.pid in self.held:
            host.holder.holding.lost = True
        for vm in self._vms():
            host.kernel.call_later(self._dice.uniform(*_KILL_SECONDS), self._end_vm, vm)
        while self.held or self._vms():
            await host.clock.sleep(_RETRY_SECONDS)
        self.watchdog.stop()
        self.joined = False
        host.say("sanlock has left the lockspace")

    @staticmethod
    def _end_vm(vm: EngineVm) -> None:
        vm.end("ended by sanlock", ExitReason.LOST_QEMU_CONNECTION)

    def _vms(self) -> list[EngineVm]:
        """The VM here that has the VM lease: a registered process as the holder is."""
        return [vm for vm in self._host.vms if vm.engine.lease_holder is vm]

    # Other hosts -------------------------------------------------------------------------

    def flag(self, host_id: int) -> str:
        """Say how a host is, as sanlock's host status does."""
        delta, changed_at = self.seen[host_id]
        age_seconds = int(self._host.monotonic()) - int(changed_at)
        if not delta.timestamp:
            return "FREE"
        if age_seconds > self.times.host_dead_seconds:
            return "DEAD"
        return "FAIL" if age_seconds > 8 * self.times.io_timeout_seconds else "LIVE"

    def is_over(self, record: LeaseRecord) -> bool:
        """Tell whether the host that has a resource can't have it any more."""
        if record.state != HELD:
            return True
        if record.host_id not in self.seen:
            return False
        owner = self.seen[record.host_id][0]
        if owner.generation > int(record.instance) or not owner.timestamp:
            return True
        return self.flag(record.host_id) == "DEAD"

    async def _read_all(self, left_seconds: Optional[float] = None) -> Mapping[int, bytes]:
        hosts = range(1, self._host.world.spec.hosts + 1)
        found = await self._read([delta_place(host_id) for host_id in hosts], left_seconds)
        for host_id in hosts:
            delta, known = delta_of(found[delta_place(host_id)]), self.seen.get(host_id)
            if known is None or known[0] != delta:
                self.seen[host_id] = (delta, self._host.monotonic())
        return found

    # The resources -----------------------------------------------------------------------

    async def acquire(self, pid: int, epoch: int) -> str:
        """Give the ownership to a process; return why not, or "". Raises EnvironmentFault."""
        if self.joined is not True:
            raise EnvironmentFault("sanlock: acquire: refused, the lockspace is not joined")
        holder = self._host.holder
        if holder is None or holder.pid != pid or not holder.process.alive:
            raise EnvironmentFault("sanlock: acquire: no such process")
        if pid in self.held:
            return ""
        self._busy += 1
        try:
            await self._read_all()
            block = (await self._read([LEASE]))[LEASE]
            record = decode(block)
            if epoch and record.epoch != epoch:
                return f"it was taken since: its epoch is no longer {epoch}"
            if not self.is_over(record) and not self._is_own(record):
                return "another host has it"
            taken = self.taken(record)
            if not await self._swap(LEASE, block, encode(taken)):
                return "another host has it"
            if holder.process.alive and self.joined:
                self.held[pid] = taken.epoch
        finally:
            self._busy -= 1
        return ""

    def taken(self, record: LeaseRecord) -> LeaseRecord:
        """Return a resource's record as this host takes it."""
        world, host = self._host.world, self._host
        instance = str(self.generation)
        identity = LeaseIdentity(host.host_id, host.name, instance, world.vm_uuid)
        return record.taken(identity, 0, "taken through sanlock")

    async def release(self, pid: int) -> None:
        """Take the ownership from a process. Raises EnvironmentFault."""
        epoch = self.held.get(pid)
        if epoch is None:
            return
        await self._free(LEASE, (await self._read([LEASE]))[LEASE])
        self.held.pop(pid, None)

    async def clear(self, epoch: int) -> str:
        """Take the ownership for a process that releases it and ends. Raises EnvironmentFault."""
        if self.joined is not True:
            raise EnvironmentFault("sanlock: acquire: refused, the lockspace is not joined")
        if self._in_use(LEASE) or self._host.vms:
            return "a process of this host has it, or its VM runs"
        self._busy += 1
        try:
            await self._read_all()
            record = decode(block := (await self._read([LEASE]))[LEASE])
            if record.epoch != epoch or not self._is_own(record):
                return f"it was taken since: its epoch is no longer {epoch}"
            if not await self._swap(LEASE, block, encode(self.taken(record))):
                return "another host has it"
            await self._free(LEASE, (await self._read([LEASE]))[LEASE])
        finally:
            self._busy -= 1
        return ""

    def process_ended(self, pid: int) -> None:
        """A registered process has ended: what it held is free."""
        if self.held.pop(pid, None) is not None:
            self.tidy(LEASE)

    def tidy(self, place: int) -> None:
        """Free a resource that this host has and no process of it: also one that an acquire
        left half done. Where storage fails, the next renewal tries again."""
        record = decode(self._host.world.storage.read(place))
        if self._is_own(record) and not self._in_use(place) and self.process.alive and self.joined:
            self.process.spawn(self._tidy(place))

    async def _tidy(self, place: int) -> None:
        try:
            block = (await self._read([place]))[place]
            if not self._in_use(place):
                await self._free(place, block)
        except EnvironmentFault:
            return

    def _in_use(self, place: int) -> bool:
        return bool(self._vms() if place == VM_LEASE else self.held or self._busy)

    async def _free(self, place: int, block: bytes) -> None:
        record = decode(block)
        if self._is_own(record):
            await self._swap(place, block, encode(record.released("released through sanlock")))

    def _is_own(self, record: LeaseRecord) -> bool:
        own = record.host_id == self._host.host_id and record.instance == str(self.generation)
        return own and record.state != FREE

    # Storage -----------------------------------------------------------------------------

    @property
    def _own_place(self) -> int:
        return delta_place(self._host.host_id)

    def _delta(self) -> Delta:
        io_seconds = self.times.io_timeout_seconds
        return Delta(self._host.name, self.generation, int(self._renewed_at), io_seconds)

    async def _own_delta(self) -> Delta:
        return delta_of((await self._read_all())[self._own_place])

    async def _read(
        self, places: list[int], left_seconds: Optional[float] = None
    ) -> Mapping[int, bytes]:
        seconds = self._deadline_seconds(left_seconds)
        found: Mapping[int, bytes] = await self.lane.call("sanlock_read", seconds, places=places)
        return found

    async def _swap(
        self, place: int, expected: bytes, new: bytes, left_seconds: Optional[float] = None
    ) -> bool:
        seconds = self._deadline_seconds(left_seconds)
        return bool(
            await self.lane.call("sanlock_swap", seconds, place=place, expected=expected, new=new)
        )

    def _deadline_seconds(self, left_seconds: Optional[float]) -> float:
        io_seconds = float(self.times.io_timeout_seconds)
        return io_seconds if left_seconds is None else min(io_seconds, left_seconds)


class VmLease:
    """The VM lease by sanlock: what guest.Engine asks in place of its own idea of it."""

    @staticmethod
    def fault(host: SimHost) -> str:
        """Return why a QEMU on this host can't have it; "" when it can."""
        daemon, storage = host.sanlock, host.world.storage
        if daemon is None or not daemon.process.alive or daemon.joined is not True:
            return "the lockspace is not joined"
        if host.path.hung or host.path.eio or host.path.readonly:
            return "storage fails"
        record = decode(storage.read(VM_LEASE))
        if daemon.is_over(record) or (
            record.host_id == host.host_id and record.instance == str(daemon.generation)
        ):
            return ""
        return "Lease is held by another host"

    @staticmethod
    def took(host: SimHost) -> None:
        """A QEMU there has it now."""
        storage, daemon = host.world.storage, host.sanlock
        if daemon is not None:
            taken = daemon.taken(decode(storage.read(VM_LEASE)))
            storage.write(host.host_id, VM_LEASE, encode(taken))

    @staticmethod
    def left(host: SimHost) -> None:
        """The QEMU there that had it has ended."""
        if host.sanlock is not None and host.sanlock.process.alive:
            host.sanlock.tidy(VM_LEASE)
