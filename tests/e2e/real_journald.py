# SPDX-License-Identifier: Apache-2.0
"""A real systemd-journald of one's own, in a mount namespace: the machine's is left alone."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ha_agent.clock import SystemClock

PROGRAM = Path("/lib/systemd/systemd-journald")
CATALOG = Path(__file__).resolve().parents[2] / "systemd" / "ha-agent.catalog"
_CLOCK = SystemClock()

# What stands in $1 is this run's folder. journald makes its sockets itself where systemd passes it
# none; the catalog's folder of the machine is covered by ours.
_BEGIN = """
set -e
mount --make-rprivate /
mount -t tmpfs none /run
mount -t tmpfs none /var/log
mkdir -p /run/systemd/journal /run/log/journal
mount --bind "$1/catalog" /usr/lib/systemd/catalog
mount -t tmpfs none /var/lib/systemd/catalog
journalctl --update-catalog
touch "$1/ready"
exec sleep infinity
"""


# systemd gives a service the journal's stream as stderr, and says so in JOURNAL_STREAM, which
# systemd-cat does not.
_SERVICE = """
import os, sys
stream = os.fstat(2)
os.environ["JOURNAL_STREAM"] = f"{stream.st_dev}:{stream.st_ino}"
os.execvp(sys.argv[1], sys.argv[1:])
"""


class Journald:
    """`run` starts programs that see this journald as the machine's."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "catalog").mkdir()
        shutil.copy(CATALOG, folder / "catalog")
        self._space = subprocess.Popen(
            ["unshare", "-m", "sh", "-c", _BEGIN, "sh", str(folder)],
            stdout=subprocess.DEVNULL,
        )
        self._begun = 0
        self.process: subprocess.Popen[bytes] = self._space

    def begin(self) -> None:
        """Start it, and wait until it takes records."""
        _wait(lambda: (self._folder / "ready").exists())
        self.process = self.popen(str(PROGRAM), stderr=subprocess.DEVNULL)
        self._begun += 1
        word = f"up-{self._begun}"
        _wait(lambda: self.run("systemd-cat", "echo", word).returncode == 0)
        _wait(lambda: self.entries(f"MESSAGE={word}"))

    def end(self) -> None:
        """End journald, in order."""
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        self.process.wait(30)

    def close(self) -> None:
        """End all of it."""
        for process in (self.process, self._space):
            process.kill()
            process.wait(30)

    def command(self, *words: str) -> list[str]:
        """Return the command line that runs a program with this journald as the machine's."""
        return ["nsenter", "-t", str(self._space.pid), "-m", f"--wd={os.getcwd()}", *words]

    def popen(self, *words: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start a program."""
        return subprocess.Popen(self.command(*words), **options)

    def service(self, *words: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start a program with the stderr that systemd gives to a service."""
        return self.popen("systemd-cat", sys.executable, "-c", _SERVICE, *words, **options)

    def run(self, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a program to its end."""
        return subprocess.run(
            self.command(*words),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            **options,
        )

    def done(self, *words: str, **options: Any) -> str:
        """Run a program that must succeed; return what it prints."""
        ended = self.run(*words, **options)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def entries(self, *matches: str) -> list[dict[str, str]]:
        """Return the records with these fields, oldest first."""
        text = self.done("journalctl", "--no-pager", "-q", "-o", "json", *matches)
        return [json.loads(line) for line in text.splitlines()]


@contextlib.contextmanager
def real_journald() -> Iterator[Journald]:
    """Start one, and end it."""
    if os.geteuid() != 0 or not PROGRAM.exists() or shutil.which("unshare") is None:
        pytest.skip("needs root, systemd-journald and unshare")
    folder = Path(tempfile.mkdtemp(prefix="ha-journald-"))
    journald = Journald(folder)
    try:
        journald.begin()
        yield journald
    finally:
        journald.close()
        shutil.rmtree(folder, ignore_errors=True)


def _wait(look: Any) -> None:
    ends_at = _CLOCK.now() + 60.0
    while not look():
        assert _CLOCK.now() < ends_at, "journald does not begin"
        _CLOCK.block(0.05)
