# SPDX-License-Identifier: Apache-2.0
"""Small things that set-up's tools import."""

from __future__ import annotations

from typing import Any

_TRUE = ("t", "true", "y", "yes", "1", "on")
_FALSE = ("f", "false", "n", "no", "0", "off", "none", "")


def to_bool(value: Any) -> bool:
    """Return the truth of a flag as people and files write it.

    Raises ValueError for what is neither: a maintenance flag must not be guessed.
    """
    if isinstance(value, (bool, int)) or value is None:
        return bool(value)
    text = str(value).strip().lower()
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError(f"{value!r:.60} is neither true nor false")
