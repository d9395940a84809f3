# SPDX-License-Identifier: Apache-2.0
"""The rules about the calm end of a simulation: the engine comes up, and then nothing moves.

The budget, in seconds after the last thing that was done to the cluster (`budget_seconds`):

    a host boots, its daemons start, the first looks are in    host_boot + 20
    a VM that a fault left half way:
        VDSM was silent, so nothing was decided                policy.vdsm_silent
        an orderly stop that does not end, then the forced     policy.stop_timeout + 10
    a dead host's VM lease is held on (sanlock)                vm_lease_expiry
    the ownership lease expires, by a slow clock               lease_expiry * 1.02 + 1
        sanlock: a watchdog fires before; a lockspace is joined    lease_expiry + 4 renewals
    the better hosts' turns pass unused                        hosts * takeover_step
    a host that gave up lets others try first                  policy.unexpected_down
        and its own tries before that                          sum(restart_backoff) + 4 tries
    a try that met another host's VM lease                     policy.lease_elsewhere_pause
    definitions are fetched, VM.create answers, a look         10
    the engine boots, and its page is looked at                boot + 10

They are summed up though no run meets all of them: the rule is that the engine comes back, and
the scenarios have the time that each single case takes.
"""

from __future__ import annotations

from ha_agent.fsm.state import State
from ha_agent.sim import events as e
from ha_agent.sim.checkers import Report
from ha_agent.sim.faults import Fault
from ha_agent.sim.ground import Ground
from ha_agent.sim.spec import Spec

_TRY_SECONDS = 10.0


def budget_seconds(spec: Spec) -> float:
    """Return within how many seconds of calm the engine must be up; see the module."""
    policy, sanlock_seconds = spec.policy, 0.0
    if spec.is_sanlock:
        sanlock_seconds = spec.lease_expiry_seconds + 4 * spec.sanlock.renew_interval_seconds
    boots = [float(f.value) for f in spec.faults if f.kind == "boot-seconds"]
    backoffs = policy.restart_backoff_seconds
    return (
        (spec.host_boot_seconds + 20)
        + policy.vdsm_silent_seconds
        + (policy.stop_timeout_seconds + 10)
        + spec.vm_lease_expiry_seconds
        + (spec.lease_expiry_seconds * 1.02 + 1)
        + sanlock_seconds
        + spec.hosts * policy.takeover_step_seconds
        + policy.unexpected_down_seconds
        + (sum(backoffs) + len(backoffs) * _TRY_SECONDS)
        + policy.lease_elsewhere_pause_seconds
        + 10
        + (max([spec.boot_seconds, *boots]) + 10)
    )


class ComesUp:
    """With one able host, the engine is up within the budget of the calm's beginning, and then
    stays so: no VM is started or stopped, nor is the page bad. A quiet simulation, with
    nothing done to it at all and an engine that is up, is calm from its beginning."""

    name = "comes-up"

    def __init__(self, ground: Ground, report: Report) -> None:
        self._ground, self._report = ground, report
        spec = ground.spec
        quiet = not spec.faults and spec.engine_on
        begins = 0.0 if quiet else spec.seconds - spec.calm_seconds + budget_seconds(spec)
        self._settled_at = begins if spec.calm_seconds or quiet else spec.seconds + 1
        self._moved = False

    def saw(self, event: e.Event) -> None:
        """Look at whatever moves once it should be settled, and at the end."""
        at_seconds = event.at_seconds
        # The world tells how it begins at 0.
        if at_seconds <= self._settled_at or at_seconds == 0:
            return
        if isinstance(event, e.Ended):
            if not self._ground.good and not self._moved:
                self._report(self.name, "the engine is not up at the end of the calm")
        elif self._moved:
            return
        elif isinstance(event, (e.VmStarted, e.VmEnded)):
            self._moved = True
            word = "started" if isinstance(event, e.VmStarted) else f"ended ({event.cause})"
            self._report(self.name, f"the VM {word} on h{event.host_id} after the budget, in calm")
        elif isinstance(event, e.HealthChanged):
            self._moved = True
            word = "came up late" if event.good else "went bad"
            self._report(self.name, f"the engine {word}, after the budget, in calm")


class NothingFlaps:
    """In the settled part of the calm no host changes its state either. While the VM runs on a
    host whose agent was stopped for good, so that only the engine's page tells of it, each of the
    others may try for it once in policy.page_elsewhere, and lose a race for that once; the VM
    lease refuses it."""

    name = "nothing-flaps"

    def __init__(self, ground: Ground, report: Report) -> None:
        self._ground, self._report = ground, report
        spec = ground.spec
        quiet = not spec.faults and spec.engine_on
        self._settled_at = 60.0 if quiet else spec.seconds
        if spec.calm_seconds and not quiet:
            self._settled_at = spec.seconds - spec.calm_seconds + budget_seconds(spec)
        self._states: dict[int, str] = {}
        self._tries: dict[int, list[float]] = {}
        self._told = False

    def saw(self, event: e.Event) -> None:
        """Look at the decisions."""
        if not isinstance(event, e.Decided):
            return
        before = self._states.get(event.host_id)
        self._states[event.host_id] = event.state
        if before is None or before == event.state or self._told:
            return
        if event.at_seconds > self._settled_at and not self._may_try(event):
            self._told = True
            self._report(
                self.name, f"h{event.host_id}: {before} -> {event.state}, though all is calm"
            )

    def _may_try(self, event: e.Decided) -> bool:
        ground, at_seconds = self._ground, event.at_seconds
        if not any(ground.trouble(host_id, _stops_agent, at_seconds) for host_id in ground.vms):
            return False
        tries = self._tries.setdefault(event.host_id, [])
        if event.state == State.ENGINE_START.value:
            tries.append(at_seconds)
        # A clock of a simulated host may be some per cent fast.
        since = at_seconds - 0.9 * ground.spec.policy.page_elsewhere_seconds
        return sum(at > since for at in tries) <= 2


def _stops_agent(fault: Fault) -> bool:
    return fault.kind == "stop" and fault.value in ("agent", "broker")
