# SPDX-License-Identifier: Apache-2.0
"""The socket's verbs `vm.start`, `vm.resume` and `vm.stop`: an operator's orders for this host's
agent.

They go through the agent's state machine, never around it: the order stands on the board, the
agent takes notice of it in its next tick (fsm/vm_order.py), takes the lease before it starts
anything, and tells in its report how far it has come. That report is the answer. Only under
global maintenance: outside of it the agents decide, and a VM that was stopped would be started
again. One order at a time, but that an end by force overtakes an orderly stop. It is off the
board again when its caller has been answered, also when that caller is gone, has waited long
enough, or the agent has fallen silent.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Optional

from ha_agent.broker.api.arguments import Access, bound
from ha_agent.broker.api.verb import Argument, Field, Kind, Verb, Who
from ha_agent.broker.rpc.codec import CODE_NOT_READY
from ha_agent.broker.rpc.server import Handler, Peer, RpcRefusal
from ha_agent.broker.snapshot import Snapshot, VmOrderEntry, VmProgressEntry
from ha_agent.broker.watch import Board
from ha_agent.clock import SystemClock

log = logging.getLogger(__name__)

# The agent has 60 s to begin, then 60 s for a start, and [engine] stop_timeout_seconds for a stop
# (fsm/vm_order.py). Then its report of it has to come.
_LEAST_SECONDS = 150.0
_BEGIN_AND_REPORT_SECONDS = 90.0
_LOOK_SECONDS = 1.0  # a silence makes no news
_ENDS = ("done", "refused")
_MILLI = 1000.0
_RESULT = (Field("detail", Kind.TEXT, "what came of it"),)
_ERRORS = (CODE_NOT_READY, "refused", "failed")

VERBS = (
    Verb(
        "vm.start",
        "Under global maintenance: takes the lease and starts the engine VM on this host.",
        who=Who.CHANGE,
        arguments=(
            Argument(
                "paused",
                Kind.FLAG,
                "only as far as the first instruction; the VM lease is taken by vm.resume",
                default=False,
            ),
        ),
        result=_RESULT,
        errors=_ERRORS,
        deadline="[engine] stop_timeout_seconds and 95 s, at least 155 s",
    ),
    Verb(
        "vm.resume",
        "Under global maintenance: lets the paused engine VM go on, which takes its VM lease.",
        who=Who.CHANGE,
        result=_RESULT,
        errors=_ERRORS,
        deadline="[engine] stop_timeout_seconds and 95 s, at least 155 s",
    ),
    Verb(
        "vm.stop",
        "Under global maintenance: stops the engine VM, which runs on this host.",
        who=Who.CHANGE,
        arguments=(
            Argument("force", Kind.FLAG, "end it at once, as by pulling the plug", default=False),
        ),
        result=_RESULT,
        errors=_ERRORS,
        deadline="[engine] stop_timeout_seconds and 95 s, at least 155 s",
    ),
)


class VmApi:
    """The handlers, by name, and the order that is being carried out."""

    def __init__(
        self,
        board: Board,
        *,
        access: Access,
        clock: SystemClock,
        report_max_age_seconds: float,
        stop_timeout_seconds: float,
    ) -> None:
        """`report_max_age_seconds`: an agent that has said nothing for longer is away."""
        self._board = board
        self._access = access
        self._clock = clock
        self._report_max_age_seconds = report_max_age_seconds
        self._order_seconds = max(_LEAST_SECONDS, stop_timeout_seconds + _BEGIN_AND_REPORT_SECONDS)
        self._order = VmOrderEntry(0, "", "")
        self._under_way: set[asyncio.Task[VmProgressEntry]] = set()

    def handlers(self) -> dict[str, Handler]:
        """Return the verbs."""
        handlers: dict[str, Handler] = {
            "vm.start": self._start,
            "vm.resume": self._resume,
            "vm.stop": self._stop,
        }
        return bound(VERBS, handlers, self._access)

    @property
    def deadlines_seconds(self) -> dict[str, float]:
        """Return the deadline of each verb."""
        return {verb.name: self._order_seconds + 5.0 for verb in VERBS}

    async def _start(self, params: Mapping[str, Any], peer: Peer) -> Any:
        return await self._give("start paused" if params["paused"] else "start", peer)

    async def _resume(self, _params: Mapping[str, Any], peer: Peer) -> Any:
        return await self._give("resume", peer)

    async def _stop(self, params: Mapping[str, Any], peer: Peer) -> Any:
        return await self._give("force stop" if params["force"] else "stop", peer)

    async def _give(self, what: str, peer: Peer) -> Any:
        fault = _fault(what, self._board.read(), self._report_max_age_seconds)
        if fault is not None:
            raise fault
        overtakes = (self._order.what, what) == ("stop", "force stop")
        if self._under_way and not overtakes:
            raise RpcRefusal("refused", "another order for the engine VM is being carried out")
        # Milliseconds since the boot: larger than any before, also those of a broker before us,
        # as long as an agent can remember one.
        now_ms = int(self._clock.now().boottime_seconds * _MILLI)
        order = VmOrderEntry(max(self._order.number + 1, now_ms), what, peer.who)
        self._order = order
        log.warning("%s orders: %s the engine VM on this host", peer.who, what)
        task = asyncio.ensure_future(self._carry_out(order))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        # Shielded: whoever leaves does not take the order back half way.
        progress = await asyncio.shield(task)
        log.warning("order to %s the engine VM: %s: %s", what, progress.phase, progress.detail)
        if progress.phase == "done":
            return {"detail": progress.detail}
        if progress.phase == "refused":
            raise RpcRefusal("refused", f"{what}: {progress.detail}")
        raise RpcRefusal("failed", f"{what}: {progress.detail}")

    async def _carry_out(self, order: VmOrderEntry) -> VmProgressEntry:
        """Have the agent do it; returns how far it came."""
        begun = self._clock.now()
        ends_at = begun + self._order_seconds
        self._board.update(vm_order=order)
        try:
            while True:
                snapshot = self._board.read()
                progress = snapshot.agent.vm_order
                known = progress.number == order.number
                if known and progress.phase in _ENDS:
                    return progress
                if self._order is not order:
                    return VmProgressEntry(order.number, "refused", "overtaken by one to force it")
                now, told_at = self._clock.now(), snapshot.agent.made_at or begun
                silent_seconds = now - max(begun, told_at)
                what = ""
                if silent_seconds > self._report_max_age_seconds:
                    what = f"has not reported for {silent_seconds:.0f} s"
                elif now >= ends_at:
                    done = "has not finished" if known else "has taken no notice of the order"
                    what = f"{done} within {self._order_seconds:g} s"
                if what:
                    detail = f"the agent {what}; what it had begun may still take effect"
                    return VmProgressEntry(order.number, "open", detail)
                await self._board.newer_than(snapshot.version, _LOOK_SECONDS)
        finally:
            if self._order is order:
                self._board.update(vm_order=None)


def _fault(what: str, snapshot: Snapshot, max_age_seconds: float) -> Optional[RpcRefusal]:
    """Return why the order is not even given."""
    told_at = snapshot.agent.made_at
    if told_at is None or snapshot.made_at - told_at > max_age_seconds:
        return RpcRefusal(CODE_NOT_READY, "this host's agent does not report")
    if snapshot.global_maintenance is None:
        return RpcRefusal(CODE_NOT_READY, "it is not known whether global maintenance is on")
    if snapshot.global_maintenance:
        return None
    if what == "start":
        why = (
            "the agents start the engine VM by themselves, on the best host; `ha-agent explain` "
            "says what they wait for, and under global maintenance it can be started by hand"
        )
    elif what == "start paused":
        why = (
            "the agents would end an engine VM that stays paused, and start it elsewhere; set"
            " global maintenance first (`ha-agent maintenance global`)"
        )
    elif what == "resume":
        why = (
            "the agents decide; set global maintenance first (`ha-agent maintenance global`): an"
            " engine VM that stays paused without it is ended and started anew"
        )
    else:
        why = (
            "the agents would start the engine VM again at once; set global maintenance first "
            "(`ha-agent maintenance global`), or move it with `ha-agent maintenance local`"
        )
    return RpcRefusal("refused", why)
