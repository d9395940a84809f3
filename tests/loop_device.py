# SPDX-License-Identifier: Apache-2.0
"""Block devices for tests: a file behind a loop device, with sectors of a chosen size."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

_LIMIT_SECONDS = 30


@contextlib.contextmanager
def loop_device(image: Path, sector_bytes: int) -> Iterator[str]:
    """Yield the path of a device with the image's content; skips where there can't be one."""
    command = ["losetup", "--find", "--show", "--sector-size", str(sector_bytes), str(image)]
    try:
        made = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=_LIMIT_SECONDS
        )
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no loop device: {error}")
    device = made.stdout.strip()
    try:
        yield device
    finally:
        subprocess.run(["losetup", "--detach", device], check=True, timeout=_LIMIT_SECONDS)
