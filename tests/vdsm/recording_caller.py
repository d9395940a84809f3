# SPDX-License-Identifier: Apache-2.0
"""For the tests of the verbs: a client that keeps the call and gives a prepared answer."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Any, Callable, Optional

from ha_agent.vdsm.client.verbs import Vdsm
from ha_agent.vdsm.errors import VdsmCallFailed


class RecordingCaller:
    """Stands in for the client: keeps the call, gives the prepared answer or error."""

    def __init__(self, answer: Any = True) -> None:
        self.answer = answer
        self.method = ""
        self.params: Mapping[str, Any] = {}
        self.deadline_seconds: Optional[float] = None

    async def call(
        self,
        method: str,
        params: Mapping[str, Any],
        *,
        deadline_seconds: Optional[float] = None,
    ) -> Any:
        self.method, self.params, self.deadline_seconds = method, params, deadline_seconds
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


async def ask(answer: Any, use: Callable[[Vdsm], Awaitable[Any]]) -> Any:
    return await use(Vdsm(RecordingCaller(answer)))


def refused(code: int) -> VdsmCallFailed:
    return VdsmCallFailed("a verb", code, "no")
