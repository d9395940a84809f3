# SPDX-License-Identifier: Apache-2.0
"""Two hosts that speak to their VDSM under TLS, as on a production host: certificates that end
and that are renewed while all runs, and a fail-over after it."""

from __future__ import annotations

import contextlib
import datetime
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

import pytest

from demo.hosts import Host
from demo.watcher import DiskWatcher
from ha_agent.certificates import TlsFiles, certificates_in
from tests.e2e.lone import eventually, lone_host, no_tracebacks, says, twin_of
from tests.push_certs import Pki

pytestmark = [pytest.mark.e2e, pytest.mark.qemu, pytest.mark.timeout(240)]

DAEMONS = ("ha-vdsm", "ha-broker", "ha-agent")
YESTERDAY = datetime.timedelta(days=-1)


class HostPki:
    """A host's pair, the same for VDSM and its clients, renewed in place as the engine does."""

    def __init__(self, host: Host, pki: Pki) -> None:
        self._pki = pki
        self._name = host.folder.name
        self.files = files = self.renew()
        lines = (
            f"ssl = true\nkey_file = {files.key_file}\ncert_file = {files.cert_file}\n"
            f"ca_file = {files.ca_file}\n"
        )
        clear = "ssl = false\n[vdsm-server]\n"
        text = host.config.read_text()
        assert clear in text
        host.config.write_text(text.replace(clear, f"{lines}[vdsm-server]\n{lines}"))

    def renew(self, ends_in: Optional[datetime.timedelta] = None) -> TlsFiles:
        pair = self._pki.pair(self._name, file=self._name, ends_in=ends_in)
        return TlsFiles(pair.key, pair.cert, self._pki.ca)


class Pair:
    """Both hosts with their certificates, and who has the VM's disk open."""

    def __init__(self, hosts: dict[str, Host], folder: Path) -> None:
        pki = Pki(folder)
        self.hosts = hosts
        self.pki = {name: HostPki(host, pki) for name, host in hosts.items()}
        markers = {f"{host.folder}/": name for name, host in hosts.items()}
        self.watcher = DiskWatcher(hosts["host1"].domain.boot_disk, markers)

    def started(self, *, after: int = 0) -> tuple[int, str]:
        """Wait for another QEMU than `after`, and return (pid, host's name)."""

        def look() -> Optional[tuple[int, str]]:
            found = [one for one in self.watcher.openers().items() if one[0] != after]
            return found[0] if found else None

        return eventually(look, f"no QEMU was started after pid {after}")


@pytest.fixture
def pair() -> Iterator[Pair]:
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(lone_host())
        hosts = {"host1": first, "twin": stack.enter_context(twin_of(first, 2))}
        made = Pair(hosts, first.folder.parent / "pki")
        made.watcher.start()
        stack.callback(made.watcher.stop)
        for host in hosts.values():
            stack.callback(host.stop)
            host.start(DAEMONS)
        yield made
        for host in hosts.values():
            no_tracebacks(host)
        assert made.watcher.most_at_once == 1, made.watcher.changes


def test_certificates_end_and_are_renewed_while_it_runs_and_the_vm_fails_over(pair: Pair) -> None:
    pid, owner = pair.started()
    other = next(name for name in pair.hosts if name != owner)
    host, pki = pair.hosts[owner], pair.pki[owner]
    says(host, f"Lease: held by {owner}", "certificates: vdsm until ", "vdsm CA until ")
    first = certificates_in(pki.files.cert_file)

    # Who is connected stays so; everybody is told. A new connection is refused by both ends.
    pki.renew(YESTERDAY)
    says(host, "has expired, at")
    restart_vdsm(host)
    logged(host, "ha-agent", "its certificate is not accepted", "ended at")
    logged(host, "ha-broker", "its certificate is not accepted", "ended at")
    says(host, f"Lease: held by {owner}")

    # Renewed: nobody has to be restarted.
    pki.renew()
    assert certificates_in(pki.files.cert_file) != first
    connected(host, "ha-agent")
    connected(host, "ha-broker")
    says(host, f"Lease: held by {owner}")
    assert pair.started() == (pid, owner), "certificates are no reason for another VM"

    # Half of a renewal, and VDSM comes back in the middle of it.
    key = pki.files.key_file.read_bytes()
    pki.renew()
    whole = pki.files.key_file.read_bytes()
    pki.files.key_file.write_bytes(key)
    with pytest.raises(ssl.SSLError):
        ssl.create_default_context().load_cert_chain(pki.files.cert_file, pki.files.key_file)
    host.daemons["ha-agent"].kill()
    host.daemons["ha-agent"].wait(10)
    host.start(["ha-agent"])
    logged(host, "ha-agent", "are no pair that can be used")
    pki.files.key_file.write_bytes(whole)
    connected(host, "ha-agent")
    says(host, f"Lease: held by {owner}")
    assert pair.started() == (pid, owner)

    host.power_cut()
    _pid, survivor = pair.started(after=pid)
    assert survivor == other
    says(pair.hosts[other], f"Lease: held by {other}")


def restart_vdsm(host: Host) -> None:
    """SIGKILL, and the next one at once, as systemd does."""
    vdsm = host.daemons["ha-vdsm"]
    vdsm.kill()
    vdsm.wait(10)
    host.start(["ha-vdsm"])


def logged(host: Host, daemon: str, *texts: str) -> None:
    """Wait until one line of a daemon's log has all the texts."""
    log = host.folder / f"{daemon}.log"
    eventually(
        lambda: any(all(text in line for text in texts) for line in log.read_text().splitlines()),
        f"{daemon} has not said {texts}",
    )


def connected(host: Host, daemon: str) -> None:
    """Wait until the last that a daemon has logged of its connection is that there is one."""
    try:
        eventually(lambda: last_word(host, daemon).startswith("connected"), "")
    except AssertionError:
        logs = [host.folder / f"{name}.log" for name in ("ha-vdsm", daemon)]
        texts = [f"{log.name}:\n{log.read_text()[-3000:]}" for log in logs]
        pytest.fail("\n".join(["no new connection", *texts]))


def last_word(host: Host, daemon: str) -> str:
    """Return the last of what a daemon has logged of its connection, "connected ..." or not."""
    lines = (host.folder / f"{daemon}.log").read_text().splitlines()
    words = [
        line[line.index(text) :]
        for line in lines
        for text in ("connected to VDSM", "no connection to VDSM")
        if text in line
    ]
    return words[-1] if words else ""
