# SPDX-License-Identifier: Apache-2.0
"""Three hosts of the demo, with the benchmark's instruments around them.

The same processes as in `make demo`, with the shipped configuration but for its paths. A
relay (wire.py) stands between each host's daemons and its VDSM, a reader (lease_watch.py)
looks at the lock file, and the demo's witness looks at the boot disk.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from typing import Callable, Optional, TypeVar

from bench.lease_watch import LeaseWatch
from bench.wire import VdsmRelay
from demo.domain import make_domain
from demo.guest import build_guest
from demo.hosts import Host, free_port
from demo.watcher import DiskWatcher
from ha_agent import config
from ha_agent.broker import rpc_call
from ha_agent.broker.snapshot import Snapshot, from_wire
from ha_agent.clock import SystemClock
from ha_agent.errors import HaAgentError

T = TypeVar("T")

POLL_SECONDS = 0.02
START_LIMIT_SECONDS = 90.0
CALL_DEADLINE_SECONDS = 5.0


class NotMeasured(Exception):
    """Something did not happen that should have been measured; the text says what."""


class Cluster:
    """Three hosts on a storage domain of their own; `with` leaves nothing running."""

    def __init__(
        self, work: Path, guest_work: Path, say: Callable[[str], None], extra_config: str = ""
    ) -> None:
        """`guest_work` keeps the guest's parts between runs, `extra_config` goes to all hosts."""
        self.say = say
        self._work = work
        self._clock = SystemClock()
        # UNIX socket paths are at most 107 bytes long, and a checkout may lie deep.
        self._run_root = Path(tempfile.mkdtemp(prefix="ha-bench-"))
        guest = build_guest(guest_work, image=work / "guest.img", progress=say)
        storage = work / "storage"
        shutil.rmtree(storage, ignore_errors=True)
        storage.mkdir(parents=True)
        self.domain = make_domain(storage, guest)
        self.hosts: dict[int, Host] = {}
        self.relays: dict[int, VdsmRelay] = {}
        engine_port = free_port()
        for number in (1, 2, 3):
            folder = self._run_root / f"host{number}"
            host = Host(number, folder, self.domain, engine_port, extra_config)
            host.write_config("tcg")
            self.hosts[number] = host
            self.relays[number] = self._relay(host)
        self.lease_watch = LeaseWatch(self.domain.lease)
        self.witness = DiskWatcher(
            self.domain.boot_disk, {f"{h.folder}/": h.name for h in self.hosts.values()}
        )

    def _relay(self, host: Host) -> VdsmRelay:
        relay = VdsmRelay(config.load([host.config], {}).vdsm_server.listen_port)
        drop_in = Path(f"{host.config}.d") / "bench.conf"
        drop_in.parent.mkdir()
        drop_in.write_text(f"[vdsm]\nport = {relay.port}\n")
        return relay

    def __enter__(self) -> Cluster:
        self.lease_watch.start()
        self.witness.start()
        for number, host in self.hosts.items():
            self.relays[number].start()
            host.start()
        return self

    def __exit__(self, *_error: object) -> None:
        for host in self.hosts.values():
            host.stop()
        for relay in self.relays.values():
            relay.stop()
        self.stop_watching()
        logs = self._work / "logs"
        shutil.rmtree(logs, ignore_errors=True)
        for host in self.hosts.values():
            (logs / host.name).mkdir(parents=True)
            for log in host.folder.glob("*.log"):
                shutil.copy(log, logs / host.name)
        shutil.rmtree(self._run_root, ignore_errors=True)

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
            return True

        self.wait(ready, START_LIMIT_SECONDS, f"hosts {others} are not ready to take over")

    def wait(self, look: Callable[[], Optional[T]], limit_seconds: float, missing: str) -> T:
        """Return what `look` finds. Raises NotMeasured after `limit_seconds`."""
        ends_at = time.monotonic() + limit_seconds
        while True:
            found = look()
            if found is not None:
                return found
            if time.monotonic() > ends_at:
                raise NotMeasured(f"after {limit_seconds:g} s {missing}")
            time.sleep(POLL_SECONDS)
