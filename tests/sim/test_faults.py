# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from ha_agent.errors import BadInput
from ha_agent.sim.faults import ALL_HOSTS, Fault, parse


@pytest.mark.parametrize(
    "line",
    [
        "at 60 h1 power-off",
        "at 60 h1 storage-hang for 30",
        "at 60 all storage-eio for 5",
        "at 75.5 h2 kill broker",
        "at 80 h2 kill broker for 40",
        "at 90 h1 migrate-to h3 for 8",
        "at 99 cluster global-maintenance on",
        "at 1 h12 clock-jump -3600",
    ],
)
def test_a_line_is_its_fault_s_text(line: str) -> None:
    assert parse(line, "test").text() == line


def test_its_parts() -> None:
    fault = parse("at  90 h1 migrate-to h3  for 8", "test")
    assert fault == Fault(90.0, "migrate-to", 1, "h3", 8.0)
    assert fault.target == 3
    assert parse("at 1 all storage-flaky 0.25 for 9", "test").number == 0.25
    assert parse("at 1 all storage-eio for 9", "test").host_id == ALL_HOSTS


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("power-off h1", "is not 'at SECONDS"),
        ("at 1 h1 fly", "unknown kind"),
        ("at 1 h1 shutdown", "is for cluster"),
        ("at 1 cluster power-off", "is for a host"),
        ("at 1 h1 kill cat", "is none of"),
        ("at 1 h1 clock-jump far", "is not a number"),
        ("at 1 h1 migrate-to home for 3", "is not a host"),
        ("at 1 h1 power-on now", "takes no value"),
        ("at 1 h1 storage-eio", "needs 'for SECONDS'"),
        ("at 1 h1 power-on for 3", "takes no 'for SECONDS'"),
        ("at 1.2.3 h1 power-on", "is not a number of seconds"),
    ],
)
def test_what_is_wrong_is_said(line: str, why: str) -> None:
    with pytest.raises(BadInput, match=why):
        parse(line, "commands:3")
