# SPDX-License-Identifier: Apache-2.0
"""The power switch and its agent, over a real socket."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Optional

import pytest
from lxml import etree

from lab.peers import fence_lab
from lab.peers.fence_switch import SOCKET_NAME, FenceSwitch
from lab.ports import LabError


class Plug:
    """A host that is on until it is switched off."""

    def __init__(self, stuck: bool = False) -> None:
        self.leader: Optional[int] = 7
        self._stuck = stuck

    def power_cut(self) -> None:
        if self._stuck:
            raise LabError("it does not end")
        self.leader = None


def _agent(socket: Path, *options: str) -> subprocess.CompletedProcess[str]:
    # As pacemaker-fenced does: the options on stdin, one a line.
    text = "\n".join([f"socket={socket}", "nodename=ignored", *options, ""])
    program = [sys.executable, fence_lab.__file__]
    return subprocess.run(
        program, input=text, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("action", ["off", "reboot"])
def test_the_agent_switches_a_host_off(tmp_path: Path, action: str) -> None:
    hosts = {"host1": Plug(), "host2": Plug()}
    with FenceSwitch(tmp_path, hosts) as switch:
        socket = tmp_path / SOCKET_NAME
        assert _agent(socket, "action=status", "plug=host1").returncode == fence_lab.DONE
        assert _agent(socket, f"action={action}", "plug=host1").returncode == fence_lab.DONE
        assert _agent(socket, "action=status", "plug=host1").returncode == fence_lab.IS_OFF
    assert hosts["host1"].leader is None
    assert hosts["host2"].leader == 7
    assert switch.offs == ["host1"]


def test_a_host_that_is_off_already_is_off_at_once(tmp_path: Path) -> None:
    host = Plug()
    host.power_cut()
    with FenceSwitch(tmp_path, {"host1": host}):
        done = _agent(tmp_path / SOCKET_NAME, "action=off", "plug=host1")
    assert done.returncode == fence_lab.DONE


def test_a_switch_that_fails_is_no_success(tmp_path: Path) -> None:
    with FenceSwitch(tmp_path, {"host1": Plug(stuck=True)}) as switch:
        socket = tmp_path / SOCKET_NAME
        assert _agent(socket, "action=off", "plug=host1").returncode == fence_lab.FAILED
        assert _agent(socket, "action=off", "plug=host9").returncode == fence_lab.FAILED
        assert _agent(socket, "action=on", "plug=host1").returncode == fence_lab.FAILED
        assert switch.answer("dance host1").startswith("failed")


def test_without_a_switch_the_agent_fails_and_says_why(tmp_path: Path) -> None:
    done = _agent(tmp_path / "none", "action=off", "plug=host1")
    assert done.returncode == fence_lab.FAILED
    assert "fence_lab" in done.stderr


def test_the_agent_lists_hosts_and_is_monitored(tmp_path: Path) -> None:
    with FenceSwitch(tmp_path, {"host1": Plug(), "host2": Plug()}):
        socket = tmp_path / SOCKET_NAME
        assert _agent(socket, "action=list").stdout.split() == ["host1", "host2"]
        assert _agent(socket, "action=monitor").returncode == fence_lab.DONE


def test_the_agents_metadata_has_what_pacemaker_asks_for() -> None:
    done = _agent(Path("/none"), "action=metadata")
    root = etree.fromstring(done.stdout.encode())
    assert {one.get("name") for one in root.iter("parameter")} == {"action", "plug", "socket"}
    assert {"off", "reboot", "monitor"} <= {one.get("name") for one in root.iter("action")}


def test_a_switch_that_never_listened_stops(tmp_path: Path) -> None:
    FenceSwitch(tmp_path, {}).stop()


def test_hosts_that_boot_at_once_share_one_switch(tmp_path: Path) -> None:
    at_once, before = 8, threading.active_count()
    for number in range(40):
        switch = FenceSwitch(tmp_path / str(number), {"host1": Plug()})
        together = threading.Barrier(at_once)
        troubles: list[OSError] = []

        def plug_in(
            begun: FenceSwitch = switch,
            gate: threading.Barrier = together,
            seen: list[OSError] = troubles,
        ) -> None:
            gate.wait(60.0)
            try:
                begun.start()
            except OSError as error:
                seen.append(error)

        threads = [threading.Thread(target=plug_in) for _host in range(at_once)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        switch.stop()
        assert (troubles, threading.active_count()) == ([], before)
