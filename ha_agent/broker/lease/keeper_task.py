# SPDX-License-Identifier: Apache-2.0
"""The task of a lease's keeper, whichever back end it has: one step at a time, changes told.

It knows nothing of leases. A keeper's verbs take `busy` for as long as they change something, so
that none of them runs within a step.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import Callable, Optional

from ha_agent.broker.snapshot import LeaseEntry
from ha_agent.journal_messages import BUG
from ha_agent.log import fields

log = logging.getLogger(__name__)

OnChange = Callable[[LeaseEntry], None]


class KeeperTask:
    """Steps until it is stopped; what a step raises is logged, and does not end it."""

    def __init__(
        self,
        step: Callable[[], Awaitable[None]],
        *,
        failed: Callable[[], Awaitable[None]],
        wait: Callable[[], Awaitable[None]],
        view: Callable[[], LeaseEntry],
        on_change: Optional[OnChange],
    ) -> None:
        """`failed` is awaited after a step that raised, `wait` before each further step.

        `on_change(view)` is called when owner, state or epoch changed; it must not block.
        """
        self.busy = asyncio.Lock()
        self._step = step
        self._failed = failed
        self._wait = wait
        self._view = view
        self._on_change = on_change
        self._told: Optional[tuple[object, ...]] = None
        self._task: Optional[asyncio.Task[None]] = None

    def start(self) -> None:
        """Begin to step."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="lease keeper")

    def cancel(self) -> None:
        """End as soon as it waits for something, in the middle of a step if need be."""
        if self._task is not None:
            self._task.cancel()

    async def stop(self) -> None:
        """Cancel, and return when it has ended."""
        self.cancel()
        if self._task is not None:
            await asyncio.wait({self._task})
            self._task = None

    def tell(self) -> None:
        """Call `on_change` if there is a change."""
        view = self._view()
        face = (view.state, view.ours, view.host_id, view.epoch, view.detail)
        if face != self._told and self._on_change is not None:
            self._on_change(view)
        self._told = face

    async def _run(self) -> None:
        while True:
            try:
                async with self.busy:
                    await self._step()
                self.tell()
            except Exception:
                # The fence ends the VM in time without us; a dead keeper would end it for good.
                log.exception("lease keeper: step failed", extra=fields(BUG))
                await self._failed()
            await self._wait()
