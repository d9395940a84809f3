# SPDX-License-Identifier: Apache-2.0
"""The rules that every simulation is held to, each apart from the code that it checks.

A checker hears what happened (events.py) and asks what is so (ground.py); it knows nothing of
how a host decides. It costs nothing while nothing happens: what has to be true all the time is
looked at when something happens that could make it false, or ends a time in which it might have
been. Here are the rules about the VM; answers.py has those about what hosts say and promise,
liveness.py those about the calm end.

Exceptions stand with their rule, each with its reason. They name a fault that somebody drew or
an order that somebody gave, never what a host believes.
"""

from __future__ import annotations

from typing import Callable, Optional

from ha_agent.broker.lease.rules import GUARD_POLL_SECONDS, HELD
from ha_agent.sim import events as e
from ha_agent.sim.faults import ALL_HOSTS, Fault
from ha_agent.sim.ground import Ground, Vm, end_of
from ha_agent.sim.spec import Spec

Report = Callable[[str, str], None]
"""Takes the checker's name and what it saw."""

GUARD_SLACK_SECONDS = 2 * GUARD_POLL_SECONDS + 0.5
"""The guard looks every quarter of a second, and a kill takes a moment."""
CLOCK_SLACK_SECONDS = 0.5
"""A deadline of 11 s by a clock whose rate changes by 4 % meanwhile."""
LEASE_TROUBLE_SECONDS = 5.0
"""How long after its end and the lease's expiry a fault may still show in the lease."""
_CLOCK_SHARE = 0.96
"""A host's clock may be so much faster, and see the grace's end before its time."""
_REPORT_SECONDS = 30.0
"""How long what another host last said of the page may still be believed."""
STOP_SECONDS = 300.0
"""From a cause to the VM's end: the grace, the orderly stop, a slow answer."""

_NOT_RENEWING = ("storage-", "suspend", "clock-", "twin", "power-", "kill-at")
_PROCESS_FAULTS = ("kill", "hang", "stop", "start")


def trouble_seconds(spec: Spec) -> float:
    """Return how long after its end a fault may still show in the lease."""
    return spec.lease_expiry_seconds + LEASE_TROUBLE_SECONDS


def keeps_from_renewing(fault: Fault) -> bool:
    """Tell whether a fault may make a host lose its lease though its VM is well."""
    of_lease = fault.kind in _PROCESS_FAULTS and fault.value in ("broker", "sanlock", "holder")
    return of_lease or fault.kind.startswith(_NOT_RENEWING)


def keeps_from_fencing(fault: Fault) -> bool:
    """Tell whether a fault stops a host's guard; then the VM lease alone keeps the VM single."""
    of_guard = fault.kind in _PROCESS_FAULTS and fault.value == "guard"
    return of_guard or fault.kind in ("suspend", "power-off")


def _kills_guard(fault: Fault) -> bool:
    return fault.kind == "kill" and fault.value == "guard"


def frees_lease(fault: Fault) -> bool:
    """What holds the lease for sanlock is gone, so the daemon frees it: the VM lease stays."""
    return fault.kind == "kill" and fault.value == "holder"


def blinds(fault: Fault) -> bool:
    """Tell whether a host can't see its VM by this, or sees what is no longer so."""
    of_vdsm = fault.kind in _PROCESS_FAULTS and fault.value == "vdsm"
    return of_vdsm or fault.kind.startswith("vdsm-")


def stops_broker(fault: Fault) -> bool:
    """An orderly stop of the broker disarms the fence and lets the VM go on."""
    return fault.kind == "software" or (fault.kind == "stop" and fault.value == "broker")


class OneVm:
    """At most one QEMU has the engine VM's disk open, on all hosts together."""

    name = "one-vm"

    def __init__(self, ground: Ground, report: Report) -> None:
        self._ground, self._report = ground, report

    def saw(self, event: e.Event) -> None:
        """Look at a VM that starts."""
        if isinstance(event, e.VmStarted) and len(self._ground.vms) > 1:
            hosts = ", ".join(f"h{host_id}" for host_id in sorted(self._ground.vms))
            self._report(self.name, f"the engine VM's disk is open on {hosts}")


class Covered:
    """A VM that runs is covered: its host holds the lease on storage, or has a fence armed that
    has not passed. And the fence comes first: while a VM runs, no other host takes the lease.

    Not before its host first took the lease for it, where it was started by hand, by the
    predecessor or by a twin, or came by migration. Not after an orderly stop of the broker,
    which lets the VM go on under its VM lease. Not while nobody on its host can see it: a host
    whose VDSM is silent gives the lease away for an engine that is bad, and the VM lease
    stays. Not once sanlock's holder was killed: the lease is free until the broker has it again.
    And not while the guard is dead, stopped, or asleep with its host.
    """

    name = "covered"

    def __init__(self, ground: Ground, report: Report) -> None:
        self._ground, self._report = ground, report

    def saw(self, event: e.Event) -> None:
        """Look at what may uncover a VM."""
        ground, at_seconds = self._ground, event.at_seconds
        if isinstance(event, e.VmStarted):
            self._uncovered(ground.vms[event.host_id], at_seconds, "started without it")
        elif isinstance(event, e.VmEnded):
            if ground.ended is not None:
                self._outlived(ground.ended, ground.fence_at(event.host_id), at_seconds)
        elif isinstance(event, e.FenceSet):
            vm = ground.vms.get(event.host_id)
            if vm is not None:
                self._outlived(vm, ground.fence_before, at_seconds)
                self._uncovered(vm, at_seconds, "runs on after its fence was disarmed")
        elif isinstance(event, e.LeaseLanded):
            for vm in tuple(ground.vms.values()):
                self._lease_moved(vm, event)
        elif isinstance(event, e.Ended):
            for vm in ground.vms.values():
                self._outlived(vm, ground.fence_at(vm.host_id), at_seconds)

    def _lease_moved(self, vm: Vm, event: e.LeaseLanded) -> None:
        record = event.record
        if record.state == HELD and record.host_id != vm.host_id:
            if vm.adopted and not self._excused(vm, event.at_seconds):
                self._report(
                    "fence-first", f"h{record.host_id} took the lease while h{vm.host_id} runs it"
                )
        elif record.state != HELD:
            self._uncovered(vm, event.at_seconds, "runs on after its lease was released")

    def _uncovered(self, vm: Vm, at_seconds: float, what: str) -> None:
        if self._ground.owner() == vm.host_id or not vm.adopted:
            return
        fence_at = self._ground.fence_at(vm.host_id)
        if fence_at is not None and at_seconds <= fence_at + GUARD_SLACK_SECONDS:
            return
        if not self._excused(vm, at_seconds):
            self._report(self.name, f"h{vm.host_id}: the VM {what}; neither lease nor fence")

    def _outlived(self, vm: Vm, fence_at: Optional[float], at_seconds: float) -> None:
        if fence_at is None or self._excused(vm, at_seconds, since_seconds=fence_at):
            return
        late_seconds = at_seconds - max(fence_at, vm.since_seconds)
        if late_seconds > GUARD_SLACK_SECONDS:
            self._report(
                self.name, f"h{vm.host_id}: the VM outlived its fence by {late_seconds:.2f} s"
            )

    def _excused(self, vm: Vm, at_seconds: float, since_seconds: Optional[float] = None) -> bool:
        after = GUARD_SLACK_SECONDS
        if since_seconds is not None:
            after += max(0.0, at_seconds - since_seconds)
        trouble, host_id = self._ground.trouble, vm.host_id
        if trouble(host_id, keeps_from_fencing, at_seconds, after):
            return True
        # A guard that dies between the last try to renew and the deadline is not replaced.
        lease_seconds = trouble_seconds(self._ground.spec)
        if trouble(host_id, _kills_guard, at_seconds, lease_seconds):
            return True
        if trouble(host_id, stops_broker, at_seconds, lease_seconds):
            vm.excused = "its broker was stopped in order"
        elif trouble(host_id, frees_lease, at_seconds, lease_seconds):
            vm.excused = "its holder was killed"
        elif trouble(host_id, blinds, at_seconds, lease_seconds):
            vm.excused = "its host could not see it"
        return bool(vm.excused)


class OnlyVmLease:
    """The VM lease is the second line: it refuses a start only where the first is known to be
    absent. Those causes: the VM was started by hand, by the predecessor or by a twin, or came
    by migration, and its host has not taken the lease yet; its fence was excused (`Covered`);
    its host is dead and sanlock still waits; the host that tried is of the predecessor's.
    """

    name = "only-vm-lease"

    def __init__(self, ground: Ground, report: Report) -> None:
        self._ground, self._report = ground, report

    def saw(self, event: e.Event) -> None:
        """Look at a start that was refused."""
        if not isinstance(event, e.StartRefused) or not event.by_vm_lease:
            return
        holder = self._ground.vms.get(event.holder)
        if event.cause != "agent":
            return
        if holder is None or not holder.adopted or holder.excused:
            return
        if self._ground.trouble(
            event.holder,
            keeps_from_fencing,
            event.at_seconds,
            trouble_seconds(self._ground.spec),
        ):
            return
        self._report(
            self.name,
            f"h{event.host_id} asked for a start while h{event.holder} runs the VM;"
            " only the VM lease refused it",
        )


class NoNeedlessStop:
    """A healthy engine is stopped for a listed cause only.

    By its agent: local maintenance there; cluster shutdown; the lease is not (or was lately not)
    its own; the engine was bad, or its page out of this host's sight, within the time that grace
    and stop take; its host's cable was out for the whole grace and another host's was in; VDSM
    shows what is no longer so. By the guard or
    by sanlock: a fault that keeps from renewing; by the guard not before the deadline.
    """

    name = "needless-stop"

    def __init__(self, ground: Ground, report: Report) -> None:
        self._ground, self._report = ground, report

    def saw(self, event: e.Event) -> None:
        """Look at how a VM ended."""
        if not isinstance(event, e.VmEnded) or event.asked_by in ("hand", "old", "twin"):
            return
        if event.cause == "guard":
            self._guard(event)
        elif event.cause == "sanlock":
            self._kept_from_renewing(event, "sanlock")
        elif event.cause in ("shutdown", "destroy") and event.healthy:
            self._agent(event)

    def _guard(self, event: e.VmEnded) -> None:
        fence_at = self._ground.fence_at(event.host_id)
        if fence_at is None or event.at_seconds < fence_at - CLOCK_SLACK_SECONDS:
            self._report(
                self.name, f"h{event.host_id}: the guard ended the VM before its deadline"
            )
        else:
            self._kept_from_renewing(event, "the guard")

    def _kept_from_renewing(self, event: e.VmEnded, who: str) -> None:
        lease_seconds = trouble_seconds(self._ground.spec)
        if event.healthy and not self._ground.trouble(
            event.host_id, keeps_from_renewing, event.at_seconds, lease_seconds
        ):
            self._report(
                self.name,
                f"h{event.host_id}: {who} ended a healthy engine, though nothing kept the"
                " host from renewing its lease",
            )

    def _agent(self, event: e.VmEnded) -> None:
        ground, host_id, at_seconds = self._ground, event.host_id, event.at_seconds
        bad_lately = at_seconds - ground.bad_until_seconds < STOP_SECONDS
        if bad_lately or ground.owner() != host_id:
            return
        if ground.trouble(host_id, _listed_cause, at_seconds, STOP_SECONDS):
            return
        if self._was_cut_off(host_id, at_seconds):
            return
        why = f" ({event.asked_by})" if event.asked_by else ""
        self._report(self.name, f"h{host_id} stopped a healthy engine without a listed cause{why}")

    def _was_cut_off(self, host_id: int, at_seconds: float) -> bool:
        """Whether its cable was out for the grace before the stop, and not all others' as well."""
        spec = self._ground.spec
        grace_seconds = _CLOCK_SHARE * spec.policy.bad_health_grace_seconds
        stop_seconds = spec.policy.stop_timeout_seconds + _REPORT_SECONDS
        for out in spec.faults:
            if out.kind != "cable-out" or out.host_id not in (host_id, ALL_HOSTS):
                continue
            began, ended = out.at_seconds, min(at_seconds, end_of(out))
            if ended - began < grace_seconds or at_seconds - ended > stop_seconds:
                continue
            blind = {f.host_id for f in spec.faults if _no_network(f, began, ended)}
            others = set(range(1, spec.hosts + 1)) - {host_id}
            if ALL_HOSTS not in blind and not blind >= others:
                return True
        return False


def _no_network(fault: Fault, began: float, ended: float) -> bool:
    """Tell whether a fault kept a host off the network for all of that time."""
    kinds = ("cable-out", "network-lost")
    return fault.kind in kinds and fault.at_seconds <= began and end_of(fault) >= ended


def _listed_cause(fault: Fault) -> bool:
    if fault.kind == "local-maintenance":
        return fault.value == "on"
    if fault.kind in ("shutdown", "network-lost", "engine-stop", "guest-hang", "guest-pause"):
        return True
    return blinds(fault) or keeps_from_renewing(fault)
