# SPDX-License-Identifier: Apache-2.0
"""Three hosts for failures.py: real daemons with the shipped times, and a storage that can hang.

As cluster.py has them, but each host has a FUSE mount of its own of the one storage
(tests/faulty_storage.py), so that one host's may hang while the others' is fine, and a port of its
own for the engine's page, as a QEMU that hangs in the kernel keeps the one it has.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import re
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable, Optional, TypeVar

from bench.cluster import POLL_SECONDS, START_LIMIT_SECONDS, NotMeasured
from bench.failure_watch import (
    PAGE_LOOK_SECONDS,
    QEMU_LOOK_SECONDS,
    STATUS_LOOK_SECONDS,
    PageWitness,
    QemuWitness,
    StatusWitness,
    Watch,
)
from demo.domain import DemoDomain, make_domain
from demo.guest import build_guest
from demo.hosts import Host, free_port
from demo.patience import wait_for
from ha_agent.broker.rpc import call as rpc_call
from ha_agent.broker.snapshot import Snapshot, from_wire
from ha_agent.clock import SystemClock
from ha_agent.errors import HaAgentError
from ha_agent.status_text import status_text

T = TypeVar("T")

HOSTS = 3
DAEMONS = ("ha-vdsm", "ha-broker", "ha-agent")
_CALL_DEADLINE_SECONDS = 2.0
_UNITS = Path(__file__).parents[1] / "systemd"


def restart_seconds(daemon: str, units: Path = _UNITS) -> float:
    """Return after how long systemd starts this daemon again, by its unit."""
    found = re.search(r"^RestartSec=(\d+)$", (units / f"{daemon}.service").read_text(), re.M)
    if found is None:
        raise NotMeasured(f"{daemon}.service has no RestartSec")
    return float(found[1])


class FailureCluster:
    """The hosts by name, their mounts, and who looks on. `domain` is the storage itself."""

    def __init__(self, domain: DemoDomain, say: Callable[[str], None]) -> None:
        self.domain = domain
        self.say = say
        self.hosts: dict[str, Host] = {}
        self.storage: dict[str, Any] = {}
        self.pages: dict[str, PageWitness] = {}
        self.qemus = QemuWitness({})
        self.status = StatusWitness(self._status_text)
        self._clock = SystemClock()

    # Looks -------------------------------------------------------------------------------

    def snapshot(self, name: str) -> Optional[Snapshot]:
        """Return what a host's broker tells; None when it does not answer."""
        socket = str(self.hosts[name].folder / "run" / "broker.socket")
        try:
            answer = rpc_call.call_once(
                socket, "status", {}, _CALL_DEADLINE_SECONDS, clock=self._clock
            )
        except HaAgentError:
            return None
        return from_wire(Snapshot, answer, where="broker.status")

    def _status_text(self, name: str) -> str:
        snapshot = self.snapshot(name)
        return "" if snapshot is None else status_text(snapshot)

    def owner(self) -> Optional[str]:
        """Return the host with the VM when all is well: its engine healthy, the others able to
        take it and known to each other, and nobody's storage with a problem."""
        running = self.qemus.running()
        if len(running) != 1:
            return None
        owner = running[0].host
        others = {host.number for name, host in self.hosts.items() if name != owner}
        for name in self.hosts:
            snapshot = self.snapshot(name)
            if snapshot is None or snapshot.storage.problem or snapshot.storage.workers_stuck:
                return None
            if snapshot.agent.state != ("EngineUp" if name == owner else "EngineDown"):
                return None
            alive = {h.host_id for h in snapshot.hosts if h.alive and h.score > 0}
            if not alive.issuperset(others) or not snapshot.definition.available:
                return None
            if (
                name == owner
                and not {o.host_id for o in snapshot.agent.others if o.able} >= others
            ):
                return None
        return owner

    # Waits and deeds ---------------------------------------------------------------------

    def wait(self, look: Callable[[], Optional[T]], limit_seconds: float, missing: str) -> T:
        """Return what `look` finds. Raises NotMeasured after `limit_seconds`."""
        return wait_for(look, limit_seconds, missing, error=NotMeasured, poll_seconds=POLL_SECONDS)

    def settle(self) -> str:
        """Wait until all is well, and return the owner."""
        return self.wait(self.owner, 2 * START_LIMIT_SECONDS, "the cluster is not whole")

    def command(self, name: str, *arguments: str) -> None:
        """Run `ha-agent` there. Raises NotMeasured when it fails."""
        ended = self.hosts[name].cli(*arguments)
        if ended.returncode != 0:
            raise NotMeasured(f"ha-agent {' '.join(arguments)}: {ended.stderr.strip()}")

    def kill(self, name: str, daemon: str) -> None:
        """SIGKILL to a daemon, which is started again as systemd does it."""
        process = self.hosts[name].daemons[daemon]
        process.kill()
        process.wait()
        time.sleep(restart_seconds(daemon))
        self.hosts[name].start([daemon])

    def pause(self, name: str, daemon: str, seconds: float) -> None:
        """Stop a daemon by SIGSTOP, and let it go on after this time."""
        process = self.hosts[name].daemons[daemon]
        process.send_signal(signal.SIGSTOP)
        try:
            time.sleep(seconds)
        finally:
            process.send_signal(signal.SIGCONT)

    def mend(self) -> None:
        """Bring back what a failure has broken: storage, power, maintenance."""
        for name, host in self.hosts.items():
            self.storage[name].release()
            gone = [
                d for d in DAEMONS if d not in host.daemons or host.daemons[d].poll() is not None
            ]
            host.start(gone)
        for name in self.hosts:
            self.wait(
                lambda name=name: self.snapshot(name),  # type: ignore[misc]
                START_LIMIT_SECONDS,
                f"the broker of {name} does not answer",
            )
            self.command(name, "maintenance", "none")

    def keep_logs(self, logs: Path) -> None:
        """Copy the daemons' logs there."""
        shutil.rmtree(logs, ignore_errors=True)
        for name, host in self.hosts.items():
            (logs / name).mkdir(parents=True)
            for log in host.folder.glob("*.log"):
                shutil.copy(log, logs / name)


@contextlib.contextmanager
def failure_cluster(
    work: Path, guest_work: Path, say: Callable[[str], None]
) -> Iterator[FailureCluster]:
    """Build and start the hosts with the shipped configuration; leave nothing running or mounted.

    Raises NotMeasured when the storage can't be made to hang on this machine.
    """
    faulty_storage = _faulty_storage()
    storage = work / "storage"
    shutil.rmtree(storage, ignore_errors=True)
    storage.mkdir(parents=True)
    guest = build_guest(guest_work, image=work / "guest.img", progress=say)
    domain = make_domain(storage, guest)
    # Paths of UNIX sockets are at most 107 bytes long, and a checkout may lie deep.
    folder = Path(tempfile.mkdtemp(prefix="ha-bench-"))
    cluster, watch = FailureCluster(domain, say), Watch()
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        for number in range(1, HOSTS + 1):
            mounted = stack.enter_context(faulty_storage(storage, folder / f"mount{number}"))
            seen = _seen_at(mounted.mount, domain, storage)
            host = Host(number, folder / f"host{number}", seen, free_port())
            host.write_config("tcg")
            cluster.hosts[host.name], cluster.storage[host.name] = host, mounted
            cluster.pages[host.name] = PageWitness(host.engine_port)
            cluster.qemus.hosts[f"{host.folder}/"] = host.name
        stack.callback(watch.stop)
        stack.callback(_end, cluster, work / "logs" / "last")
        watch.start(cluster.qemus.look, QEMU_LOOK_SECONDS)
        for name in cluster.hosts:
            watch.start(functools.partial(cluster.status.look, name), STATUS_LOOK_SECONDS)
        for page in cluster.pages.values():
            watch.start(page.look, PAGE_LOOK_SECONDS)
        for host in cluster.hosts.values():
            host.start()
        yield cluster


def _faulty_storage() -> Callable[[Path, Path], Any]:
    try:
        import mfusepy  # noqa: F401

        from tests.faulty_storage import faulty_storage
    except (ImportError, OSError) as error:
        raise NotMeasured(f"a storage that hangs needs mfusepy and libfuse3: {error}") from error
    if not os.access("/dev/fuse", os.R_OK | os.W_OK) or os.getuid() != 0:
        raise NotMeasured("a storage that hangs needs root and /dev/fuse")
    return faulty_storage


def _seen_at(mount: Path, domain: DemoDomain, storage: Path) -> DemoDomain:
    def seen(path: Path) -> Path:
        return mount / os.path.relpath(path, storage)

    return dataclasses.replace(
        domain,
        path=seen(domain.path),
        boot_disk=seen(domain.boot_disk),
        lease=seen(domain.lease),
    )


def _end(cluster: FailureCluster, logs: Path) -> None:
    for name, host in cluster.hosts.items():
        # What hangs in the kernel, or is stopped, ends by no other means.
        cluster.storage[name].release()
        for process in host.daemons.values():
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
    for host in cluster.hosts.values():
        host.stop()
    cluster.keep_logs(logs)
