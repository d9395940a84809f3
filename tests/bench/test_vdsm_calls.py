# SPDX-License-Identifier: Apache-2.0
"""Both clients against the real server that only answers, each a process of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Optional

import pytest

from bench.vdsm_caller import OURS, THEIRS
from bench.vdsm_calls import (
    Clients,
    Round,
    callers,
    make_certificates,
    responder,
    rows_of_calls,
)
from bench.vdsm_responder import PING, STATS


@pytest.fixture(params=["TCP", "TLS"])
def clients(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Clients]:
    pytest.importorskip("stomp", reason="needs stomp.py, of the extra bench")
    folder: Optional[Path] = make_certificates(tmp_path) if request.param == "TLS" else None
    with responder(folder) as port, callers(port, folder) as connected:
        yield connected


def test_both_clients_call_and_take_every_event(clients: Clients) -> None:
    for client in clients.values():
        told = client.order(calls=6, method=PING, at_once=1)
        assert len(told["latencies"]) == 6
        assert told["processor_seconds"] > 0
        assert len(client.order(calls=6, method=STATS, at_once=3)["latencies"]) == 6
        for a_second in (0, 100_000):
            told = client.order(events=1500, a_second=a_second)
            assert told["lost"] == 0
            assert told["latencies"] == []


def test_at_once_it_counts_how_calls_follow_each_other() -> None:
    ours = Round((0.4, 0.6), 0.1, 0.05, 0.0)
    theirs = Round((0.9, 0.9), 0.3, 0.2, 0.0)
    rounds = {OURS: [ours], THEIRS: [theirs]}
    alone, p99, processor = rows_of_calls("x", 1, rounds)
    assert (alone.samples, alone.against_samples) == ((0.4, 0.6), (0.9, 0.9))
    assert (p99.samples, p99.against_samples) == ((0.6,), (0.9,))
    assert (processor.samples, processor.against_samples) == ((0.05,), (0.2,))
    each = rows_of_calls("x", 50, rounds)[0]
    assert (each.samples, each.against_samples, each.kept) == ((0.1,), (0.3,), True)
