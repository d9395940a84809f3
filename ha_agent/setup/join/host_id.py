# SPDX-License-Identifier: Apache-2.0
"""Which host id a host gets that joins: decided from the status slots alone. Pure.

The status volume is the register: a slot with a block in it, of any version, readable or not, is
a host's. A host that joins writes this block into a slot that nobody has:

    score 0, stopped, no maintenance; the host's name; engine status "unknown"
    lines for people: state=AgentStopped, reason=joined; ..., agent=ha-agent <version>, and
        joined=<12 hex digits of the SHA-256 of the machine's id>

To all readers, the predecessor's too, that is a host whose agent was stopped in order: none counts
with it, and none takes it for dead. The first report of its agent replaces it, and with it the
line `joined`, which tells a second run of the same join (the slot is ours already) from another
machine that was given the same name.

A slot with this host's own name is ours again when nobody writes it any more: so a join that is
repeated, also after a kill between the slot and hosted-engine.conf, gets the same id. A slot that
nobody has may still not be had: `in_use` are ids that a lock or a lease of a running host is on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Optional

from ha_agent import __version__
from ha_agent.broker.blocks.codec import (
    SLOT_BYTES,
    STATUS_BYTES,
    BlockError,
    BlockTooNew,
    StatusBlock,
    decode,
    encode,
    human_values,
    key_value_lines,
)
from ha_agent.broker.blocks.entry import AGENT, JOINED
from ha_agent.instant import Instant, WallTime
from ha_agent.setup.step import SetupRefused

STATE = "AgentStopped"
REASON = "joined; its agent has not been started yet"
FREE_SLOT = bytes(SLOT_BYTES)
_STATUS = {"vm": "unknown", "health": "unknown", "detail": "unknown", "reason": REASON}
_MACHINE_DIGITS = 12


@dataclass(frozen=True)
class Joiner:
    """Who joins. `machine` is `machine_mark` of this host."""

    host_name: str
    machine: str


@dataclass(frozen=True)
class Slot:
    """One used slot. `problem` says why its block can't be read; then only `data` and `host_id`
    mean something. `is_ours`: written by this software, not by the predecessor's; `is_too_new`: in
    a later format, by newer software."""

    host_id: int
    data: bytes
    host_name: str = ""
    stopped: bool = False
    machine: str = ""
    is_ours: bool = True
    problem: str = ""
    is_too_new: bool = False


@dataclass(frozen=True)
class Choice:
    """The id, and what its slot must still hold when it is written. `ours`: it was ours before."""

    host_id: int
    expected: bytes
    ours: bool


@dataclass(frozen=True)
class Bound:
    """The highest host id; `remedy` is what to do for more, as a sentence."""

    most: int
    remedy: str


def machine_mark(machine_id: str) -> str:
    """Return what stands for this machine in its block; its id itself is confidential
    (machine-id(5))."""
    digest = hashlib.sha256(f"ha-agent {machine_id.strip()}".encode()).hexdigest()
    return digest[:_MACHINE_DIGITS]


def read_slot(host_id: int, data: bytes) -> Optional[Slot]:
    """Return what a slot says; None where nobody uses it. Raises nothing."""
    try:
        block = decode(data, slot=host_id)
    except BlockError as error:
        return Slot(host_id, data, problem=str(error), is_too_new=isinstance(error, BlockTooNew))
    if block is None:
        return None
    lines = block.lines
    return Slot(
        host_id,
        data,
        host_name=block.host_name,
        stopped=bool(block.stopped),
        machine=lines.get(JOINED, ""),
        is_ours=lines.get("agent", "").startswith(f"{AGENT} "),
    )


def unreadable_slot(host_id: int, why: str) -> Slot:
    """Return a slot that storage does not give; it counts as somebody's."""
    return Slot(host_id, b"", problem=why)


def joined_slot(host_id: int, joiner: Joiner, now: Instant, wall: WallTime) -> bytes:
    """Return the 4096 bytes with which a host registers. Raises BlockError (a BadInput)."""
    block = StatusBlock(
        host_id, joiner.host_name, int(now.boottime_seconds), 0, _STATUS, stopped=True
    )
    values = human_values(
        block,
        state=STATE,
        timestamp_text=wall.ctime(),
        conf_refresh_text=WallTime(0).ctime(),
    )
    values.update(reason=REASON, agent=f"{AGENT} {__version__}")
    values[JOINED] = joiner.machine
    return encode(block, key_value_lines(values))


def is_registered_as(slot: Optional[Slot], joiner: Joiner) -> bool:
    """Whether a slot is this very host's by its name, and by its machine as far as that is
    told."""
    if slot is None or slot.problem or slot.host_name != joiner.host_name:
        return False
    return slot.machine in ("", joiner.machine)


def is_twin(slot: Slot, joiner: Joiner) -> bool:
    """Whether a slot has this host's name, and was joined from another machine."""
    is_named_so = not slot.problem and slot.host_name == joiner.host_name
    return is_named_so and slot.machine not in ("", joiner.machine)


def to_watch(slots: Mapping[int, Slot], joiner: Joiner, wanted: Optional[int]) -> tuple[Slot, ...]:
    """Return the slots of which it must be known whether somebody still writes them: those with
    this host's name, and the wanted one."""
    return tuple(
        slot
        for host_id, slot in sorted(slots.items())
        if not slot.stopped
        and not slot.problem
        and (slot.host_name == joiner.host_name or host_id == wanted)
    )


def choose(
    slots: Mapping[int, Slot],
    joiner: Joiner,
    bound: Bound,
    *,
    wanted: Optional[int] = None,
    known: Optional[int] = None,
    alive: Mapping[int, float] = {},
    in_use: Collection[int] = (),
) -> Choice:
    """Return the host id to take.

    `slots` are all used ones; `known` is the id that this host had before, which decides where
    several slots have its name; `alive` has for how many seconds the block of a host that lives is
    unchanged, by host id; `in_use` are the ids that running hosts hold otherwise.
    Raises SetupRefused.
    """
    ours = _ours(slots, joiner, alive, in_use)
    if wanted is not None:
        return _wanted(wanted, ours, slots, bound, alive, in_use)
    if ours:
        host_id = known if known in ours else min(ours)
        _check_bound(host_id, bound)
        return Choice(host_id, ours[host_id].data, True)
    for host_id in range(1, bound.most + 1):
        if host_id not in slots and host_id not in in_use:
            return Choice(host_id, FREE_SLOT, False)
    raise SetupRefused(f"all host ids from 1 to {bound.most} are taken: {bound.remedy}")


def _ours(
    slots: Mapping[int, Slot],
    joiner: Joiner,
    alive: Mapping[int, float],
    in_use: Collection[int],
) -> dict[int, Slot]:
    found = {}
    for host_id, slot in slots.items():
        if slot.problem or slot.host_name != joiner.host_name:
            continue
        other = f"host id {host_id} has this host's name, {joiner.host_name}, and"
        remedy = "two hosts must not have one name"
        if host_id in alive:
            raise SetupRefused(f"{other} lives, {_changed(alive[host_id])}: {remedy}")
        if host_id in in_use:
            raise SetupRefused(f"{other} lives: it holds its id: {remedy}")
        if is_twin(slot, joiner):
            raise SetupRefused(
                f"{other} was joined from another machine: {remedy}; if that machine is gone, run"
                f" `ha-agent host remove {host_id}` on another host"
            )
        found[host_id] = slot
    return found


def _wanted(
    wanted: int,
    ours: Mapping[int, Slot],
    slots: Mapping[int, Slot],
    bound: Bound,
    alive: Mapping[int, float],
    in_use: Collection[int],
) -> Choice:
    _check_bound(wanted, bound)
    if wanted in ours:
        return Choice(wanted, ours[wanted].data, True)
    if ours:
        raise SetupRefused(
            f"this host is registered with host id {min(ours)}, not {wanted}: leave with that one"
            f" first, or run `ha-agent host remove {min(ours)}` on another host"
        )
    slot = slots.get(wanted)
    if slot is not None and slot.problem:
        raise SetupRefused(
            f"host id {wanted} is taken, and whose it is can't be read: {slot.problem}"
        )
    if slot is not None and wanted in alive:
        raise SetupRefused(
            f"host id {wanted} is {slot.host_name}'s, alive, {_changed(alive[wanted])}"
        )
    if slot is not None:
        raise SetupRefused(
            f"host id {wanted} is {slot.host_name}'s, which is silent; if that host is gone for"
            f" good, run `ha-agent host remove {wanted}` on another host"
        )
    if wanted in in_use:
        raise SetupRefused(f"host id {wanted} is held by a running host without a status block")
    return Choice(wanted, FREE_SLOT, False)


def _check_bound(host_id: int, bound: Bound) -> None:
    if host_id > bound.most:
        raise SetupRefused(f"host id {host_id} is above {bound.most}, the highest: {bound.remedy}")


def _changed(age_seconds: float) -> str:
    return f"it wrote its block {age_seconds:.0f} s ago"


def same_status(one: bytes, other: bytes) -> bool:
    """Whether two reads of a slot show the same block: lines for people are no sign of life."""
    return one[:STATUS_BYTES] == other[:STATUS_BYTES]
