# SPDX-License-Identifier: Apache-2.0
"""The launcher's words, and what it does without sanlock; the rest is in test_vm_sanlock.py."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from ha_agent.vdsm.vm import sanlock_exec
from ha_agent.vdsm.vm_status import LockFailure, lock_failure


class _Refused(Exception):
    """Has the arguments of a SanlockException."""


def test_sanlocks_own_errors_and_errnos_are_told_apart() -> None:
    idlive = _Refused(243, "Sanlock resource not acquired", "Lease is held by another host")
    assert sanlock_exec.refusal(idlive) == (
        "resource busy: Failed to acquire lock: Lease is held by another host"
    )
    here = _Refused(17, "Sanlock resource not acquired", "File exists")
    assert sanlock_exec.refusal(here) == "Failed to acquire lock: File exists"
    assert lock_failure(sanlock_exec.refusal(here)) == LockFailure.HELD_ON_THIS_HOST
    down = _Refused(111, "Sanlock registration failed", "Connection refused")
    assert lock_failure(sanlock_exec.no_daemon(down)) == LockFailure.OUT_OF_REACH


def test_without_the_binding_nothing_is_started(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    marker = tmp_path / "started"
    command = [sys.executable, "-I", "-S", "-B", sanlock_exec.__file__]
    command += [str(writing), str(tmp_path), "0", "/usr/bin/touch", str(marker)]
    done = subprocess.run(command, pass_fds=[writing], timeout=30)
    os.close(writing)
    with os.fdopen(reading, "rb") as status:
        assert b"binding can't be used" in status.read()
    assert done.returncode == 1
    assert not marker.exists()
