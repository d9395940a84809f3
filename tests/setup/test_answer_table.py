# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from pathlib import Path

from ha_agent.setup.answer_table import KEYS

EXAMPLE = Path(__file__).parents[2] / "conf/answers-example.conf"


def test_names_are_there_once_and_defaults_fit_their_kind() -> None:
    assert len({key.name for key in KEYS}) == len(KEYS)
    for key in KEYS:
        if key.default is not None:
            key.kind.parse(key.default)
        assert key.question.endswith("?"), key.name


def test_what_is_not_asked_has_a_default() -> None:
    assert [key.name for key in KEYS if not key.asked and key.default is None] == []


def test_a_key_that_has_no_place_always_says_when_it_has() -> None:
    for key in KEYS:
        if not key.when({}):
            assert key.only, key.name


def test_the_example_has_every_key_in_order_with_its_default_and_its_question() -> None:
    section, found, text = "", [], EXAMPLE.read_text(encoding="utf-8")
    for line in text.splitlines():
        head = re.fullmatch(r"\[(\w+)\]", line)
        section = head[1] if head else section
        match = re.fullmatch(r"#?(\w+) = ?(.*)", line)
        if match and section != "settings":
            found.append((section, match[1], match[2]))
    assert [(s, n) for s, n, _ in found] == [(key.section, key.name) for key in KEYS]
    for key, (_, _, value) in zip(KEYS, found):
        if key.default is not None:
            assert value == key.default, key.name
        assert key.question in text, key.name
        assert key.kind.expected in text, key.name
