# SPDX-License-Identifier: Apache-2.0
"""Host figures from /proc and /sys texts."""

from __future__ import annotations

from pathlib import Path

from ha_agent.vdsm.host_stats import CpuUse, cpu_model, memory_kib, network_stats


def test_memory() -> None:
    text = "MemTotal:       16384 kB\nMemFree:  1024 kB\nHugePages_Total:   0\nnonsense\n"
    assert memory_kib(text) == {"MemTotal": 16384, "MemFree": 1024, "HugePages_Total": 0}


def test_cpu_model() -> None:
    assert cpu_model("processor\t: 0\nmodel name\t: A: B\n\nmodel name\t: C\n") == "A: B"
    assert cpu_model("processor\t: 0\n") == ""


def test_cpu_use_is_between_two_readings() -> None:
    cpu = CpuUse()
    cpu.percent("cpu  100 0 100 800 0 0 0 0 0 0\n")
    use = cpu.percent("cpu  130 10 110 840 10 0 0 0 0 0\n")
    assert use == {"user": 40.0, "system": 10.0, "idle": 50.0}


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
