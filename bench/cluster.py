# SPDX-License-Identifier: Apache-2.0
"""Three hosts of the demo, with the benchmark's instruments around them.

The same processes as in `make demo`, with the shipped configuration but for its paths. A
relay (wire.py) stands between each host's daemons and its VDSM, a reader (lease_watch.py)
looks at the lock file, and the demo's witness looks at the boot disk.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Callable, Optional, TypeVar, Union

from bench.lease_watch import LeaseWatch
from bench.wire import VdsmRelay
from demo.domain import DemoDomain, make_domain
from demo.guest import build_guest
from demo.hosts import Host, free_port
from demo.patience import wait_for
from demo.watcher import DiskWatcher
from ha_agent.broker.rpc import call as rpc_call
from ha_agent.broker.snapshot import Snapshot, from_wire
from ha_agent.clock import SystemClock
from ha_agent.config import layers
from ha_agent.errors import HaAgentError

T = TypeVar("T")

POLL_SECONDS = 0.02
START_LIMIT_SECONDS = 90.0
CALL_DEADLINE_SECONDS = 5.0


class NotMeasured(Exception):
    """Something did not happen that should have been measured; the text says what."""


@contextlib.contextmanager
def running_cluster(
    work: Path,
    guest_work: Path,
    say: Callable[[str], None],
    extra_config: str = "",
    prepare: Optional[Callable[[Cluster], None]] = None,
) -> Iterator[Cluster]:
    """Build and start three hosts; leave nothing running, and their logs in `work`.

    `guest_work` keeps the guest's parts between runs, `extra_config` goes to all hosts;
    `prepare` is called before any daemon starts.
    """
    # UNIX socket paths are at most 107 bytes long, and a checkout may lie deep.
    with (
        tempfile.TemporaryDirectory(prefix="ha-bench-") as folder,
        contextlib.ExitStack() as stack,
    ):
        storage = work / "storage"
        shutil.rmtree(storage, ignore_errors=True)
        storage.mkdir(parents=True)
        guest = build_guest(guest_work, image=work / "guest.img", progress=say)
        cluster = Cluster(make_domain(storage, guest), Path(folder), extra_config, say)
        stack.callback(cluster.keep_logs, work / "logs")
        parts: list[Union[LeaseWatch, DiskWatcher, VdsmRelay]] = [*cluster.relays.values()]
        for part in (cluster.lease_watch, cluster.witness, *parts):
            part.start()
            stack.callback(part.stop)
        if prepare is not None:
            prepare(cluster)
        for host in cluster.hosts.values():
            stack.callback(host.stop)
            host.start()
        yield cluster


class Cluster:
    """The hosts and the instruments, by host number; see running_cluster."""

    def __init__(
        self, domain: DemoDomain, folder: Path, extra_config: str, say: Callable[[str], None]
    ) -> None:
        self.say = say
        self._clock = SystemClock()
        self.hosts: dict[int, Host] = {}
        self.relays: dict[int, VdsmRelay] = {}
        engine_port = free_port()
        for number in (1, 2, 3):
            host = Host(number, folder / f"host{number}", domain, engine_port, extra_config)
            host.write_config("tcg")
            self.hosts[number] = host
            self.relays[number] = _relay(host)
        self.lease_watch = LeaseWatch(domain.lease)
        self.witness = DiskWatcher(
            domain.boot_disk, {f"{h.folder}/": h.name for h in self.hosts.values()}
        )

    def keep_logs(self, logs: Path) -> None:
        """Copy the daemons' logs there."""
        shutil.rmtree(logs, ignore_errors=True)
        for host in self.hosts.values():
            (logs / host.name).mkdir(parents=True)
            for log in host.folder.glob("*.log"):
                shutil.copy(log, logs / host.name)

    def stop_watching(self) -> None:
        """End the looks at boot disk and lock file: they take time of this process."""
        self.witness.stop()
        self.lease_watch.stop()

    # Looks -------------------------------------------------------------------------------

    def snapshot(self, number: int) -> Optional[Snapshot]:
        """Return what the broker of this host tells, None when it does not answer."""
        path = str(self.socket(number))
        try:
            answer = rpc_call.call_once(
                path, "status", {}, CALL_DEADLINE_SECONDS, clock=self._clock
            )
        except HaAgentError:
            return None
        return from_wire(Snapshot, answer, where="broker.status")

    def socket(self, number: int) -> Path:
        """Return the path of this host's operators' socket."""
        return self.hosts[number].folder / "run" / "broker.socket"

    def runner(self) -> Optional[tuple[int, int]]:
        """Return the number of the host that runs the VM, and QEMU's pid; None while none does."""
        for pid, name in self.witness.openers().items():
            for number, host in self.hosts.items():
                if host.name == name:
                    return number, pid
        return None

    # Waits -------------------------------------------------------------------------------

    def wait_runner(self) -> tuple[int, int]:
        """Wait until a host runs the VM."""
        return self.wait(self.runner, START_LIMIT_SECONDS, "no host has started the VM")

    def wait_healthy(self, number: int) -> None:
        """Wait until this host's agent says that the engine on it is healthy."""

        def healthy() -> Optional[bool]:
            snapshot = self.snapshot(number)
            return (snapshot is not None and snapshot.agent.state == "EngineUp") or None

        self.wait(healthy, START_LIMIT_SECONDS, f"the engine on host {number} is not healthy")

    def wait_bystanders(self, owner: int) -> None:
        """Wait until the two other hosts are ready to take over, and know each other so."""
        others = [number for number in self.hosts if number != owner]

        def ready() -> Optional[bool]:
            for number in others:
                snapshot = self.snapshot(number)
                if snapshot is None or snapshot.agent.state != "EngineDown":
                    return None
                alive = {h.host_id for h in snapshot.hosts if h.alive and h.score > 0}
                if not alive.issuperset(others) or snapshot.lease.host_id != owner:
                    return None
            # The owner has to know it, too: it reads their blocks at a time of its own, and lets
            # the VM go at once only when it sees who could take it.
            own = self.snapshot(owner)
            able = () if own is None else (o.host_id for o in own.agent.others if o.able)
            return set(able).issuperset(others) or None

        self.wait(ready, START_LIMIT_SECONDS, f"hosts {others} are not ready to take over")

    def wait(self, look: Callable[[], Optional[T]], limit_seconds: float, missing: str) -> T:
        """Return what `look` finds. Raises NotMeasured after `limit_seconds`."""
        return wait_for(look, limit_seconds, missing, error=NotMeasured, poll_seconds=POLL_SECONDS)


def _relay(host: Host) -> VdsmRelay:
    """Put a relay between the host's daemons and its VDSM."""
    relay = VdsmRelay(layers.load([host.config], host.environ).vdsm_server.listen_port)
    drop_in = Path(f"{host.config}.d") / "bench.conf"
    drop_in.parent.mkdir()
    drop_in.write_text(f"[vdsm]\nport = {relay.port}\n")
    return relay
