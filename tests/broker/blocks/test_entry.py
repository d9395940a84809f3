# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import zlib
from typing import Optional

import pytest

from ha_agent.broker.blocks.codec import decode
from ha_agent.broker.blocks.entry import host_entry, sight_lines
from ha_agent.broker.maintenance.order import Order
from ha_agent.broker.snapshot import HostEntry, Report
from ha_agent.instant import Instant

TOKENS = ["1", "1", "4242", "2", "3400", '{"vm": "up"}', "h2", "1", "0", "0" * 8, "1", "4200"]


def entry_of(extra: str, tokens: int = 12) -> tuple[HostEntry, Optional[Order]]:
    parts = TOKENS[:tokens]
    if tokens > 9:
        parts[9] = f"{zlib.crc32('|'.join(parts).encode()):08x}"
    data = "|".join(parts).encode().ljust(512, b"\0") + extra.encode().ljust(3584, b"\0")
    block = decode(data, slot=2)
    assert block is not None
    return host_entry(block, changed_at=Instant(5.0), known=None)


@pytest.mark.parametrize("tokens", [7, 8, 9, 10, 11, 12])
def test_a_predecessors_block_is_read_whatever_it_lacks(tokens: int) -> None:
    entry, order = entry_of("metadata_parse_version=1\nstate=EngineUp\n", tokens)
    assert (entry.predecessor, entry.state, entry.score) == (True, "EngineUp", 3400)
    assert entry.maintenance is (tokens > 7)
    assert entry.engine_status == {"vm": "up"}
    assert (order, entry.order_seen, entry.other_vms) == (None, 0, None)
    assert entry.proven == ""
    assert (entry.changed_at, entry.alive) == (Instant(5.0), False)


def test_what_our_hosts_tell_each_other() -> None:
    entry, order = entry_of(
        "agent=ha-agent 1.0\nmemory_mib=16384\ncpu_threads=8\norder_seen=7\nother_vms=0\n"
        "proven=0123456789ab\n"
        'order={"number": 7, "what": "shutdown", "at": 5}\n'
        "maintenance_note=since noon by root: new disks\n"
        'incidents={"can":2}\n'
    )
    assert not entry.predecessor
    assert (entry.memory_mib, entry.cpu_threads) == (16384, 8)
    assert (entry.order_seen, entry.other_vms) == (7, 0)
    assert entry.proven == "0123456789ab"
    assert entry.maintenance_note == "since noon by root: new disks"
    assert entry.incidents == '{"can":2}'
    assert order == Order(7, "shutdown", host_id=2, host_name="h2", at_unix_seconds=5.0)


@pytest.mark.parametrize(
    "line", ["", "agent=", "agent=ha-agent", "agent=vdsm 4.5", "x=ha-agent 1"]
)
def test_who_does_not_say_so_is_not_of_ours(line: str) -> None:
    assert entry_of(f"{line}\n")[0].predecessor


@pytest.mark.parametrize("value", ["", "-1", "01", "1.5", "many", "9999999", "\u0661"])
def test_an_odd_number_of_vms_is_unknown(value: str) -> None:
    assert entry_of(f"other_vms={value}\n")[0].other_vms is None


@pytest.mark.parametrize(
    "value", ["", "0123456789a", "0123456789abc", "0123456789AB", "definition-1", "\u0661" * 12]
)
def test_an_odd_proof_is_none(value: str) -> None:
    assert entry_of(f"proven={value}\n")[0].proven == ""


@pytest.mark.parametrize("value", ["", "-1", "0", "x", "9" * 17])
def test_an_odd_notice_is_none(value: str) -> None:
    assert entry_of(f"order_seen={value}\n")[0].order_seen == 0


def lines_of(report: Report) -> str:
    lines = sight_lines(report)
    return "".join(f"{key}={value}\n" for key, value in lines.items())


@pytest.mark.parametrize(
    ("report", "lost", "page", "seconds"),
    [
        (Report(), False, "", 0),
        (Report(network_lost=True), True, "", 0),
        (Report(engine_page="good"), False, "good", 0),
        (Report(engine_page="bad", page_bad_since=Instant(10.0)), False, "bad", 45),
        (Report(engine_page="bad", page_bad_since=Instant(56.0)), False, "bad", 0),
        (Report(engine_page="bad"), False, "", 0),
    ],
)
def test_what_it_sees_of_network_and_page_is_read_as_it_was_written(
    report: Report, lost: bool, page: str, seconds: int
) -> None:
    """For how long counts until the agent reported it, not until the block is written."""
    written = lines_of(dataclasses.replace(report, made_at=Instant(55.9)))
    entry = entry_of(f"agent=ha-agent 1.0\n{written}")[0]
    assert (entry.network_lost, entry.engine_page, entry.page_bad_seconds) == (lost, page, seconds)


@pytest.mark.parametrize(
    "text",
    ["", "bad", "bad ", "bad -1", "bad 1.5", "bad 9999999999", "GOOD", "good 5", "bad \u0661"],
)
def test_an_odd_word_of_the_page_is_none(text: str) -> None:
    entry = entry_of(f"engine_page={text}\nnetwork=odd\n")[0]
    assert (entry.network_lost, entry.engine_page, entry.page_bad_seconds) == (False, "", 0)
