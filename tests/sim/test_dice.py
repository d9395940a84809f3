# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from ha_agent.sim.dice import Dice


def test_a_seed_draws_the_same_on_every_python() -> None:
    drawn = Dice(7, "world").stream("h1")
    assert [round(drawn.random(), 6) for _ in range(3)] == [0.68334, 0.130513, 0.510303]


def test_streams_do_not_disturb_each_other() -> None:
    alone = Dice(1, "w").stream("b").random()
    dice = Dice(1, "w")
    dice.stream("a").random()
    assert dice.stream("b").random() == alone
    assert Dice(2, "w").stream("b").random() != alone


def test_draws_stay_within_bounds() -> None:
    dice = Dice(3, "w")
    assert all(2.0 <= dice.uniform(2.0, 3.0) < 3.0 for _ in range(100))
    assert {dice.below(3) for _ in range(100)} == {0, 1, 2}
    assert {dice.choice("ab") for _ in range(50)} == {"a", "b"}
    assert not dice.chance(0.0)
    assert dice.chance(1.0)
