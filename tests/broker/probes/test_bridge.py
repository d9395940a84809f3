# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from ha_agent.broker.probes import bridge
from ha_agent.broker.probes.bridge import BridgeState
from tests.broker.probes.net_world import needs_own_network, run_apart


@pytest.mark.parametrize(
    ("word", "up", "detail"),
    [
        ("up", True, "b0 is up"),
        ("unknown", True, "b0 is up"),
        ("down", False, "b0 is down"),
        ("lowerlayerdown", False, "b0 is without a link"),
        ("dormant", False, "b0 is dormant"),
    ],
)
def test_the_kernels_word_decides(tmp_path: Path, word: str, up: bool, detail: str) -> None:
    (tmp_path / "b0").mkdir()
    (tmp_path / "b0" / "operstate").write_text(f"{word}\n")
    assert bridge.look("b0", tmp_path) == BridgeState(up, detail)


def test_a_bridge_that_is_not_there_is_down(tmp_path: Path) -> None:
    assert bridge.look("b0", tmp_path) == BridgeState(False, "there is no interface b0")


def test_what_cannot_be_read_is_no_verdict(tmp_path: Path) -> None:
    (tmp_path / "b0" / "operstate").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        bridge.look("b0", tmp_path)


class TestInItsOwnNetwork:
    pytestmark = needs_own_network

    def test_a_real_bridge_goes_down_with_its_last_port_and_comes_back(self) -> None:
        program = """
import subprocess, time
from ha_agent.broker.probes import bridge
def told(command, wanted):
    subprocess.run(command, shell=True, check=True)
    while bridge.look("b0").detail != wanted:  # the kernel takes a moment
        time.sleep(0.01)
    print(bridge.look("b0"))
told("true", "b0 is up")
told("ip link set p0 down", "b0 is down")
told("ip link set p0 up", "b0 is up")
told("ip link set b0 down", "b0 is down")
told("ip link del b0", "there is no interface b0")
"""
        setup = (
            "ip link add b0 type bridge && ip link add p0 type veth peer name q0 && "
            "ip link set q0 up && ip link set p0 master b0 && ip link set p0 up "
            "&& ip link set b0 up"
        )
        assert [line.split("(")[1].split(",")[0] for line in run_apart(setup, program)] == [
            "up=True",
            "up=False",
            "up=True",
            "up=False",
            "up=False",
        ]
