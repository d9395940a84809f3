# SPDX-License-Identifier: Apache-2.0
"""An in-memory lease storage and a world of hosts around it, in virtual time.

`VirtualLoop` is asyncio with a clock that jumps to the next timer, so minutes take
milliseconds and a seed always gives the same run. `FakeLeaseStorage` passes the same contract
tests as FileLeaseStorage (test_lease_storage.py). Everything here may lose, delay, and repeat
what real storage may; what it must not do is break the compare and write.
"""

from __future__ import annotations

import asyncio
import random
import selectors
from collections.abc import Awaitable, Coroutine
from typing import Any, Callable, Optional, TypeVar

from ha_agent.broker.lease.cycle import LeaseKeeper
from ha_agent.broker.lease.fence_deadline import FenceDeadline
from ha_agent.broker.lease.rules import (
    LeaseIdentity,
    LeaseRecord,
    LeaseTimes,
    decode,
    encode,
    initial_record,
)
from ha_agent.broker.lease.storage import HostIdHold, Swap
from ha_agent.errors import DeadlineExceeded, EnvironmentFault
from ha_agent.instant import Instant

T = TypeVar("T")
VM = "11111111-2222-3333-4444-555555555555"


class _JumpingSelector(selectors.SelectSelector):
    def __init__(self) -> None:
        super().__init__()
        self.now_seconds = 0.0

    def select(self, timeout: Optional[float] = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("nothing will ever happen again in this world")
        self.now_seconds += max(0.0, timeout)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop that never waits: its time jumps to the next timer."""

    def __init__(self) -> None:
        self.jumping = _JumpingSelector()
        super().__init__(self.jumping)

    def time(self) -> float:
        return self.jumping.now_seconds


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end in virtual time, and end whatever it left running."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(main)
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left))
        loop.close()


class HostClock:
    """One host's boot-time clock: begins anywhere, runs a little fast or slow, can freeze."""

    def __init__(self, rate: float = 1.0, offset_seconds: float = 0.0) -> None:
        self.rate = rate
        self.offset_seconds = offset_seconds
        self.running = asyncio.Event()
        self.running.set()

    def now(self) -> Instant:
        true_seconds = asyncio.get_running_loop().time()
        return Instant(self.offset_seconds + true_seconds * self.rate)

    async def sleep(self, duration_seconds: float) -> None:
        await asyncio.sleep(max(0.0, duration_seconds) / self.rate)
        await self.running.wait()


class Disk:
    """The shared storage: one block, its lock, and all that it ever held (for stale reads)."""

    def __init__(self, block: Optional[bytes] = None) -> None:
        self.history = [encode(initial_record()) if block is None else block]
        self.lock = asyncio.Lock()
        self.host_ids: dict[int, LeaseIdentity] = {}
        self.on_write: Optional[Callable[[LeaseRecord], None]] = None

    @property
    def block(self) -> bytes:
        return self.history[-1]

    def write(self, block: bytes) -> None:
        self.history.append(block)
        if self.on_write is not None:
            self.on_write(decode(block))


class Weather:
    """How storage treats one host's calls. The default is: well, and at once."""

    async def travel(self, what: str) -> None:
        """Delay a request ('there'), a write under its lock ('write') or an answer ('back')."""

    def seen(self, disk: Disk) -> bytes:
        """Return what a plain read, without a lock, gets."""
        return disk.block


class FakeLeaseStorage:
    """LeaseStorage over a Disk: a call that misses its deadline goes on and may land later."""

    def __init__(
        self, disk: Disk, identity: LeaseIdentity, weather: Optional[Weather] = None
    ) -> None:
        self.disk = disk
        self.identity = identity
        self.weather = weather or Weather()
        self._running: set[asyncio.Task[Any]] = set()

    async def read(self, deadline_seconds: float) -> LeaseRecord:
        return decode(await self._within(self._read(), deadline_seconds))

    async def take(self, expected: LeaseRecord, new: LeaseRecord, deadline_seconds: float) -> Swap:
        return await self._within(self._swap(expected, new), deadline_seconds)

    async def renew(
        self, expected: LeaseRecord, new: LeaseRecord, deadline_seconds: float
    ) -> Swap:
        return await self._within(self._swap(expected, new), deadline_seconds)

    async def release(
        self, expected: LeaseRecord, new: LeaseRecord, deadline_seconds: float
    ) -> Swap:
        return await self._within(self._swap(expected, new), deadline_seconds)

    async def hold_host_id(self, deadline_seconds: float) -> HostIdHold:
        return await self._within(self._hold(), deadline_seconds)

    async def _read(self) -> bytes:
        await self.weather.travel("there")
        block = self.weather.seen(self.disk)
        await self.weather.travel("back")
        return block

    async def _swap(self, expected: LeaseRecord, new: LeaseRecord) -> Swap:
        await self.weather.travel("there")
        async with self.disk.lock:
            if self.disk.block != encode(expected):
                answer = False, self.disk.block
            else:
                await self.weather.travel("write")
                self.disk.write(encode(new))
                answer = True, self.disk.block
        await self.weather.travel("back")
        return Swap(answer[0], decode(answer[1]))

    async def _hold(self) -> HostIdHold:
        await self.weather.travel("there")
        host_id = self.identity.host_id
        holder = self.disk.host_ids.setdefault(host_id, self.identity)
        if holder.instance != self.identity.instance:
            return HostIdHold(False, f"host id {host_id} is in use by host {holder.host_name!r}")
        return HostIdHold(True)

    async def _within(self, call: Coroutine[Any, Any, T], deadline_seconds: float) -> T:
        task = asyncio.get_running_loop().create_task(call)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        # Nobody waits for it after the deadline, but it did not go unnoticed.
        task.add_done_callback(lambda late: late.cancelled() or late.exception())
        done, _ = await asyncio.wait({task}, timeout=deadline_seconds)
        if not done:
            raise DeadlineExceeded("storage call", deadline_seconds)
        return task.result()


class FakeFence:
    """A deadline in memory; `World` plays the guard that looks at it."""

    def __init__(self) -> None:
        self.deadline: Optional[FenceDeadline] = None
        self.broken = False
        self.guarded = False
        """Whether a guard process watches it: arming starts one that is not there."""

    def arm(self, fence_at: Instant, epoch: int, *, final: bool = False) -> None:
        if self.broken:
            raise EnvironmentFault("fence can't be armed: no space left")
        self.deadline = FenceDeadline(VM, "boot", fence_at, epoch, final)
        self.guarded = True

    def disarm(self) -> None:
        self.deadline = None

    def armed(self) -> Optional[FenceDeadline]:
        return self.deadline


class StormyWeather(Weather):
    """Delays, losses, hangs and stale reads, drawn from a seed; `kind` says which now."""

    def __init__(self, random_source: random.Random) -> None:
        self._random = random_source
        self.kind = "calm"

    async def travel(self, what: str) -> None:
        draw = self._random.random
        if self.kind == "calm":
            await asyncio.sleep(draw() * 0.05)
        elif self.kind == "slow":
            await asyncio.sleep(draw() ** 3 * 9.0)
        elif self.kind == "lossy":
            await asyncio.sleep(draw() * 0.2)
            if draw() < 0.3:
                raise EnvironmentFault("EIO")
        elif self.kind == "hung":
            began_seconds = asyncio.get_running_loop().time()
            while self.kind == "hung":  # noqa: ASYNC110 - the kind is changed by many hands
                await asyncio.sleep(0.5)
            # A write that was stuck may land, long after everybody gave it up.
            if what != "write" and draw() < 0.5:
                raise EnvironmentFault(f"EIO after hanging since {began_seconds:.1f}")

    def seen(self, disk: Disk) -> bytes:
        if self.kind != "calm" and self._random.random() < 0.2:
            return self._random.choice(disk.history[-6:])
        return disk.block


class Host:
    """A host of the simulated cluster: keeper, a simple agent, the VM, the guard."""

    def __init__(self, world: World, host_id: int) -> None:
        self.world = world
        self.host_id = host_id
        draw = world.random.uniform
        self.clock = HostClock(rate=draw(0.98, 1.02), offset_seconds=draw(1.0, 1e6))
        self.weather = StormyWeather(world.random)
        self.vm_running = False
        self.tasks: list[asyncio.Task[None]] = []
        self.boots = 0
        self.keeper: Optional[LeaseKeeper] = None
        self.boot()

    def boot(self) -> None:
        """Start the host: a new instance, nothing armed, no VM."""
        self.boots += 1
        instance = f"instance-{self.host_id}-{self.boots}"
        self.identity = LeaseIdentity(self.host_id, f"host{self.host_id}", instance, VM)
        self.world.disk.host_ids[self.host_id] = self.identity  # the old boot's lock is gone
        self.fence = FakeFence()
        self.start_broker()
        loop = asyncio.get_running_loop()
        self.tasks = [loop.create_task(self._agent()), loop.create_task(self._guard())]

    def start_broker(self) -> None:
        storage = _Gated(FakeLeaseStorage(self.world.disk, self.identity, self.weather), self)
        self.keeper = LeaseKeeper(
            storage, self.world.times, self.identity, clock=self.clock, fence=self.fence
        )
        self.keeper.start()

    def kill_broker(self) -> None:
        """SIGKILL: no orderly stop, the deadline stays armed."""
        if self.keeper is not None:
            self.keeper._task.cancel()
        self.keeper = None

    def kill(self) -> None:
        """The whole host loses its power."""
        self.kill_broker()
        for task in self.tasks:
            task.cancel()
        self.vm_running = False

    async def _agent(self) -> None:
        while True:
            await self.clock.sleep(0.2)
            keeper = self.keeper
            if keeper is None:
                continue
            view = keeper.view()
            if view.ours and not self.vm_running:
                await self.clock.sleep(self.world.random.random() * 1.5)
                self.world.start_vm(self)
            elif not view.ours and self.vm_running:
                self.vm_running = False
            elif view.ours and self.world.stormy and self.world.random.random() < 0.01:
                self.vm_running = False
                await keeper.release("moves")
            elif view.state in ("free", "expired"):
                await self.clock.sleep(self.world.random.random() * 2)
                await keeper.acquire(view.epoch)

    async def _guard(self) -> None:
        while True:
            await asyncio.sleep(0.25 / self.clock.rate)
            deadline = self.fence.deadline
            if deadline is not None and self.clock.now() >= deadline.fence_at:
                self.vm_running = False


class _Gated:
    """Holds every answer back while the host's broker is frozen (SIGSTOP)."""

    def __init__(self, storage: FakeLeaseStorage, host: Host) -> None:
        self._storage = storage
        self._host = host

    async def _through(self, call: Awaitable[T]) -> T:
        try:
            return await call
        finally:
            await self._host.clock.running.wait()

    async def read(self, deadline_seconds: float) -> LeaseRecord:
        return await self._through(self._storage.read(deadline_seconds))

    async def take(self, expected: LeaseRecord, new: LeaseRecord, deadline_seconds: float) -> Swap:
        return await self._through(self._storage.take(expected, new, deadline_seconds))

    async def renew(
        self, expected: LeaseRecord, new: LeaseRecord, deadline_seconds: float
    ) -> Swap:
        return await self._through(self._storage.renew(expected, new, deadline_seconds))

    async def release(
        self, expected: LeaseRecord, new: LeaseRecord, deadline_seconds: float
    ) -> Swap:
        return await self._through(self._storage.release(expected, new, deadline_seconds))

    async def hold_host_id(self, deadline_seconds: float) -> HostIdHold:
        return await self._through(self._storage.hold_host_id(deadline_seconds))


class World:
    """Hosts, their weather, and the two checkers: one VM at most, one owner at most."""

    def __init__(self, seed: int, host_count: int) -> None:
        self.random = random.Random(seed)
        self.times = LeaseTimes()
        self.disk = Disk()
        self.disk.on_write = self._check_owner
        self.stormy = True
        self.vm_starts = 0
        self.owners = 0
        self.violations: list[str] = []
        self.hosts: list[Host] = []
        for host_id in range(1, host_count + 1):
            self.hosts.append(Host(self, host_id))

    def start_vm(self, host: Host) -> None:
        running = [other.host_id for other in self.hosts if other.vm_running]
        if running:
            self._violate(f"host {host.host_id} starts the VM; it runs on {running}")
        host.vm_running = True
        self.vm_starts += 1

    def _check_owner(self, record: LeaseRecord) -> None:
        self.owners += record.state == "held"
        for host in self.hosts:
            if host.identity.instance == record.instance or host.keeper is None:
                continue
            if host.keeper.view().ours:
                self._violate(
                    f"host {record.host_id} has epoch {record.epoch} written while host"
                    f" {host.host_id} owns until {host.keeper.view().fence_at}"
                )

    def _violate(self, what: str) -> None:
        self.violations.append(f"{asyncio.get_running_loop().time():.2f} s: {what}")

    async def storm(self, duration_seconds: float) -> None:
        """Let things happen to hosts until the time is up; then calm, all hosts up."""
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + duration_seconds
        while loop.time() < ends_at:
            await asyncio.sleep(self.random.uniform(0.5, 12.0))
            host = self.random.choice(self.hosts)
            await self._strike(host, self.random.random())
        self.stormy = False
        for host in self.hosts:
            host.weather.kind = "calm"

    async def _strike(self, host: Host, draw: float) -> None:
        if draw < 0.70:
            kinds = ("calm", "slow", "lossy", "hung")
            host.weather.kind = self.random.choice(kinds)
        elif draw < 0.80:
            host.clock.running.clear()
            asyncio.get_running_loop().call_later(
                self.random.uniform(1.0, 30.0), host.clock.running.set
            )
        elif draw < 0.92:
            host.kill_broker()
            await asyncio.sleep(self.random.uniform(0.0, 14.0))
            host.start_broker()
        else:
            host.kill()
            await asyncio.sleep(self.random.uniform(0.0, 20.0))
            host.boot()
