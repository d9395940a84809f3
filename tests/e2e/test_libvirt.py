# SPDX-License-Identifier: Apache-2.0
"""Two hosts without VDSM: the engine VM under libvirt's real QEMU driver, each host with its own
libvirtd. The configuration is the one of docs/libvirt.md."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

import pytest

from demo.hosts import Host
from demo.watcher import DiskWatcher
from tests.e2e.lone import eventually, lone_host, no_tracebacks, says, twin_of
from tests.virt.private_libvirtd import (
    PrivateLibvirtd,
    give,
    libvirt_folder,
    needs_libvirtd,
    private_libvirtd,
)

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.qemu,
    pytest.mark.libvirt,
    pytest.mark.timeout(240),
    needs_libvirtd,
]


@dataclass
class Pair:
    """Both hosts, their libvirtds, and who has the VM's disk open."""

    hosts: dict[str, Host]
    watcher: DiskWatcher
    libvirtds: dict[str, PrivateLibvirtd] = field(default_factory=dict)

    def runs(self) -> Optional[tuple[int, str]]:
        """Return (pid, host's name) of the one QEMU."""
        found = list(self.watcher.openers().items())
        assert len(found) <= 1, f"more than one QEMU: {found}"
        return found[0] if found else None

    def started(self, *, after: int = 0) -> tuple[int, str]:
        """Wait for another QEMU than `after`, and until its host says that its start is done."""

        def look() -> Optional[tuple[int, str]]:
            found = self.runs()
            if found is None or found[0] == after:
                return None
            if not says_of_vm(self.hosts[found[1]], "up", "Up"):
                return None
            return found if self.runs() == found else None  # what was said is said of this one

        return eventually(look, f"no host says that it has started a QEMU after pid {after}")


@contextlib.contextmanager
def under_libvirt(host: Host, cache: Path) -> Iterator[PrivateLibvirtd]:
    """Give a host a libvirtd. The guard of a host among several on this machine tells its QEMU
    by the host's folder, which is in QEMU's arguments; sockets' paths have 107 bytes."""
    with private_libvirtd(host.folder / "v", cache) as made:
        written = host.config.read_text().replace(
            f"= {host.folder}/run\n[net", f"= {host.folder}\n[net"
        )
        host.config.write_text(
            f"{written}[host]\nhypervisor = libvirt\n[libvirt]\nuri = {made.uri}\n"
            "accelerator = tcg\nnetworks = ovirtmgmt: user\n"
        )
        yield made


@pytest.fixture
def pair() -> Iterator[Pair]:
    with contextlib.ExitStack() as stack:
        cache = stack.enter_context(libvirt_folder())
        give(cache)
        first = stack.enter_context(lone_host())
        second = stack.enter_context(twin_of(first, 2))
        hosts = {"host1": first, "twin": second}
        first.folder.parent.chmod(0o755)
        give(first.domain.path)
        markers = {f"{host.folder}/": name for name, host in hosts.items()}
        made = Pair(hosts, DiskWatcher(first.domain.boot_disk, markers))
        for name, host in hosts.items():
            made.libvirtds[name] = stack.enter_context(under_libvirt(host, cache))
        made.watcher.start()
        stack.callback(made.watcher.stop)
        for host in hosts.values():
            stack.callback(host.stop)
            host.start()
        yield made
        for host in hosts.values():
            no_tracebacks(host)
        assert made.watcher.most_at_once == 1, made.watcher.changes


def test_the_vm_outlives_libvirtd_is_restarted_and_fails_over(pair: Pair) -> None:
    pid, owner = pair.started()
    other = next(name for name in pair.hosts if name != owner)
    epoch = lease_epoch(pair.hosts[owner])

    pair.libvirtds[owner].kill()
    says(pair.hosts[other], f"by {owner}")
    # Only then does "up" come from the new one.
    eventually(lambda: says_of_vm(pair.hosts[owner], "unknown", "unknown"), "the VM is known")
    pair.libvirtds[owner].start()
    assert pair.started() == (pid, owner), "a new libvirtd is no reason for a new VM"
    assert lease_epoch(pair.hosts[owner]) == epoch

    pair.libvirtds[owner].kill_qemu()
    crashed_pid = pid
    pid, again = pair.started(after=crashed_pid)
    assert again == owner
    assert lease_epoch(pair.hosts[owner]) == epoch

    pair.hosts[owner].power_cut()
    pair.libvirtds[owner].power_cut()
    _pid, survivor = pair.started(after=pid)
    assert survivor == other
    assert lease_epoch(pair.hosts[other]) > epoch


def says_of_vm(host: Host, word: str, detail: str) -> bool:
    """Whether the host says this of its VM, engine or not. A VM whose start is under way is "up"
    as well, with the detail "WaitForLaunch"; a new libvirtd ends it, as libvirt does by design."""
    mine = (host.status() or {}).get(str(host.number), {})
    said = mine.get("engine-status", {})
    return bool((said.get("vm"), said.get("detail")) == (word, detail))


def lease_epoch(host: Host) -> int:
    """Return the epoch that the lock file has."""
    text = host.domain.lease.read_bytes()[:4096].partition(b"\0")[0].decode()
    lines = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)
    return int(lines["epoch"])
