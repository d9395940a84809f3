# SPDX-License-Identifier: Apache-2.0
"""Hosts to be set up: each a folder that stands for `/`, with real daemons and a VDSM of its own.

/etc/ha-agent/ha-agent.conf    what differs since all hosts are on one machine: name, folders,
                               port of VDSM, short times; of a cluster it says nothing
/run/ha-agent, /var/lib/...    the daemons'
/bin/systemctl                 fake_systemctl.py: starts and stops the real daemons
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from demo.domain import NETWORK, DemoDomain
from demo.guest import HTTP_PORT
from demo.hosts import PROGRAMS, free_port
from demo.watcher import command_line
from ha_agent.instant import WallTime
from ha_agent.ovfstore.conf_volume import encode_conf_volume
from ha_agent.vdsm import file_domain
from tests.e2e.cluster import SHORT_TIMES
from tests.e2e.fake_systemctl import THEIRS
from tests.e2e.faulty import is_alive

FOLDER = Path(__file__).parent
CONF = "etc/ovirt-hosted-engine/hosted-engine.conf"


class SetupHost:
    """One host in `folder`/host<number>."""

    def __init__(self, folder: Path, number: int, engine_port: int) -> None:
        self.number = number
        self.name = f"host{number}"
        self.root = folder / self.name
        self.vdsm_port = free_port()
        run, forward = self.root / "run", f"hostfwd=tcp:127.0.0.1:{engine_port}-:{HTTP_PORT}"
        self.put(
            "etc/ha-agent/ha-agent.conf",
            f"[host]\nname = {self.name}\nrun_dir = {run}/ha-agent\n"
            f"state_dir = {self.root}/var/lib/ha-agent\n"
            f"[definition]\nvm_conf_path = {run}/ha-agent/vm.conf\n"
            f"[vdsm]\nhost = 127.0.0.1\nport = {self.vdsm_port}\nssl = false\n"
            f"[vdsm-server]\nlisten_port = {self.vdsm_port}\naccelerator = tcg\n"
            f"networks = {NETWORK}: user,{forward}\n"
            + SHORT_TIMES.replace("[lease]", f"[lease]\nqemu_marker = {run}"),
        )
        self.put("etc/machine-id", uuid.uuid4().hex)
        self.put("bin/systemctl", f'#!/bin/sh\nexec {sys.executable} {_SHIM} {self.root} "$@"\n')
        # Older virtual environments have no such program yet.
        program = f"{sys.executable} -m ha_agent.compat.hosted_engine.cli"
        self.put("bin/hosted-engine", f'#!/bin/sh\nexec {program} "$@"\n')
        for path in (self.root / "bin").iterdir():
            path.chmod(0o755)
        self._units = self.root / "systemd.json"
        self._units.write_text(json.dumps({"running": {}, "enabled": [], "log": []}))
        self.environment = {
            "HA_AGENT_HOST_ROOT": str(self.root),
            "PATH": f"{self.root}/bin:{PROGRAMS}:{os.environ['PATH']}",
        }
        self.units_are({})

    def units_are(self, others: Mapping[str, list[str]]) -> None:
        """Say what is run for which unit, besides our own."""
        programs = {
            "ha-vdsm.service": [str(PROGRAMS / "ha-vdsm")],
            "ha-broker.service": [str(PROGRAMS / "ha-broker")],
            "ha-agent.service": [str(PROGRAMS / "ha-agent"), "run"],
        }
        told = {**programs, **others, "environment": self.environment}
        (self.root / "host.json").write_text(json.dumps(told))

    def put(self, name: str, text: str) -> None:
        """Write a file below the root."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o640)

    def systemctl(self, verb: str, name: str) -> None:
        """Start or stop a unit."""
        words = [str(self.root / "bin/systemctl"), verb, "--", name]
        subprocess.run(words, check=True, timeout=60)

    def pids(self) -> list[int]:
        """Return the processes of this host: its root is in their environment, or in QEMU's
        arguments."""
        mark = f"HA_AGENT_HOST_ROOT={self.root}\0".encode()
        found = []
        for name in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                has_it = mark in Path(f"/proc/{name}/environ").read_bytes() + b"\0"
                if has_it or f"{self.root}/" in command_line(int(name)):
                    found.append(int(name))
        return [pid for pid in found if pid != os.getpid() and is_alive(pid)]

    def qemus(self) -> list[int]:
        """Return the engine VMs here."""
        return [pid for pid in self.pids() if "qemu-system" in command_line(pid).split(" ")[0]]

    def power_cut(self) -> None:
        """SIGKILL to everything."""
        while found := self.pids():
            for pid in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        state = json.loads(self._units.read_text())
        self._units.write_text(json.dumps({**state, "running": {}}))

    def logs(self) -> str:
        """Return the ends of what the daemons have logged."""
        return "\n".join(
            f"{log}:\n{log.read_text()[-3000:]}" for log in self.root.glob("*.service.log")
        )


_SHIM = FOLDER / "fake_systemctl.py"


@contextlib.contextmanager
def setup_hosts(count: int) -> Iterator[tuple[Path, list[SetupHost], int]]:
    """Make hosts; yield the folder that they are in, them, and the port of the engine's page."""
    if shutil.which("qemu-system-x86_64") is None:
        pytest.skip("needs qemu-system-x86_64: apt-get install qemu-system-x86")
    # Not tmp_path: the path of a UNIX socket has at most 107 bytes.
    folder, port = Path(tempfile.mkdtemp(prefix="ha-s-")), free_port()
    hosts = [SetupHost(folder, number, port) for number in range(1, count + 1)]
    try:
        yield folder, hosts, port
        for host in hosts:
            assert "Traceback" not in host.logs(), host.logs()
    finally:
        for host in hosts:
            host.power_cut()
        shutil.rmtree(folder, ignore_errors=True)


def make_predecessors(domain: DemoDomain, hosts: list[SetupHost], engine_port: int) -> None:
    """Make the hosts and their storage such as the predecessor, 4.x, leaves them; it runs."""
    shutil.rmtree(domain.lease.parent)
    keys = {
        "fqdn": "127.0.0.1", "vmid": domain.vm_uuid, "host_id": "1", "sdUUID": domain.uuid,
        "vm_disk_id": domain.boot_disk.parent.name, "vm_disk_vol_id": domain.boot_disk.name,
        "storage": "nfs.example.com:/he", "domainType": "nfs", "vdsm_use_ssl": "false",
        "spUUID": file_domain.BLANK_UUID, "metadata_image_UUID": domain.status_image,
        "metadata_volume_UUID": domain.status_volume, "conf_image_UUID": str(uuid.uuid4()),
        "conf_volume_UUID": str(uuid.uuid4()), "bridge": "", "network_test": "none",
        "conf": "/var/run/ovirt-hosted-engine-ha/vm.conf",
    }  # fmt: skip
    files = dict.fromkeys(("version", "fhanswers.conf", "broker.conf"), b"x=y\n")
    files.update({"vm.conf": b"", "hosted-engine.conf": _text(keys).encode()})
    archive = domain.path.parent / "archive"
    archive.write_bytes(encode_conf_volume(files, WallTime(1e9)))
    file_domain.create_volume(
        domain.path, keys["conf_image_UUID"], keys["conf_volume_UUID"], 1 << 20,
        "HostedEngineConfigurationImage", "HECI", created_at_seconds=1, source=archive,
    )  # fmt: skip
    archive.unlink()
    status = next(domain.path.glob(f"images/*/{domain.status_volume}"))
    for host in hosts:
        host.put(CONF, _text({**keys, "host_id": str(host.number)}))
        host.put("var/lib/ovirt-hosted-engine-ha/ha.conf", "local_maintenance=False\n")
        own = host.root / "etc/ha-agent/ha-agent.conf"
        own.write_text(
            own.read_text()
            + f"[network]\nbridge =\n[engine]\nhealth_url = http://127.0.0.1:{engine_port}/\n"
            + f"[storage]\ndomain_path = {domain.path}\ndomain_type = localfs\n"
        )
        agent = [str(FOLDER / "old_agent.py"), str(status), str(host.number), str(host.root)]
        host.units_are({THEIRS[0]: [sys.executable, *agent], THEIRS[1]: ["sleep", "600"]})
        host.systemctl("start", "ha-vdsm.service")
        for name in THEIRS:
            host.put(f"usr/lib/systemd/system/{name}", "[Service]\n")
            host.systemctl("enable", name)
            host.systemctl("start", name)


def _text(keys: Mapping[str, str]) -> str:
    return "".join(f"{key}={value}\n" for key, value in keys.items())
