# SPDX-License-Identifier: Apache-2.0
"""What faulty_storage.py's mounts are told to do to whom, and who hangs in it."""

from __future__ import annotations

import dataclasses
import fnmatch
import threading
from collections import Counter
from typing import Any, Callable, Optional

from ha_agent.clock import SystemClock

CLOCK = SystemClock()


@dataclasses.dataclass
class Fault:
    """What happens to calls of these operations on these paths (fnmatch, from the mount's root).

    In this order: `first_bytes` of a write are written; it waits for `delay_seconds`; it hangs;
    it fails with `errno`; else it is done, the rest of the write included. `times` counts down.
    """

    operations: tuple[str, ...]
    path: str = "*"
    first_bytes: int = 0
    delay_seconds: float = 0.0
    hang: bool = False
    errno: int = 0
    times: Optional[int] = None


class Faults:
    """The faults in force, and who hangs in them."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._faults: list[Fault] = []
        self._hanging: dict[int, tuple[str, str]] = {}
        self._released: dict[int, int] = {}
        self._last = 0
        self._calls: Counter[str] = Counter()

    def set(self, faults: list[Fault]) -> None:
        with self._changed:
            self._faults = faults

    def release(self, number: int) -> None:
        with self._changed:
            self._released.update(dict.fromkeys(self._hanging, number))
            self._changed.notify_all()

    def report(self) -> dict[str, Any]:
        with self._changed:
            return {"hanging": list(self._hanging.values()), "calls": dict(self._calls)}

    def meet(
        self, operation: str, path: str, first: Callable[[int], object] = lambda count: None
    ) -> None:
        """Let happen what is to happen before `operation` on `path` is done. Raises OSError."""
        with self._changed:
            self._calls[operation] += 1
            fault = self._find(operation, path)
        if fault is None:
            return
        if fault.first_bytes:
            first(fault.first_bytes)
        if fault.delay_seconds:
            CLOCK.block(fault.delay_seconds)
        number = self._hang(operation, path) if fault.hang else 0
        if number or fault.errno:
            raise OSError(number or fault.errno, "as commanded", path)

    def _find(self, operation: str, path: str) -> Optional[Fault]:
        for fault in self._faults:
            matches = operation in fault.operations and fnmatch.fnmatch(path, fault.path)
            if matches and fault.times != 0:
                if fault.times is not None:
                    fault.times -= 1
                return fault
        return None

    def _hang(self, operation: str, path: str) -> int:
        with self._changed:
            self._last += 1
            mine = self._last
            self._hanging[mine] = (operation, path)
            self._changed.wait_for(lambda: mine in self._released)
            del self._hanging[mine]
            return self._released.pop(mine)
