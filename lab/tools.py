# SPDX-License-Identifier: Apache-2.0
"""Programs of this machine, run with a deadline; the ends of processes. Knows nothing of hosts."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Optional

from demo.patience import wait_for
from lab.ports import LabError

DEADLINE_SECONDS = 60.0
_POLL_SECONDS = 0.1


def call(
    command: Sequence[str],
    *,
    deadline_seconds: float = DEADLINE_SECONDS,
    environment: Optional[Mapping[str, str]] = None,
    text: str = "",
) -> subprocess.CompletedProcess[str]:
    """Run a program and return how it ended, whatever that is. Raises LabError at the deadline,
    when all that it has started in its session is killed."""
    # Not as a context manager: that would wait without an end for one that hangs in the kernel.
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        out, error = process.communicate(text, timeout=deadline_seconds)
    except subprocess.TimeoutExpired:
        kill_session(process)
        raise LabError(f"{' '.join(command)}: no end within {deadline_seconds:g} s") from None
    except BaseException:
        kill_session(process)
        raise
    return subprocess.CompletedProcess(list(command), process.returncode, out, error)


def must(
    command: Sequence[str], *, deadline_seconds: float = DEADLINE_SECONDS, text: str = ""
) -> str:
    """The same for one that has to succeed; returns what it printed. Raises LabError."""
    try:
        ended = call(command, deadline_seconds=deadline_seconds, text=text)
    except FileNotFoundError:
        raise LabError(f"{command[0]} is not installed") from None
    if ended.returncode != 0:
        said = (ended.stderr or ended.stdout).strip()[-1000:]
        raise LabError(f"{' '.join(command)}: exit code {ended.returncode}: {said}")
    return ended.stdout


def kill_session(process: subprocess.Popen[str]) -> None:
    """SIGKILL to a program that was started in a session of its own, and to all in its group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    # One that hangs in the kernel is left: its end is not ours to wait for.
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(5)
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()


def wait_gone(pidfd: int, deadline_seconds: float) -> bool:
    """Wait until the process of a pidfd has ended; False at the deadline."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(max(0.0, deadline_seconds) * 1000))


def wait_until(look: Callable[[], bool], deadline_seconds: float, missing: str) -> None:
    """Look until it is so. Raises LabError that says what is missing."""
    wait_for(
        lambda: look() or None,
        deadline_seconds,
        missing,
        error=LabError,
        poll_seconds=_POLL_SECONDS,
    )


def mounts() -> list[str]:
    """Return where something is mounted in this mount namespace, the latest last."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line.split(" ")[4].replace("\\040", " ") for line in lines]


def unmount(path: Path) -> None:
    """Take off all that is mounted there; what is still busy goes when it no longer is."""
    while str(path) in mounts():
        must(["umount", "--lazy", str(path)])
