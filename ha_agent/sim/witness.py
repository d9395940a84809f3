# SPDX-License-Identifier: Apache-2.0
"""Stands in the world and tells what happens there, as events.

The world's hooks say that something changed; this says what, by comparing with what it told
before, and asks the world's own truth for who and why. It changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Callable, Optional

from ha_agent.broker.blocks.codec import BlockError, decode_global
from ha_agent.broker.lease.rules import LeaseRecord
from ha_agent.broker.snapshot import Snapshot
from ha_agent.fsm.machine import Decision
from ha_agent.sim import events as e
from ha_agent.sim.rules import Rules
from ha_agent.sim.world import Checker

if TYPE_CHECKING:
    from ha_agent.sim.guest import EngineVm
    from ha_agent.sim.host import SimHost
    from ha_agent.sim.world import World

Subscriber = Callable[[e.Event], None]

LOOK_SECONDS = 60.0
"""So often it is looked at what nothing tells of: agents that do not tick."""
_HEALTHY_SECONDS = 0.001


class Witness(Checker):
    """Tells `subscribers` what happens; those come after the rules, which it always asks."""

    name = "witness"

    def __init__(self, subscribers: Iterable[Subscriber] = ()) -> None:
        super().__init__()
        self._others = tuple(subscribers)
        self._tell: tuple[Subscriber, ...] = ()
        self._with_disk: set[EngineVm] = set()
        self._agents: dict[SimHost, object] = {}
        self._went_bad_at = -1.0

    def begin(self, world: World) -> None:
        """Take the world, and its rules."""
        super().begin(world)
        self._tell = (Rules(world.spec, world.violate).saw, *self._others)
        world.outside.call_later(0.0, self._first)
        world.outside.call_later(LOOK_SECONDS, self._look)

    def _first(self) -> None:
        """A VM that has been up for longer than the simulation changes nothing when it begins."""
        for vm in self.world.engine.vms:
            self.on_vm_change(vm)

    def on_vm_change(self, vm: EngineVm) -> None:
        """Say who has the disk open, and who was refused."""
        now, host_id = self.world.now, vm.host.host_id
        if vm.has_disk and vm not in self._with_disk:
            # Of a migration the source lets go first, and its own change is told later.
            for other in [other for other in self._with_disk if not other.has_disk]:
                self._ended(other)
            self._with_disk.add(vm)
            self._say(e.VmStarted(now, host_id, self._start_cause(vm)))
        elif not vm.has_disk and vm in self._with_disk:
            self._ended(vm)
        elif vm.state == "ended" and vm.exit_message:
            holder = self.world.engine.lease_holder
            refused = "Lease is held" in vm.exit_message
            held_by = holder.host.host_id if holder is not None else 0
            self._say(e.StartRefused(now, host_id, self._start_cause(vm), refused, held_by))

    def _ended(self, vm: EngineVm) -> None:
        self._with_disk.remove(vm)
        now = self.world.now
        cause, by = self._end_cause(vm)
        healthy = vm.page == "good" or now - self._went_bad_at < _HEALTHY_SECONDS
        self._say(e.VmEnded(now, vm.host.host_id, cause, healthy, by))

    def _start_cause(self, vm: EngineVm) -> str:
        if vm.migrated_here:
            return "migration"
        # A paused VM that goes on starts anew, under whatever runs there by now.
        return "old" if vm.host.old else _who(vm.host, vm.started_by)

    def _end_cause(self, vm: EngineVm) -> tuple[str, str]:
        if vm.state != "ended":
            return "pause" if vm.paused else "migration", ""
        why = vm.ended_why
        for word, cause in (
            ("fenced", "guard"),
            ("ended by sanlock", "sanlock"),
            ("its host lost power", "power"),
            ("migrated", "migration"),
        ):
            if why.startswith(word):
                return cause, ""
        if why in ("shut down", "destroyed"):
            who = _who(vm.host, vm.stopped_by)
            by = "" if who == "agent" else who
            return ("shutdown" if why == "shut down" else "destroy"), by
        return "guest", ""

    def on_lease_write(
        self, host_id: int, before: Optional[LeaseRecord], after: Optional[LeaseRecord]
    ) -> None:
        """Say what the lease is now; a record that does not decode is nobody's."""
        if after is not None:
            self._say(e.LeaseLanded(self.world.now, host_id, after, before))

    def on_fence_set(self, host: SimHost) -> None:
        """Say when the guard will act, by true time."""
        deadline = host.fence
        at_seconds = None
        if deadline is not None:
            left_seconds = deadline.fence_at - host.clock.now()
            at_seconds = self.world.now + left_seconds / host.clock.rate
        epoch = 0 if deadline is None else deadline.epoch
        if host in self.world.hosts.values():
            self._say(e.FenceSet(self.world.now, host.host_id, epoch, at_seconds))

    def on_decision(self, host: SimHost, decision: Decision) -> None:
        """Say what an agent decided; a twin's decisions are its own."""
        if host not in self.world.hosts.values():
            return
        now, host_id = self.world.now, host.host_id
        if self._agents.get(host) is not host.agent:
            self._agents[host] = host.agent
            self._say(e.ProcessChanged(now, host_id, "agent", "up"))
        settled = decision.memory.settled
        if settled is not None:
            self._say(e.EffectEnded(now, host_id, settled.serial, settled.code.value))
        effect = decision.effect
        asked = None if effect is None else (effect.serial, effect.kind.value)
        score = decision.score.points
        self._say(e.Decided(now, host_id, decision.state.value, score, asked))

    def on_flag_write(self, host_id: int, after: bytes) -> None:
        """Say what the flag is on storage."""
        enabled = _flag(after)
        if enabled is not None:
            self._say(e.FlagLanded(self.world.now, host_id, enabled))

    def on_flag(self, host: SimHost, enabled: bool, done: bool) -> None:
        """Say what was answered, and whether storage says so."""
        if done:
            durable = bool(_flag(self.world.storage.read(0))) is enabled
            self._say(e.FlagAnswered(self.world.now, host.host_id, enabled, durable))

    def on_answer(
        self,
        host: SimHost,
        snapshot: Optional[Snapshot],  # noqa: ARG002
        waited_seconds: float,
    ) -> None:
        """Say how long a status query took."""
        self._say(e.StatusAnswered(self.world.now, host.host_id, waited_seconds))

    def on_health(self, healthy: bool) -> None:
        """Say how the engine is."""
        if not healthy:
            self._went_bad_at = self.world.now
        self._say(e.HealthChanged(self.world.now, healthy))

    def at_end(self) -> None:
        """Say that it is over."""
        self._silent_agents()
        for host in self.world.hosts.values():
            if not _runs(host):
                self._say(e.ProcessChanged(self.world.now, host.host_id, "agent", "down"))
        self._say(e.Ended(self.world.now))

    def _look(self) -> None:
        self._silent_agents()
        self.world.outside.call_later(LOOK_SECONDS, self._look)

    def _silent_agents(self) -> None:
        now = self.world.now
        for host in self.world.hosts.values():
            if _runs(host):
                self._say(e.Ticked(now, host.host_id, now - host.ticked_at))

    def _say(self, event: e.Event) -> None:
        for tell in self._tell:
            tell(event)


def _who(host: SimHost, process_name: str) -> str:
    """Return who a process is: agent, old, twin, or hand where there is none."""
    if not process_name:
        return "hand"
    if process_name == f"{host.name} old agent":
        return "old"
    return "agent" if process_name == f"{host.name} agent" and "twin" not in host.name else "twin"


def _runs(host: SimHost) -> bool:
    agent = host.agent
    return agent is not None and agent.process.alive and not agent.process.hung and host.awake


def _flag(block: bytes) -> Optional[bool]:
    try:
        found = decode_global(block)
    except BlockError:
        return None
    return found is not None and found.maintenance
