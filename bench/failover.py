# SPDX-License-Identifier: Apache-2.0
"""A host dies under the sanlock back end: how long until VM.create elsewhere, beside the floor.

    last renewal of the dead host ── sight of it at the others ── its death ── ... ── VM.create
    └───────────────────────────────── measured ─────────────────────────────────────────┘

Real sanlock daemons, one a host, I/O timeout 2 s (profile fast); host-death is the same for the
lock file. The owner's sanlock, daemons and QEMU get SIGKILL at once, as at a power cut. The last
renewal is read from the lockspace on storage, VM.create is seen on the wire to VDSM. The floor is
sanlock's: 8 I/O timeouts + watchdog_fire_seconds (60 where sanlock.conf says nothing), counted by
each other host from when it has seen the last renewal, which it looks for each 2 I/O timeouts. So
it is told twice: from the renewal itself, and, as the lease sets the floor, from that sight of it.

Also a holder that dies while its host and sanlock live: sanlock frees the lease at once.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Callable, Optional

from bench.cluster import Cluster, NotMeasured, running_cluster
from bench.report import WORST, Bound, Row
from ha_agent.broker.lease.backend import sanlock_times
from ha_agent.config import layers

PROFILES = ("fast",)
OVER_FLOOR_SECONDS = 1.0
# sanlock counts in whole seconds.
CLOCK_STEP_SECONDS = 1.0
GIVE_UP_SECONDS = 150.0
_LOOK_SECONDS = 0.004
_LEADER_BYTES = 512


def measure(work: Path, guest_work: Path, say: Callable[[str], None]) -> list[Row]:
    """Let an owner die once for each profile. Raises NotMeasured."""
    rows = []
    for profile in PROFILES:
        say(f"failover: three hosts are started, each with a sanlock daemon, profile {profile}")
        with contextlib.ExitStack() as stack:
            prepare = _Prepare(stack, work, profile)
            cluster = stack.enter_context(running_cluster(work, guest_work, say, prepare=prepare))
            rows += _deaths(cluster, prepare, profile)
    return rows


class _Prepare:
    """Gives each host a daemon of its own before its daemons start."""

    def __init__(self, stack: contextlib.ExitStack, work: Path, profile: str) -> None:
        self._stack = stack
        self._work = work
        self._profile = profile
        self.daemons: dict[int, object] = {}

    def __call__(self, cluster: Cluster) -> None:
        try:
            from tests.sanlock_daemon import HAVE_SANLOCK, SanlockDaemon
        except ImportError as error:
            raise NotMeasured(f"sanlock: {error}") from error
        if not HAVE_SANLOCK:
            raise NotMeasured("sanlock or its binding for this Python is not installed")
        for number, host in cluster.hosts.items():
            daemon = SanlockDaemon(self._work / f"sanlock{number}", host.name)
            self.daemons[number] = self._stack.enter_context(daemon)
            host.environment = dict(daemon.variables)
            drop_in = Path(f"{host.config}.d") / "sanlock.conf"
            drop_in.write_text(
                f"[lease]\nbackend = sanlock\n[sanlock]\nprofile = {self._profile}\n"
            )
        first = cluster.hosts[1]
        place = layers.load([first.config], first.environ).sanlock.path
        place.parent.mkdir(exist_ok=True)
        _initialise(self.daemons[1], first.domain.vm_uuid, place, self._profile)


def _initialise(daemon: object, vm_uuid: str, place: Path, profile: str) -> None:
    from ha_agent.broker.sanlock.ops import sanlock_initialise
    from ha_agent.broker.sanlock.times import IO_TIMEOUT_SECONDS

    before = dict(os.environ)
    os.environ.update(daemon.variables)  # type: ignore[attr-defined]
    try:
        made = sanlock_initialise("ha-agent", str(place), vm_uuid, IO_TIMEOUT_SECONDS[profile])
    finally:
        for name in set(os.environ) - set(before):
            del os.environ[name]
    if not made["done"]:
        raise NotMeasured(f"{place} was not empty")


def _deaths(cluster: Cluster, prepare: _Prepare, profile: str) -> list[Row]:
    loaded = layers.load([cluster.hosts[1].config], cluster.hosts[1].environ)
    times = sanlock_times(loaded.sanlock)
    floor_seconds = float(times.host_dead_seconds)
    owner = _ready(cluster)
    cluster.say(f"failover: {profile}: all of host {owner} dies but its sanlock")
    killed_at = time.monotonic()
    cluster.hosts[owner].power_cut()
    freed_seconds = _created(cluster, owner, killed_at)[0] - killed_at
    cluster.hosts[owner].start()
    owner = _ready(cluster)
    with _renewals(Path(str(loaded.sanlock.path)), owner) as last_renewal:
        # Long enough to have seen one.
        time.sleep(2.5 * times.renew_interval_seconds)
        # sanlock first: it would free the lease of a holder that has died.
        prepare.daemons[owner].kill()  # type: ignore[attr-defined]
        killed_at = time.monotonic()
        cluster.hosts[owner].power_cut()
        renewed_at = last_renewal()
    if renewed_at is None:
        raise NotMeasured(f"no renewal of host {owner} was seen")
    cluster.say(
        f"failover: {profile}: host {owner} and its sanlock died "
        f"{killed_at - renewed_at:.2f} s after the last renewal"
    )
    created_at, heir = _created(cluster, owner, killed_at)
    seconds = created_at - renewed_at
    if seconds < floor_seconds:
        raise NotMeasured(f"VM.create after {seconds:.1f} s: sanlock has freed the lease itself")
    seen_at = _seen(prepare.daemons[heir], owner)
    limit = floor_seconds + OVER_FLOOR_SECONDS + CLOCK_STEP_SECONDS
    return [
        Row(
            f"agent, broker, QEMU killed, sanlock ({profile}) lives -> VM.create",
            (freed_seconds,),
            "8 I/O timeouts + watchdog",
            (floor_seconds,),
        ),
        Row(
            f"host death, sanlock {profile}: last renewal -> VM.create",
            (seconds,),
            "8 I/O timeouts + watchdog",
            (floor_seconds,),
        ),
        Row(
            f"host death, sanlock {profile}: renewal seen by the heir's sanlock -> VM.create",
            (created_at - seen_at,),
            "8 I/O timeouts + watchdog, the floor",
            (floor_seconds,),
            Bound(WORST, limit),
        ),
    ]


def _ready(cluster: Cluster) -> int:
    owner, _pid = cluster.wait_runner()
    cluster.wait_bystanders(owner)
    return owner


def _seen(daemon: object, host_id: int) -> float:
    """Return when a daemon last saw another host renew, by time.monotonic(), in whole seconds."""
    told = daemon.client("host_status", "-D").stdout  # type: ignore[attr-defined]
    block = re.search(rf"^{host_id} timestamp.*?(?=^\d+ timestamp|\Z)", told, re.M | re.S)
    found = re.search(r"last_live=(\d+)", block[0]) if block else None
    if found is None:
        raise NotMeasured(f"sanlock does not tell when it saw host {host_id} last:\n{told}")
    return float(found[1])


def _created(cluster: Cluster, owner: int, since: float) -> tuple[float, int]:
    """Wait for VM.create on another host; return when it was sent, and by whom."""

    def taken_over() -> Optional[tuple[float, int]]:
        found = [(r.first_since(since), n) for n, r in cluster.relays.items() if n != owner]
        return min(((at, n) for at, n in found if at is not None), default=None)

    return cluster.wait(taken_over, GIVE_UP_SECONDS, "no host has sent VM.create")


@contextlib.contextmanager
def _renewals(place: Path, host_id: int) -> Iterator[Callable[[], Optional[float]]]:
    """Yield what tells when the host's delta lease last changed, None before it did."""
    end = threading.Event()
    seen: list[float] = []

    def look() -> None:
        with place.open("rb", buffering=0) as file:
            before = b""
            while not end.wait(_LOOK_SECONDS):
                at = time.monotonic()
                block = os.pread(file.fileno(), _LEADER_BYTES, (host_id - 1) * 512)
                if before and block != before:
                    seen.append(at)
                before = block

    thread = threading.Thread(target=look, name="lockspace watch", daemon=True)
    thread.start()
    try:
        yield lambda: seen[-1] if seen else None
    finally:
        end.set()
        thread.join()
