# SPDX-License-Identifier: Apache-2.0
"""What a target is, and what each of them promises of a refusal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Callable, Optional

from ha_agent.errors import BadInput

WHERE = "fuzz input"
DOMAIN = "1f71b5f9-5cfa-459c-8ec2-ee48c9731f60"
VM = "7f6e5d4c-3b2a-4190-8f7e-6d5c4b3a2910"


@dataclass(frozen=True)
class Target:
    """`runs` is how many inputs `make fuzz` tries; `words` are what inputs are made of; `mutate`
    makes an input from another one and a seed, beside libFuzzer's own ways."""

    run: Callable[[bytes], None]
    seeds: Callable[[], Sequence[bytes]]
    words: tuple[bytes, ...]
    runs: int
    mutate: Optional[Callable[[bytes, int], bytes]] = None


class Finding(AssertionError):
    """An input for which a promise does not hold."""


def refused(error: BadInput) -> None:
    """Hold a refusal against its promise: it names the input, and says what is wrong."""
    if WHERE not in error.where or not error.what:
        raise Finding(f"the error does not name its input: {error}") from error
