# SPDX-License-Identifier: Apache-2.0
"""The simulated cluster: hosts over one storage, the engine VM, the log, and who watches.

A `Checker` looks at the world from outside, apart from the code that it checks; the hooks say
when something happened. The log has a line for each change that an operator would care for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, Callable, Optional

from ha_agent.broker.lease.fence_deadline import FenceDeadline
from ha_agent.broker.lease.rules import (
    LeaseFormatError,
    LeaseIdentity,
    LeaseRecord,
    decode,
    encode,
    initial_record,
)
from ha_agent.broker.snapshot import Snapshot
from ha_agent.fsm.machine import Decision
from ha_agent.sim.dice import Dice
from ha_agent.sim.guest import Engine, EngineVm
from ha_agent.sim.host import SimHost
from ha_agent.sim.loop import Process, SimLoop
from ha_agent.sim.old_peer import first_block
from ha_agent.sim.sanlock import VmLease
from ha_agent.sim.sanlock_port import start_with_holder, start_with_sanlock
from ha_agent.sim.spec import Outage, Spec, Violation
from ha_agent.sim.storage import LEASE, SharedStorage, delta_place

VM_UUID = "11111111-2222-3333-4444-555555555555"
_STATUS_SECONDS = 20.0
_FIRST_DEFINITION = f"{1:012x}"


class Checker:
    """What a checker may look at. Each hook does nothing here; a subclass says what is wrong
    by `self.world.violate(self.name, what)`. A checker must change nothing."""

    name = "checker"

    def __init__(self) -> None:
        self.world: World

    def begin(self, world: World) -> None:
        """The world is built; nothing has happened yet."""
        self.world = world

    def on_vm_change(self, vm: EngineVm) -> None:
        """A VM process came, went, or changed. `world.engine` has them all."""

    def on_lease_write(
        self, host_id: int, before: Optional[LeaseRecord], after: Optional[LeaseRecord]
    ) -> None:
        """The lease's record was written by a host; None: it does not decode."""

    def on_fence(self, host: SimHost, deadline: FenceDeadline) -> None:
        """A guard is about to end VMs on this host."""

    def on_fence_set(self, host: SimHost) -> None:
        """The deadline on this host, `host.fence`, is another one, or none."""

    def on_decision(self, host: SimHost, decision: Decision) -> None:
        """A tick of an agent in which a row fired, an outcome came or the score changed."""

    def on_flag_write(self, host_id: int, after: bytes) -> None:
        """Slot 0 of the status volume was written."""

    def on_flag(self, host: SimHost, enabled: bool, done: bool) -> None:
        """A host was asked to set global maintenance; `done`: it says that it is set."""

    def on_answer(
        self, host: SimHost, snapshot: Optional[Snapshot], waited_seconds: float
    ) -> None:
        """A person asked the broker for status; None: there was no answer."""

    def on_health(self, healthy: bool) -> None:
        """A healthy engine is there now, or none is."""

    def at_end(self) -> None:
        """The time is up."""


class World:
    """Everything there is. `now` is the true time in seconds."""

    def __init__(
        self,
        spec: Spec,
        loop: SimLoop,
        checkers: Iterable[Checker] = (),
        log: Optional[Callable[[str], None]] = None,
    ) -> None:
        self.spec = spec
        self.loop = loop
        self.outside: Process = loop.outside
        self.dice = Dice(spec.seed, "world")
        self.vm_uuid = VM_UUID
        self.storage = SharedStorage(lambda: loop.now)
        self.storage.on_write = self._written
        self.definition = _FIRST_DEFINITION
        self.bad_definitions: set[str] = set()
        self.engine = Engine(
            lambda: loop.now,
            self._vm_changed,
            boot_seconds=spec.boot_seconds,
            expiry_seconds=spec.vm_lease_expiry_seconds,
            sanlock=VmLease() if spec.is_sanlock else None,
        )
        self.log: list[str] = []
        self.violations: list[Violation] = []
        self.outages: list[Outage] = []
        self.ticks = 0
        self._out_since: Optional[float] = 0.0
        self._log_to = log
        self._lines = hashlib.sha256()
        self.checkers = list(checkers)
        self.hosts = {i: self._host(i, f"h{i}") for i in range(1, spec.hosts + 1)}
        self.twins: list[SimHost] = []
        for checker in self.checkers:
            checker.begin(self)

    def _host(self, host_id: int, name: str) -> SimHost:
        return SimHost(self, host_id, name, old=host_id in self.spec.old_hosts)

    def __getitem__(self, host_id: int) -> SimHost:
        return self.hosts[host_id]

    @property
    def now(self) -> float:
        return self.loop.now

    @property
    def machines(self) -> list[SimHost]:
        """All hosts, and second ones with another's id."""
        return [*self.hosts.values(), *self.twins]

    def start(self) -> None:
        """Switch all hosts on; the engine, if it is to be up, has been up for long."""
        on = self.spec.engine_on
        if on:
            self._with_engine(self.hosts[on])
        if self.spec.is_sanlock:
            start_with_sanlock(self)
        for host in self.hosts.values():
            if on and host.old:
                block = first_block(host.host_id, host.name, with_engine=host.host_id == on)
                self.storage.start_with_slot(host.host_id, block)
            host.boot(at_once=True)
        if on and self.spec.is_sanlock:
            start_with_holder(self.hosts[on])
        self.check_health()
        if self.checkers:
            self.ask_for_status()

    def _with_engine(self, host: SimHost) -> None:
        """The state of a cluster whose engine has been up on this host."""
        if not host.old:
            # Of sanlock it is the first generation.
            instance = "1" if self.spec.is_sanlock else f"{host.name}-boot1"
            identity = LeaseIdentity(host.host_id, host.name, instance, VM_UUID)
            record = initial_record().taken(identity, 0, "taken: before the simulation")
            self.storage.start_with_lease(encode(record))
        host.definitions = [self.definition]
        host.proven_definitions = [self.definition]
        self.engine.run_since(host, self.definition, self.now - 1.0)

    def twin(self, host_id: int) -> SimHost:
        """Switch a machine on that has another host's id by mistake."""
        twin = self._host(host_id, f"h{host_id}-twin{len(self.twins) + 1}")
        self.twins.append(twin)
        twin.boot()
        return twin

    # What is told ------------------------------------------------------------------------

    def say(self, text: str) -> None:
        """Put a line into the log."""
        line = f"{self.now:9.2f} {text}"
        self.log.append(line)
        self._lines.update(f"{self.now!r} {text}\n".encode())
        if self._log_to is not None:
            self._log_to(line)

    def violate(self, checker: str, what: str) -> None:
        """A rule was broken."""
        self.violations.append(Violation(self.now, checker, what))
        self.say(f"VIOLATION of {checker}: {what}")

    def ticked(self, host: SimHost, decision: Decision) -> None:
        """An agent has ticked."""
        self.ticks += 1
        host.ticked_at = self.now
        points = decision.score.points
        if decision.row is None and decision.memory.settled is None and points == host.points:
            return
        host.points = points
        for checker in self.checkers:
            checker.on_decision(host, decision)

    def fenced(self, host: SimHost, deadline: FenceDeadline) -> None:
        """A guard ends VMs."""
        host.say(f"fence: epoch {deadline.epoch} was not renewed in time")
        for checker in self.checkers:
            checker.on_fence(host, deadline)

    def fence_set(self, host: SimHost) -> None:
        """A broker or a guard has set a deadline, or removed it."""
        for checker in self.checkers:
            checker.on_fence_set(host)

    def flag_set(self, host: SimHost, enabled: bool, done: bool, detail: str = "") -> None:
        """A host has answered about global maintenance."""
        word = "on" if enabled else "off"
        host.say(f"global maintenance {word}: " + ("set" if done else f"not set: {detail}"))
        for checker in self.checkers:
            checker.on_flag(host, enabled, done)

    def answered(self, host: SimHost, snapshot: Optional[Snapshot], seconds: float) -> None:
        """A broker was asked for status."""
        for checker in self.checkers:
            checker.on_answer(host, snapshot, seconds)

    def ask_for_status(self) -> None:
        """A person looks at the status on each host, now and then."""
        for host in self.hosts.values():
            broker = host.broker
            if broker is not None and not broker.process.hung:
                broker.process.call_later(0.0, self._status_asked, host, self.now)
        self.outside.call_later(_STATUS_SECONDS, self.ask_for_status)

    def _status_asked(self, host: SimHost, asked_at: float) -> None:
        if host.broker is not None:
            self.answered(host, host.broker.board.read(), self.now - asked_at)

    def check_health(self) -> None:
        """Look whether a healthy engine is there, and note an outage's begin or end."""
        healthy = self.engine.healthy
        if healthy == (self._out_since is None):
            return
        if healthy:
            assert self._out_since is not None
            if self.now > self._out_since:
                self.outages.append(Outage(self._out_since, self.now))
            self._out_since = None
            self.say("the engine is healthy")
        else:
            self._out_since = self.now
            self.say("no healthy engine")
        for checker in self.checkers:
            checker.on_health(healthy)

    def page(self, host: SimHost) -> str:
        """What this host gets from the engine's health page: good, bad, silent."""
        if "network-lost" in host.faults:
            return "silent"
        pages = {vm.page for vm in self.engine.vms if _is_linked(host, vm.host)}
        return next((word for word in ("good", "bad") if word in pages), "silent")

    def end(self) -> None:
        """The time is up."""
        for checker in self.checkers:
            checker.at_end()
        if self._out_since is not None:
            self.outages.append(Outage(self._out_since, self.now))

    def digest(self) -> str:
        """Return a SHA-256 over the log and all writes to storage."""
        both: Any = self._lines.copy()
        both.update(self.storage.digest().encode())
        return str(both.hexdigest())

    def _vm_changed(self, vm: EngineVm, text: str) -> None:
        if text:
            vm.host.say(text)
        if vm.has_disk and vm.healthy_from > self.now:
            self.outside.call_later(vm.healthy_from - self.now, self.check_health)
        self.check_health()
        for checker in self.checkers:
            checker.on_vm_change(vm)

    def _written(self, host_id: int, place: int, before: bytes, after: bytes) -> None:
        if place == 0:
            for checker in self.checkers:
                checker.on_flag_write(host_id, after)
        if not self.checkers:
            return
        if place == delta_place(host_id):
            # Of sanlock: a host renews all that it has.
            before = after = self.storage.read(LEASE)
        elif place != LEASE:
            return
        records = _record(before), _record(after)
        if place != LEASE and (records[1] is None or records[1].host_id != host_id):
            return
        for checker in self.checkers:
            checker.on_lease_write(host_id, *records)


def _is_linked(host: SimHost, other: SimHost) -> bool:
    """Whether both are on one network: a host is on its own bridge whatever its cable does."""
    return host is other or not any("cable-out" in end.faults for end in (host, other))


def _record(block: bytes) -> Optional[LeaseRecord]:
    try:
        return decode(block, "lease")  # as the hosts do: each record is decoded once
    except LeaseFormatError:
        return None
