# SPDX-License-Identifier: Apache-2.0
"""The commands of docs/guides/, run as they stand there, on a cluster with a real guest.

Each host has its own mount of the storage, so that one's can die. The guides call the host with
the engine VM host1 at their beginning, whichever of the three that is here.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import pytest

from demo.guest import build_guest
from demo.hosts import Host
from demo.watcher import command_line
from tests.e2e.cluster import GUEST_CACHE, ROOT
from tests.e2e.faulty import FaultyCluster, FaultyHost, faulty_cluster
from tests.e2e.guide import Story
from tests.storage_faults import Fault

pytestmark = [pytest.mark.e2e, pytest.mark.qemu, pytest.mark.root, pytest.mark.timeout(600)]

GUIDES = ROOT / "docs" / "guides"
# What a page that hangs has to wait for, in a time that a test has.
SHORT_GRACE = """
[engine]
bad_health_grace_seconds = 15
start_timeout_seconds = 60
stop_timeout_seconds = 5
"""
HANGS = ("read", "write", "open", "create", "lock", "fsync", "stat", "list", "rename")


class ClusterStory(Story):
    """One guide on the cluster: its names for the hosts, its commands, its deeds."""

    def __init__(self, cluster: FaultyCluster, folder: Path) -> None:
        super().__init__(folder)
        self._cluster = cluster
        self._hosts: dict[str, FaultyHost] = {}
        self._names: dict[str, str] = {}
        self._pids: set[int] = set()

    def begin(self) -> None:
        """Wait for a whole cluster with a healthy engine; the host that has it is host1."""
        self.eventually(lambda: bool(self._healthy()), "the engine is not healthy")
        owner = self._healthy()
        others = [entry for entry in self._cluster.hosts if entry.host.name != owner]
        (first,) = [entry for entry in self._cluster.hosts if entry.host.name == owner]
        self._hosts = {f"host{n}": entry for n, entry in enumerate([first, *others], 1)}
        self._names = {entry.host.name: name for name, entry in self._hosts.items()}
        self._pids = set(self._cluster.qemus())

    def end(self) -> None:
        """Mend what was broken, for the next guide."""
        for entry in self._cluster.hosts:
            entry.storage.set()
            entry.storage.release()
            daemons = entry.host.daemons
            entry.host.start([n for n in daemons if daemons[n].poll() is not None])
            self.eventually(partial(_answers, entry.host), "a broker does not answer")
            assert entry.host.cli("maintenance", "none").returncode == 0

    def _do_power_cut(self, name: str) -> None:
        self._hosts[name].host.power_cut()

    def _do_power_on(self, name: str) -> None:
        self._hosts[name].host.start()

    def _do_kill(self, program: str, name: str) -> None:
        process = self._hosts[name].host.daemons[program]
        process.kill()
        process.wait(10)
        self._hosts[name].host.start([program])

    def _do_storage_dies(self, name: str) -> None:
        # A file server frees the locks of a client that it hears no more of.
        storage = self._hosts[name].storage
        storage.set(Fault(HANGS, hang=True))
        storage.drop_locks()

    def _do_storage_is_back(self, name: str) -> None:
        self._hosts[name].storage.set()
        self._hosts[name].storage.release()

    def _do_engine_hangs(self) -> None:
        self._ask_guest("hang")

    def _do_engine_answers(self) -> None:
        self.eventually(lambda: bool(self._healthy()), "the engine is not healthy")

    def _do_vm_is_new(self) -> None:
        def other() -> bool:
            found = set(self._cluster.qemus())
            return len(found) == 1 and not found & self._pids

        self.eventually(other, "no other QEMU was started")
        self._pids = set(self._cluster.qemus())

    def _do_vm_is_the_same(self) -> None:
        assert set(self._cluster.qemus()) == self._pids

    def _do_vm_runs_on(self, name: str) -> None:
        host = self._hosts[name].host.name
        self.eventually(lambda: self._cluster.runs_on() == host, f"the VM is not on {name}")

    def _do_vm_has_memory(self, mib: str) -> None:
        (pid,) = self._cluster.qemus()
        command = command_line(pid).split(" ")
        assert f"{mib}M" in command[command.index("-m") + 1], command

    def _do_no_vm(self) -> None:
        self.eventually(lambda: not self._cluster.qemus(), "there is a QEMU")

    def _healthy(self) -> str:
        name = self._cluster.runs_on()
        host = next((e.host for e in self._cluster.hosts if e.host.name == name), None)
        status = host.status() if host else None
        live = [k for k, v in (status or {}).items() if k.isdigit() and v["live-data"]]
        whole = len(live) == len(self._cluster.hosts)
        return name if host and whole and host.says_healthy() else ""

    def environment(self, host: str) -> Mapping[str, str]:
        return {"HA_AGENT_CONFIG": str(self._hosts[host].host.config)}

    def ours(self, host: str, text: str) -> str:
        """Give the hosts the names that the guide has for them."""
        return re.sub(r"host\d", lambda found: self._names[found.group()], text)

    def theirs(self, host: str, text: str) -> str:
        named = re.sub(r"host\d", lambda found: self._hosts[found.group()].host.name, text)
        ids = {n: e.host.number for n, e in self._hosts.items()}
        return re.sub(
            r"\b(id|host remove) (\d)\b",
            lambda f: f"{f.group(1)} {ids[f'host{f.group(2)}']}",
            named,
        )

    def _ask_guest(self, what: str) -> None:
        port = self._hosts["host1"].host.engine_port
        url = f"http://127.0.0.1:{port}/cgi-bin/health?{what}"
        subprocess.run(["curl", "-fsS", "-m", "20", url], capture_output=True, check=True)


def _answers(host: Host) -> bool:
    return bool(host.status())


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultyCluster]:
    image = tmp_path_factory.mktemp("guest") / "guest.img"
    guest = build_guest(GUEST_CACHE, image=image, progress=print)
    with faulty_cluster(3, SHORT_GRACE, guest=guest) as cluster:
        for entry in cluster.hosts:
            entry.host.start()
        yield cluster


@pytest.mark.parametrize(
    "name",
    [
        "change-the-vm",
        "restore-from-backup",
        "engine-hangs",
        "host-died",
        "storage-died",
        "cluster-shutdown",
    ],
)
def test_what_the_guide_says_is_so(running: FaultyCluster, tmp_path: Path, name: str) -> None:
    story = ClusterStory(running, tmp_path)
    story.begin()
    try:
        story.tell(GUIDES / f"{name}.md")
    finally:
        story.end()
