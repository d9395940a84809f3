# SPDX-License-Identifier: Apache-2.0
"""Metrics as the text that Prometheus reads: the only module that imports prometheus_client.

It is imported when metrics are wanted: the library takes memory that a broker without needs not.

Of the library's default collectors only the process's is taken, under a name of our own:
`process_*` in a textfile would be node_exporter's own metrics twice, which it refuses as a whole.
Python's garbage collector and platform tell an operator nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Union

import prometheus_client.exposition
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from ha_agent.broker.metrics.catalogue import COUNTER
from ha_agent.broker.metrics.figures import Family

_PROCESS = "ha_agent_broker"


class _Families:
    """What the library calls a collector: gives out families that were collected before."""

    def __init__(self, families: Iterable[Family]) -> None:
        self._families = families

    def collect(self) -> Iterator[Union[CounterMetricFamily, GaugeMetricFamily]]:
        for family in self._families:
            metric = family.metric
            kind: Any = CounterMetricFamily if metric.kind == COUNTER else GaugeMetricFamily
            made = kind(metric.name, metric.help, labels=metric.labels)
            for labels, value in family.samples:
                made.add_metric(labels, value)
            yield made


def render(families: Iterable[Family], accept: str = "") -> tuple[bytes, str]:
    """Return the text and its content type: OpenMetrics where the `Accept` header asks for that.

    Takes milliseconds of a processor for hundreds of hosts; call it in a thread.
    """
    registry = CollectorRegistry()
    registry.register(_Families(families))
    ProcessCollector(namespace=_PROCESS, registry=registry)
    encode, content_type = prometheus_client.exposition.choose_encoder(accept)
    return encode(registry), content_type
