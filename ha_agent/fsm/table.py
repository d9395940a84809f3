# SPDX-License-Identifier: Apache-2.0
"""All edges of the state machine. Everything that decides on a transition stands here, and
this file knows nothing else: not how to look, not how to act.

A row: from these states, when all guards hold, go to `target` (None: stay), ask for `effect`,
note something, because `why`. A row with an effect waits while another effect is under way,
and for a pause after the last one of its kind. Precedence is row order; one row fires a tick:
  1. the agent is stopping           2. global maintenance, but for a shutdown of the cluster
  3. the lease of a running VM has expired
  4. VDSM is silent                  5. local maintenance
  6. the normal edges, state by state.
No row fires: nothing changes. The diagram in ARCHITECTURE.md is made from these rows.
"""

from __future__ import annotations

from ha_agent.fsm import guards as g
from ha_agent.fsm import order_guards as o
from ha_agent.fsm import stop_guards as stop
from ha_agent.fsm.cut_off import cut_off, not_handed_over_lately, note_hand_over
from ha_agent.fsm.effect import EffectKind
from ha_agent.fsm.elsewhere import believe_page, no_engine_elsewhere
from ha_agent.fsm.memory import StopReason
from ha_agent.fsm.row import Row, after_you, because, failure, failures_forgiven, hold_back
from ha_agent.fsm.start_fate import start_settled
from ha_agent.fsm.state import State

S = State
E = EffectKind
_WITH_VM = (
    S.ENGINE_STARTING,
    S.ENGINE_UP,
    S.ENGINE_UP_BAD_HEALTH,
    S.ENGINE_MIGRATING_AWAY,
    S.LOCAL_MAINTENANCE_MIGRATE_VM,
)
_RUNS = (S.ENGINE_STARTING, S.ENGINE_UP, S.ENGINE_UP_BAD_HEALTH)
_ALL = tuple(state for state in S if state is not S.AGENT_STOPPED)


_HEAD = (
    Row(
        _ALL,
        S.AGENT_STOPPED,
        (g.stop_requested, g.lease_ours, g.vm_gone, start_settled),
        "the agent is stopping and there is no VM: the broker must not renew the lease on and on",
        effect=E.RELEASE_LEASE,
    ),
    Row(
        _ALL,
        S.AGENT_STOPPED,
        (g.stop_requested, g.lease_ours, g.vm_gone, g.negate(start_settled)),
        "the agent is stopping while a start may still take effect: "
        "the lease runs out, its fence armed",
        effect=E.ABANDON_LEASE,
    ),
    Row(
        _ALL,
        S.AGENT_STOPPED,
        (g.stop_requested, g.negate(g.stop_has_to_wait)),
        "the agent is stopping; the VM is left alone",
    ),
    Row(
        tuple(state for state in _ALL if state not in (S.START, S.GLOBAL_MAINTENANCE)),
        S.GLOBAL_MAINTENANCE,
        (g.global_maintenance, g.negate(stop.shutting_down), g.idle),
        "global maintenance: hands off the engine VM",
    ),
    Row(
        (S.ENGINE_STOP, S.ENGINE_FORCE_STOP),
        S.ENGINE_MIGRATING_HERE,
        (g.vm_running, stop.nothing_to_stop, g.idle),
        "the VM came here while the lease was being given up",
    ),
    Row(
        (*_WITH_VM, S.ENGINE_STOP),
        S.ENGINE_FORCE_STOP,
        # In a shutdown of the cluster nobody starts the VM: its orderly stop may go on.
        (g.vm_running, g.lease_expired, g.negate(stop.shutting_down)),
        "our lease has expired: the guard should have ended the VM, and others may start it now",
        notes=(because(StopReason.LEASE_LOST),),
    ),
    Row(
        (
            S.ENGINE_DOWN,
            S.ENGINE_START,
            *_RUNS,
            S.ENGINE_UNEXPECTEDLY_DOWN,
            S.ENGINE_MIGRATING_AWAY,
            S.ENGINE_MIGRATING_HERE,
        ),
        S.UNKNOWN_LOCAL_VM,
        (g.vm_unknown, g.lease_known, g.global_maintenance_known, g.idle),
        "VDSM does not answer, so nothing is known of the VM here",
    ),
    Row(
        (S.START,),
        S.UNKNOWN_LOCAL_VM,
        (g.first_look_overdue, g.lease_known, g.global_maintenance_known, g.idle),
        "VDSM has not answered yet, so nothing is known of the VM here",
    ),
    Row(
        _RUNS,
        S.LOCAL_MAINTENANCE_MIGRATE_VM,
        (g.local_maintenance, g.vm_running),
        "local maintenance: the VM has to leave this host",
        notes=(because(StopReason.MAINTENANCE),),
    ),
    Row(
        (S.ENGINE_START,),
        S.ENGINE_STOP,
        (g.local_maintenance, g.vm_gone, g.idle),
        "local maintenance before the VM was started: give the lease up",
        notes=(because(StopReason.MAINTENANCE),),
    ),
    Row(
        (S.ENGINE_DOWN, S.ENGINE_UNEXPECTEDLY_DOWN),
        S.LOCAL_MAINTENANCE,
        (g.local_maintenance, g.vm_gone, g.negate(g.lease_ours), g.idle),
        "local maintenance",
    ),
)

_MAINTENANCE = (
    Row(
        (S.GLOBAL_MAINTENANCE,),
        S.ENGINE_STARTING,
        (g.negate(g.global_maintenance), g.vm_running, g.lease_ours),
        "global maintenance is over; the VM runs here",
    ),
    Row(
        (S.GLOBAL_MAINTENANCE,),
        S.ENGINE_DOWN,
        (g.negate(g.global_maintenance), g.negate(g.vm_unknown)),
        "global maintenance is over",
    ),
    Row(
        (S.GLOBAL_MAINTENANCE,),
        S.UNKNOWN_LOCAL_VM,
        (g.negate(g.global_maintenance), g.vm_unknown),
        "global maintenance is over; VDSM does not answer",
    ),
    Row(
        (S.GLOBAL_MAINTENANCE,),
        S.ENGINE_STOP,
        (stop.shutdown_ready, g.vm_running, g.negate(g.vm_leaving), g.idle),
        "the cluster is being shut down, and all other VMs are: the engine VM is the last",
        notes=(because(StopReason.CLUSTER_SHUTDOWN),),
    ),
    Row(
        (S.GLOBAL_MAINTENANCE,),
        None,
        (o.start_ordered, g.vm_gone, g.lease_available),
        "an operator has ordered the start here: the lease first",
        effect=E.TAKE_LEASE,
    ),
    Row(
        (S.GLOBAL_MAINTENANCE,),
        None,
        (o.start_ordered, g.lease_ours, g.vm_down),
        "an operator has ordered the start here: clear what is left of the last run",
        effect=E.DESTROY_VM,
    ),
    Row(
        (S.GLOBAL_MAINTENANCE,),
        None,
        (o.paused_start_ordered, g.lease_ours, g.vm_absent),
        "an operator has ordered the start here, paused",
        effect=E.START_VM,
        paused=True,
    ),
    Row(
        (S.GLOBAL_MAINTENANCE,),
        None,
        # It takes its VM lease only now. Without the ownership lease another host may start one.
        (o.resume_ordered, g.lease_ours, g.vm_paused),
        "an operator has ordered the paused VM to go on",
        effect=E.RESUME_VM,
    ),
    Row(
        (S.GLOBAL_MAINTENANCE,),
        None,
        (o.start_ordered, g.lease_ours, g.vm_absent),
        "an operator has ordered the start here",
        effect=E.START_VM,
    ),
    Row(
        (S.GLOBAL_MAINTENANCE,),
        None,
        (o.stop_ordered, g.vm_running),
        "an operator has ordered the VM to be stopped",
        effect=E.SHUTDOWN_VM,
    ),
    Row(
        (S.GLOBAL_MAINTENANCE,),
        None,
        (o.force_stop_ordered, g.vm_running),
        "an operator has ordered the VM to be ended at once",
        effect=E.DESTROY_VM,
    ),
    Row(
        (S.GLOBAL_MAINTENANCE,),
        None,
        (g.vm_running, g.lease_available),
        "the VM was started here by hand, so the lease belongs here",
        effect=E.TAKE_LEASE,
    ),
    Row(
        (S.GLOBAL_MAINTENANCE,),
        None,
        # Not during a start: VDSM may have been asked, and a release would disarm the fence.
        (g.vm_gone, g.lease_ours, g.negate(o.start_under_way), start_settled),
        "the VM is not here any more, so the lease is free for the host that starts it",
        effect=E.RELEASE_LEASE,
    ),
    Row(
        (S.LOCAL_MAINTENANCE,),
        S.ENGINE_MIGRATING_HERE,
        (g.vm_running,),
        "the VM appeared here in spite of local maintenance",
    ),
    Row(
        (S.LOCAL_MAINTENANCE,),
        S.ENGINE_DOWN,
        (g.negate(g.local_maintenance),),
        "local maintenance is over",
    ),
    Row(
        (S.LOCAL_MAINTENANCE,),
        None,
        (g.lease_ours, g.vm_gone, start_settled),
        "a lease that was taken late is of no use in local maintenance: give it up",
        effect=E.RELEASE_LEASE,
    ),
    Row(
        (S.LOCAL_MAINTENANCE_MIGRATE_VM,),
        S.ENGINE_STOP,
        (g.vm_gone,),
        "the VM has left this host",
    ),
    Row(
        (S.LOCAL_MAINTENANCE_MIGRATE_VM,),
        S.ENGINE_STARTING,
        (g.negate(g.local_maintenance), g.vm_running),
        "local maintenance is over; the VM stays",
    ),
    Row(
        (S.LOCAL_MAINTENANCE_MIGRATE_VM,),
        S.ENGINE_STOP,
        (g.vm_running, g.negate(g.vm_leaving), g.other_host_able),
        "another host can take the VM: stop it here in order",
        effect=E.SHUTDOWN_VM,
    ),
)

_START = (
    Row(
        (S.START,),
        S.ENGINE_STARTING,
        (g.vm_running, g.lease_ours, g.global_maintenance_known),
        "the VM already runs here under our lease: take it up",
    ),
    Row(
        (S.START,),
        S.ENGINE_DOWN,
        (g.lease_known, g.negate(g.vm_unknown), g.global_maintenance_known),
        "first look done",
    ),
    Row(
        (S.UNKNOWN_LOCAL_VM,),
        S.ENGINE_STARTING,
        (g.vm_running, g.lease_ours),
        "VDSM answers again; the VM runs here",
    ),
    Row(
        (S.UNKNOWN_LOCAL_VM,),
        S.ENGINE_DOWN,
        (g.negate(g.vm_unknown),),
        "VDSM answers again",
    ),
    Row(
        (
            S.UNKNOWN_LOCAL_VM,
            S.ENGINE_STOP,
            S.ENGINE_FORCE_STOP,
            S.LOCAL_MAINTENANCE_MIGRATE_VM,
            S.LOCAL_MAINTENANCE,
        ),
        None,
        # Not a release: that would disarm the fence, and a VM that does run here would keep its
        # VM lease, which forbids every other start, until VDSM is back. And only for a host that
        # can take over: without one the VM here, bad as it looks, is all there is. It may yet
        # recover, and what ends it could not start it again while VDSM is silent.
        (g.lease_ours, g.given_up, g.vdsm_silent_too_long, g.other_host_able),
        "VDSM stays silent and the engine is bad: the guard ends the VM if it runs here, "
        "and another host starts it",
        effect=E.ABANDON_LEASE,
    ),
    Row(
        (S.ENGINE_DOWN, S.ENGINE_UNEXPECTEDLY_DOWN),
        S.ENGINE_MIGRATING_HERE,
        (g.vm_running,),
        "the VM appeared here",
    ),
    Row(
        (S.ENGINE_DOWN, S.ENGINE_UNEXPECTEDLY_DOWN),
        S.ENGINE_MIGRATING_HERE,
        (g.vm_coming,),
        "the VM is migrating here",
    ),
    Row(
        (S.ENGINE_DOWN,),
        S.ENGINE_START,
        (g.lease_ours, g.vm_gone, g.able, g.idle),
        "the lease is ours and the VM does not run: start it",
    ),
    Row(
        (S.ENGINE_DOWN, S.ENGINE_UNEXPECTEDLY_DOWN),
        None,
        (g.lease_ours, g.vm_gone, start_settled),
        "the lease is ours, but this host can't run the VM: give it up",
        effect=E.RELEASE_LEASE,
    ),
    Row(
        (S.ENGINE_DOWN,),
        S.ENGINE_START,
        (
            g.lease_available,
            g.vm_gone,
            g.able,
            g.not_held_back,
            g.no_peer_has_vm,
            no_engine_elsewhere,
            g.our_turn,
        ),
        "nobody holds the lease and it is our turn: take it",
        effect=E.TAKE_LEASE,
    ),
    Row(
        (S.ENGINE_UNEXPECTEDLY_DOWN,),
        S.ENGINE_DOWN,
        (g.penance_done, g.idle),
        "other hosts had their turn",
        notes=(failures_forgiven,),
    ),
    Row(
        (S.ENGINE_UNEXPECTEDLY_DOWN,),
        S.ENGINE_DOWN,
        (g.lease_known, g.negate(g.other_host_able), g.not_held_back, g.idle),
        "no other host can run the VM: keep trying here",
    ),
    Row(
        (S.ENGINE_MIGRATING_HERE,),
        S.ENGINE_STARTING,
        (g.vm_running, g.lease_ours),
        "the VM is here and the lease is ours",
    ),
    Row(
        (S.ENGINE_MIGRATING_HERE,),
        S.ENGINE_DOWN,
        (g.vm_gone, g.idle),
        "the VM did not stay here",
    ),
    Row(
        (S.ENGINE_MIGRATING_HERE,),
        None,
        (g.vm_running, g.lease_available),
        "the VM runs here, so the lease belongs here",
        effect=E.TAKE_LEASE,
    ),
)

_STARTING = (
    Row(
        (S.ENGINE_START,),
        S.ENGINE_STARTING,
        (g.vm_running, g.lease_ours, g.idle),
        "the VM runs",
    ),
    Row(
        (S.ENGINE_START,),
        S.ENGINE_MIGRATING_HERE,
        (g.vm_running, g.idle),
        "the VM appeared here before we started it",
    ),
    Row((S.ENGINE_START,), S.ENGINE_DOWN, (g.take_refused,), "the lease was not to be had"),
    Row(
        (S.ENGINE_START,),
        S.ENGINE_STOP,
        (g.start_lost_race,),
        "another host holds the VM lease: stand back",
        notes=(because(StopReason.LEASE_ELSEWHERE), hold_back, believe_page),
    ),
    Row(
        (S.ENGINE_START,),
        None,
        (g.start_failed, g.restarts_left),
        "the start failed: try again after a pause",
        notes=(failure,),
    ),
    Row(
        (S.ENGINE_START,),
        S.ENGINE_STOP,
        (g.start_failed,),
        "the start failed too often: leave the VM to other hosts",
        notes=(because(StopReason.FAILED_TOO_OFTEN), failure),
    ),
    Row(
        (S.ENGINE_START,),
        S.ENGINE_DOWN,
        (g.lease_known, g.negate(g.lease_ours), g.idle),
        "the lease is not ours",
    ),
    Row(
        (S.ENGINE_START,),
        S.ENGINE_STOP,
        (g.negate(g.able), g.vm_gone, g.idle),
        "this host can't start the VM now: give the lease up",
        notes=(because(StopReason.UNABLE),),
    ),
    Row(
        (S.ENGINE_START,),
        S.ENGINE_STOP,
        # VDSM may answer neither yes nor no for ever, or not clear what is left of the last run.
        (g.vm_gone, g.lease_ours, g.starting_too_long, g.idle),
        "the VM could not be started in time: leave it to other hosts",
        notes=(because(StopReason.FAILED_TOO_OFTEN), failure),
    ),
    Row(
        (S.ENGINE_START,),
        None,
        (g.lease_ours, g.vm_down),
        "clear what is left of the last run, as VDSM demands before a start",
        effect=E.DESTROY_VM,
    ),
    Row(
        (S.ENGINE_START,),
        None,
        (g.lease_ours, g.vm_absent, g.not_held_back, g.definition_failing),
        "the definition in use failed to start twice: start the VM from the last that did start",
        effect=E.START_VM,
        fallback=True,
    ),
    Row(
        (S.ENGINE_START,),
        None,
        (g.lease_ours, g.vm_absent, g.not_held_back),
        "start the VM",
        effect=E.START_VM,
    ),
    Row(
        # Also from EngineUp: the page that a host asks for may be that of the VM elsewhere.
        _RUNS,
        S.ENGINE_STOP,
        (g.vm_lease_elsewhere,),
        "another host holds the VM lease: stand back",
        notes=(because(StopReason.LEASE_ELSEWHERE), hold_back, believe_page),
    ),
)

_RUNNING = (
    Row(
        (*_RUNS, S.ENGINE_MIGRATING_AWAY),
        S.ENGINE_STOP,
        (g.vm_migrated,),
        "the VM has migrated away",
        notes=(because(StopReason.MIGRATED), hold_back),
    ),
    Row(
        (S.ENGINE_MIGRATING_AWAY,),
        S.ENGINE_STOP,
        (g.vm_absent, g.lease_known),
        "the VM has migrated away, and the engine has cleared its record here",
        notes=(because(StopReason.MIGRATED), hold_back),
    ),
    Row(
        (*_RUNS, S.ENGINE_MIGRATING_AWAY),
        S.ENGINE_START,
        (g.vm_gone, g.negate(g.vm_migrated), g.lease_ours, g.restarts_left),
        "the VM ended unasked: start it again here",
        notes=(failure,),
    ),
    Row(
        (*_RUNS, S.ENGINE_MIGRATING_AWAY),
        S.ENGINE_STOP,
        (g.vm_gone, g.negate(g.vm_migrated), g.lease_ours),
        "the VM ended unasked too often: leave it to other hosts",
        notes=(because(StopReason.FAILED_TOO_OFTEN), failure),
    ),
    Row(
        (*_RUNS, S.ENGINE_MIGRATING_AWAY),
        S.ENGINE_STOP,
        (g.vm_gone, g.lease_known),
        "the VM is not here any more",
        notes=(because(StopReason.MIGRATED),),
    ),
    Row(
        _RUNS,
        S.ENGINE_MIGRATING_HERE,
        (g.vm_running, g.lease_known, g.negate(g.lease_ours)),
        "the VM runs here, and with it the VM lease, so nobody else can start it: "
        "take the lease again when it is free",
    ),
    Row(_RUNS, S.ENGINE_MIGRATING_AWAY, (g.vm_leaving,), "the VM is migrating away"),
    Row(
        (S.ENGINE_MIGRATING_AWAY,),
        S.ENGINE_STARTING,
        (g.vm_running, g.negate(g.vm_leaving)),
        "the migration ended and the VM is still here",
    ),
    Row(
        (S.ENGINE_STARTING, S.ENGINE_UP_BAD_HEALTH),
        S.ENGINE_UP,
        (g.vm_running, g.healthy),
        "the engine is healthy",
    ),
    Row(
        (S.ENGINE_STARTING,),
        S.ENGINE_STOP,
        (g.vm_running, g.unhealthy, g.starting_too_long),
        "the engine did not become healthy in time",
        notes=(because(StopReason.START_TIMEOUT), failure),
    ),
    Row(
        _RUNS,
        S.ENGINE_FORCE_STOP,
        # A paused guest can't shut down in order. One that was paused on an I/O error has lost
        # its VM lease under sanlock (facts/predecessor-and-peers.md 1.3), so another host could
        # start the VM: our ownership lease is kept until it is gone.
        (g.paused_too_long,),
        "the VM has been paused for the whole grace time",
        notes=(because(StopReason.PAUSED), failure),
    ),
    Row(
        (S.ENGINE_UP,),
        S.ENGINE_UP_BAD_HEALTH,
        (g.vm_paused,),
        "the VM is paused, as by an I/O error",
    ),
    Row(
        (S.ENGINE_UP,),
        S.ENGINE_UP_BAD_HEALTH,
        (g.vm_running, g.unhealthy),
        "the engine's health page is bad",
    ),
    Row(
        (S.ENGINE_UP_BAD_HEALTH,),
        S.ENGINE_STOP,
        (g.vm_running, g.hung, g.negate(g.page_out_of_reach)),
        "the engine has been bad for the whole grace time",
        notes=(because(StopReason.HUNG), failure),
    ),
    Row(
        (S.ENGINE_UP,),
        S.ENGINE_STOP,
        # Not a failure: nothing is wrong with the VM here, and it may come back.
        (g.vm_running, g.lease_ours, cut_off, not_handed_over_lately, g.idle),
        "this host has lost its network, and other hosts don't reach the engine: hand it over",
        notes=(because(StopReason.CUT_OFF), note_hand_over),
    ),
)

_STOPPING = (
    Row(
        (S.ENGINE_STOP, S.ENGINE_FORCE_STOP),
        S.ENGINE_STARTING,
        (g.vm_running, g.lease_ours, stop.stop_over, g.idle),
        "there is no reason left to stop the VM: it stays",
    ),
    Row(
        (S.ENGINE_STOP, S.ENGINE_FORCE_STOP),
        S.ENGINE_MIGRATING_HERE,
        (g.vm_running, g.lease_available, stop.stop_over, g.idle),
        "there is no reason left to stop the VM: take the lease again",
    ),
    Row(
        (S.ENGINE_STOP,),
        S.ENGINE_FORCE_STOP,
        (g.vm_paused, g.negate(stop.stop_over)),
        "the VM is paused, and can't shut down in order",
    ),
    Row(
        (S.ENGINE_STOP,),
        S.ENGINE_FORCE_STOP,
        (g.vm_running, g.stopping_too_long, g.negate(stop.stop_over)),
        "the orderly stop takes too long",
    ),
    Row(
        (S.ENGINE_STOP,),
        None,
        (g.vm_running, g.negate(g.shutdown_asked), g.negate(stop.stop_over)),
        "ask the guest to shut down",
        effect=E.SHUTDOWN_VM,
    ),
    Row(
        (S.ENGINE_FORCE_STOP,),
        None,
        (g.vm_running, g.negate(stop.stop_over)),
        "end the VM by force",
        effect=E.DESTROY_VM,
    ),
    Row(
        (S.ENGINE_STOP, S.ENGINE_FORCE_STOP),
        None,
        (g.vm_down, g.lease_ours, g.stopping_too_long, start_settled),
        "the record of the ended VM can't be cleared: give the lease up all the same",
        effect=E.RELEASE_LEASE,
        notes=(after_you,),
    ),
    Row(
        (S.ENGINE_STOP, S.ENGINE_FORCE_STOP),
        None,
        (g.vm_down,),
        "clear the record of the ended VM",
        effect=E.DESTROY_VM,
    ),
    Row(
        (S.ENGINE_STOP, S.ENGINE_FORCE_STOP),
        None,
        (g.vm_absent, g.lease_ours, start_settled),
        "the VM is gone from here: give the lease up",
        effect=E.RELEASE_LEASE,
        notes=(after_you,),
    ),
    Row(
        (S.ENGINE_STOP, S.ENGINE_FORCE_STOP),
        S.ENGINE_UNEXPECTEDLY_DOWN,
        (g.vm_absent, g.lease_known, g.negate(g.lease_ours), stop.gave_up_here, g.idle),
        "leave the VM to other hosts for a while",
    ),
    Row(
        (S.ENGINE_STOP, S.ENGINE_FORCE_STOP),
        S.GLOBAL_MAINTENANCE,
        (stop.shutting_down, g.vm_absent, g.lease_known, g.negate(g.lease_ours), g.idle),
        "the cluster is shut down: hosts may be powered off",
    ),
    Row(
        (S.ENGINE_STOP, S.ENGINE_FORCE_STOP),
        S.ENGINE_DOWN,
        (g.vm_absent, g.lease_known, g.negate(g.lease_ours), g.idle),
        "stopped",
    ),
)

TABLE: tuple[Row, ...] = (
    *_HEAD,
    *_MAINTENANCE,
    *_START,
    *_STARTING,
    *_RUNNING,
    *_STOPPING,
)
