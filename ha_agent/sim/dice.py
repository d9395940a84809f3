# SPDX-License-Identifier: Apache-2.0
"""Chance that a seed repeats, on every Python version.

Only `random.Random.random()` is used, whose sequence Python promises to keep; what is built on
it here is ours. Each part of a simulation draws from a stream with a name of its own, so that
one draw more in one place does not change all the others.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from typing import Callable, TypeVar

T = TypeVar("T")


class Dice:
    """One stream of draws. `random()` is in [0, 1)."""

    def __init__(self, seed: int, name: str) -> None:
        digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
        self._seed = seed
        self._name = name
        self.random: Callable[[], float] = random.Random(int.from_bytes(digest[:8], "big")).random

    def stream(self, name: str) -> Dice:
        """Return the stream of this name under this one; the same name, the same draws."""
        return Dice(self._seed, f"{self._name}/{name}")

    def uniform(self, low: float, high: float) -> float:
        """Draw a number in [low, high)."""
        return low + (high - low) * self.random()

    def below(self, count: int) -> int:
        """Draw a whole number in 0..count-1."""
        return min(int(self.random() * count), count - 1)

    def choice(self, values: Sequence[T]) -> T:
        """Draw one of the values."""
        return values[self.below(len(values))]

    def chance(self, share: float) -> bool:
        """Draw whether something happens that does in this share of all cases."""
        return self.random() < share
