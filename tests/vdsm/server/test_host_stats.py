# SPDX-License-Identifier: Apache-2.0
"""Host figures from /proc and /sys texts."""

from __future__ import annotations

from pathlib import Path

from ha_agent.instant import WallTime
from ha_agent.vdsm.server.host_stats import (
    HostSamples,
    cpu_model,
    cpu_ticks,
    cpu_use,
    hardware_info,
    host_stats,
    memory_kib,
    network_stats,
)
from tests.vdsm.embedded import until


def test_memory() -> None:
    text = "MemTotal:       16384 kB\nMemFree:  1024 kB\nHugePages_Total:   0\nnonsense\n"
    assert memory_kib(text) == {"MemTotal": 16384, "MemFree": 1024, "HugePages_Total": 0}


def test_cpu_model() -> None:
    assert cpu_model("processor\t: 0\nmodel name\t: A: B\n\nmodel name\t: C\n") == "A: B"
    assert cpu_model("processor\t: 0\n") == ""


def test_cpu_use_is_between_two_samples() -> None:
    before = cpu_ticks("cpu  100 0 100 800 0 0 0 0 0 0\n")
    after = cpu_ticks("cpu  130 10 110 840 10 0 0 0 0 0\n")
    assert cpu_use(before, after) == {"user": 40.0, "system": 10.0, "idle": 50.0}


async def test_links_are_told_from_the_second_sample_on() -> None:
    samples = HostSamples(0.0)
    networks = {"ovirtmgmt": "user"}
    assert "network" not in host_stats(samples, networks, WallTime(0.0))
    samples.start()
    try:
        await until(lambda: samples.are_enough)
        stats = host_stats(samples, networks, WallTime(0.0))
        assert stats["network"]["ovirtmgmt"]["state"] == "up"
    finally:
        await samples.stop()


def test_hardware_is_texts() -> None:
    info = hardware_info()
    assert set(info) == {
        *("systemManufacturer", "systemProductName", "systemVersion"),
        *("systemSerialNumber", "systemUUID", "systemFamily"),
    }
    assert all(isinstance(value, str) for value in info.values())


def test_a_network_has_the_state_of_its_bridge(tmp_path: Path) -> None:
    for name, state in (("br0", "up"), ("br1", "down"), ("lo", "unknown")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "operstate").write_text(f"{state}\n")
        (tmp_path / name / "speed").write_text("-1\n")
    networks = {"good": "bridge,br=br0", "bad": "bridge,br=br1", "gone": "bridge,br=br9"}
    stats = network_stats({**networks, "user": "user", "br1": "bridge,br=br0"}, tmp_path)
    states = {name: fields["state"] for name, fields in stats.items()}
    assert states == {
        "br0": "up",
        "br1": "down",
        "lo": "up",
        "good": "up",
        "bad": "down",
        "gone": "down",
        "user": "up",
    }
    assert stats["good"]["name"] == "good"
    assert stats["br0"]["speed"] == 1000
