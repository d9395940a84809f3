# SPDX-License-Identifier: Apache-2.0
"""Stands for systemctl on a host in a folder: our units are real daemons, the predecessor's sleep.

    python fake_systemctl.py FOLDER show|enable|disable|start|stop ...

FOLDER/systemd.json has who runs and what is enabled; FOLDER/host.json how daemons are started.
Enabled units of ours have the predecessor's names as aliases, as with systemd.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

OURS = ("ha-agent.service", "ha-broker.service", "ha-broker.socket")
THEIRS = ("ovirt-ha-agent.service", "ovirt-ha-broker.service")
STOP_SECONDS = 20.0


def main() -> int:
    folder, verb, words = Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
    names = words[words.index("--") + 1 :]
    path = folder / "systemd.json"
    state: dict[str, Any] = json.loads(path.read_text())
    for name in names:
        unit = real(name, state)
        if verb == "show":
            running = "active" if unit in state["running"] else "inactive"
            enabled = "enabled" if unit in state["enabled"] else "disabled"
            lines = (f"Id={unit}", "LoadState=loaded", f"ActiveState={running}")
            sys.stdout.write("\n".join((*lines, f"UnitFileState={enabled}", "", "")))
        elif verb == "enable":
            state["enabled"] = sorted({*state["enabled"], unit})
        elif verb == "disable":
            state["enabled"] = sorted({*state["enabled"]} - {unit})
        elif verb == "start" and unit not in state["running"]:
            state["running"][unit] = start(folder, unit)
        elif verb == "stop" and unit in state["running"]:
            stop(state["running"].pop(unit))
        state["log"].append(f"{verb} {name}")
        path.write_text(json.dumps(state))
    return 0


def real(name: str, state: dict[str, Any]) -> str:
    ours = name[len("ovirt-") :]
    return ours if name in THEIRS and ours in state["enabled"] else name


def start(folder: Path, unit: str) -> int:
    host = json.loads((folder / "host.json").read_text())
    if unit == "ha-broker.socket":
        return 0
    command = host.get(unit, ["sleep", "600"])
    with (folder / f"{unit}.log").open("ab") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, **host["environment"]},
        )
    return process.pid


def stop(pid: int) -> None:
    if pid == 0:
        return
    pidfd = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGTERM)
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        if not poll.poll(STOP_SECONDS * 1000):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            poll.poll(STOP_SECONDS * 1000)
    finally:
        os.close(pidfd)


if __name__ == "__main__":
    sys.exit(main())
