# SPDX-License-Identifier: Apache-2.0
"""One call of a VDSM verb: sent once, with its deadline, its answer read or refused.

What the verbs' modules share. It knows no verb. An error's text never has a password: VDSM and
libvirt may quote what they did not like, and whatever is said of a failure is logged and shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Callable, Optional, Protocol, TypeVar

from ha_agent.errors import BadInput
from ha_agent.vdsm.errors import VdsmBadAnswer, VdsmCallFailed

# Seconds. Usual times on a real VDSM are in facts 4.
MEMORY_DEADLINE_SECONDS = 5.0  # answered from VDSM's memory
STORAGE_DEADLINE_SECONDS = 60.0  # storage may take its time

# VDSM's own word for "no pool": paths are then under /run/vdsm/storage.
NO_POOL = "00000000-0000-0000-0000-000000000000"

Answer = TypeVar("Answer")


class Caller(Protocol):
    """What is needed of client.VdsmClient."""

    async def call(
        self,
        method: str,
        params: Mapping[str, Any],
        *,
        deadline_seconds: Optional[float] = None,
    ) -> Any:
        """Call a verb once and return its result."""


class VerbCalls:
    """Calls verbs over a client."""

    def __init__(self, client: Caller) -> None:
        self._client = client

    async def _call(self, verb: str, params: Mapping[str, Any], deadline_seconds: float) -> Any:
        try:
            return await self._client.call(verb, params, deadline_seconds=deadline_seconds)
        except VdsmCallFailed as error:
            message = error.message
            for password in _passwords(params):
                message = message.replace(password, "(password)")
            if message == error.message:
                raise
            raise VdsmCallFailed(error.verb, error.code, message) from None

    async def _ask(
        self,
        verb: str,
        params: Mapping[str, Any],
        deadline_seconds: float,
        read: Callable[[Any], Answer],
    ) -> Answer:
        answer = await self._call(verb, params, deadline_seconds)
        try:
            return read(answer)
        except BadInput as error:
            raise VdsmBadAnswer(verb, str(error)) from error


def _passwords(params: Any) -> Iterator[str]:
    if isinstance(params, Mapping):
        for key, value in params.items():
            if key == "password" and value and isinstance(value, str):
                yield value
            else:
                yield from _passwords(value)
    elif isinstance(params, (list, tuple)):
        for value in params:
            yield from _passwords(value)
