# SPDX-License-Identifier: Apache-2.0
"""Waiting for something that has to come: looks again and again, with a limit and a reason."""

from __future__ import annotations

import time
from typing import Callable, Optional, TypeVar

T = TypeVar("T")


def wait_for(
    look: Callable[[], Optional[T]],
    limit_seconds: float,
    missing: str,
    *,
    error: Callable[[str], Exception],
    poll_seconds: float,
) -> T:
    """Return what `look` finds. Raises what `error` makes of what is `missing` after the limit."""
    ends_at = time.monotonic() + limit_seconds
    while True:
        found = look()
        if found is not None:
            return found
        if time.monotonic() > ends_at:
            raise error(f"after {limit_seconds:g} s {missing}")
        time.sleep(poll_seconds)
