# SPDX-License-Identifier: Apache-2.0
"""What a seed stands for: a cluster, and an hour of its bad luck. Pure.

`spec_of(7)` is the same simulation on every machine and Python version: all is drawn from
`random.Random(seed).random()`, whose sequence Python promises to keep; nothing else of that
module is used.

What is drawn, and its bounds:

    hosts            3 to 7, unless given
    the beginning    the engine is up on a host, or (1 in 8) all of it is down
    the faults       single ones; pairs on one host, on two, and an answer to the first
                     while it lasts; waves over all hosts. From a fault every 45 s on
                     average to one every 8 min, drawn for the seed.
    the clocks       1 in 2: rates within 1 +- 2 %; offsets always
    old hosts        1 in 6: one or more hosts of the predecessor's; never all. Hosts are moved
                     over then, or back, at any time and with the VM on them
    the VM lease     1 in 3: as sanlock has it (held for 140 s after its host's death)
    sanlock          only when asked for: then its daemon has both leases, daemon and holder are
                     killed and stopped as other processes are, and no host is old
    hostile VDSM     only when asked for: it is mute, answers late or to nobody, floods, restarts
    the mending      faults are over; maintenance ends, the cluster is resumed (an order that
                     was given while storage failed may have been refused)
    the calm end     nothing is done any more (checkers.py has what must then be true).
                     Hosts may stay without power, stopped or in maintenance, but one
                     host with everything well always stays.

What is left out: storage that breaks what the lease is built on. A lease write that is
confirmed was written; a read under the lock shows the last write; a write in whole sectors
that storage has applied stays. No program can keep a VM single over a disk that forgets.
`storage-lost-write` and `storage-torn` therefore touch status writes only (see faults.py), and
no clock runs faster or slower than 2 %: the fence margin is 4 s in 15 s, and one host's clock
at 1.15 would be a broken board, which `simulate --faults` can still show.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Callable, Optional

from ha_agent.errors import BadInput
from ha_agent.sim.faults import ALL_HOSTS, KINDS, Fault
from ha_agent.sim.spec import LOCKFILE, SANLOCK, Spec

HOSTS_MIN, HOSTS_MAX = 3, 7
SANLOCK_EXPIRY_SECONDS = 140.0
CLOCK_SPREAD = 0.02
FIRST_FAULT_SECONDS = 60.0
_CALM_SECONDS = 1500.0
_CALM_SHARE = 0.5
# What people do at the end may need a host that boots, and a storage that answers again.
_MEND_SECONDS = 240.0
_MEND_SHARE = 0.1
_GAPS_SECONDS = (45.0, 480.0)


class Draw:
    """Draws from `random.Random(seed).random()` and nothing else."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed).random

    def chance(self, share: float) -> bool:
        """Return True in that share of all draws."""
        return self._random() < share

    def between(self, low: float, high: float) -> float:
        """Return a number from low to high, in tenths: a line shows all of it."""
        return round(low + (high - low) * self._random(), 1)

    def whole(self, low: int, high: int) -> int:
        """Return a whole number from low to high, both included."""
        return low + int(self._random() * (high - low + 1))

    def one(self, of: tuple[str, ...]) -> str:
        """Return one of them."""
        return of[int(self._random() * len(of))]


@dataclass(frozen=True)
class Range:
    """What is drawn for one kind of fault: how often (against the others), its value, and how
    long it lasts. `undo`: the kind and value that end it, where it has no duration."""

    weight: int
    lasts_seconds: Optional[tuple[float, float]] = None
    value: Optional[tuple[float, float]] = None
    words: tuple[str, ...] = ()
    undo: tuple[str, str] = ("", "")


_PROCESSES = ("agent", "broker", "vdsm", "guard")
_PROCESSES_WITH_SANLOCK = (*_PROCESSES, "sanlock", "holder")
# A duration is drawn short or long alike: what happens within the lease's 15 s and beyond
# them are different stories.
RANGES: dict[str, Range] = {
    "power-off": Range(6, (1, 300)),
    "suspend": Range(4, (0.5, 60)),
    "kill": Range(8, (1, 60), words=_PROCESSES),
    "kill-at": Range(8, value=(1, 400)),
    "hang": Range(6, (0.5, 90), words=_PROCESSES),
    "stop": Range(3, (1, 120), words=("agent", "broker", "vdsm")),
    "twin": Range(2, (5, 120)),
    "clock-jump": Range(2, value=(-7200, 7200)),
    "clock-rate": Range(2, (10, 300), value=(0.98, 1.02)),
    "storage-slow": Range(4, (5, 120), value=(0.2, 6)),
    "storage-hang": Range(6, (1, 90)),
    "storage-eio": Range(6, (1, 90)),
    "storage-flaky": Range(4, (5, 120), value=(0.05, 0.6)),
    "storage-stale": Range(3, (5, 60)),
    "storage-torn": Range(3, (5, 120)),
    "storage-lost-write": Range(3, (5, 120)),
    "storage-readonly": Range(3, (5, 90)),
    "network-lost": Range(2, (5, 180)),
    "cable-out": Range(1, (5, 400)),
    "network-flaky": Range(3, (5, 180), value=(0.1, 0.9)),
    "bridge-down": Range(2, (5, 180)),
    "cpu-load": Range(2, (30, 300), value=(0.5, 1)),
    "memory-free": Range(2, (30, 300), value=(100, 8000)),
    "vdsm-silent": Range(6, (1, 150)),
    "vdsm-slow": Range(3, (10, 120), value=(0.5, 12)),
    "vdsm-deaf": Range(3, (10, 180)),
    "vdsm-late": Range(3, (10, 180), value=(0.5, 30)),
    "vdsm-stale": Range(2, (2, 60)),
    "guest-crash": Range(6),
    "guest-poweroff": Range(3),
    "guest-hang": Range(3, (20, 400)),
    "engine-stop": Range(3, (5, 300)),
    "guest-pause": Range(3, (2, 120)),
    "boot-seconds": Range(1, value=(5, 120)),
    "start-refused": Range(4, (10, 180)),
    "start-crashes": Range(4, (10, 180)),
    "migrate-to": Range(5, (2, 40)),
    "migrate-fails": Range(3, (2, 40)),
    "start-by-hand": Range(1),
    "local-maintenance": Range(4, (10, 300), words=("on",), undo=("local-maintenance", "off")),
    "global-maintenance": Range(3, (5, 300), words=("on",), undo=("global-maintenance", "off")),
    "shutdown": Range(1, (60, 300), undo=("resume", "")),
    "other-vms": Range(1, value=(0, 5)),
    "definition-change": Range(2),
    "definition-bad": Range(1, undo=("definition-change", "")),
    "definition-gone": Range(2, (10, 300)),
}

HOSTILE_VDSM: dict[str, Range] = {
    "vdsm-mute": Range(10, (1, 150)),
    "vdsm-no-greeting": Range(5, (1, 150)),
    "vdsm-unheard": Range(10, (5, 150)),
    "vdsm-overdue": Range(10, (5, 150), value=(2, 45)),
    "vdsm-flood": Range(5, (1, 20), value=(100, 2000)),
    "vdsm-restarts": Range(10, (5, 150), value=(5, 40)),
}
"""Drawn besides the others when asked for, as to draw them always would change every seed."""

MIXED: dict[str, Range] = {"software": Range(12, words=("new", "new", "old"))}
"""Drawn besides the others while hosts of the predecessor's are in the cluster: hosts are moved
over, and some of them back."""


def spec_of(
    seed: int,
    *,
    hosts: int = 0,
    hours: float = 1.0,
    old: Optional[int] = None,
    quiet: bool = False,
    lease_backend: str = LOCKFILE,
    hostile_vdsm: bool = False,
) -> Spec:
    """Return the simulation of a seed. `hosts` 0 and `old` None: drawn. `quiet`: no faults, no
    old hosts unless given, an engine that is up, clocks that are right. `hostile_vdsm`: its
    kinds of faults are drawn, too.

    Raises BadInput for old hosts with sanlock.
    """
    if lease_backend == SANLOCK:
        if old:
            raise BadInput("old hosts are not simulated with sanlock")
        old = 0
    draw = Draw(seed)
    count = hosts or draw.whole(HOSTS_MIN, HOSTS_MAX)
    seconds = hours * 3600.0
    drawn_old = draw.whole(1, count - 1) if draw.chance(1 / 6) and count > 1 else 0
    if old is None:
        old = 0 if quiet else drawn_old
    old_count = min(old, count - 1)
    old_hosts = tuple(range(count - old_count + 1, count + 1))
    spec = Spec(
        seconds=seconds,
        hosts=count,
        seed=seed,
        engine_on=1,
        old_hosts=old_hosts,
        lease_backend=lease_backend,
    )
    if quiet:
        return spec
    calm_seconds = min(_CALM_SECONDS, seconds * _CALM_SHARE)
    spec = replace(
        spec,
        engine_on=0 if draw.chance(1 / 8) else draw.whole(1, count),
        boot_seconds=draw.between(5, 60),
        host_boot_seconds=draw.between(20, 150),
        clock_spread=CLOCK_SPREAD if draw.chance(0.5) else 0.0,
        vm_lease_expiry_seconds=SANLOCK_EXPIRY_SECONDS if draw.chance(1 / 3) else 0.0,
        calm_seconds=calm_seconds,
    )
    if spec.is_sanlock:
        spec = replace(spec, vm_lease_expiry_seconds=0.0)  # its daemon says when
    ranges = {**RANGES, **HOSTILE_VDSM} if hostile_vdsm else RANGES
    if old_hosts:
        ranges = {**ranges, **MIXED}
    return replace(spec, faults=_Year(draw, spec, ranges).faults())


class _Year:
    """Draws one simulation's faults."""

    def __init__(self, draw: Draw, spec: Spec, ranges: Mapping[str, Range]) -> None:
        self._draw = draw
        self._ranges = ranges
        self._spec = spec
        self._calm_at = spec.seconds - spec.calm_seconds
        self._end_seconds = self._calm_at - min(_MEND_SECONDS, spec.seconds * _MEND_SHARE)
        self._faults: list[Fault] = []
        self._kinds = tuple(kind for kind in ranges for _ in range(ranges[kind].weight))
        self._spared = draw.whole(1, spec.hosts - len(spec.old_hosts))
        """The host of ours that is well in the calm end, whatever stays of the others."""

    def faults(self) -> tuple[Fault, ...]:
        """Return them, in the order of their times."""
        gap_seconds = self._draw.between(*_GAPS_SECONDS)
        at_seconds = self._draw.between(FIRST_FAULT_SECONDS / 4, FIRST_FAULT_SECONDS)
        shapes: tuple[Callable[[float], None], ...]
        shapes = (self._single, self._single, self._pair, self._pair, self._chased, self._wave)
        while at_seconds < self._end_seconds - 1:
            shapes[self._draw.whole(0, len(shapes) - 1)](at_seconds)
            at_seconds = round(at_seconds + self._draw.between(1, 2 * gap_seconds), 1)
        self._lasting()
        self._mend()
        return tuple(sorted(self._faults, key=lambda fault: fault.at_seconds))

    def _single(self, at_seconds: float) -> None:
        self._add(at_seconds, self._kind(), self._host())

    def _pair(self, at_seconds: float) -> None:
        """Two at once or nearly so, on one host as often as on two."""
        host_id = self._host()
        other = host_id if self._draw.chance(0.5) else self._host()
        self._add(at_seconds, self._kind(), host_id)
        later = round(at_seconds + self._draw.between(0, 6), 1)
        self._add(later, self._kind(), other)

    def _chased(self, at_seconds: float) -> None:
        """A second and third one while the first has its effects: the take-over is hit, too."""
        self._add(at_seconds, self._kind(), self._host())
        for _ in range(2):
            at_seconds = round(at_seconds + self._draw.between(5, 30), 1)
            self._add(at_seconds, self._kind(), self._host())

    def _wave(self, at_seconds: float) -> None:
        """The same for all hosts, at once or one after another, as a switch or an upgrade does."""
        kind = self._kind()
        if KINDS[kind].who == "cluster" or kind in ("migrate-to", "migrate-fails", "twin"):
            self._add(at_seconds, kind, self._host())
        elif self._draw.chance(0.6) and kind not in ("kill-at", "start-by-hand"):
            self._add(at_seconds, kind, ALL_HOSTS)
        else:
            step_seconds = self._draw.between(0.1, 20)
            for host_id in range(1, self._spec.hosts + 1):
                self._add(round(at_seconds + host_id * step_seconds, 1), kind, host_id)

    def _kind(self) -> str:
        return self._draw.one(self._kinds)

    def _host(self) -> int:
        return self._draw.whole(1, self._spec.hosts)

    def _add(self, at_seconds: float, kind: str, host_id: int) -> None:
        left_seconds = round(self._end_seconds - at_seconds, 1)
        if left_seconds < 1:
            return
        drawn = self._ranges[kind]
        if KINDS[kind].who == "cluster":
            host_id = ALL_HOSTS
        duration = self._duration(drawn, left_seconds)
        fault = Fault(at_seconds, kind, host_id, self._value(kind, drawn, host_id), duration)
        if kind.startswith("migrate"):
            self._migrate(fault)
            return
        if not KINDS[kind].lasts and duration is not None:
            self._faults.append(replace(fault, duration_seconds=None))
        else:
            self._faults.append(fault)
        if drawn.undo[0] and (duration is None or not KINDS[kind].lasts):
            undone = round(at_seconds + (left_seconds / 2 if duration is None else duration), 1)
            self._faults.append(Fault(undone, drawn.undo[0], ALL_HOSTS, drawn.undo[1]))

    def _duration(self, drawn: Range, left_seconds: float) -> Optional[float]:
        if drawn.lasts_seconds is None:
            return None
        low, high = drawn.lasts_seconds
        if self._draw.chance(0.5):
            high = min(high, 20.0)
        return max(0.1, min(self._draw.between(low, max(low, high)), left_seconds))

    def _value(self, kind: str, drawn: Range, host_id: int) -> str:
        if drawn.words:
            is_wider = drawn.words is _PROCESSES and self._spec.is_sanlock
            return self._draw.one(_PROCESSES_WITH_SANLOCK if is_wider else drawn.words)
        if KINDS[kind].value == "host":
            others = [h for h in range(1, self._spec.hosts + 1) if h != host_id] or [host_id]
            return f"h{others[self._draw.whole(0, len(others) - 1)]}"
        if drawn.value is None:
            return ""
        low, high = drawn.value
        if kind in ("kill-at", "clock-jump", "memory-free", "other-vms"):
            return str(self._draw.whole(int(low), int(high)))
        if high - low < 2:
            return f"{low + (high - low) * self._draw.between(0, 100) / 100:.3f}"
        return f"{self._draw.between(low, high):g}"

    def _migrate(self, fault: Fault) -> None:
        """The engine moves its VM from wherever it is: of these, one does something."""
        for host_id in range(1, self._spec.hosts + 1):
            if host_id != fault.target:
                self._faults.append(replace(fault, host_id=host_id))

    def _mend(self) -> None:
        """End what people did: an order to end it may have been refused before."""
        kinds = {fault.kind for fault in self._faults}
        if "shutdown" in kinds:
            self._faults.append(Fault(self._calm_at, "resume"))
        elif "global-maintenance" in kinds:
            self._faults.append(Fault(self._calm_at, "global-maintenance", value="off"))
        if "local-maintenance" in kinds:
            self._faults.append(Fault(self._calm_at, "local-maintenance", self._spared, "off"))

    def _lasting(self) -> None:
        """Now and then some hosts stay out for good; never the spared one, nor all others of
        ours where old hosts would be all that is left of them."""
        if not self._draw.chance(1 / 3):
            return
        for host_id in range(1, self._spec.hosts + 1):
            if host_id == self._spared or not self._draw.chance(0.5):
                continue
            kinds = ("power-off", "stop") if host_id in self._spec.old_hosts else (
                "power-off", "local-maintenance", "stop"
            )  # fmt: skip
            kind = self._draw.one(kinds)
            value = {"power-off": "", "local-maintenance": "on", "stop": "agent"}[kind]
            at_seconds = round(self._end_seconds - self._draw.between(1, 60), 1)
            self._faults.append(Fault(at_seconds, kind, host_id, value))
