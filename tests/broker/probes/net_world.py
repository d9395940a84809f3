# SPDX-License-Identifier: Apache-2.0
"""A network of its own for a program: gone with the program, whatever happens to the test."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

needs_own_network = [
    pytest.mark.root,
    pytest.mark.skipif(
        os.getuid() != 0 or not all(map(shutil.which, ("unshare", "ip", "mount"))),
        reason="needs root, unshare, ip and mount",
    ),
]


def run_apart(setup: str, program: str) -> list[str]:
    """Run the Python `program` in a new network, after the shell's `setup`; return its lines."""
    shell = f'mount -t sysfs none /sys && {setup} && exec "$0" -c "$1"'
    command = ["unshare", "--net", "--mount", "sh", "-c", shell, sys.executable, program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
