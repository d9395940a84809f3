# SPDX-License-Identifier: Apache-2.0
"""The short form of `make fuzz`, without its guidance: each target on some changed seeds.

Inputs that once did harm stand in tests/data/fuzz/<target>/.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from fuzz.mutate import mutate_xml
from fuzz.targets import TARGETS

FOUND = Path(__file__).parents[1] / "data" / "fuzz"
INPUTS = 150


def changed(data: bytes, words: tuple[bytes, ...], seed: int) -> bytes:
    """Some bytes flipped, cut out, doubled, or a word put in."""
    dice = random.Random(seed)
    content = bytearray(data)
    for _ in range(dice.randint(1, 8)):
        at, other = (dice.randint(0, len(content)) for _ in range(2))
        what = dice.randrange(4)
        if what == 0 and at < len(content):
            content[at] = dice.randrange(256)
        elif what == 1:
            del content[min(at, other) : min(at, other) + 16]
        elif what == 2:
            content[at:at] = content[other : other + 512]
        else:
            content[at:at] = dice.choice(words)
    return bytes(content)


@pytest.mark.parametrize("name", TARGETS)
def test_changed_seeds_do_no_harm(name: str) -> None:
    target = TARGETS[name]
    seeds = target.seeds()
    for seed in seeds:
        target.run(seed)
    for number in range(INPUTS):
        start = seeds[number % len(seeds)]
        if target.mutate is not None and number % 3:
            target.run(target.mutate(start, number))
        else:
            target.run(changed(start, target.words, number))


@pytest.mark.parametrize("name", TARGETS)
def test_what_once_did_harm_does_none(name: str) -> None:
    for path in sorted((FOUND / name).glob("*")):
        TARGETS[name].run(path.read_bytes())


def test_the_inputs_reach_behind_the_xml_parser() -> None:
    seed = TARGETS["ovf"].seeds()[0]
    made = {mutate_xml(seed, number) for number in range(50)}
    assert len(made) > 40
    assert mutate_xml(b"<a", 1) == b"<a"


def test_a_million_inputs_in_all() -> None:
    assert sum(target.runs for target in TARGETS.values()) >= 1_000_000
