# SPDX-License-Identifier: Apache-2.0
"""The catalogue is whole: it has every verb that a broker answers, once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from ha_agent.broker.api import about as api_about
from ha_agent.broker.api.arguments import Access
from ha_agent.broker.api.catalogue import CATALOGUE
from ha_agent.broker.parts import Parts
from ha_agent.clock import SystemClock
from ha_agent.config import layers
from tests.small_config import NOWHERE, write_config

NAMES = [verb.name for _title, verbs in CATALOGUE for verb in verbs]


def test_no_verb_stands_twice() -> None:
    assert [name for name, times in Counter(NAMES).items() if times > 1] == []


async def test_a_broker_answers_exactly_these(tmp_path: Path) -> None:
    parts = Parts(layers.load([write_config(tmp_path)], NOWHERE), SystemClock(), Access(0, None))
    served = {name for feature in parts.features for name in feature.handlers}
    # A part that is new comes into CATALOGUE with its verbs, and then `make_api_doc.py` is due.
    assert served | {verb.name for verb in api_about.VERBS} == set(NAMES)


def test_each_verb_is_said_in_a_sentence() -> None:
    for _title, verbs in CATALOGUE:
        for verb in verbs:
            assert verb.what.endswith("."), verb.name
            assert all(argument.what for argument in verb.arguments), verb.name
