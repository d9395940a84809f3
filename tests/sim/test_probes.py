# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from tests.sim.sim_story import story


def test_the_host_s_condition_shows_in_the_next_samples() -> None:
    with story(seconds=20.0) as told:
        broker = told.world.hosts[1].broker
        assert broker is not None
        before = broker.board.read()
        assert (before.bridge.up, before.cpu.load, before.memory.free_mib) == (True, 0.1, 32768)
        for fault in ("cpu-load 1", "memory-free 512", "bridge-down"):
            told.do(f"h1 {fault} for 60")
        told.wait(15.0)
        seen = broker.board.read()
        assert (seen.bridge.up, seen.memory.free_mib) == (False, 512)
        # The mean of three samples, of which one was of a busy host.
        assert seen.cpu.load is not None
        assert 0.3 < seen.cpu.load < 0.5
        assert seen.cpu.taken_at == seen.bridge.taken_at == seen.memory.taken_at
        assert seen.version > before.version, "a bridge that goes down wakes who waits"


def test_a_vdsm_that_is_silent_hides_no_trouble_of_its_host() -> None:
    with story(seconds=20.0) as told:
        agent = told.world.hosts[2].agent
        assert agent is not None
        for fault in ("vdsm-silent", "bridge-down"):
            told.do(f"h2 {fault} for 120")
        told.wait(60.0)
        assert agent.cycle.memory.trends.bridge.since is not None
