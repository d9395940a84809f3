# SPDX-License-Identifier: Apache-2.0
"""A demo cluster for tests: its hosts, its witness, and waits that all have a deadline."""

from __future__ import annotations

import contextlib
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Callable, Optional, TypeVar

import pytest

from demo.run import Demo
from ha_agent.clock import SystemClock

T = TypeVar("T")

CLOCK = SystemClock()
ROOT = Path(__file__).parents[2]
GUEST_CACHE = ROOT / ".cache" / "guest"
WORK = ROOT / ".e2e-work"
LIMIT_SECONDS = 90.0
POLL_SECONDS = 0.1

# A third of the defaults: what a test has to wait for is mostly one lease's life.
SHORT_TIMES = """
[lease]
renew_interval_seconds = 1
renew_deadline_seconds = 2
lease_expiry_seconds = 7
fence_margin_seconds = 2
takeover_step_seconds = 0.3
[status]
publish_interval_seconds = 1
read_interval_seconds = 0.5
host_alive_seconds = 5
"""


class Cluster:
    """Three hosts that run the real guest, and what a test does to them."""

    def __init__(self, demo: Demo) -> None:
        self.demo = demo
        self.hosts = demo.hosts
        assert demo.watcher is not None
        self.watcher = demo.watcher

    def wait(self, look: Callable[[], Optional[T]], missing: str) -> T:
        """Look until there is an answer; fail with what every host says when there is none."""
        ends_at = CLOCK.now() + LIMIT_SECONDS
        while CLOCK.now() < ends_at:
            found = look()
            if found is not None:
                return found
            CLOCK.block(POLL_SECONDS)
        said = [host.cli("status", "--timeout", "2").stdout for host in self.hosts.values()]
        pytest.fail(f"after {LIMIT_SECONDS:g} s {missing}\n" + "\n".join(said))

    def runs(self) -> Optional[tuple[int, str]]:
        """Return (pid, host's name) of the one QEMU, None while there is none."""
        found = list(self.watcher.openers().items())
        assert len(found) <= 1, f"more than one QEMU: {found}"
        return found[0] if found else None

    def settled(self) -> tuple[int, str]:
        """Wait until all hosts live, and the VM's host says that it runs there."""

        def look() -> Optional[tuple[int, str]]:
            found = self.runs()
            status = self.hosts[found[1]].status() if found else None
            if found is None or status is None:
                return None
            live = {n: entry for n, entry in status.items() if n.isdigit() and entry["live-data"]}
            mine = live.get(str(self.hosts[found[1]].number), {})
            up = mine.get("engine-status", {}).get("vm") == "up"
            return found if up and len(live) == len(self.hosts) else None

        return self.wait(look, "the VM does not run in a whole cluster")

    def healthy(self) -> tuple[int, str]:
        """Wait until the engine in the VM answers, too."""

        def look() -> Optional[tuple[int, str]]:
            found = self.runs()
            return found if found and self.hosts[found[1]].says_healthy() else None

        return self.wait(look, "the engine does not answer")

    def moved(self, old_pid: int, *, away_from: str = "") -> tuple[int, str]:
        """Wait until another QEMU runs than `old_pid`, elsewhere than on `away_from`."""

        def look() -> Optional[tuple[int, str]]:
            found = self.runs()
            return found if found is not None and found[0] != old_pid else None

        pid, name = self.wait(look, f"no QEMU was started after pid {old_pid}")
        assert name != away_from
        return pid, name

    def kill(self, name: str, daemon: str) -> None:
        """SIGKILL to one daemon only, which is then not there any more."""
        process = self.hosts[name].daemons.pop(daemon)
        process.kill()
        process.wait(10)

    def lease(self) -> dict[str, str]:
        """Return what the lock file says, by key."""
        lease = next(iter(self.hosts.values())).domain.lease
        text = lease.read_bytes()[:4096].partition(b"\0")[0].decode()
        return dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)

    def mended(self) -> None:
        """Bring back what a test has broken."""
        for host in self.hosts.values():
            names = ("ha-vdsm", "ha-broker", "ha-agent")
            gone = [
                n for n in names if n not in host.daemons or host.daemons[n].poll() is not None
            ]
            host.start(gone)
        for host in self.hosts.values():
            self.wait(
                lambda host=host: True if host.status() else None,  # type: ignore[misc]
                f"the broker of {host.name} does not answer",
            )
            assert host.cli("maintenance", "none").returncode == 0


@contextlib.contextmanager
def running_cluster() -> Iterator[Cluster]:
    """Start witness and hosts; end everything, whatever happens in between."""
    run_root = Path(tempfile.mkdtemp(prefix="ha-e2e-"))
    # Not in /tmp: that may be a tmpfs, which has no direct I/O.
    WORK.mkdir(exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="cluster-", dir=WORK))
    demo = Demo(work, "tcg", SHORT_TIMES, guest_cache=GUEST_CACHE)
    try:
        demo.build(run_root)
        demo.start()
        yield Cluster(demo)
    finally:
        for host in demo.hosts.values():
            for process in host.daemons.values():
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(signal.SIGCONT)
        demo.stop()
        logs = WORK / "last-logs"
        shutil.rmtree(logs, ignore_errors=True)
        for host in demo.hosts.values():
            shutil.copytree(host.folder, logs / host.name, ignore=_all_but_logs)
        shutil.rmtree(run_root, ignore_errors=True)
        shutil.rmtree(work, ignore_errors=True)


def _all_but_logs(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if not (Path(folder) / name).match("*.log")]
