# SPDX-License-Identifier: Apache-2.0
"""`ha-agent deploy` on a bare host, and then the daemons with nothing but what it wrote."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable, Optional

import pytest

from demo.guest import HEALTH_PATH, HTTP_PORT, MEMORY_MIB, build_guest
from demo.hosts import PROGRAMS, free_port
from demo.watcher import command_line
from ha_agent.clock import SystemClock
from tests.e2e.cluster import GUEST_CACHE

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

CLOCK = SystemClock()
LIMIT_SECONDS = 200.0


class BareHost:
    """Folders for one host, and its processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root, self.share = folder / "root", folder / "share"
        self.root.mkdir()
        self.share.mkdir()
        self.vdsm_port, self.engine_port = free_port(), free_port()
        self.daemons: list[subprocess.Popen[bytes]] = []
        self.environment = {**os.environ, "HA_AGENT_HOST_ROOT": str(self.root)}

    def start(self, *words: str) -> None:
        with (self.folder / f"{words[0]}.log").open("ab") as log:
            self.daemons.append(
                subprocess.Popen(
                    [str(PROGRAMS / words[0]), *words[1:]],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    env=self.environment,
                )
            )

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(PROGRAMS / "ha-agent"), *words],
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
            env=self.environment,
            stdin=subprocess.DEVNULL,
        )

    def kill_deploy(self, answers: Path, head: str) -> None:
        """Begin a deploy, and SIGKILL it and its worker as soon as it begins that step."""
        words = [str(PROGRAMS / "ha-agent"), "deploy", "--answers", str(answers)]
        with subprocess.Popen(
            words, stdout=subprocess.PIPE, text=True, env=self.environment, start_new_session=True
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith(head):
                    os.killpg(process.pid, signal.SIGKILL)
                    break
            process.wait(30)

    def start_vdsm(self) -> None:
        """The embedded VDSM has a file of its own: the host has no storage yet."""
        forward = f"user,hostfwd=tcp:127.0.0.1:{self.engine_port}-:{HTTP_PORT}"
        path = self.folder / "vdsm.conf"
        path.write_text(
            f"[host]\nrun_dir = {self.folder}/run\nstate_dir = {self.folder}/state\n"
            f"[vdsm-server]\nlisten_port = {self.vdsm_port}\naccelerator = tcg\n"
            f"networks = ovirtmgmt: {forward}\n"
        )
        self.start("ha-vdsm", "--config", str(path))

    def answers(self, image: Path) -> Path:
        path = self.folder / "answers.conf"
        path.write_text(
            f"""[storage]
storage_type = localfs
storage_connection = {self.share}
[host]
bridge =
[engine]
engine_fqdn = 127.0.0.1
health_url = http://127.0.0.1:{self.engine_port}{HEALTH_PATH}
memory_mib = {MEMORY_MIB}
cpus = 1
machine = pc
console = none
[disk]
disk_image_file = {image}
[vdsm]
vdsm_host = 127.0.0.1
vdsm_port = {self.vdsm_port}
vdsm_ssl = false
[settings]
host.run_dir = {self.folder}/run
host.state_dir = {self.folder}/state
lease.qemu_marker = {self.folder}/run
definition.vm_conf_path = {self.folder}/run/vm.conf
network.test = none
"""
        )
        return path

    def status(self) -> Optional[dict[str, Any]]:
        answer = self.run("status", "--json", "--timeout", "5")
        if answer.returncode != 0:
            return None
        status: dict[str, Any] = json.loads(answer.stdout)
        return status

    def stop(self) -> None:
        for daemon in reversed(self.daemons):
            daemon.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                daemon.wait(10)
        marker = f"{self.folder}/"
        for name in filter(str.isdigit, os.listdir("/proc")):
            if int(name) != os.getpid() and marker in command_line(int(name)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(name), signal.SIGKILL)
        for daemon in self.daemons:
            daemon.kill()
            daemon.wait(10)


@contextlib.contextmanager
def bare_host() -> Iterator[BareHost]:
    if shutil.which("qemu-system-x86_64") is None:
        pytest.skip("needs qemu-system-x86_64: apt-get install qemu-system-x86")
    # Not tmp_path: the path of a UNIX socket has at most 107 bytes.
    host = BareHost(Path(tempfile.mkdtemp(prefix="ha-deploy-")))
    try:
        yield host
    finally:
        host.stop()
        shutil.rmtree(host.folder, ignore_errors=True)


def test_deploy_and_the_engine_answers() -> None:
    with bare_host() as host:
        image = host.folder / "guest.img"
        build_guest(GUEST_CACHE, image=image, progress=lambda _text: None)
        host.start_vdsm()
        answers = host.answers(image)
        _until(lambda: _planned(host, answers), "VDSM does not come up")
        for head in ("[6/", "[9/", "[11/", "[15/"):
            host.kill_deploy(answers, head)
        done = _deployed(host, answers)
        assert "the hosted engine is set up" in done
        host.start("ha-broker")
        host.start("ha-agent", "run")

        def healthy() -> Optional[bool]:
            mine = (host.status() or {}).get("1", {})
            return mine.get("engine-status", {}).get("health") == "good" or None

        _until(healthy, "the engine does not answer", lambda: host.run("status").stdout)
        # With the engine VM running, the same again: it finds all as it is.
        again = host.run("deploy", "--answers", str(answers))
        assert again.returncode == 0, again.stderr
        assert "there was nothing to do" in again.stdout


def _planned(host: BareHost, answers: Path) -> Optional[str]:
    done = host.run("deploy", "--answers", str(answers), "--dry-run")
    if "can't be reached" in done.stderr:
        return None
    assert done.returncode == 0, done.stderr
    assert "nothing was changed" in done.stdout
    assert not list(host.share.iterdir())
    assert not list(host.root.iterdir())
    return done.stdout


def _deployed(host: BareHost, answers: Path) -> str:
    done = host.run("deploy", "--answers", str(answers))
    assert done.returncode == 0, done.stderr
    return done.stdout


def _until(look: Any, missing: str, tell: Callable[[], str] = str) -> Any:
    ends_at = CLOCK.now() + LIMIT_SECONDS
    while CLOCK.now() < ends_at:
        found = look()
        if found is not None:
            return found
        CLOCK.block(0.3)
    pytest.fail(f"after {LIMIT_SECONDS:g} s {missing}: {tell()}")
