# SPDX-License-Identifier: Apache-2.0
"""What can be wrong with an answer of the engine, in three kinds that are answered differently.

The engine's own words are shown as they are: who looks for help finds them in its log.
"""

from __future__ import annotations

from ha_agent.errors import EnvironmentFault


class EngineFault(EnvironmentFault):
    """The engine could not be asked, or gave an answer that can't be used."""


class EngineBusy(EngineFault):
    """It may be well in a moment: starting, restarting, a connection lost, an object locked.

    A request that failed with this may have taken effect: look before asking again.
    """


class EngineRefused(EngineFault):
    """The engine understood and said no. `reason` and `detail` are the fault's, `code` HTTP's."""

    def __init__(self, what: str, code: int, reason: str, detail: str) -> None:
        words = ": ".join(part for part in (reason, detail) if part) or "without a reason"
        super().__init__(f"{what}: the engine refuses with HTTP {code}: {words}")
        self.code = code
        self.reason = reason
        self.detail = detail


class EngineNotFound(EngineRefused):
    """The engine knows no such object."""


class LoginRefused(EngineFault):
    """User name and password, or what the user may do, are not enough."""
