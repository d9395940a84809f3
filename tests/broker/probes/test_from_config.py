# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Optional

from ha_agent.broker.probes.engine_health import HealthResult
from ha_agent.broker.probes.from_config import (
    HealthSample,
    NetworkSample,
    health_entry,
    network_entry,
)
from ha_agent.broker.probes.loop import Sample
from ha_agent.broker.probes.network import ProbeResult
from ha_agent.broker.snapshot import HealthEntry, NetworkEntry
from ha_agent.instant import Instant

AT = Instant(5.0)


def samples_of(*answers: Optional[bool]) -> list[NetworkSample]:
    return [Sample(ProbeResult(ok, f"said {ok}"), "", AT) for ok in answers]


def test_health_is_what_the_page_said_and_a_look_that_failed_here_tells_nothing() -> None:
    good: HealthSample = Sample(HealthResult(True, "the engine says 'DB Up!'", 0.1), "", AT)
    assert health_entry(good) == HealthEntry("good", "the engine says 'DB Up!'", AT)
    late: HealthSample = Sample(None, "no answer within 6 s", AT)
    assert health_entry(late) == HealthEntry("unknown", "no answer within 6 s", AT)


def test_the_share_lost_is_of_the_samples_that_tell() -> None:
    samples = samples_of(True, None, False, True, True)
    assert network_entry(samples[-1], samples) == NetworkEntry(0.25, "said True", AT)


def test_nothing_tested_is_no_share() -> None:
    samples: list[NetworkSample] = [*samples_of(None), Sample(None, "ping is not there", AT)]
    assert network_entry(samples[-1], samples) == NetworkEntry(None, "ping is not there", AT)


def test_a_test_that_does_not_work_is_no_new_sample_of_the_share() -> None:
    before: NetworkSample = Sample(ProbeResult(False, "no answer"), "", AT)
    after: NetworkSample = Sample(ProbeResult(None, "ping can't be run"), "", AT + 10.0)
    entry = network_entry(after, [before, after])
    assert entry == NetworkEntry(1.0, "ping can't be run", AT)
