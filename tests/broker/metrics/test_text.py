# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from ha_agent.broker.metrics.catalogue import COUNTER, GAUGE, Metric
from ha_agent.broker.metrics.figures import Family
from ha_agent.broker.metrics.text import render

FAMILIES = [
    Family(
        Metric("ha_agent_x_seconds", GAUGE, "An age.", ("host_name",)),
        ((('odd "name"\n',), 1.5), (("b",), 2.0)),
    ),
    Family(Metric("ha_agent_y_total", COUNTER, "A count."), (((), 3.0),)),
]


def test_the_text_says_what_was_collected() -> None:
    text, content_type = render(FAMILIES)
    assert content_type.startswith("text/plain")
    parsed = {family.name: family for family in text_string_to_metric_families(text.decode())}
    samples = parsed["ha_agent_x_seconds"].samples
    assert {s.labels["host_name"]: s.value for s in samples} == {'odd "name"\n': 1.5, "b": 2.0}
    assert parsed["ha_agent_x_seconds"].type == "gauge"
    (count,) = parsed["ha_agent_y"].samples
    assert (count.name, count.value) == ("ha_agent_y_total", 3.0)
    assert parsed["ha_agent_y"].type == "counter"


def test_the_process_is_told_under_our_own_name_only() -> None:
    text = render([])[0].decode()
    assert "ha_agent_broker_process_cpu_seconds_total" in text
    assert not any(line.startswith(("process_", "python_")) for line in text.splitlines())


def test_openmetrics_for_those_who_want_it() -> None:
    text, content_type = render(FAMILIES, "application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert text.endswith(b"# EOF\n")
