# SPDX-License-Identifier: Apache-2.0
"""A host changes from the predecessor's agent to ours, or back; its VM is left alone.

Agent and broker are stopped in order, the other kind's packages are there after a while, and
its daemons start. What is on shared storage is all that the one kind leaves to the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ha_agent.sim.host import SimHost

CHANGE_SECONDS = 20.0
"""From the order to stop the one kind to the start of the other."""
_PARTS = ("agent", "broker")


def change_software(host: SimHost, old: bool) -> None:
    """Begin; a host that has this kind already, or is about to change, is left alone."""
    if old is host.old or host.changing_software:
        return
    host.changing_software = True
    for part in _PARTS:
        host.hold_down(part, None)
        host.stop(part)
    host.world.outside.call_later(CHANGE_SECONDS, _changed, host, old)


def _changed(host: SimHost, old: bool) -> None:
    for part in _PARTS:
        host.kill(part, 0.0)  # one that did not stop in time
    host.changing_software, host.old = False, old
    for part in ("broker", "agent"):
        host.start_now(part)
