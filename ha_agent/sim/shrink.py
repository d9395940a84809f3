# SPDX-License-Identifier: Apache-2.0
"""Makes a failing simulation small: what is left of it is what the failure needs.

Delta debugging (Zeller's ddmin) over the list of faults, then everything else that can be
less: the time after the failure, the hosts that take no part, each fault's duration, odd
settings. A smaller simulation counts when the same checker still fails in it; its words and its
time may be others. The runs are bounded, for each may take seconds: what was reached by then is
the answer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Callable, Optional

from ha_agent.sim.faults import ALL_HOSTS, KINDS, Fault
from ha_agent.sim.spec import Spec

RUNS_MAX = 300

FailedAt = Callable[[Spec], Optional[float]]
"""Runs a simulation; says when the checker in question failed in it, None: it did not."""


class _OutOfRuns(Exception):
    """The bound is reached."""


class _Shrinker:
    def __init__(self, spec: Spec, failed_at: FailedAt, runs_max: int) -> None:
        self.best = spec
        self._failed_at = failed_at
        self._left = runs_max
        self._at_seconds = math.inf

    def accept(self, spec: Spec) -> bool:
        """Take `spec` when it fails, too. Raises _OutOfRuns."""
        if spec == self.best:
            return False
        if self._left <= 0:
            raise _OutOfRuns
        self._left -= 1
        failed_at = self._failed_at(spec)
        if failed_at is None:
            return False
        self.best, self._at_seconds = spec, failed_at
        return True

    def shrink(self) -> None:
        """Go on until nothing gets less. Raises _OutOfRuns."""
        before = None
        while before != self.best:
            before = self.best
            self._cut_off()
            self._fewer_faults()
            self._one_by_one(_without_hosts)
            self._one_by_one(_plainer)
            self._one_by_one(_shorter)

    def _cut_off(self) -> None:
        """End right after the failure. A rule about the calm end needs all of it."""
        if self.best.calm_seconds or not math.isfinite(self._at_seconds):
            return
        end_seconds = math.ceil(self._at_seconds) + 1.0
        if end_seconds < self.best.seconds:
            kept = tuple(f for f in self.best.faults if f.at_seconds < end_seconds)
            self.accept(replace(self.best, seconds=end_seconds, faults=kept))

    def _fewer_faults(self) -> None:
        parts = 2
        while self.best.faults:
            faults = self.best.faults
            size = math.ceil(len(faults) / parts)
            chunks = [range(begin, begin + size) for begin in range(0, len(faults), size)]
            for chunk in chunks:
                rest = tuple(f for index, f in enumerate(faults) if index not in chunk)
                if self.accept(replace(self.best, faults=rest)):
                    parts = max(parts - 1, 2)
                    break
            else:
                if size == 1:
                    return
                parts = min(2 * parts, len(faults))

    def _one_by_one(self, smaller: Callable[[Spec], Iterator[Spec]]) -> None:
        again = True
        while again:
            again = any(self.accept(spec) for spec in smaller(self.best))


def shrink(spec: Spec, failed_at: FailedAt, runs_max: int = RUNS_MAX) -> Spec:
    """Return the smallest simulation found in which `failed_at` still says so."""
    shrinker = _Shrinker(spec, failed_at, runs_max)
    try:
        plain = replace(spec, calm_seconds=0.0)
        shrinker.accept(plain)
        shrinker.shrink()
    except _OutOfRuns:
        pass
    return shrinker.best


def _without_hosts(spec: Spec) -> Iterator[Spec]:
    """The last host goes with all that is done to it."""
    last = spec.hosts
    if last <= 1 or spec.engine_on == last:
        return
    old_hosts = tuple(host_id for host_id in spec.old_hosts if host_id != last)
    if len(old_hosts) == last - 1:
        return
    kept = tuple(f for f in spec.faults if f.host_id != last and _target(f) != last)
    yield replace(spec, hosts=last - 1, old_hosts=old_hosts, faults=kept)


def _plainer(spec: Spec) -> Iterator[Spec]:
    standard = Spec(seconds=spec.seconds)
    for name in ("clock_spread", "vm_lease_expiry_seconds", "boot_seconds", "host_boot_seconds"):
        yield replace(spec, **{name: getattr(standard, name)})
    if spec.old_hosts:
        yield replace(spec, old_hosts=())
    if spec.engine_on > 1:
        yield replace(spec, engine_on=1)


def _shorter(spec: Spec) -> Iterator[Spec]:
    """Each fault shorter, earlier, on one host only, at a whole second."""
    for index, fault in enumerate(spec.faults):
        for other in _lesser(fault, spec):
            faults = (*spec.faults[:index], other, *spec.faults[index + 1 :])
            yield replace(spec, faults=tuple(sorted(faults, key=lambda f: f.at_seconds)))


def _lesser(fault: Fault, spec: Spec) -> Iterator[Fault]:
    if fault.host_id == ALL_HOSTS and KINDS[fault.kind].who == "host":
        for host_id in range(1, spec.hosts + 1):
            yield replace(fault, host_id=host_id)
    duration = fault.duration_seconds
    if duration is not None and duration > 1:
        yield replace(fault, duration_seconds=float(math.ceil(duration / 2)))
    if fault.at_seconds != int(fault.at_seconds):
        yield replace(fault, at_seconds=float(int(fault.at_seconds)))


def _target(fault: Fault) -> int:
    return fault.target if KINDS[fault.kind].value == "host" else 0
