# SPDX-License-Identifier: Apache-2.0
"""Answers on storage servers and what is behind them: as they travel, and odd ones."""

from __future__ import annotations

from typing import Any, Callable

import pytest

from ha_agent.errors import BadInput
from ha_agent.vdsm.client.answers_connect import (
    BlockDevice,
    ConnectionStatus,
    DomainSpace,
    IscsiTarget,
    MigrationStatus,
    read_connection_statuses,
    read_devices,
    read_domain_space,
    read_migration_status,
    read_targets,
)

DEVICE = {
    "GUID": "36001405cafe",
    "devtype": "iSCSI",
    "capacity": "107374182400",
    "status": "unknown",
    "vgUUID": "",
    "pathstatus": [
        {"state": "active", "physdev": "sdb"},
        {"state": "failed", "physdev": "sdc"},
        "odd",
    ],
}


@pytest.mark.parametrize(
    ("read", "answer", "value"),
    [
        (
            read_connection_statuses,
            [{"id": "a", "status": 0}, {"id": "b", "status": "477"}, {"status": 451}],
            [ConnectionStatus("a", 0), ConnectionStatus("b", 477), ConnectionStatus("", 451)],
        ),
        (
            read_domain_space,
            {"disktotal": "1000", "diskfree": "9", "mdavalid": True, "mdasize": 0},
            DomainSpace(1000, 9),
        ),
        (read_domain_space, {"disktotal": None, "diskfree": "much"}, DomainSpace(None, None)),
        (
            read_devices,
            [DEVICE, {"devtype": "FCP"}, {"GUID": "36002"}],
            [
                BlockDevice("36001405cafe", "iSCSI", 107374182400, 2, 1),
                BlockDevice("36002", "", None, 0, 0),
            ],
        ),
        (
            read_targets,
            ["10.0.0.1:3260,1 iqn.a:b", "[fd00::1]:3260,2 iqn.c:d", "odd", 7],
            [
                IscsiTarget("10.0.0.1:3260", 1, "iqn.a:b"),
                IscsiTarget("[fd00::1]:3260", 2, "iqn.c:d"),
            ],
        ),
        (read_migration_status, {"progress": 40, "downtime": "120"}, MigrationStatus(40, 120)),
        (read_migration_status, {}, MigrationStatus(None, None)),
    ],
)
def test_what_travels(read: Callable[[Any], Any], answer: Any, value: Any) -> None:
    assert read(answer) == value


@pytest.mark.parametrize(
    ("read", "answer"),
    [
        (read_connection_statuses, {"a": 0}),
        (read_connection_statuses, [{"id": "a"}]),
        (read_connection_statuses, [{"id": "a", "status": "bad"}]),
        (read_domain_space, []),
        (read_devices, {"GUID": "x"}),
        (read_devices, ["x"]),
        (read_targets, {}),
        (read_migration_status, True),
    ],
)
def test_another_shape(read: Callable[[Any], Any], answer: Any) -> None:
    with pytest.raises(BadInput):
        read(answer)


def test_a_status_says_what_it_is_in_words() -> None:
    assert ConnectionStatus("a", 477).why == "code 477, mount error"
    assert ConnectionStatus("a", 0).why == ""
