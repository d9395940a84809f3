# SPDX-License-Identifier: Apache-2.0
"""The OVF_STORE as this host's broker sees it: the API tells neither its dates nor what is in it.

The engine notes in each copy's volume description whether it is whole, and when it was written
(ovfstore/locate.py); the API shows a disk without it. So the import looks from this side, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Callable, Optional, Protocol

from ha_agent.errors import BadInput, EnvironmentFault, HaAgentError
from ha_agent.vdsm.deadline import StorageThreads

# As long as the broker itself takes at most: store.list and refresh of broker/api.
LIST_SECONDS = 120.0


@dataclass(frozen=True)
class StoreCopy:
    """One copy: whether it is whole (Updated:true), and its date and size as one text."""

    volume_uuid: str
    whole: bool
    told: str


@dataclass(frozen=True)
class Definition:
    """The engine VM's definition that this host uses. `problem`: why not the store's, if so."""

    identity: str
    last_updated: str
    problem: str


class StoreView(Protocol):
    """What is needed of the broker. Both raise EnvironmentFault when it can't be asked."""

    async def copies(self) -> tuple[StoreCopy, ...]:
        """Return all copies of the OVF_STORE."""
        ...

    async def definition(self, refresh: bool) -> Definition:
        """Return the definition in use; `refresh`: have all hosts read the store first."""
        ...


class BrokerView:
    """Implements StoreView over the operators' socket. `ask(method)` blocks, with a deadline."""

    def __init__(self, ask: Callable[[str], Any]) -> None:
        self._ask = ask
        self._threads = StorageThreads(max_threads=2)

    async def copies(self) -> tuple[StoreCopy, ...]:
        answer = await self._answer("store.list")
        listed = answer.get("copies")
        if not isinstance(listed, list):
            raise BadInput("no list of copies", where="broker.store.list")
        return tuple(
            StoreCopy(
                str(one.get("volume_uuid")),
                one.get("usable") is True,
                "; ".join(str(part) for part in one.get("sentences", ())),
            )
            for one in listed
        )

    async def definition(self, refresh: bool) -> Definition:
        answer = await self._answer("refresh" if refresh else "status")
        found = answer.get("definition")
        if not isinstance(found, dict):
            raise BadInput("no definition", where="broker.status")
        return Definition(
            str(found.get("identity") or ""),
            str(found.get("last_updated") or ""),
            str(found.get("problem") or ""),
        )

    async def _answer(self, method: str) -> Mapping[str, Any]:
        try:
            answer = await self._threads.run(method, LIST_SECONDS, lambda: self._ask(method))
        except EnvironmentFault:
            raise
        except HaAgentError as error:  # the broker's own refusal; it is there, and can't tell
            raise EnvironmentFault(f"the broker can't tell: {error}") from error
        if not isinstance(answer, dict):
            raise BadInput(f"expected a map, got {type(answer).__name__}", where=method)
        return answer


def unwritten(before: Optional[tuple[StoreCopy, ...]], now: tuple[StoreCopy, ...]) -> str:
    """Return which copies are not whole and newer than `before`, as a sentence; "" for none.

    `before` None: not known, and all that are whole will do.
    """
    old = {copy.volume_uuid: copy.told for copy in before or ()}
    torn = [copy.volume_uuid for copy in now if not copy.whole]
    same = [
        copy.volume_uuid for copy in now if copy.whole and old.get(copy.volume_uuid) == copy.told
    ]
    if torn:
        return f"copy {', '.join(torn)} is being written"
    if same:
        return f"copy {', '.join(same)} is still the one from before"
    return "" if now else "there is no copy of the OVF_STORE"
