# SPDX-License-Identifier: Apache-2.0
"""Hosts of the demo: each three daemons with folders of their own, on one machine."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from demo.domain import NETWORK, DemoDomain
from demo.guest import HEALTH_PATH, HTTP_PORT
from demo.watcher import command_line
from ha_agent.broker.rpc.call import call_once
from ha_agent.broker.snapshot import Snapshot, from_wire
from ha_agent.clock import SystemClock
from ha_agent.config.layers import ROOT_VARIABLE
from ha_agent.errors import HaAgentError
from ha_agent.status_text import predecessor_json

PROGRAMS = Path(sys.executable).parent
CLI_TIMEOUT_SECONDS = 5.0


def free_port() -> int:
    """Return a TCP port of the loopback that is free now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@dataclass
class Host:
    """One host: `folder` has its run and state folders, configuration and logs."""

    number: int
    folder: Path
    domain: DemoDomain
    engine_port: int
    extra_config: str = ""
    daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    """What the daemons are given besides ours."""

    @property
    def name(self) -> str:
        return f"host{self.number}"

    @property
    def config(self) -> Path:
        return self.folder / "ha-agent.conf"

    @property
    def environ(self) -> dict[str, str]:
        """What this host's programs are given: of the machine's own files they read none."""
        return {**os.environ, ROOT_VARIABLE: str(self.folder), **self.environment}

    def write_config(self, accelerator: str) -> None:
        """Write the host's configuration: the defaults, but for the paths and the bridge."""
        self.folder.mkdir(parents=True)
        vdsm_port = free_port()
        domain = self.domain
        forward = f"user,hostfwd=tcp:127.0.0.1:{self.engine_port}-:{HTTP_PORT}"
        self.config.write_text(
            f"""\
[host]
id = {self.number}
name = {self.name}
run_dir = {self.folder}/run
state_dir = {self.folder}/state
[engine]
vm_uuid = {domain.vm_uuid}
health_url = http://127.0.0.1:{self.engine_port}{HEALTH_PATH}
[storage]
domain_uuid = {domain.uuid}
domain_path = {domain.path}
domain_type = localfs
status_image = {domain.status_image}
status_volume = {domain.status_volume}
[lease]
qemu_marker = {self.folder}/run
[network]
bridge =
[definition]
vm_conf_path = {self.folder}/run/vm.conf
[vdsm]
host = 127.0.0.1
port = {vdsm_port}
ssl = false
[vdsm-server]
listen_port = {vdsm_port}
accelerator = {accelerator}
networks = {NETWORK}: {forward}
{self.extra_config}"""
        )

    def start(self, names: Iterable[str] = ("ha-vdsm", "ha-broker", "ha-agent")) -> None:
        """Start the daemons; each logs into a file of its own."""
        for name in names:
            arguments = [str(PROGRAMS / name), "--config", str(self.config)]
            if name == "ha-agent":
                arguments.append("run")
            with (self.folder / f"{name}.log").open("ab") as log:
                self.daemons[name] = subprocess.Popen(
                    arguments,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    env=self.environ,
                )

    def pids(self) -> list[int]:
        """Return every process of this host: its folder stands in the arguments of each."""
        marker = f"{self.folder}/"
        pids = []
        for name in os.listdir("/proc"):
            if name.isdigit() and int(name) != os.getpid() and marker in command_line(int(name)):
                pids.append(int(name))
        return pids

    def power_cut(self) -> None:
        """SIGKILL to agent, broker, embedded VDSM, their helpers and QEMU, all at once."""
        for _round in range(2):  # the second for what the first was just starting
            for pid in self.pids():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            for daemon in self.daemons.values():
                daemon.kill()  # one that was just started has no arguments yet
        self.reap()

    def stop(self, deadline_seconds: float = 15.0) -> None:
        """End the daemons in order, then whatever is left."""
        ends_at = time.monotonic() + deadline_seconds
        for name in ("ha-agent", "ha-broker", "ha-vdsm"):
            daemon = self.daemons.get(name)
            if daemon is not None and daemon.poll() is None:
                daemon.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    daemon.wait(max(0.0, ends_at - time.monotonic()))
        self.power_cut()

    def reap(self) -> None:
        """Collect our children that have ended."""
        for daemon in self.daemons.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                daemon.wait(5)

    def dead_daemons(self) -> list[str]:
        """Return the daemons that have ended, with their exit codes."""
        return [f"{n} ({p.poll()})" for n, p in self.daemons.items() if p.poll() is not None]

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `ha-agent` as an operator on this host does."""
        return subprocess.run(
            [str(PROGRAMS / "ha-agent"), "--config", str(self.config), *arguments],
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def picture(self) -> Optional[Snapshot]:
        """Return what the broker has in memory, None when it does not answer.

        Asked as `ha-agent status` asks it, without a process for each look: whoever waits for
        something looks often.
        """
        socket_path = str(self.folder / "run" / "broker.socket")
        try:
            answer = call_once(socket_path, "status", {}, CLI_TIMEOUT_SECONDS, clock=SystemClock())
            return from_wire(Snapshot, answer, where="broker.status")
        except HaAgentError:
            return None

    def status(self) -> Optional[dict[str, Any]]:
        """Return what `ha-agent status --json` has, None when the broker does not answer."""
        picture = self.picture()
        return None if picture is None else predecessor_json(picture)

    def says_healthy(self) -> bool:
        """Whether this host's agent, by its own probe, says that the engine here is healthy."""
        mine = (self.status() or {}).get(str(self.number), {})
        engine = mine.get("engine-status", {})
        return bool(mine.get("live-data")) and engine.get("health") == "good"
