# SPDX-License-Identifier: Apache-2.0
"""Hosts that join and leave as processes: from shared storage alone, two at once, killed, back."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from typing import Optional

import pytest

from demo.hosts import PROGRAMS, Host, free_port
from ha_agent.ovfstore.conf_volume import encode_conf_volume
from ha_agent.vdsm import file_domain
from tests.e2e.lone import CLOCK, eventually, lone_host, no_tracebacks, says

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

UNITS = {"ha-broker.service": "ha-broker", "ha-agent.service": "ha-agent"}
# systemd as far as set-up uses it: `start` starts what `ExecStart` would.
SYSTEMCTL = """\
#!{python}
import os, signal, subprocess, sys, time
from pathlib import Path
folder = Path({folder!r})
programs = {programs!r}
verb = sys.argv[1]
names = [word for word in sys.argv[2:] if word.endswith((".service", ".socket"))]
def runs(name):
    try:
        pid = int((folder / f"unit-{{name}}.pid").read_text())
        state = Path(f"/proc/{{pid}}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, ValueError):
        return 0
    return 0 if state in "ZX" else pid
for name in names:
    on, pid_file = folder / f"unit-{{name}}.enabled", folder / f"unit-{{name}}.pid"
    if verb == "show":
        lives = runs(name) or (name.endswith("socket") and on.exists())
        active = "active" if lives else "inactive"
        enabled = "enabled" if on.exists() else "disabled"
        found = "loaded" if name.startswith("ha-") else "not-found"
        print(f"Id={{name}}\\nLoadState={{found}}\\nActiveState={{active}}\\nUnitFileState={{enabled}}\\n")
    elif verb == "enable":
        on.touch()
    elif verb == "disable":
        on.unlink(missing_ok=True)
    elif verb == "start" and name in programs and not runs(name):
        with (folder / f"{{programs[name]}}.log").open("ab") as log:
            words = [{bin!r} + "/" + programs[name]] + (["run"] if "agent" in name else [])
            process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        pid_file.write_text(str(process.pid))
    elif verb == "stop" and runs(name):
        os.kill(runs(name), signal.SIGTERM)
        while runs(name):
            time.sleep(0.02)
"""


class Joining:
    """A host with a root folder of its own, which knows nothing of the cluster yet."""

    def __init__(self, first: Host, number: int) -> None:
        self.name = f"host{number}"
        self.folder = first.folder.parent / self.name
        self.domain = first.domain
        self.conf = self.folder / "etc" / "ovirt-hosted-engine" / "hosted-engine.conf"
        tools = self.folder / "tools"
        tools.mkdir(parents=True)
        systemctl = tools / "systemctl"
        systemctl.write_text(
            SYSTEMCTL.format(
                python=sys.executable, folder=str(self.folder), bin=str(PROGRAMS), programs=UNITS
            )
        )
        systemctl.chmod(0o755)
        own = self.folder / "etc" / "ha-agent" / "ha-agent.conf"
        own.parent.mkdir(parents=True)
        (self.folder / "etc" / "machine-id").write_text(uuid.uuid4().hex)
        # What differs between hosts of this machine; of the cluster it says nothing.
        port = free_port()
        own.write_text(
            f"[host]\nname = {self.name}\nrun_dir = {self.folder}/run\n"
            f"state_dir = {self.folder}/state\n"
            f"[lease]\nqemu_marker = {self.folder}/run\n"
            f"[definition]\nvm_conf_path = {self.folder}/run/vm.conf\n"
            f"[vdsm]\nhost = 127.0.0.1\nport = {port}\nssl = false\n"
            f"[vdsm-server]\nlisten_port = {port}\naccelerator = tcg\nnetworks = ovirtmgmt: user\n"
        )
        self.environment = {
            **os.environ,
            "HA_AGENT_HOST_ROOT": str(self.folder),
            "PATH": f"{tools}:{os.environ['PATH']}",
        }
        self._vdsm: Optional[subprocess.Popen[bytes]] = None

    def begin(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [str(PROGRAMS / "ha-agent"), *words],
            env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def run(self, *words: str, code: int = 0) -> str:
        process = self.begin(*words)
        said, _ = process.communicate(timeout=90)
        assert process.returncode == code, said
        assert "Traceback" not in said, said
        return said

    def start_vdsm(self) -> None:
        with (self.folder / "ha-vdsm.log").open("ab") as log:
            self._vdsm = subprocess.Popen(
                [str(PROGRAMS / "ha-vdsm")],
                env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    def pid_of(self, unit: str) -> int:
        return int((self.folder / f"unit-{unit}.pid").read_text())

    def host_id(self) -> int:
        lines = self.conf.read_text().splitlines()
        return next(int(one[8:]) for one in lines if one.startswith("host_id="))

    def stop(self) -> None:
        for pid_file in self.folder.glob("unit-*.pid"):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(int(pid_file.read_text()), signal.SIGKILL)
        if self._vdsm is not None:
            self._vdsm.kill()
            self._vdsm.wait(10)
        Host(0, self.folder, self.domain, 0).power_cut()


def add_configuration(host: Host) -> None:
    """Put the configuration volume on the domain, as `deploy` does it."""
    domain, image, volume = host.domain, str(uuid.uuid4()), str(uuid.uuid4())
    path = file_domain.create_volume(
        domain.path, image, volume, 1 << 20, "HostedEngineConfigurationImage", "HECI",
        created_at_seconds=0,
    )  # fmt: skip
    short = "".join(
        f"ha_agent_{section}_{key}={value}\n"
        for section, key, value in (
            ("lease", "renew_interval_seconds", 1), ("lease", "renew_deadline_seconds", 2),
            ("lease", "lease_expiry_seconds", 7), ("lease", "fence_margin_seconds", 2),
            ("status", "publish_interval_seconds", 1), ("status", "read_interval_seconds", 0.5),
            ("status", "host_alive_seconds", 5), ("storage", "domain_type", "localfs"),
            ("storage", "domain_path", domain.path), ("network", "bridge", ""),
        )
    )  # fmt: skip
    text = (
        f"fqdn=127.0.0.1\nvmid={domain.vm_uuid}\nsdUUID={domain.uuid}\nhost_id=1\n"
        f"metadata_image_UUID={domain.status_image}\n"
        f"metadata_volume_UUID={domain.status_volume}\nconf_image_UUID={image}\n"
        f"conf_volume_UUID={volume}\nnetwork_test=none\n{short}"
    )
    files = {"version": b"2.5.1", "fhanswers.conf": b"", "vm.conf": b""}
    files.update({"hosted-engine.conf": text.encode(), "broker.conf": b"[email]\n"})
    with path.open("r+b") as file:
        file.write(encode_conf_volume(files, CLOCK.wall()))


@pytest.fixture
def first() -> Iterator[Host]:
    with lone_host() as made:
        add_configuration(made)
        yield made
        no_tracebacks(made)


@contextlib.contextmanager
def joining(first: Host, *numbers: int) -> Iterator[list[Joining]]:
    hosts = [Joining(first, number) for number in numbers]
    try:
        yield hosts
        for host in hosts:
            for log in host.folder.glob("*.log"):
                assert "Traceback" not in log.read_text(), log.read_text()[-3000:]
    finally:
        for host in hosts:
            host.stop()
            shutil.rmtree(host.folder, ignore_errors=True)


def test_two_join_at_once_one_is_idle_and_one_leaves(first: Host) -> None:
    first.start()
    says(first, "Lease: held by host1")
    path = str(first.domain.path)
    with joining(first, 2, 3, 4) as (*hosts, idle):
        plan = hosts[0].run("join", "--path", path, "--dry-run")
        assert "host id 2, free" in plan
        both = [host.begin("join", "--path", path) for host in hosts]
        said = [process.communicate(timeout=90)[0] for process in both]
        assert [process.returncode for process in both] == [0, 0], said
        assert sorted(host.host_id() for host in hosts) == [2, 3]
        for host in hosts:
            host.start_vdsm()
        rows = says(first, "host1", "host2", "host3")

        def alive() -> bool:
            status = first.status() or {}
            live = [one["live-data"] for name, one in status.items() if name.isdigit()]
            return len(live) == 3 and all(live)

        eventually(alive, f"not all three are alive:\n{rows}")
        idle.run("join", "--path", path, "--no-start")
        says(first, "host4", "joined, agent not started yet")
        assert "host4" in first.cli("explain").stdout
        assert "nobody is there to be asked" in idle.run("join", code=2)
        assert "broker does not answer" in idle.run("leave", "--no-units", code=1)
        leaver, other = hosts
        told = first.cli("leave", "--no-units")  # a host without hosted-engine.conf
        assert "in no cluster" in told.stdout
        assert "[1/7]" in leaver.run("leave", "--dry-run")
        assert leaver.conf.exists()
        left = leaver.run("leave")
        assert "is free" in left
        assert not leaver.conf.exists()
        assert leaver.conf.with_name("hosted-engine.conf.left-1").exists()
        assert "in no cluster" in leaver.run("leave")

        def gone() -> bool:
            return "host2" not in first.cli("status").stdout

        eventually(gone, "host2 is still there")
        assert "host3" in first.cli("status").stdout
        # It comes back, with the same id: the lowest that is free.
        was = 5 - other.host_id()
        leaver.run("join", "--path", path)
        assert leaver.host_id() == was


def test_the_engines_host_and_the_last_host_stay(first: Host) -> None:
    with joining(first, 2) as [host]:
        host.run("join", "--path", str(first.domain.path))
        host.start_vdsm()

        def owns() -> bool:
            status = subprocess.run(
                [str(PROGRAMS / "ha-agent"), "status"], env=host.environment,
                capture_output=True, text=True, timeout=60, check=False,
            )  # fmt: skip
            return "Lease: held by host2" in status.stdout

        eventually(owns, "host2 does not take the lease")
        assert "maintenance local" in host.run("leave", code=1)


def test_killed_again_and_again(first: Host) -> None:
    """SIGKILL after each line that a join says, until one ends by itself."""
    path = str(first.domain.path)
    with joining(first, 1) as [host]:
        for lines in range(1, 30):
            process = host.begin("join", "--path", path, "--no-start")
            assert process.stdout is not None
            read = [process.stdout.readline() for _ in range(lines)]
            process.kill()
            rest = process.stdout.read()
            process.stdout.close()
            process.wait(10)
            assert "Traceback" not in "".join(read) + rest
            if not all(read):
                break
        said = host.run("join", "--path", path, "--no-start")
        assert said.count("already done") == 7
        assert host.host_id() == 1
        slots = (first.domain.path / "images").glob(f"*/{first.domain.status_volume}")
        data = next(slots).read_bytes()[: 65 * 4096]
        assert [n for n in range(1, 65) if any(data[n * 4096 :][:4096])] == [1]
