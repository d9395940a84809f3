# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Optional, TypeVar

import pytest

from ha_agent.broker.probes.bridge import BridgeState
from ha_agent.broker.probes.domain import DomainState
from ha_agent.broker.probes.engine_health import HealthResult
from ha_agent.broker.probes.entries import (
    bridge_entry,
    cpu_entry,
    domain_entry,
    health_entry,
    memory_entry,
    network_entry,
)
from ha_agent.broker.probes.load import Load
from ha_agent.broker.probes.loop import Sample
from ha_agent.broker.probes.memory import Memory
from ha_agent.broker.probes.network import NetworkTest, ProbeResult
from ha_agent.broker.snapshot import (
    BridgeEntry,
    CpuEntry,
    DomainEntry,
    HealthEntry,
    MemoryEntry,
    NetworkEntry,
)
from ha_agent.instant import Instant

AT = Instant(5.0)
PING = NetworkTest("ping", "10.0.0.1")
Value = TypeVar("Value")


def samples(*values: Optional[Value]) -> list[Sample[Value]]:
    """Return one sample each 10 s; None is one that failed."""
    return [
        Sample(value, "" if value is not None else "it hangs", AT + 10.0 * i)
        for i, value in enumerate(values)
    ]


def pings(*answers: Optional[bool]) -> list[Sample[ProbeResult]]:
    return samples(*(ProbeResult(ok, f"said {ok}") for ok in answers))


def test_health_is_what_the_page_said_and_a_look_that_failed_here_tells_nothing() -> None:
    good = Sample(HealthResult(True, "the engine says 'DB Up!'", 0.1), "", AT)
    assert health_entry(good) == HealthEntry("good", "the engine says 'DB Up!'", AT)
    late: Sample[HealthResult] = Sample(None, "no answer within 6 s", AT)
    assert health_entry(late) == HealthEntry("unknown", "no answer within 6 s", AT)


class TestNetwork:
    def test_the_share_lost_is_of_the_samples_that_tell(self) -> None:
        assert network_entry(PING, pings(True, None, False, True, True)) == NetworkEntry(
            0.25, "said True", AT + 40.0, "1 of the last 4 pings to 10.0.0.1 lost"
        )

    @pytest.mark.parametrize(
        ("test", "answers", "lately"),
        [
            (PING, (True, False, False, True, True), "2 of the last 5 pings to 10.0.0.1 lost"),
            (PING, (True,), "none of the last 1 ping to 10.0.0.1 lost"),
            (
                NetworkTest("tcp", "gw", 22),
                (False, False),
                "2 of the last 2 connections to gw port 22 lost",
            ),
            (
                NetworkTest("dns"),
                (True, True),
                "none of the last 2 questions to the name servers lost",
            ),
        ],
    )
    def test_in_words(self, test: NetworkTest, answers: tuple[bool, ...], lately: str) -> None:
        assert network_entry(test, pings(*answers)).lately == lately

    def test_nothing_tested_is_no_share(self) -> None:
        assert network_entry(PING, []) == NetworkEntry(detail="not measured yet")
        assert network_entry(NetworkTest("none"), []) == NetworkEntry(
            detail="no network test is configured"
        )
        cannot = [*pings(None), *samples(None)]
        assert network_entry(PING, cannot) == NetworkEntry(
            None, "it hangs", AT, "no ping to 10.0.0.1 worked"
        )

    def test_a_test_that_does_not_work_is_no_new_sample_of_the_share(self) -> None:
        entry = network_entry(PING, pings(False, None))
        assert (entry.share_lost, entry.detail, entry.taken_at) == (1.0, "said None", AT)


UP, DOWN = BridgeState(True, "b0 is up"), BridgeState(False, "b0 is down")


def test_bridge() -> None:
    assert bridge_entry("b0", samples(UP, UP, DOWN)) == BridgeEntry(
        False, "b0 is down", AT + 20.0, "up in 2 of the last 3 looks"
    )
    assert bridge_entry("b0", samples(UP, None)) == BridgeEntry(
        True, "it hangs", AT, "up in 1 of the last 1 looks"
    )
    assert bridge_entry("b0", samples(None)) == BridgeEntry(None, "it hangs", AT)
    assert bridge_entry("", []) == BridgeEntry(detail="no bridge is looked at")


def test_cpu_load_is_the_mean() -> None:
    first: Sample[Optional[Load]] = Sample(None, "", AT)
    assert cpu_entry([first]) == CpuEntry(None, "not measured yet", AT)
    told = cpu_entry([first, *samples(Load(0.2, 0.0), Load(0.6, 0.25))])
    assert told == CpuEntry(
        0.4,
        "60% of all CPUs in use, without the engine VM's 25%",
        AT + 10.0,
        "40% on the mean of 2 samples in 10 s",
    )
    assert cpu_entry(samples(Load(0.2, 0.0), None)) == CpuEntry(
        0.2, "it hangs", AT, "20% on the mean of 1 samples"
    )


def test_memory() -> None:
    assert memory_entry(samples(Memory(900, 0), Memory(5000, 4096))) == MemoryEntry(
        5000,
        "5000 MiB for the engine VM, 4096 MiB of them in use by it",
        AT + 10.0,
        "at least 900 MiB in the last 2 looks",
    )
    assert memory_entry([]) == MemoryEntry(detail="not measured yet")


def test_domain() -> None:
    good = DomainState(True, "the broker and VDSM read it", 0.0021, 0.0005)
    assert domain_entry(samples(DomainState(False, "EIO"), good)) == DomainEntry(
        True,
        0.0021,
        "the broker and VDSM read it, the broker's last call took 2 ms, "
        "VDSM's last read took 0 ms",
        AT + 10.0,
        "within reach in 1 of the last 2 looks",
    )
    assert domain_entry(samples(None)) == DomainEntry(None, None, "it hangs", AT)
