# SPDX-License-Identifier: Apache-2.0
"""`make demo`: a real VM, a real fail-over, on this machine.

Three hosts, each with agent, broker and embedded VDSM as processes of their own, share a
storage domain in a folder. A witness that asks no agent watches the boot disk all along. Exits
with 0 only if everything that it prints has held.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import os
import shutil
import signal
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Callable, Optional, TypeVar

from demo.domain import make_domain
from demo.guest import HEALTH_BODY, HEALTH_PATH, build_guest, read_counters
from demo.hosts import Host, free_port
from demo.patience import wait_for
from demo.watcher import Change, DiskWatcher
from ha_agent.errors import HaAgentError

T = TypeVar("T")

START_LIMIT_SECONDS = 180.0
TAKEOVER_LIMIT_SECONDS = 120.0
POLL_SECONDS = 0.1


class DemoFailed(Exception):
    """Something that should have held did not; the text says what."""


class Demo:
    """The cluster and the story told with it."""

    def __init__(
        self,
        work: Path,
        accelerator: str,
        lease_config: str = "",
        *,
        guest_cache: Optional[Path] = None,
    ) -> None:
        """`guest_cache` keeps what the guest is built of; the work folder, unless given."""
        self.work = work
        self._guest_cache = guest_cache or work
        self.begun = time.monotonic()
        self.lines: list[str] = []
        self._accelerator = accelerator
        self._lease_config = lease_config
        self.hosts: dict[str, Host] = {}
        self.watcher: Optional[DiskWatcher] = None
        self.engine_port = free_port()
        self.boot_disk = Path()

    # The cluster -------------------------------------------------------------------------

    def build(self, run_root: Path) -> None:
        """Guest, storage domain, three hosts; nothing runs yet."""
        self.say("building the guest (once; kept in the work folder)")
        guest = build_guest(self._guest_cache, image=self.work / "guest.img", progress=self.say)
        storage = self.work / "storage"
        shutil.rmtree(storage, ignore_errors=True)
        storage.mkdir(parents=True)
        domain = make_domain(storage, guest)
        self.say(f"storage domain {domain.uuid} made in {storage}")
        for number in (1, 2, 3):
            host = Host(
                number, run_root / f"host{number}", domain, self.engine_port, self._lease_config
            )
            host.write_config(self._accelerator)
            self.hosts[host.name] = host
        markers = {f"{host.folder}/": name for name, host in self.hosts.items()}
        self.boot_disk = domain.boot_disk
        self.vm_uuid = domain.vm_uuid
        self.watcher = DiskWatcher(domain.boot_disk, markers)

    def start(self) -> None:
        """Start the witness and all hosts."""
        assert self.watcher is not None
        self.watcher.start()
        for host in self.hosts.values():
            host.start()
        self.say("three hosts started: agent, broker and embedded VDSM each")

    def stop(self) -> None:
        """Leave nothing running."""
        for host in self.hosts.values():
            host.stop()
        if self.watcher is not None:
            self.watcher.stop()

    # The story ---------------------------------------------------------------------------

    def first_start(self) -> str:
        """Wait until one host has started the VM and says that the engine is healthy."""
        begun = time.monotonic()
        change = self._opened_since(begun, START_LIMIT_SECONDS)
        self._mark(begun, f"{change.host} owns the lease and has started the VM")
        self._healthy(change.host, begun)
        return change.host

    def power_cut(self, owner: str) -> str:
        """Kill the owner's host at once and wait for another to take over."""
        begun = time.monotonic()
        self.say(f"power cut: SIGKILL to everything of {owner}, QEMU included")
        self.hosts[owner].power_cut()
        change = self._opened_since(begun, TAKEOVER_LIMIT_SECONDS)
        if change.host == owner:
            raise DemoFailed(f"the VM came back on {owner}, which is dead")
        self._mark(begun, f"{change.host} has taken over and started the VM")
        self._healthy(change.host, begun)
        return change.host

    def maintenance(self, owner: str) -> str:
        """Put the owner into local maintenance and watch the VM move in order."""
        begun = time.monotonic()
        self.say(f"ha-agent maintenance local, on {owner}")
        answer = self.hosts[owner].cli("maintenance", "local")
        if answer.returncode != 0:
            raise DemoFailed(f"maintenance local: {answer.stderr.strip()}")
        change = self._opened_since(begun, TAKEOVER_LIMIT_SECONDS)
        if change.host == owner:
            raise DemoFailed(f"the VM was started again on {owner}, in spite of maintenance")
        self._mark(begun, f"{change.host} has started the VM after the orderly stop on {owner}")
        self._healthy(change.host, begun)
        return change.host

    def crash(self, owner: str) -> str:
        """Kill only QEMU and watch the restart on the same host."""
        assert self.watcher is not None
        begun = time.monotonic()
        for pid in self.watcher.openers():
            self.say(f"SIGKILL to QEMU (pid {pid}) on {owner}")
            _end_qemu(pid)
        change = self._opened_since(begun, TAKEOVER_LIMIT_SECONDS)
        if change.host != owner:
            raise DemoFailed(f"the VM came back on {change.host}, not on {owner}")
        self._mark(begun, f"{owner} has started the VM again")
        self._healthy(owner, begun)
        return owner

    def check_witness(self) -> None:
        """What the witness saw must hold."""
        assert self.watcher is not None
        most, looks = self.watcher.most_at_once, self.watcher.looks
        self.say(f"witness: at most {most} QEMU had the boot disk open, in {looks} looks")
        if most > 1:
            raise DemoFailed(f"{most} QEMU processes had the boot disk open at once")

    # Helpers -----------------------------------------------------------------------------

    def say(self, text: str) -> None:
        """Print a line with the seconds since the start."""
        line = f"{time.monotonic() - self.begun:7.1f} s  {text}"
        self.lines.append(line)
        print(line, flush=True)

    def _mark(self, begun: float, text: str) -> None:
        self.say(f"  +{time.monotonic() - begun:.1f} s  {text}")

    def _opened_since(self, begun: float, limit_seconds: float) -> Change:
        """Wait for the next QEMU, as the witness sees it."""
        watcher = self.watcher
        assert watcher is not None

        def opened() -> Optional[Change]:
            return next((c for c in watcher.since(begun) if c.opened), None)

        return self._wait(opened, limit_seconds, "no QEMU has opened the boot disk")

    def _healthy(self, owner: str, begun: float) -> None:
        host = self.hosts[owner]
        self._wait(
            lambda: (host.says_healthy() and self._engine_answers()) or None,
            START_LIMIT_SECONDS,
            f"the agent on {owner} does not say that the engine is healthy",
        )
        self._mark(begun, f"the engine answers, says {owner}'s health probe")

    def _engine_answers(self) -> bool:
        """Ask the health page ourselves, so that not only the agents' word counts."""
        url = f"http://127.0.0.1:{self.engine_port}{HEALTH_PATH}"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return HEALTH_BODY in answer.read().decode()
        except (OSError, http.client.HTTPException):
            return False

    def _wait(self, look: Callable[[], Optional[T]], limit_seconds: float, missing: str) -> T:
        def look_at_daemons_too() -> Optional[T]:
            found = look()
            for host in self.hosts.values() if found is None else ():
                dead = host.dead_daemons()
                if dead and host.pids():
                    raise DemoFailed(f"{host.name}: {', '.join(dead)} ended by itself")
            return found

        return wait_for(
            look_at_daemons_too,
            limit_seconds,
            missing,
            error=DemoFailed,
            poll_seconds=POLL_SECONDS,
        )


def _end_qemu(pid: int) -> None:
    """SIGKILL through a pidfd, so that no other process of that pid can be meant."""
    with contextlib.suppress(ProcessLookupError):
        pidfd = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        finally:
            os.close(pidfd)


def tell_story(demo: Demo) -> None:
    """The whole of it; raises DemoFailed at the first thing that does not hold."""
    owner = demo.first_start()
    dead = owner
    owner = demo.power_cut(owner)
    demo.say(f"{dead} is switched on again")
    demo.hosts[dead].start()
    resting = owner
    owner = demo.maintenance(owner)
    answer = demo.hosts[resting].cli("maintenance", "none")
    if answer.returncode != 0:
        raise DemoFailed(f"maintenance none: {answer.stderr.strip()}")
    owner = demo.crash(owner)
    demo.check_witness()
    counters = read_counters(demo.boot_disk)
    demo.say(f"the guest's own disk counts {counters.boots} boots, {counters.heartbeat} s of work")
    print("\n" + demo.hosts[owner].cli("status").stdout, flush=True)


def keep_running(demo: Demo) -> None:
    """Leave the cluster up until Ctrl-C, and say what to try."""
    demo.first_start()
    host = next(iter(demo.hosts.values()))
    program = f"{sys.prefix}/bin/ha-agent"
    print("\nThe cluster runs until Ctrl-C. Try, in another terminal:")
    for each in demo.hosts.values():
        print(f"  {program} --config {each.config} status")
    print(f"  {program} --config {host.config} status --json")
    print(f"  {program} --config {host.config} maintenance local    # then: none")
    print(f"  {program} --config {host.config} ovf history          # then: ovf diff, rollback")
    print(f"  {program} --config {host.config} store verify         # then: store get, put")
    print(f"  {program} --config {host.config} can-do vm.remove vm={demo.vm_uuid}")
    print(f"  {program} --config {host.config} config show")
    print(f"  curl http://127.0.0.1:{demo.engine_port}{HEALTH_PATH}")
    print("  pkill -9 qemu-system     # the engine VM crashes")
    print(f"  tail -F {host.folder}/*.log", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        signal.sigwait({signal.SIGINT, signal.SIGTERM})
    demo.check_witness()


def main() -> int:
    """Run the demo; the exit code is 0 only if all of it held."""
    parser = argparse.ArgumentParser(prog="demo", description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("demo-work"), help="work folder")
    parser.add_argument("--keep", action="store_true", help="keep the cluster up to play with")
    parser.add_argument("--accelerator", default="tcg", choices=("auto", "kvm", "tcg"))
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    work = arguments.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    # UNIX socket paths are at most 107 bytes long, and a checkout may lie deep.
    run_root = Path(tempfile.mkdtemp(prefix="ha-demo-"))
    demo = Demo(work, arguments.accelerator)
    held = False
    try:
        demo.build(run_root)
        demo.start()
        if arguments.keep:
            keep_running(demo)
        else:
            tell_story(demo)
        held = True
    except (DemoFailed, HaAgentError) as error:
        demo.say(f"FAILED: {error}")
    except KeyboardInterrupt:
        demo.say("interrupted")
    finally:
        demo.stop()
        logs = work / "logs"
        shutil.rmtree(logs, ignore_errors=True)
        for host in demo.hosts.values():
            if host.folder.exists():
                (logs / host.name).mkdir(parents=True)
                for log in host.folder.glob("*.log"):
                    shutil.copy(log, logs / host.name)
        shutil.rmtree(run_root, ignore_errors=True)
        demo.say(f"everything is stopped; logs are in {logs}")
    print("demo: everything held" if held else "demo: FAILED", flush=True)
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
