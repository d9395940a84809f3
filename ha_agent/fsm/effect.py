# SPDX-License-Identifier: Apache-2.0
"""What the state machine may ask for. A request, never a call: perform.py carries it out.

One effect is under way at a time. Its outcome comes back, by serial, in a later observation;
every performer has a deadline, so an outcome always comes.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class EffectKind(enum.Enum):
    """The seven things that this program does to the world."""

    TAKE_LEASE = "take lease"
    RELEASE_LEASE = "release lease"  # at once: the VM is confirmed gone
    ABANDON_LEASE = "abandon lease"  # it runs out, and the fence ends a VM that nobody sees
    START_VM = "start VM"
    RESUME_VM = "resume VM"
    SHUTDOWN_VM = "shut VM down"
    DESTROY_VM = "destroy VM"


@dataclass(frozen=True)
class Effect:
    """A request with the reason for it.

    `lease_epoch` is, for TAKE_LEASE, the epoch that the decision was made on: the lease is
    not taken if it has moved on meanwhile. `fallback` is, for START_VM, whether to start from
    the last definition that became healthy instead of the one in use; and `paused`, whether its
    processors are to stand still until RESUME_VM.
    """

    kind: EffectKind
    serial: int
    why: str
    lease_epoch: int = 0
    fallback: bool = False
    paused: bool = False
