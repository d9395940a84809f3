# SPDX-License-Identifier: Apache-2.0
"""Stands for the predecessor's agent on a host in a folder: it says in its block how the VM does.

    python old_agent.py STATUS_VOLUME HOST_ID ROOT

Where the VM runs is looked up among the processes. It starts and stops nothing; the simulator has
a model of the predecessor that does (ha_agent/sim/predecessor.py).
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

from ha_agent.broker.blocks.codec import StatusBlock, encode

UP = {"vm": "up", "health": "good", "detail": "Up"}
DOWN = {
    "vm": "down",
    "health": "bad",
    "detail": "unknown",
    "reason": "vm not running on this host",
}
EVERY_SECONDS = 1.0


def main() -> None:
    volume, host_id, root = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    mark = f"{root}/".encode()

    def write(stopped: bool) -> None:
        here = has_vm(mark)
        state = "AgentStopped" if stopped else "EngineUp" if here else "EngineDown"
        block = StatusBlock(
            host_id, root.name, int(time.monotonic()), 0 if stopped else 3400,
            UP if here else DOWN, stopped=stopped,
        )  # fmt: skip
        fd = os.open(volume, os.O_WRONLY)
        os.pwrite(fd, encode(block, (f"state={state}",)), host_id * 4096)
        os.close(fd)

    def stop(*_signal: object) -> None:
        write(stopped=True)
        sys.exit(0)

    signal.signal(signal.SIGTERM, stop)
    while True:
        write(stopped=False)
        time.sleep(EVERY_SECONDS)


def has_vm(mark: bytes) -> bool:
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            command = (Path("/proc") / name / "cmdline").read_bytes()
            if b"qemu-system" in command.partition(b"\0")[0] and mark in command:
                return True
    return False


if __name__ == "__main__":
    main()
