# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import json
from typing import Any, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha_agent.broker.blocks.codec import StatusBlock, key_value_lines, line_values
from ha_agent.broker.blocks.codec import decode as decode_block
from ha_agent.broker.blocks.codec import encode as encode_block
from ha_agent.broker.maintenance import order as orders
from ha_agent.broker.maintenance.order import Order, decode, encode, newest, shutdown_waits
from ha_agent.broker.snapshot import HostEntry, Snapshot
from ha_agent.instant import Instant, WallTime

FULL = Order(
    number=7,
    what=orders.SHUTDOWN,
    who="root (uid 0)",
    host_id=2,
    host_name="h2",
    at_unix_seconds=1_763_812_345.0,
    until_unix_seconds=1_763_812_945.0,
    left_seconds=600.0,
    reason="new switch",
    now=True,
)


def through_a_block(order: Order) -> Optional[Order]:
    """As another host reads it."""
    lines = key_value_lines({orders.KEY: encode(order, order.left_seconds)})
    status = {"vm": "down", "health": "bad"}
    block = StatusBlock(order.host_id, order.host_name, 1, 3400, status)
    again = decode_block(encode_block(block, lines), slot=order.host_id)
    assert again is not None
    line = line_values(again.extra)[orders.KEY]
    return decode(line, host_id=order.host_id, host_name=order.host_name)


def test_no_reason_fills_the_block() -> None:
    order = dataclasses.replace(FULL, reason="\U0001f600" * orders.MAX_REASON)
    assert len(encode(order, 1.0)) <= 1500
    again = through_a_block(order)
    assert again is not None
    assert again.reason
    assert order.reason.startswith(again.reason)
    plain = dataclasses.replace(FULL, reason="x" * orders.MAX_REASON)
    assert through_a_block(plain) == plain


def test_another_host_reads_what_was_ordered() -> None:
    assert through_a_block(FULL) == FULL


@given(
    st.builds(
        Order,
        number=st.integers(1, 1 << 53),
        what=st.sampled_from((orders.MAINTENANCE, orders.SHUTDOWN, orders.NONE)),
        who=st.text(max_size=80),
        host_id=st.just(1),
        host_name=st.just("h1"),
        at_unix_seconds=st.integers(0, 1 << 35).map(float),
        reason=st.text(max_size=200),
        now=st.booleans(),
    )
)
def test_no_reason_breaks_the_line(order: Order) -> None:
    again = through_a_block(order)
    if order.number == 1 << 53:
        assert again is None
        return
    assert again is not None
    plain = dataclasses.replace(order, who="", reason="")
    assert dataclasses.replace(again, who="", reason="") == plain
    sound = order.reason.encode("utf-8", "replace").decode()
    assert again.reason == sound


@given(st.text(max_size=200))
def test_any_line_is_an_order_or_none(text: str) -> None:
    order = decode(text, host_id=1, host_name="h1")
    assert order is None or order.number > 0


@pytest.mark.parametrize(
    "change",
    [
        {"number": 0},
        {"number": True},
        {"number": 1.5},
        {"number": 1 << 60},
        {"what": "reboot"},
        {"what": None},
        {"at": "noon"},
        {"at": -1},
        {"at": float("nan")},
    ],
)
def test_a_line_that_is_wrong_in_what_counts_orders_nothing(change: dict[str, Any]) -> None:
    value = {**json.loads(encode(FULL, 600.0)), **change}
    assert decode(json.dumps(value), host_id=2, host_name="h2") is None


@pytest.mark.parametrize("key", ["until", "left"])
def test_half_an_end_is_none(key: str) -> None:
    value = {**json.loads(encode(FULL, 600.0)), key: "soon"}
    order = decode(json.dumps(value), host_id=2, host_name="h2")
    assert order is not None
    assert (order.until_unix_seconds, order.left_seconds) == (None, None)


def test_what_is_left_is_as_of_the_write() -> None:
    for left, told in ((12.2, 13), (-3.0, 0)):
        assert json.loads(encode(FULL, left))["left"] == told


def test_the_highest_number_counts_and_of_two_the_lower_id() -> None:
    seven = dataclasses.replace(FULL, host_id=1)
    eight = dataclasses.replace(FULL, number=8, host_id=9)
    assert newest([FULL, seven]) == newest([seven, FULL]) == seven
    assert newest([FULL, eight, seven]) == eight
    assert newest([]) is None


# What a shutdown waits for ----------------------------------------------------------------


def host(number: int, **fields: Any) -> HostEntry:
    values = {"alive": True, "order_seen": 7, **fields}
    return HostEntry(number, f"h{number}", **values)


def picture(*hosts: HostEntry, now: bool = False) -> Snapshot:
    order = dataclasses.replace(FULL, now=now).entry(in_force=True, remaining_seconds=None)
    return Snapshot(1, 1, "h1", "vm", Instant(0.0), hosts=hosts, order=order)


@pytest.mark.parametrize(
    ("hosts", "waits"),
    [
        ((host(1), host(2)), ()),
        ((host(1), host(2, order_seen=6)), ("h2 to take notice",)),
        # The number of an order that it does not know of yet, either.
        ((host(1), host(2, order_seen=8)), ("h2 to take notice",)),
        ((host(1), host(2, order_seen=0, alive=False)), ()),
        ((host(1), host(2, order_seen=0, problem="slot 2: damaged")), ()),
        ((host(1), host(2, order_seen=0, predecessor=True)), ()),
        ((host(1), host(2, order_seen=0, stopped=True)), ()),
        ((host(1, other_vms=2), host(2, other_vms=1)), None),
        ((host(1), host(2, other_vms=0)), ()),
        ((host(1), host(2, other_vms=3, alive=False)), ()),
        # A broker that was just started: nobody lives yet as far as it knows.
        ((host(1, order_seen=0, alive=False), host(2, alive=False)), ("h1 to take notice",)),
        ((), ("h1 to take notice",)),
    ],
)
def test_a_shutdown_waits(hosts: tuple[HostEntry, ...], waits: Any) -> None:
    if waits is None:
        waits = ("2 other VMs on h1 to end", "1 other VM on h2 to end")
    assert shutdown_waits(picture(*hosts)) == waits
    assert shutdown_waits(picture(*hosts, now=True)) == ()


def test_who_clears_for_a_setter_that_is_gone() -> None:
    ours = [host(4), host(3), host(2, alive=False), host(1, predecessor=True)]
    assert orders.clearing_host(ours) == 3
    assert orders.clearing_host(ours[2:]) is None


@pytest.mark.parametrize("at", [1e11 + 1, 1e12, -1])
def test_a_time_without_a_place_in_the_calendar_is_no_order(at: float) -> None:
    text = json.dumps({"number": 7, "what": "maintenance", "at": at})
    assert decode(text, host_id=1, host_name="h1") is None
    text = json.dumps({"number": 7, "what": "maintenance", "at": 1e11, "until": at, "left": 5})
    order = decode(text, host_id=1, host_name="h1")
    assert order is not None
    assert order.until_unix_seconds is None
    WallTime(order.at_unix_seconds).local()
