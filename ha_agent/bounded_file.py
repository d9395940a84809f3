# SPDX-License-Identifier: Apache-2.0
"""Read a local file whole, but never more of it than it may have: a name may be a device's."""

from __future__ import annotations

from pathlib import Path

from ha_agent.errors import BadInput


def read_bounded(path: Path, max_bytes: int) -> bytes:
    """Return what is in a file. Raises OSError, and BadInput for one that is longer."""
    with path.open("rb") as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise BadInput(f"is longer than {max_bytes} bytes", where=str(path))
    return data
