# SPDX-License-Identifier: Apache-2.0
"""How much memory there is for the engine VM: what is available, and what the VM has already.

"Available" is the kernel's estimate (MemAvailable): what can be had without swapping. What the
VM holds where it runs would be free without it, so that a host does not look poorer for running
it. Huge pages are set aside for who asks for them, and are in neither. It blocks, see
engine_process.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import psutil

from ha_agent.broker.probes.engine_process import EngineProcess

_MIB = 1024 * 1024


@dataclass(frozen=True)
class Memory:
    """For the engine VM: `free_mib` in all, `engine_mib` of them held by it now."""

    free_mib: int
    engine_mib: int


def look(process: EngineProcess) -> Memory:
    """Return the memory as of now. Raises OSError."""
    use = process.look()
    engine_mib = 0 if use is None else use.memory_bytes // _MIB
    return Memory(psutil.virtual_memory().available // _MIB + engine_mib, engine_mib)
