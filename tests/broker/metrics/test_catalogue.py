# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from pathlib import Path

from ha_agent.broker.metrics.catalogue import CATALOGUE, COUNTER, INFO, document

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "metrics.md"


def test_the_document_is_the_catalogue() -> None:
    assert document() == DOCUMENT.read_text(), "run scripts/make_metrics_doc.py"


def test_each_name_is_there_once() -> None:
    names = [metric.name for metric in CATALOGUE]
    assert len(set(names)) == len(names)


def test_names_are_as_prometheus_wants_them() -> None:
    for metric in CATALOGUE:
        assert re.fullmatch(r"ha_agent(_[a-z]+)+", metric.name), metric.name
        assert metric.name.endswith("_total") == (metric.kind == COUNTER), metric.name
        assert metric.name.endswith("_info") == (metric.kind == INFO), metric.name
        assert metric.help.endswith("."), metric.name


def test_rules_use_metrics_that_there_are() -> None:
    names = {metric.name for metric in CATALOGUE}
    rules = document().partition("## Alert rules")[2]
    assert set(re.findall(r"ha_agent_[a-z_]+", rules)) <= names
