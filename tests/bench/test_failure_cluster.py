# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from bench.cluster import NotMeasured
from bench.failure_cluster import DAEMONS, restart_seconds

UNITS = Path(__file__).resolve().parents[2] / "systemd"


@pytest.mark.parametrize("daemon", DAEMONS)
def test_a_killed_daemon_is_away_for_as_long_as_under_systemd(daemon: str) -> None:
    unit = (UNITS / f"{daemon}.service").read_text()
    assert f"\nRestartSec={restart_seconds(daemon):g}\n" in unit
    assert "\nRestart=always\n" in unit


def test_a_unit_that_does_not_say_so_is_not_guessed(tmp_path: Path) -> None:
    (tmp_path / "ha-agent.service").write_text("[Service]\nRestart=always\n")
    with pytest.raises(NotMeasured, match="ha-agent"):
        restart_seconds("ha-agent", tmp_path)
