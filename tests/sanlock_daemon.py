# SPDX-License-Identifier: Apache-2.0
"""Starts and ends real sanlock daemons for tests: one a host, several side by side.

    pytestmark = [pytest.mark.sanlock, needs_sanlock]

    with SanlockDaemon(tmp_path / "a", "alpha") as alpha:
        alpha.client("add_lockspace", "-s", f"ls:1:{path}:0", "-o", "2")

A daemon is found by SANLOCK_RUN_DIR: `environment` has it for a process that should talk to it.
The binding reads that variable at a process's first call and never again, so a test leaves the
calls to processes of its own, or to a daemon that is `found_here`. No watchdog, no real-time
priority, no privileges are used.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Optional

import pytest

START_SECONDS = 20.0
STOP_SECONDS = 20.0

HAVE_SANLOCK = (
    shutil.which("sanlock") is not None and importlib.util.find_spec("sanlock") is not None
)
needs_sanlock = pytest.mark.skipif(
    not HAVE_SANLOCK,
    reason="no sanlock daemon, or no binding for this Python (packages sanlock, python3-sanlock)",
)


@contextlib.contextmanager
def found_here(daemon: SanlockDaemon) -> Iterator[None]:
    """Have this process's binding talk to the daemon, and later to another one.

    The binding remembers the name of its first folder; this one is a link, the same for all.
    """
    link = Path(tempfile.gettempdir()) / f"ha-sanlock-{os.getpid()}"
    link.unlink(missing_ok=True)
    link.symlink_to(daemon.run_dir)
    variables = {**daemon.variables, "SANLOCK_RUN_DIR": str(link)}
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in variables.items():
                patch.setenv(name, value)
            yield
    finally:
        link.unlink()


class SanlockDaemon:
    """One host's sanlock daemon; a context manager. `log` is what it has said."""

    def __init__(self, folder: Path, host_name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.host_name = host_name
        self.log_path = folder / "sanlock.log"
        # A socket's path may have 107 bytes, and pytest's folders are deep.
        self.run_dir = Path(tempfile.mkdtemp(prefix="sanlock-"))
        self._process: Optional[subprocess.Popen[bytes]] = None

    @property
    def environment(self) -> dict[str, str]:
        """The environment, ours included, of a process that talks to this daemon."""
        return {**os.environ, **self.variables}

    @property
    def variables(self) -> Mapping[str, str]:
        """What of the environment leads to this daemon."""
        return {"SANLOCK_RUN_DIR": str(self.run_dir), "SANLOCK_PRIVILEGED": "0"}

    @property
    def pid(self) -> int:
        """The daemon's process id."""
        assert self._process is not None
        return self._process.pid

    def log(self) -> str:
        """Return what the daemon has said so far."""
        return self.log_path.read_text("utf-8", "replace")

    def start(self) -> None:
        """Start the daemon and wait until it answers."""
        command = ["sanlock", "daemon", "-D", "-w", "0", "-h", "0", "-l", "0", "-g", "1"]
        command += ["-U", str(os.getuid()), "-G", str(os.getgid()), "-e", self.host_name]
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment
            )
        ends_at = time.monotonic() + START_SECONDS
        while self.client("status", check=False).returncode != 0:
            gone = self._process.poll() is not None
            if gone or time.monotonic() > ends_at:
                self.kill()
                raise RuntimeError(f"sanlock does not answer:\n{self.log()}")
            time.sleep(0.02)

    def client(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run `sanlock client ARGUMENTS` against this daemon."""
        return subprocess.run(
            ["sanlock", "client", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=check,
        )

    def signal(self, number: int) -> None:
        """Send the daemon a signal, such as SIGSTOP."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL: the host's death as far as its leases go. Leaves nothing behind."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_SECONDS)
            self._process = None

    def stop(self) -> None:
        """End it, in order if it will: clients that hold leases are ended by it."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self.client("shutdown", "-f", "1", check=False)
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()
        self._process = None

    def __enter__(self) -> SanlockDaemon:
        self.start()
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        try:
            self.stop()
        finally:
            self.kill()
            shutil.rmtree(self.run_dir, ignore_errors=True)
