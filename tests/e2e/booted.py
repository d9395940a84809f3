# SPDX-License-Identifier: Apache-2.0
"""One host that boots: systemd as PID 1 in a container, with our units, users and daemons.

Its root is an overlay of this machine's (lab/overlay.py); our files are put where the packages
put them, by hand, so that no package has to be built: modules in dist-packages, small launchers,
units, sysusers.d, tmpfiles.d. Its storage is a folder, its VDSM the embedded one, its engine VM
the demo's guest. It has no network but its own loopback.

    with booted_host() as host: host.must("systemctl", "stop", "ha-agent")

Containers are booted one run at a time on this machine: /tmp/ha-lab.lock. What a killed run leaves
has names of the lab's, and `python -m lab clean` finds it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sysconfig
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from demo.domain import NETWORK, DemoDomain, make_domain
from demo.guest import HEALTH_PATH, HTTP_PORT, build_guest
from ha_agent.clock import SystemClock
from lab.host import LabHost
from lab.overlay import make_root
from lab.plan import LabPlan
from lab.root_files import HIDDEN_FOLDERS, UNITS, host_files, host_links
from lab.tools import must, unmount
from tests.e2e.cluster import GUEST_CACHE

CHECKOUT = Path(__file__).resolve().parents[2]
LOCK = Path("/tmp/ha-lab.lock")
LOCK_SECONDS = 600
STORAGE_THERE = "srv/he"
PAGE_PORT = 8080
VDSM = 36
_PACKAGES = ("libvirt", "transitions", "systemd", "msgpack", "h11", "psutil", "lxml", "sdnotify")
_LAUNCHERS = {
    "usr/bin/ha-agent": "ha_agent.cli.main",
    "usr/libexec/ha-agent/ha-broker": "ha_agent.broker.service",
    "usr/libexec/ha-agent/ha-vdsm": "ha_agent.vdsm.server.service",
}
_WANTED_BY = {"ha-broker.socket": "sockets.target"}
_ALIASES = {"ovirt-ha-agent": "ha-agent", "ovirt-ha-broker": "ha-broker"}
_LOOPBACK = """\
[Unit]
Description=The test's network
DefaultDependencies=no
Before=network.target network-online.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/sbin/ip link set lo up
"""
CONFIG = f"""\
[host]
id = 1
name = host1
[engine]
vm_uuid = {{vm}}
health_url = http://127.0.0.1:{PAGE_PORT}{HEALTH_PATH}
[storage]
domain_uuid = {{domain}}
domain_path = /{STORAGE_THERE}/{{domain}}
domain_type = localfs
status_image = {{status_image}}
status_volume = {{status_volume}}
[network]
test = ping
address = 127.0.0.1
bridge =
[vdsm]
host = 127.0.0.1
ssl = false
[vdsm-server]
ssl = false
accelerator = tcg
networks = {NETWORK}: user,hostfwd=tcp:127.0.0.1:{PAGE_PORT}-:{HTTP_PORT}
[notify]
hook = /usr/local/bin/told
"""
# The hook of the notifications says who it is run as.
_HOOK = "#!/bin/sh\n{ id -u; grep CapEff /proc/self/status; cat; } >>/var/lib/ha-agent/told\n"
CLOCK = SystemClock()


@dataclass
class BootedHost(LabHost):
    """The lab's host, with a network of its own that leads nowhere, and our files in place."""

    def _container(self) -> list[str]:
        return [
            *("systemd-nspawn", "--quiet", "--boot", f"--directory={self.root}"),
            *(f"--machine={self.plan.machine(self.number)}", f"--hostname={self.name}"),
            *("--keep-unit", "--register=no", "--link-journal=no", "--resolv-conf=off"),
            *("--timezone=off", "--private-network", "--console=read-only"),
        ]

    def make(self) -> None:
        """Make its root, with all but the storage."""
        files = dict(host_files(self.plan, self.number, uuid.uuid4().hex))
        links = dict(host_links())
        network = next(name for name in files if "Description=The lab's network" in files[name])
        files[network] = _LOOPBACK
        files["usr/local/bin/told"] = _HOOK
        for unit in sorted((CHECKOUT / "systemd").glob("ha-*.s*")):
            if unit.suffix in (".service", ".socket"):
                target = _WANTED_BY.get(unit.name, "multi-user.target")
                links[f"{UNITS}/{target}.wants/{unit.name}"] = f"/lib/systemd/system/{unit.name}"
        for alias, name in _ALIASES.items():
            links[f"{UNITS}/{alias}.service"] = f"/lib/systemd/system/{name}.service"
        hidden = (
            *HIDDEN_FOLDERS,
            str(CHECKOUT).lstrip("/"),
            "root",
            "tmp",
            "srv",
            "var/lib/ha-agent",
        )
        make_root(self.folder, files, links, hidden)
        (self.root / "usr/local/bin/told").chmod(0o755)
        self._install()

    def _install(self) -> None:
        modules = self.root / "usr/lib/python3/dist-packages"
        site = Path(sysconfig.get_path("purelib"))
        leave_out = shutil.ignore_patterns("__pycache__")
        shutil.copytree(CHECKOUT / "ha_agent", modules / "ha_agent", ignore=leave_out)
        # Debian has no package of it; ours brings one.
        shutil.copytree(site / "qemu" / "qmp", modules / "qemu" / "qmp", ignore=leave_out)
        texts = self.root / "usr/share/ha-agent/notifications"
        shutil.copytree(CHECKOUT / "conf/notifications", texts)
        for name, module in _LAUNCHERS.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(
                f"#!/usr/bin/python3\nimport sys\nfrom {module} import main\nsys.exit(main())\n"
            )
            path.chmod(0o755)
        units = CHECKOUT / "systemd"
        for pattern, folder in (("*.service", "system"), ("*.socket", "system")):
            for unit in units.glob(pattern):
                shutil.copy(unit, self.root / "usr/lib/systemd" / folder)
        for kind in ("sysusers", "tmpfiles"):
            target = self.root / f"usr/lib/{kind}.d/ha-agent.conf"
            shutil.copy(units / f"ha-agent.{kind}.conf", target)
        must(["systemd-sysusers", f"--root={self.root}", "ha-agent.conf"])

    def make_storage(self, domain_parent: Path) -> DemoDomain:
        """Make the storage domain, as VDSM's user has it, and the configuration."""
        storage = self.root / STORAGE_THERE
        storage.mkdir(parents=True)
        image = domain_parent / "guest.img"
        domain = make_domain(
            storage, build_guest(GUEST_CACHE, image=image, progress=lambda _: None)
        )
        for path in (storage, *storage.rglob("*")):
            os.chown(path, VDSM, VDSM)
        config = self.root / "etc/ha-agent/ha-agent.conf"
        config.parent.mkdir(exist_ok=True)
        text = CONFIG.format(
            vm=domain.vm_uuid,
            domain=domain.uuid,
            status_image=domain.status_image,
            status_volume=domain.status_volume,
        )
        config.write_text(text)
        # As an administrator leaves it who has a secret in it: root's, and closed.
        config.chmod(0o600)
        conf = self.root / "etc/ovirt-hosted-engine/hosted-engine.conf"
        conf.write_text("gateway=127.0.0.1\n")
        conf.chmod(0o640)
        return domain

    def watchdog_seconds(self, seconds: int) -> None:
        """Have systemd lose its patience sooner than the units say."""
        for unit in ("ha-agent", "ha-broker", "ha-vdsm"):
            path = f"/run/systemd/system/{unit}.service.d/sooner.conf"
            text = f"[Service]\nWatchdogSec={seconds}\n"
            self.must("install", "-D", "-m", "644", "/dev/stdin", path, text=text)
        self.must("systemctl", "daemon-reload")

    def pids(self, start: str) -> list[int]:
        """Return this machine's pids of the host's processes whose name begins so."""
        found = []
        for name in filter(str.isdecimal, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                comm = Path(f"/proc/{name}/comm").read_text()
                if comm.startswith(start) and self.has_process(int(name)):
                    found.append(int(name))
        return found

    def qemu(self) -> list[int]:
        """Return the engine VM's QEMU processes."""
        return self.pids("qemu-system")


@contextlib.contextmanager
def booted_host() -> Iterator[BootedHost]:
    """Boot a host with our units, and leave nothing of it."""
    if os.geteuid() != 0:
        pytest.skip("boots a container: needs root")
    for program in ("systemd-nspawn", "systemd-sysusers", "qemu-system-x86_64", "flock"):
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}")
    debian = Path("/usr/lib/python3/dist-packages")
    missing = [name for name in _PACKAGES if not list(debian.glob(f"{name}*"))]
    if missing:
        pytest.skip(f"needs Debian's packages of {', '.join(missing)}: lab/packages.txt")
    with LOCK.open("a") as lock:
        # The program's wait ends; the lock is the open file's, and so ours.
        wait = ["flock", "--timeout", str(LOCK_SECONDS), str(lock.fileno())]
        if subprocess.run(wait, pass_fds=[lock.fileno()], check=False).returncode != 0:
            pytest.skip(f"others have booted containers for {LOCK_SECONDS} s: {LOCK}")
        work = Path(tempfile.mkdtemp(prefix="ha-lab-sd-", dir="/var/tmp"))
        host = BootedHost(LabPlan("sd", work), 1, CHECKOUT)
        try:
            # The layers of an overlay can't be in an overlay, which a builder's root may be.
            must(["mount", "-t", "tmpfs", "-o", "size=2g", "ha-lab-sd", str(work)])
            host.make()
            host.make_storage(work)
            host.boot()
            host.wait_up()
            yield host
        finally:
            host.remove()
            unmount(work)
            work.rmdir()
