# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ha_agent.broker.lease.backend import LeasePart, lease_backend, lease_seconds, sanlock_times
from ha_agent.broker.lease.cycle import LeaseKeeper
from ha_agent.broker.sanlock.keeper import SanlockKeeper
from ha_agent.clock import SystemClock
from ha_agent.config.layers import Config
from ha_agent.errors import EnvironmentFault
from tests.config.test_relations import load_with


class Lane:
    """Keeps what it was asked, and fails."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []

    async def call(self, operation: str, deadline_seconds: float, **args: Any) -> Any:
        self.asked.append((operation, args))
        raise EnvironmentFault("not here")


def build(config: Config, lane: Lane) -> LeasePart:
    return lease_backend(
        config,
        lane,
        clock=SystemClock(),
        host_name=lambda _host_id: "",
        on_change=lambda _view: None,
    )


@pytest.mark.parametrize(
    ("backend", "keeper", "operation", "path"),
    [
        ("lockfile", LeaseKeeper, "lease_initialise", ".lease"),
        ("sanlock", SanlockKeeper, "sanlock_initialise", ".sanlock"),
    ],
)
async def test_the_configured_back_end(
    tmp_path: Path, backend: str, keeper: type, operation: str, path: str
) -> None:
    text = f"[host]\nrun_dir = {tmp_path}\n[lease]\nbackend = {backend}"
    config, lane = load_with(tmp_path, text), Lane()
    part = build(config, lane)
    assert isinstance(part.keeper, keeper)
    assert part.fence.armed() is None
    with pytest.raises(EnvironmentFault):
        await part.initialise()
    (asked, args) = lane.asked[0]
    assert asked == operation
    assert args["path"].endswith(f"/ha_agent/{config.engine.vm_uuid}{path}")


@pytest.mark.parametrize(("profile", "io"), [("safe", 10), ("quick", 5), ("fast", 2)])
def test_the_profiles(tmp_path: Path, profile: str, io: int) -> None:
    text = f"[sanlock]\nprofile = {profile}\nwatchdog_fire_seconds = 30"
    times = sanlock_times(load_with(tmp_path, text).sanlock)
    assert (times.io_timeout_seconds, times.host_dead_seconds) == (io, 8 * io + 30)


@pytest.mark.parametrize(("backend", "seconds"), [("lockfile", 17.0), ("sanlock", 70.0)])
def test_how_long_a_lease_lasts_is_its_back_ends(
    tmp_path: Path, backend: str, seconds: float
) -> None:
    text = f"[lease]\nbackend = {backend}\nlease_expiry_seconds = 17\n"
    text += "[sanlock]\nprofile = quick\nwatchdog_fire_seconds = 30"
    assert lease_seconds(load_with(tmp_path, text)) == seconds
