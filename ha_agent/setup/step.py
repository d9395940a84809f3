# SPDX-License-Identifier: Apache-2.0
"""What a step of a set-up is: it looks at the world, and changes it where it is not yet so.

The duties of a step, which make a set-up resumable after a kill between any two system calls:
1. `look` reads only, and what it sees is the truth: never the journal's word that it was done.
   It is also called (dry run, first pass) before the steps ahead of it were done, and answers
   `Found(False, "...")` then.
2. `look` raises SetupRefused where what is there contradicts what is wanted: nothing of other
   people is ever overwritten. It is called again right before `do`.
3. `do` may be called on top of its own half-done work. It notes in the journal what it chooses
   (such as the UUID of a volume) before it uses it.
4. After `do`, `look` says done.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Protocol

from ha_agent.errors import HaAgentError

# Shows one line to the operator, without its newline.
Say = Callable[[str], None]


class SetupRefused(HaAgentError):
    """What is there, or what was answered, contradicts what is wanted. It changed nothing."""


class SetupFailed(HaAgentError):
    """A step could not be done; what it left can be finished by a re-run."""


@dataclass(frozen=True)
class Found:
    """What a step saw: whether there is nothing left for it to do, and what there is, as text.

    `text` is part of a sentence after the step's title, such as "volume 5f3a... of 1024 MiB".
    """

    done: bool
    text: str


class Step(Protocol):
    """One step. `name` is stable and for the journal, `title` an order: "create the volumes"."""

    @property
    def name(self) -> str:
        """A short word that stays the same over versions."""
        ...

    @property
    def title(self) -> str:
        """What `do` does, as the operator reads it."""
        ...

    async def look(self) -> Found:
        """Look at what is there; change nothing. Raises SetupRefused, EnvironmentFault."""
        ...

    async def do(self, say: Say) -> str:
        """Make it so, and tell what was done. `say` shows progress, such as "40 %".

        Raises SetupRefused, SetupFailed, EnvironmentFault.
        """
        ...
