# SPDX-License-Identifier: Apache-2.0
"""The specification of the table: for each row what is seen and remembered when it fires, and
what comes of it. test_table.py holds the table against it, and asks for a case for each row.

A case repeats sources, target, effect and notes of its row on purpose: whoever changes the
table says here, a second time, what is meant.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional

from ha_agent.fsm.effect import EffectKind
from ha_agent.fsm.memory import Memory, StopReason
from ha_agent.fsm.observation import (
    DefinitionView,
    Health,
    LeaseCondition,
    Observation,
    OutcomeCode,
    ShutdownView,
    VmCondition,
    VmExit,
    VmOrder,
    VmOrderKind,
)
from ha_agent.fsm.row import Row
from ha_agent.fsm.state import State
from ha_agent.fsm.table import TABLE
from ha_agent.fsm.trends import Trend, Trends
from tests.fsm.pictures import NOW, ended, failed, ordered, peer, seen, stopping

S, V, L, E, R = State, VmCondition, LeaseCondition, EffectKind, StopReason
ORDER = VmOrderKind
GOOD, BAD = Health.GOOD, Health.BAD
ALL = tuple(state for state in S if state is not S.AGENT_STOPPED)
RUNS = (S.ENGINE_STARTING, S.ENGINE_UP, S.ENGINE_UP_BAD_HEALTH)
STOPS = (S.ENGINE_STOP, S.ENGINE_FORCE_STOP)
WITH_FALLBACK = DefinitionView(available=True, identity="d1", fallback="d0")
OPEN_START = Memory(start_open_since=NOW - 10.0)
NETWORK_LOST = Trends(network=Trend(since=NOW - 200.0))
BLIND = peer(page=BAD, page_bad_seconds=120)
NO_DEFINITION = DefinitionView(problem="torn")


@dataclass(frozen=True)
class Case:
    """From each of `sources`, with this picture and memory, the row with this `why` fires, and
    it needs each of the guards named in `when` for that.

    Afterwards the state is `target` (None: unchanged), `effect` is asked for, `reason` is the
    remembered reason to stop, `failures` are counted, and the next start is `pause_seconds`
    away (None: nothing holds it back).
    """

    sources: tuple[State, ...]
    target: Optional[State]
    why: str
    when: str
    picture: Observation
    memory: Memory = field(default_factory=Memory)
    effect: Optional[EffectKind] = None
    reason: Optional[StopReason] = None
    failures: int = 0
    pause_seconds: Optional[float] = None

    @property
    def rows(self) -> list[Row]:
        """Return the rows that this case may mean: one, or the case is wrong."""
        states = set(self.sources)
        return [row for row in TABLE if row.why == self.why and states <= set(row.sources)]

    @property
    def guards(self) -> list[str]:
        """Return the guards' names, as functions have them."""
        return [name.replace(" ", "_") for name in self.when.split(", ")]


_HEAD = (
    Case(
        ALL,
        S.AGENT_STOPPED,
        "the agent is stopping and there is no VM: the broker must not renew the lease on and on",
        "stop_requested, lease_ours, vm_gone, start_settled",
        seen(V.ABSENT, L.OURS, stop_requested=True),
        effect=E.RELEASE_LEASE,
    ),
    Case(
        ALL,
        S.AGENT_STOPPED,
        "the agent is stopping while a start may still take effect: "
        "the lease runs out, its fence armed",
        "stop_requested, lease_ours, vm_gone, not start_settled",
        seen(V.ABSENT, L.OURS, stop_requested=True),
        OPEN_START,
        effect=E.ABANDON_LEASE,
    ),
    Case(
        ALL,
        S.AGENT_STOPPED,
        "the agent is stopping; the VM is left alone",
        "stop_requested, not stop_has_to_wait",
        seen(V.UP, L.OURS, stop_requested=True),
    ),
    Case(
        tuple(state for state in ALL if state not in (S.START, S.GLOBAL_MAINTENANCE)),
        S.GLOBAL_MAINTENANCE,
        "global maintenance: hands off the engine VM",
        "global_maintenance, not shutting_down, idle",
        seen(V.UP, L.OURS, global_maintenance=True),
    ),
    Case(
        STOPS,
        S.ENGINE_MIGRATING_HERE,
        "the VM came here while the lease was being given up",
        "vm_running, nothing_to_stop, idle",
        seen(V.UP, L.HELD),
        stopping(R.MIGRATED),
    ),
    Case(
        (*RUNS, S.ENGINE_MIGRATING_AWAY, S.LOCAL_MAINTENANCE_MIGRATE_VM),
        S.ENGINE_FORCE_STOP,
        "our lease has expired: the guard should have ended the VM, and others may start it now",
        "vm_running, lease_expired, not shutting_down",
        seen(V.UP, L.EXPIRED),
        reason=R.LEASE_LOST,
    ),
    Case(
        (S.ENGINE_STOP,),
        S.ENGINE_FORCE_STOP,
        "our lease has expired: the guard should have ended the VM, and others may start it now",
        "vm_running, lease_expired, not shutting_down",
        seen(V.UP, L.EXPIRED),
        stopping(R.HUNG),
        reason=R.LEASE_LOST,
    ),
    Case(
        (
            S.ENGINE_DOWN,
            S.ENGINE_START,
            *RUNS,
            S.ENGINE_UNEXPECTEDLY_DOWN,
            S.ENGINE_MIGRATING_AWAY,
            S.ENGINE_MIGRATING_HERE,
        ),
        S.UNKNOWN_LOCAL_VM,
        "VDSM does not answer, so nothing is known of the VM here",
        "vm_unknown, lease_known, global_maintenance_known, idle",
        seen(V.UNKNOWN, L.HELD),
    ),
    Case(
        (S.START,),
        S.UNKNOWN_LOCAL_VM,
        "VDSM has not answered yet, so nothing is known of the VM here",
        "first_look_overdue, lease_known, global_maintenance_known, idle",
        seen(V.UNKNOWN, L.HELD),
        Memory(vm_unknown_since=NOW - 3.0),
    ),
    Case(
        RUNS,
        S.LOCAL_MAINTENANCE_MIGRATE_VM,
        "local maintenance: the VM has to leave this host",
        "local_maintenance, vm_running",
        seen(V.UP, L.OURS, local_maintenance=True),
        reason=R.MAINTENANCE,
    ),
    Case(
        (S.ENGINE_START,),
        S.ENGINE_STOP,
        "local maintenance before the VM was started: give the lease up",
        "local_maintenance, vm_gone, idle",
        seen(V.ABSENT, L.OURS, local_maintenance=True),
        reason=R.MAINTENANCE,
    ),
    Case(
        (S.ENGINE_DOWN, S.ENGINE_UNEXPECTEDLY_DOWN),
        S.LOCAL_MAINTENANCE,
        "local maintenance",
        "local_maintenance, vm_gone, not lease_ours, idle",
        seen(V.ABSENT, L.FREE, local_maintenance=True),
    ),
)

_MAINTENANCE = (
    Case(
        (S.GLOBAL_MAINTENANCE,),
        S.ENGINE_STARTING,
        "global maintenance is over; the VM runs here",
        "not global_maintenance, vm_running, lease_ours",
        seen(V.UP, L.OURS),
    ),
    Case(
        (S.GLOBAL_MAINTENANCE,),
        S.ENGINE_DOWN,
        "global maintenance is over",
        "not global_maintenance, not vm_unknown",
        seen(V.ABSENT, L.HELD),
    ),
    Case(
        (S.GLOBAL_MAINTENANCE,),
        S.UNKNOWN_LOCAL_VM,
        "global maintenance is over; VDSM does not answer",
        "not global_maintenance, vm_unknown",
        seen(V.UNKNOWN, L.OURS),
    ),
    Case(
        (S.GLOBAL_MAINTENANCE,),
        S.ENGINE_STOP,
        "the cluster is being shut down, and all other VMs are: the engine VM is the last",
        "shutdown_ready, vm_running, not vm_leaving, idle",
        seen(V.UP, L.OURS, global_maintenance=True, shutdown=ShutdownView(True, True)),
        reason=R.CLUSTER_SHUTDOWN,
    ),
    Case(
        (S.GLOBAL_MAINTENANCE,),
        None,
        "an operator has ordered the start here: the lease first",
        "start_ordered, vm_gone, lease_available",
        seen(V.ABSENT, L.FREE, global_maintenance=True, vm_order=VmOrder(3, ORDER.START)),
        ordered(ORDER.START),
        effect=E.TAKE_LEASE,
    ),
    Case(
        (S.GLOBAL_MAINTENANCE,),
        None,
        "an operator has ordered the start here: clear what is left of the last run",
        "start_ordered, lease_ours, vm_down",
        seen(V.DOWN, L.OURS, global_maintenance=True, vm_order=VmOrder(3, ORDER.START)),
        ordered(ORDER.START),
        effect=E.DESTROY_VM,
    ),
    Case(
        (S.GLOBAL_MAINTENANCE,),
        None,
        "an operator has ordered the start here, paused",
        "paused_start_ordered, lease_ours, vm_absent",
        seen(V.ABSENT, L.OURS, global_maintenance=True, vm_order=VmOrder(3, ORDER.START_PAUSED)),
        ordered(ORDER.START_PAUSED),
        effect=E.START_VM,
    ),
    Case(
        (S.GLOBAL_MAINTENANCE,),
        None,
        "an operator has ordered the paused VM to go on",
        "resume_ordered, lease_ours, vm_paused",
        seen(V.PAUSED, L.OURS, global_maintenance=True, vm_order=VmOrder(3, ORDER.RESUME)),
        ordered(ORDER.RESUME),
        effect=E.RESUME_VM,
    ),
    Case(
        (S.GLOBAL_MAINTENANCE,),
        None,
        "an operator has ordered the start here",
        "start_ordered, lease_ours, vm_absent",
        seen(V.ABSENT, L.OURS, global_maintenance=True, vm_order=VmOrder(3, ORDER.START)),
        ordered(ORDER.START),
        effect=E.START_VM,
    ),
    Case(
        (S.GLOBAL_MAINTENANCE,),
        None,
        "an operator has ordered the VM to be stopped",
        "stop_ordered, vm_running",
        seen(V.UP, L.OURS, global_maintenance=True, vm_order=VmOrder(3, ORDER.STOP)),
        ordered(ORDER.STOP),
        effect=E.SHUTDOWN_VM,
    ),
    Case(
        (S.GLOBAL_MAINTENANCE,),
        None,
        "an operator has ordered the VM to be ended at once",
        "force_stop_ordered, vm_running",
        seen(V.UP, L.OURS, global_maintenance=True, vm_order=VmOrder(3, ORDER.FORCE_STOP)),
        ordered(ORDER.FORCE_STOP),
        effect=E.DESTROY_VM,
    ),
    Case(
        (S.GLOBAL_MAINTENANCE,),
        None,
        "the VM was started here by hand, so the lease belongs here",
        "vm_running, lease_available",
        seen(V.UP, L.FREE, global_maintenance=True),
        effect=E.TAKE_LEASE,
    ),
    Case(
        (S.GLOBAL_MAINTENANCE,),
        None,
        "the VM is not here any more, so the lease is free for the host that starts it",
        "vm_gone, lease_ours, not start_under_way, start_settled",
        seen(V.ABSENT, L.OURS, global_maintenance=True),
        effect=E.RELEASE_LEASE,
    ),
    Case(
        (S.LOCAL_MAINTENANCE,),
        S.ENGINE_MIGRATING_HERE,
        "the VM appeared here in spite of local maintenance",
        "vm_running",
        seen(V.UP, L.HELD, local_maintenance=True),
    ),
    Case(
        (S.LOCAL_MAINTENANCE,),
        S.ENGINE_DOWN,
        "local maintenance is over",
        "not local_maintenance",
        seen(V.ABSENT, L.HELD),
    ),
    Case(
        (S.LOCAL_MAINTENANCE,),
        None,
        "a lease that was taken late is of no use in local maintenance: give it up",
        "lease_ours, vm_gone, start_settled",
        seen(V.ABSENT, L.OURS, local_maintenance=True),
        effect=E.RELEASE_LEASE,
    ),
    Case(
        (S.LOCAL_MAINTENANCE_MIGRATE_VM,),
        S.ENGINE_STOP,
        "the VM has left this host",
        "vm_gone",
        seen(V.ABSENT, L.OURS, local_maintenance=True),
        stopping(R.MAINTENANCE),
        reason=R.MAINTENANCE,
    ),
    Case(
        (S.LOCAL_MAINTENANCE_MIGRATE_VM,),
        S.ENGINE_STARTING,
        "local maintenance is over; the VM stays",
        "not local_maintenance, vm_running",
        seen(V.UP, L.OURS),
        stopping(R.MAINTENANCE),
    ),
    Case(
        (S.LOCAL_MAINTENANCE_MIGRATE_VM,),
        S.ENGINE_STOP,
        "another host can take the VM: stop it here in order",
        "vm_running, not vm_leaving, other_host_able",
        seen(V.UP, L.OURS, local_maintenance=True, peers=(peer(),)),
        stopping(R.MAINTENANCE),
        effect=E.SHUTDOWN_VM,
        reason=R.MAINTENANCE,
    ),
)

_START = (
    Case(
        (S.START,),
        S.ENGINE_STARTING,
        "the VM already runs here under our lease: take it up",
        "vm_running, lease_ours, global_maintenance_known",
        seen(V.UP, L.OURS),
    ),
    Case(
        (S.START,),
        S.ENGINE_DOWN,
        "first look done",
        "lease_known, not vm_unknown, global_maintenance_known",
        seen(V.ABSENT, L.HELD),
    ),
    Case(
        (S.UNKNOWN_LOCAL_VM,),
        S.ENGINE_STARTING,
        "VDSM answers again; the VM runs here",
        "vm_running, lease_ours",
        seen(V.UP, L.OURS),
    ),
    Case(
        (S.UNKNOWN_LOCAL_VM,),
        S.ENGINE_DOWN,
        "VDSM answers again",
        "not vm_unknown",
        seen(V.ABSENT, L.HELD),
    ),
    Case(
        (S.UNKNOWN_LOCAL_VM, *STOPS, S.LOCAL_MAINTENANCE_MIGRATE_VM, S.LOCAL_MAINTENANCE),
        None,
        "VDSM stays silent and the engine is bad: the guard ends the VM if it runs here, "
        "and another host starts it",
        "lease_ours, given_up, vdsm_silent_too_long, other_host_able",
        seen(V.UNKNOWN, L.OURS, local_maintenance=True, health=BAD, peers=(peer(),)),
        stopping(
            R.MAINTENANCE,
            vm_unknown_since=NOW - 60.0,
            bad_since=NOW - 120.0,
            was_healthy=True,
        ),
        effect=E.ABANDON_LEASE,
        reason=R.MAINTENANCE,
    ),
    Case(
        (S.ENGINE_DOWN, S.ENGINE_UNEXPECTEDLY_DOWN),
        S.ENGINE_MIGRATING_HERE,
        "the VM appeared here",
        "vm_running",
        seen(V.UP, L.HELD),
    ),
    Case(
        (S.ENGINE_DOWN, S.ENGINE_UNEXPECTEDLY_DOWN),
        S.ENGINE_MIGRATING_HERE,
        "the VM is migrating here",
        "vm_coming",
        seen(V.MIGRATING_HERE, L.HELD),
    ),
    Case(
        (S.ENGINE_DOWN,),
        S.ENGINE_START,
        "the lease is ours and the VM does not run: start it",
        "lease_ours, vm_gone, able, idle",
        seen(V.ABSENT, L.OURS),
    ),
    Case(
        (S.ENGINE_DOWN, S.ENGINE_UNEXPECTEDLY_DOWN),
        None,
        "the lease is ours, but this host can't run the VM: give it up",
        "lease_ours, vm_gone, start_settled",
        seen(V.ABSENT, L.OURS, definition=NO_DEFINITION),
        effect=E.RELEASE_LEASE,
    ),
    Case(
        (S.ENGINE_DOWN,),
        S.ENGINE_START,
        "nobody holds the lease and it is our turn: take it",
        "lease_available, vm_gone, able, not_held_back, no_peer_has_vm,"
        " no_engine_elsewhere, our_turn",
        seen(V.ABSENT, L.FREE),
        effect=E.TAKE_LEASE,
    ),
    Case(
        (S.ENGINE_UNEXPECTEDLY_DOWN,),
        S.ENGINE_DOWN,
        "other hosts had their turn",
        "penance_done, idle",
        seen(V.ABSENT, L.HELD, peers=(peer(),)),
        failed(5, state_since=NOW - 120.0, not_before=NOW + 5.0),
    ),
    Case(
        (S.ENGINE_UNEXPECTEDLY_DOWN,),
        S.ENGINE_DOWN,
        "no other host can run the VM: keep trying here",
        "lease_known, not other_host_able, not_held_back, idle",
        seen(V.ABSENT, L.FREE),
        failed(5),
        failures=5,
    ),
    Case(
        (S.ENGINE_MIGRATING_HERE,),
        S.ENGINE_STARTING,
        "the VM is here and the lease is ours",
        "vm_running, lease_ours",
        seen(V.UP, L.OURS),
    ),
    Case(
        (S.ENGINE_MIGRATING_HERE,),
        S.ENGINE_DOWN,
        "the VM did not stay here",
        "vm_gone, idle",
        seen(V.ABSENT, L.HELD),
    ),
    Case(
        (S.ENGINE_MIGRATING_HERE,),
        None,
        "the VM runs here, so the lease belongs here",
        "vm_running, lease_available",
        seen(V.UP, L.FREE),
        effect=E.TAKE_LEASE,
    ),
)

_STARTING = (
    Case(
        (S.ENGINE_START,),
        S.ENGINE_STARTING,
        "the VM runs",
        "vm_running, lease_ours, idle",
        seen(V.STARTING, L.OURS),
    ),
    Case(
        (S.ENGINE_START,),
        S.ENGINE_MIGRATING_HERE,
        "the VM appeared here before we started it",
        "vm_running, idle",
        seen(V.UP, L.HELD),
    ),
    Case(
        (S.ENGINE_START,),
        S.ENGINE_DOWN,
        "the lease was not to be had",
        "take_refused",
        *ended(E.TAKE_LEASE, OutcomeCode.REFUSED, seen(V.ABSENT, L.HELD)),
    ),
    Case(
        (S.ENGINE_START,),
        S.ENGINE_STOP,
        "another host holds the VM lease: stand back",
        "start_lost_race",
        *ended(E.START_VM, OutcomeCode.LEASE_HELD_ELSEWHERE, seen(V.ABSENT, L.OURS)),
        reason=R.LEASE_ELSEWHERE,
        pause_seconds=10.0,
    ),
    Case(
        (S.ENGINE_START,),
        None,
        "the start failed: try again after a pause",
        "start_failed, restarts_left",
        *ended(E.START_VM, OutcomeCode.FAILED, seen(V.ABSENT, L.OURS), failed(3)),
        failures=4,
        pause_seconds=15.0,
    ),
    Case(
        (S.ENGINE_START,),
        S.ENGINE_STOP,
        "the start failed too often: leave the VM to other hosts",
        "start_failed",
        *ended(E.START_VM, OutcomeCode.FAILED, seen(V.ABSENT, L.OURS), failed(4)),
        reason=R.FAILED_TOO_OFTEN,
        failures=5,
        pause_seconds=15.0,
    ),
    Case(
        (S.ENGINE_START,),
        S.ENGINE_STOP,
        "the VM could not be started in time: leave it to other hosts",
        "vm_gone, lease_ours, starting_too_long, idle",
        seen(V.DOWN, L.OURS),
        Memory(state_since=NOW - 600.0),
        reason=R.FAILED_TOO_OFTEN,
        failures=1,
        pause_seconds=0.0,
    ),
    Case(
        (S.ENGINE_START,),
        S.ENGINE_DOWN,
        "the lease is not ours",
        "lease_known, not lease_ours, idle",
        seen(V.ABSENT, L.HELD),
    ),
    Case(
        (S.ENGINE_START,),
        S.ENGINE_STOP,
        "this host can't start the VM now: give the lease up",
        "not able, vm_gone, idle",
        seen(V.ABSENT, L.OURS, definition=NO_DEFINITION),
        reason=R.UNABLE,
    ),
    Case(
        (S.ENGINE_START,),
        None,
        "clear what is left of the last run, as VDSM demands before a start",
        "lease_ours, vm_down",
        seen(V.DOWN, L.OURS),
        effect=E.DESTROY_VM,
    ),
    Case(
        (S.ENGINE_START,),
        None,
        "the definition in use failed to start twice: start the VM from the last that did start",
        "lease_ours, vm_absent, not_held_back, definition_failing",
        seen(V.ABSENT, L.OURS, definition=WITH_FALLBACK),
        Memory(failing="d1", failed_starts=2),
        effect=E.START_VM,
    ),
    Case(
        (S.ENGINE_START,),
        None,
        "start the VM",
        "lease_ours, vm_absent, not_held_back",
        seen(V.ABSENT, L.OURS),
        effect=E.START_VM,
    ),
    Case(
        RUNS,
        S.ENGINE_STOP,
        "another host holds the VM lease: stand back",
        "vm_lease_elsewhere",
        seen(V.DOWN, L.OURS, exit=VmExit.LEASE_HELD_ELSEWHERE),
        reason=R.LEASE_ELSEWHERE,
        pause_seconds=10.0,
    ),
)

_RUNNING = (
    Case(
        (*RUNS, S.ENGINE_MIGRATING_AWAY),
        S.ENGINE_STOP,
        "the VM has migrated away",
        "vm_migrated",
        seen(V.DOWN, L.OURS, exit=VmExit.MIGRATED),
        reason=R.MIGRATED,
        pause_seconds=10.0,
    ),
    Case(
        (S.ENGINE_MIGRATING_AWAY,),
        S.ENGINE_STOP,
        "the VM has migrated away, and the engine has cleared its record here",
        "vm_absent, lease_known",
        seen(V.ABSENT, L.OURS),
        reason=R.MIGRATED,
        pause_seconds=10.0,
    ),
    Case(
        (*RUNS, S.ENGINE_MIGRATING_AWAY),
        S.ENGINE_START,
        "the VM ended unasked: start it again here",
        "vm_gone, not vm_migrated, lease_ours, restarts_left",
        seen(V.DOWN, L.OURS),
        failures=1,
        pause_seconds=0.0,
    ),
    Case(
        (*RUNS, S.ENGINE_MIGRATING_AWAY),
        S.ENGINE_STOP,
        "the VM ended unasked too often: leave it to other hosts",
        "vm_gone, not vm_migrated, lease_ours",
        seen(V.DOWN, L.OURS),
        failed(4),
        reason=R.FAILED_TOO_OFTEN,
        failures=5,
        pause_seconds=15.0,
    ),
    Case(
        (*RUNS, S.ENGINE_MIGRATING_AWAY),
        S.ENGINE_STOP,
        "the VM is not here any more",
        "vm_gone, lease_known",
        seen(V.DOWN, L.HELD),
        reason=R.MIGRATED,
    ),
    Case(
        RUNS,
        S.ENGINE_MIGRATING_HERE,
        "the VM runs here, and with it the VM lease, so nobody else can start it: "
        "take the lease again when it is free",
        "vm_running, lease_known, not lease_ours",
        seen(V.UP, L.HELD),
    ),
    Case(
        RUNS,
        S.ENGINE_MIGRATING_AWAY,
        "the VM is migrating away",
        "vm_leaving",
        seen(V.MIGRATING_AWAY, L.OURS),
    ),
    Case(
        (S.ENGINE_MIGRATING_AWAY,),
        S.ENGINE_STARTING,
        "the migration ended and the VM is still here",
        "vm_running, not vm_leaving",
        seen(V.UP, L.OURS),
    ),
    Case(
        (S.ENGINE_STARTING, S.ENGINE_UP_BAD_HEALTH),
        S.ENGINE_UP,
        "the engine is healthy",
        "vm_running, healthy",
        seen(V.UP, L.OURS, health=GOOD),
    ),
    Case(
        (S.ENGINE_STARTING,),
        S.ENGINE_STOP,
        "the engine did not become healthy in time",
        "vm_running, unhealthy, starting_too_long",
        seen(V.UP, L.OURS, health=BAD),
        Memory(state_since=NOW - 600.0),
        reason=R.START_TIMEOUT,
        failures=1,
        pause_seconds=0.0,
    ),
    Case(
        RUNS,
        S.ENGINE_FORCE_STOP,
        "the VM has been paused for the whole grace time",
        "paused_too_long",
        seen(V.PAUSED, L.OURS, health=GOOD),
        Memory(paused_since=NOW - 120.0),
        reason=R.PAUSED,
        failures=1,
        pause_seconds=0.0,
    ),
    Case(
        (S.ENGINE_UP,),
        S.ENGINE_UP_BAD_HEALTH,
        "the VM is paused, as by an I/O error",
        "vm_paused",
        seen(V.PAUSED, L.OURS, health=GOOD),
    ),
    Case(
        (S.ENGINE_UP,),
        S.ENGINE_UP_BAD_HEALTH,
        "the engine's health page is bad",
        "vm_running, unhealthy",
        seen(V.UP, L.OURS, health=BAD),
    ),
    Case(
        (S.ENGINE_UP_BAD_HEALTH,),
        S.ENGINE_STOP,
        "the engine has been bad for the whole grace time",
        "vm_running, hung, not page_out_of_reach",
        seen(V.UP, L.OURS, health=BAD),
        Memory(bad_since=NOW - 120.0),
        reason=R.HUNG,
        failures=1,
        pause_seconds=0.0,
    ),
    Case(
        (S.ENGINE_UP,),
        S.ENGINE_STOP,
        "this host has lost its network, and other hosts don't reach the engine: hand it over",
        "vm_running, lease_ours, cut_off, not_handed_over_lately, idle",
        seen(V.UP, L.OURS, health=GOOD, peers=(BLIND,)),
        Memory(trends=NETWORK_LOST),
        reason=R.CUT_OFF,
    ),
)

_STOPPING = (
    Case(
        STOPS,
        S.ENGINE_STARTING,
        "there is no reason left to stop the VM: it stays",
        "vm_running, lease_ours, stop_over, idle",
        seen(V.UP, L.OURS, health=GOOD),
        stopping(R.HUNG),
    ),
    Case(
        STOPS,
        S.ENGINE_MIGRATING_HERE,
        "there is no reason left to stop the VM: take the lease again",
        "vm_running, lease_available, stop_over, idle",
        seen(V.UP, L.FREE, health=GOOD),
        stopping(R.HUNG),
    ),
    Case(
        (S.ENGINE_STOP,),
        S.ENGINE_FORCE_STOP,
        "the VM is paused, and can't shut down in order",
        "vm_paused, not stop_over",
        seen(V.PAUSED, L.OURS, local_maintenance=True),
        stopping(R.MAINTENANCE),
        reason=R.MAINTENANCE,
    ),
    Case(
        (S.ENGINE_STOP,),
        S.ENGINE_FORCE_STOP,
        "the orderly stop takes too long",
        "vm_running, stopping_too_long, not stop_over",
        seen(V.UP, L.OURS, health=BAD),
        stopping(R.HUNG, state_since=NOW - 120.0),
        reason=R.HUNG,
    ),
    Case(
        (S.ENGINE_STOP,),
        None,
        "ask the guest to shut down",
        "vm_running, not shutdown_asked, not stop_over",
        seen(V.UP, L.OURS, health=BAD),
        stopping(R.HUNG),
        effect=E.SHUTDOWN_VM,
        reason=R.HUNG,
    ),
    Case(
        (S.ENGINE_FORCE_STOP,),
        None,
        "end the VM by force",
        "vm_running, not stop_over",
        seen(V.UP, L.OURS, health=BAD),
        stopping(R.HUNG),
        effect=E.DESTROY_VM,
        reason=R.HUNG,
    ),
    Case(
        STOPS,
        None,
        "the record of the ended VM can't be cleared: give the lease up all the same",
        "vm_down, lease_ours, stopping_too_long, start_settled",
        seen(V.DOWN, L.OURS, peers=(peer(),)),
        stopping(R.HUNG, state_since=NOW - 120.0),
        effect=E.RELEASE_LEASE,
        reason=R.HUNG,
        pause_seconds=10.0,
    ),
    Case(
        STOPS,
        None,
        "clear the record of the ended VM",
        "vm_down",
        seen(V.DOWN, L.OURS),
        stopping(R.HUNG),
        effect=E.DESTROY_VM,
        reason=R.HUNG,
    ),
    Case(
        STOPS,
        None,
        "the VM is gone from here: give the lease up",
        "vm_absent, lease_ours, start_settled",
        seen(V.ABSENT, L.OURS),
        stopping(R.HUNG),
        effect=E.RELEASE_LEASE,
        reason=R.HUNG,
    ),
    Case(
        STOPS,
        None,
        "the VM is gone from here: give the lease up",
        "vm_absent, lease_ours, start_settled",
        seen(V.ABSENT, L.OURS, peers=(peer(),)),
        stopping(R.HUNG),
        effect=E.RELEASE_LEASE,
        reason=R.HUNG,
        pause_seconds=10.0,
    ),
    Case(
        STOPS,
        S.ENGINE_UNEXPECTEDLY_DOWN,
        "leave the VM to other hosts for a while",
        "vm_absent, lease_known, not lease_ours, gave_up_here, idle",
        seen(V.ABSENT, L.FREE),
        stopping(R.FAILED_TOO_OFTEN),
    ),
    Case(
        STOPS,
        S.GLOBAL_MAINTENANCE,
        "the cluster is shut down: hosts may be powered off",
        "shutting_down, vm_absent, lease_known, not lease_ours, idle",
        seen(V.ABSENT, L.FREE, global_maintenance=True, shutdown=ShutdownView(True)),
        stopping(R.CLUSTER_SHUTDOWN),
    ),
    Case(
        STOPS,
        S.ENGINE_DOWN,
        "stopped",
        "vm_absent, lease_known, not lease_ours, idle",
        seen(V.ABSENT, L.FREE),
        stopping(R.HUNG),
    ),
)

CASES = (*_HEAD, *_MAINTENANCE, *_START, *_STARTING, *_RUNNING, *_STOPPING)
