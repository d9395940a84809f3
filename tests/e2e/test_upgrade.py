# SPDX-License-Identifier: Apache-2.0
"""A 4.x host whose engine VM runs becomes ours, serves it, and goes back: one QEMU all along."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

import pytest

from demo.domain import NETWORK
from demo.hosts import PROGRAMS, Host
from ha_agent.clock import SystemClock
from ha_agent.config import layers
from ha_agent.instant import WallTime
from ha_agent.ovfstore.conf_volume import decode_conf_volume, encode_conf_volume
from ha_agent.ovfstore.ovf_parse import parse_ovf
from ha_agent.ovfstore.translate import domain_xml
from ha_agent.ovfstore.vmconf import vm_conf_text
from ha_agent.setup.own_host import connected_vdsm
from ha_agent.vdsm import file_domain
from tests.e2e.cluster import SHORT_TIMES
from tests.e2e.lone import eventually, lone_host, read_ovf, without_store

pytestmark = [pytest.mark.e2e, pytest.mark.qemu]

FAKE = Path(__file__).with_name("fake_systemctl.py")
CONF = "etc/ovirt-hosted-engine/hosted-engine.conf"
THEIRS = ("ovirt-ha-agent.service", "ovirt-ha-broker.service")


class OldHost:
    """A 4.x host in a folder: its files below `root`, its units by fake_systemctl."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.root = host.folder / "root"
        self.units = host.folder / "systemd.json"
        self.config = self.root / "etc/ha-agent/ha-agent.conf"
        self.environment = {
            "HA_AGENT_HOST_ROOT": str(self.root),
            "PATH": f"{host.folder}/bin:{os.environ['PATH']}",
        }
        self._write_files()

    def _write_files(self) -> None:
        domain, folder = self.host.domain, self.host.folder
        shutil.rmtree(domain.lease.parent)
        ids = {
            "fqdn": "127.0.0.1", "vmid": domain.vm_uuid, "host_id": "1", "sdUUID": domain.uuid,
            "vm_disk_id": domain.boot_disk.parent.name, "vm_disk_vol_id": domain.boot_disk.name,
            "storage": "nfs.example.com:/he", "domainType": "nfs", "vdsm_use_ssl": "false",
            "spUUID": file_domain.BLANK_UUID, "metadata_image_UUID": domain.status_image,
            "metadata_volume_UUID": domain.status_volume, "conf_image_UUID": str(uuid.uuid4()),
            "conf_volume_UUID": str(uuid.uuid4()), "bridge": "", "network_test": "none",
            "conf": "/var/run/ovirt-hosted-engine-ha/vm.conf",
        }  # fmt: skip
        text = "".join(f"{key}={value}\n" for key, value in ids.items())
        archive = folder / "archive"
        files = dict.fromkeys(("version", "fhanswers.conf", "broker.conf"), b"x=y\n")
        files = {**files, "vm.conf": b"", "hosted-engine.conf": text.encode()}
        archive.write_bytes(encode_conf_volume(files, WallTime(1e9)))
        self.conf_volume = file_domain.create_volume(
            domain.path, ids["conf_image_UUID"], ids["conf_volume_UUID"], 1 << 20,
            "HostedEngineConfigurationImage", "HECI", created_at_seconds=1, source=archive,
        )  # fmt: skip
        archive.unlink()
        self.put(CONF, text)
        self.put("var/lib/ovirt-hosted-engine-ha/ha.conf", "local_maintenance=False\n")
        for name in THEIRS:
            self.put(f"usr/lib/systemd/system/{name}", "[Service]\n")
        self.put("etc/ha-agent/ha-agent.conf", self._own_settings())
        programs = {
            "ha-broker.service": [str(PROGRAMS / "ha-broker"), "--config", str(self.config)],
            "ha-agent.service": [
                str(PROGRAMS / "ha-agent"), "--config", str(self.config), "run",
            ],
            "environment": self.environment,
        }  # fmt: skip
        (folder / "host.json").write_text(json.dumps(programs))
        state = {"running": {}, "enabled": list(THEIRS), "log": []}
        self.units.write_text(json.dumps(state))
        program = folder / "bin" / "systemctl"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec {sys.executable} {FAKE} {folder} "$@"\n')
        program.chmod(0o755)
        for name in THEIRS:
            self.systemctl("start", name)

    def _own_settings(self) -> str:
        """What this host's ha-agent.conf has: where a machine with such a domain differs."""
        host = self.host
        port = host.config.read_text().partition("[vdsm]")[2].partition("port = ")[2].split()[0]
        return f"""\
[host]
name = {host.name}
run_dir = {host.folder}/run
state_dir = {host.folder}/state
[engine]
health_url = http://127.0.0.1:{host.engine_port}/ovirt-engine/services/health
[storage]
domain_path = {host.domain.path}
domain_type = localfs
[definition]
vm_conf_path = {host.folder}/run/vm.conf
[vdsm]
host = 127.0.0.1
port = {port}
ssl = false
[vdsm-server]
listen_port = {port}
accelerator = tcg
networks = {NETWORK}: user
{SHORT_TIMES.replace("[lease]", f"[lease]{chr(10)}qemu_marker = {host.folder}/run")}"""

    def put(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o640)

    def systemctl(self, verb: str, name: str) -> None:
        program = str(self.host.folder / "bin/systemctl")
        subprocess.run([program, verb, "--", name], check=True, timeout=60)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(PROGRAMS / "ha-agent"), *arguments],
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
            env={**os.environ, **self.environment},
        )

    def running(self) -> set[str]:
        return set(json.loads(self.units.read_text())["running"])

    def tree(self) -> dict[str, tuple[bytes, int]]:
        files = (path for path in self.root.rglob("*") if path.is_file())
        return {
            str(path.relative_to(self.root)): (path.read_bytes(), path.stat().st_mode)
            for path in files
        }

    def qemu(self) -> Optional[int]:
        """Return the one QEMU's pid."""
        found = [
            pid
            for pid in self.host.pids()
            if b"-uuid\0" + self.host.domain.vm_uuid.encode() in cmdline(pid)
        ]
        assert len(found) <= 1
        return found[0] if found else None

    def start_vm(self) -> None:
        """Start the VM as the predecessor does: VDSM is told, and no lease of ours is taken."""
        settings = layers.load([self.config], {}, host_root=self.root)
        domain = self.host.domain
        vm = parse_ovf(read_ovf(domain), where="test")
        xml = domain_xml(vm, storage_domain_uuid=domain.uuid).xml

        async def create() -> None:
            async with connected_vdsm(settings.vdsm, SystemClock()) as vdsm:
                await vdsm.create_vm(domain.vm_uuid, xml)

        asyncio.run(create())

    def clean_up(self) -> None:
        for pid in json.loads(self.units.read_text())["running"].values():
            with contextlib.suppress(ProcessLookupError):
                if pid:
                    os.kill(pid, signal.SIGKILL)


def cmdline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@pytest.fixture
def old() -> Iterator[OldHost]:
    with lone_host() as host:
        made = OldHost(host)
        try:
            host.config.write_text(made.config.read_text())
            host.environment = made.environment
            host.start(["ha-vdsm"])
            yield made
        finally:
            made.clean_up()


def status(old: OldHost) -> dict[str, Any]:
    answer = old.run("status", "--json", "--timeout", "5")
    found: dict[str, Any] = json.loads(answer.stdout) if answer.returncode == 0 else {}
    return found


def test_there_with_the_vm_running_and_back(old: OldHost) -> None:
    old.start_vm()
    pid = eventually(old.qemu, "QEMU does not run")
    before, volume = old.tree(), old.conf_volume.read_bytes()
    plan = old.run("upgrade", "--dry-run")
    assert plan.returncode == 0, plan.stdout + plan.stderr
    assert "a host of the predecessor" in plan.stdout
    assert "is here, status" in plan.stdout
    assert (old.tree(), old.conf_volume.read_bytes()) == (before, volume)
    assert old.running() == set(THEIRS)

    there = old.run("upgrade")
    assert there.returncode == 0, there.stdout + there.stderr
    assert old.running() == {"ha-agent.service", "ha-broker.service", "ha-broker.socket"}
    changed = {name for name, file in old.tree().items() if file != before.get(name)}
    assert changed == {CONF}
    shared = decode_conf_volume(old.conf_volume.read_bytes()[:20480], where="test")
    assert b"ha_agent_lease_backend=lockfile" in shared["hosted-engine.conf"]
    assert "state: held" in eventually(lambda: held(old), "the lease was not taken")
    assert status(old)["1"]["engine-status"]["vm"] == "up"
    assert old.qemu() == pid

    again = old.run("upgrade")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "stop" not in again.stdout.partition("[1/")[2].replace("stop the predecessor", "")

    os.kill(pid, signal.SIGKILL)
    new = eventually(lambda: old.qemu() if old.qemu() != pid else None, "ours did not restart it")

    back = old.run("downgrade")
    assert back.returncode == 0, back.stdout + back.stderr
    assert old.tree() == before
    assert old.running() == set(THEIRS)
    assert old.qemu() == new
    assert stat.S_IMODE((old.root / CONF).stat().st_mode) == 0o640


def test_a_35_host_runs_the_vm_from_its_vm_conf(old: OldHost) -> None:
    domain = old.host.domain
    vm_conf = vm_conf_text(parse_ovf(read_ovf(domain), where="test"))
    without_store(domain)
    shutil.rmtree(old.conf_volume.parent)
    lines = (old.root / CONF).read_text().splitlines()
    gone = ("conf_", "conf=", "vm_disk_vol_id=", "spUUID=")
    lines = [line for line in lines if not line.startswith(gone)]
    lines += [f"spUUID={uuid.uuid4()}", "conf=/etc/ovirt-hosted-engine/vm.conf"]
    (old.root / CONF).write_text("\n".join(lines) + "\n")
    old.put("etc/ovirt-hosted-engine/vm.conf", vm_conf)
    old.put("etc/ovirt-hosted-engine/answers.conf", "[environment:default]\n")
    old.put("etc/ovirt-hosted-engine-ha/broker.conf", "[email]\nsmtp-server = localhost\n")
    before = old.tree()
    there = old.run("upgrade")
    assert there.returncode == 0, there.stdout + there.stderr
    assert "a hosted-engine host of oVirt 3.5" in there.stdout
    text = (old.root / CONF).read_text()
    assert f"vm_disk_vol_id={domain.boot_disk.name}\n" in text
    assert f"spUUID={file_domain.BLANK_UUID}\n" in text
    # Nobody ran it: our agent does, from the OVF that vm.conf became.
    eventually(old.qemu, "our agent did not start the VM")
    assert old.run("downgrade").returncode == 0
    assert old.tree() == before


def held(old: OldHost) -> Optional[str]:
    text = old.host.domain.lease.read_bytes()[:4096].partition(b"\0")[0].decode()
    return text if "state: held" in text else None


def test_killed_by_sigkill_and_run_again(old: OldHost) -> None:
    before = old.tree()
    process = subprocess.Popen(
        [str(PROGRAMS / "ha-agent"), "upgrade"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **old.environment},
    )
    assert process.stdout is not None
    with process, process.stdout:
        for line in process.stdout:
            if "make the ownership lease" in line:
                process.kill()
                break
        process.stdout.read()
    half = old.run("upgrade", "--dry-run")
    assert "a host whose upgrade was begun and not finished" in half.stdout, half.stderr
    assert old.run("upgrade").returncode == 0
    assert old.run("downgrade").returncode == 0
    assert old.tree() == before
