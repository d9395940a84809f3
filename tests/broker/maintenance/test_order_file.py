# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import Optional

import pytest

from ha_agent.broker.maintenance import order as orders
from ha_agent.broker.maintenance.order import Order
from ha_agent.broker.maintenance.order_file import (
    FILE_NAME,
    KeptOrder,
    OrderFile,
    left_by_calendar,
)
from ha_agent.errors import BadInput, EnvironmentFault
from ha_agent.instant import Instant, WallTime

AT = 1_700_000_000.0
ORDER = Order(
    7, orders.MAINTENANCE, "root", 1, "h1", AT, until_unix_seconds=AT + 600, left_seconds=600.0
)
ENDS = Instant(5000.0)


def load(
    folder: Path, boot_id: str = "b1", *, now: float = 4500.0, wall: float = AT + 100
) -> Optional[KeptOrder]:
    return OrderFile(folder, boot_id).load(1, "h1", now=Instant(now), wall=WallTime(wall))


async def test_on_the_same_boot_the_end_is_the_same(tmp_path: Path) -> None:
    kept = KeptOrder(ORDER, ENDS)
    await OrderFile(tmp_path, "b1").save(kept)
    assert load(tmp_path, wall=AT + 99_999) == kept


@pytest.mark.parametrize(
    ("wall", "ends"),
    [(AT + 100, 30.0 + 500), (AT + 99_999, 30.0), (AT - 99_999, 30.0 + 600)],
)
async def test_after_a_reboot_the_calendar_tells(tmp_path: Path, wall: float, ends: float) -> None:
    await OrderFile(tmp_path, "b1").save(KeptOrder(ORDER, ENDS))
    assert load(tmp_path, "b2", now=30.0, wall=wall) == KeptOrder(ORDER, Instant(ends))


@pytest.mark.parametrize("boot_id", ["b1", "b2"])
async def test_an_order_without_an_end_has_none(tmp_path: Path, boot_id: str) -> None:
    order = Order(7, orders.SHUTDOWN, "root", 1, "h1", AT, now=True)
    await OrderFile(tmp_path, "b1").save(KeptOrder(order))
    assert load(tmp_path, boot_id) == KeptOrder(order)
    assert left_by_calendar(order, WallTime(AT)) is None


async def test_what_is_forgotten_is_gone(tmp_path: Path) -> None:
    file = OrderFile(tmp_path, "b1")
    assert load(tmp_path) is None
    await file.save(KeptOrder(ORDER, ENDS))
    await file.save(None)
    await file.save(None)
    assert load(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"order": 7}', "\udcff"])
def test_a_file_that_can_not_be_used_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE_NAME).write_text(text, "utf-8", "surrogateescape")
    with pytest.raises(BadInput, match=r"order\.json"):
        load(tmp_path)


async def test_a_disk_that_fails_is_named(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match=r"order\.json: can't be written"):
        await OrderFile(tmp_path / "gone", "b1").save(KeptOrder(ORDER, ENDS))
    (tmp_path / FILE_NAME).mkdir()
    with pytest.raises(EnvironmentFault, match=r"order\.json: can't be read"):
        load(tmp_path)
