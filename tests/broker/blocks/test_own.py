# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from typing import Optional

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ha_agent import __version__
from ha_agent.broker.blocks.codec import (
    GlobalBlock,
    StatusBlock,
    decode,
    encode,
    encode_global,
    line_values,
)
from ha_agent.broker.blocks.own import NotOurSlot, OwnBlock
from ha_agent.broker.incidents.share import Shared
from ha_agent.broker.incidents.share import encode as encode_incidents
from ha_agent.broker.maintenance.order import MAX_NUMBER, Order
from ha_agent.broker.maintenance.order import decode as decode_order
from ha_agent.broker.snapshot import Report
from ha_agent.errors import EnvironmentFault
from ha_agent.fsm.observation import Health, VmCondition, VmExit, VmView
from ha_agent.fsm.state import State
from ha_agent.instant import Instant
from ha_agent.observe import engine_status
from ha_agent.sim.old_peer import old_block
from ha_agent.vdsm.client.answers import HostCapabilities
from tests.broker.blocks.old_reader import read_volume
from tests.broker.fake_blocks import FakeBlocks
from tests.fakes import FakeClock

ORDER = Order(3, "maintenance", "root", 1, "h1", 5.0, reason="a=b")


class World:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.blocks = FakeBlocks(self.clock.now)
        self.ours = True
        self.own = OwnBlock(
            self.blocks,
            1,
            "h1",
            clock=self.clock,
            report_max_age_seconds=20.0,
            may_write=lambda: self.ours,
        )

    async def publish(self, score: int = 3400) -> Optional[StatusBlock]:
        report = Report(
            state="EngineDown", reason="a  reason", score=score, made_at=self.clock.now()
        )
        return await self.own.publish(report, 0.0)

    @property
    def first(self) -> bytes:
        return self.blocks.slots[1][:512]

    def lines(self) -> dict[str, str]:
        block = decode(self.blocks.slots[1], slot=1)
        assert block is not None
        return line_values(block.extra)


@pytest.fixture
async def world() -> World:
    return World()


async def test_a_report_says_whose_software_it_is(world: World) -> None:
    block = await world.publish()
    assert block is not None
    assert block.extra == decode(world.blocks.slots[1], slot=1).extra  # type: ignore[union-attr]
    assert world.lines()["agent"] == f"ha-agent {__version__}"
    assert world.lines()["reason"] == "a  reason"


async def test_lines_alone_are_no_sign_of_life(world: World) -> None:
    await world.publish()
    before = world.first
    world.clock.time = world.clock.time + 60.0
    world.own.extra.order, world.own.extra.order_seen = ORDER, 3
    await world.own.write_lines()
    assert world.first == before
    lines = world.lines()
    assert (lines["state"], lines["order_seen"], lines["reason"]) == (
        "EngineDown",
        "3",
        "a  reason",
    )
    assert '"number": 3' in lines["order"]
    world.own.extra.order, world.own.extra.order_seen = None, 0
    await world.own.write_lines()
    assert not {"order", "order_seen"} & set(world.lines())


async def test_what_an_agent_saw_of_the_page_grows_no_older_without_it(world: World) -> None:
    """Another host would stop a healthy engine for it."""
    now = world.clock.now()
    seen = Report("EngineDown", engine_page="bad", page_bad_since=now - 45.0, made_at=now)
    await world.own.publish(seen, 0.0)
    assert world.lines()["engine_page"] == "bad 45"
    world.clock.time = world.clock.time + 60.0
    await world.own.write_lines()
    assert world.lines()["engine_page"] == "bad 45"
    await world.publish()
    assert "engine_page" not in world.lines()


async def test_every_publish_has_the_order(world: World) -> None:
    world.own.extra.order = ORDER
    world.own.extra.left_seconds = lambda: 17.5
    for score in (1, 2):
        await world.publish(score)
        assert '"left": 18' in world.lines()["order"]


async def test_a_block_from_before_this_process_is_kept_as_it_was(world: World) -> None:
    status = {"vm": "up", "health": "good", "detail": "Up"}
    old = StatusBlock(1, "h1", 77, 2400, status, local_conf_timestamp=70)
    lines = ["state=EngineUp", "other_vms=5", "proven=0123456789ab"]
    world.blocks.slots[1] = encode(old, lines)
    before = world.first
    found = decode(world.blocks.slots[1], slot=1)
    assert found is not None
    world.own.found(found)
    await world.own.write_lines()
    assert world.first == before
    assert world.lines()["state"] == "EngineUp"
    assert not {"other_vms", "proven"} & set(world.lines())


async def test_without_any_block_it_is_a_stopped_agents(world: World) -> None:
    world.own.extra.order = ORDER
    block = await world.own.write_lines()
    assert (block.stopped, block.score) == (True, 0)
    assert "order" in world.lines()


async def test_a_slot_that_is_not_ours_is_left_alone(world: World) -> None:
    world.ours = False
    assert await world.publish() is None
    with pytest.raises(NotOurSlot):
        await world.own.write_lines()
    assert world.blocks.slots == {}


async def test_what_was_not_written_is_not_the_last_block(world: World) -> None:
    await world.publish(3000)
    before = world.first
    world.blocks.write_fault = EnvironmentFault("EIO")
    with pytest.raises(EnvironmentFault):
        await world.publish(5)
    world.blocks.write_fault = None
    await world.own.write_lines()
    assert world.first == before


async def test_what_the_host_has(world: World) -> None:
    world.own.extra.capacity = lambda: HostCapabilities(16384, None, frozenset(), "", frozenset())
    world.own.extra.other_vms = 0
    world.own.extra.maintenance_note = "by root: x"
    world.own.extra.incidents = '{"can":2}'
    await world.publish()
    lines = world.lines()
    assert (lines["memory_mib"], lines["other_vms"]) == ("16384", "0")
    assert lines["maintenance_note"] == "by root: x"
    assert lines["incidents"] == '{"can":2}'
    assert "cpu_threads" not in lines


async def test_what_the_engine_became_healthy_with_here(world: World) -> None:
    proven = ""
    world.own.extra.proven = lambda: proven
    await world.publish()
    assert "proven" not in world.lines()
    proven = "0123456789ab"
    await world.publish()
    assert world.lines()["proven"] == proven


TEXTS = st.text('x=\n\t\\"é中🐘\ud800', max_size=300).map(lambda text: text * 5)
INCIDENTS = st.builds(
    Shared,
    can=st.just(2),
    own=st.lists(st.tuples(st.just("storage"), TEXTS), max_size=9).map(tuple),
    told=st.lists(
        st.tuples(TEXTS, st.just("1999-1700000000000000"), st.booleans()), max_size=20
    ).map(tuple),
)


@given(TEXTS, TEXTS, TEXTS, TEXTS, INCIDENTS)
@example("🐘" * 2000, "🐘" * 2000, "🐘" * 2000, "🐘" * 2000, Shared(2, (("storage", "x"),) * 9))
async def test_whatever_there_is_to_say_a_block_is_written(
    who: str, why: str, note: str, reason: str, incidents: Shared
) -> None:
    world = World()
    extra = world.own.extra
    seconds = 99_999_999_999.0
    extra.order = Order(MAX_NUMBER, "maintenance", who, 1, "h1", seconds, seconds, seconds, why)
    extra.left_seconds = lambda: seconds
    extra.order_seen, extra.other_vms, extra.refresh_asked = MAX_NUMBER, 10_000, 10**18
    extra.capacity = lambda: HostCapabilities(10**9, 10**5, frozenset(), "", frozenset())
    extra.proven = lambda: "0123456789ab"
    extra.maintenance_note = note.encode("utf-8", "replace")[:1000].decode("utf-8", "ignore")
    extra.incidents = encode_incidents(incidents)
    report = Report(state="LocalMaintenance", reason=reason, score=3400, made_at=Instant(1.0))
    world.clock.time = Instant(1.0)
    block = await world.own.publish(report, 1.0)
    assert block is not None
    assert len(world.blocks.slots[1]) == 4096
    lines = world.lines()
    # What hosts read of each other is whole.
    assert lines["incidents"] == encode_incidents(incidents).replace("=", ":")
    assert decode_order(lines["order"], host_id=1, host_name="h1") is not None
    assert lines["refresh"] == str(10**18)
    _, hosts = read_volume(bytes(4096) + world.blocks.slots[1])
    assert (hosts[1]["score"], hosts[1]["hostname"]) == (3400, "h1")


VMS = st.builds(VmView, st.sampled_from(VmCondition), st.sampled_from(VmExit), TEXTS)


@given(VMS, st.sampled_from(Health), TEXTS, st.booleans(), st.sampled_from(State))
async def test_whatever_state_the_vm_is_in_old_agents_read_all_hosts(
    vm: VmView, health: Health, detail: str, flag: bool, state: State
) -> None:
    """What ends one of them ends them all, so it is read together with a neighbour's block."""
    world = World()
    status = engine_status(vm, health, detail)
    report = Report(
        state=state.value,
        reason=detail,
        score=17,
        engine_status=status,
        local_maintenance=flag,
        made_at=world.clock.now(),
    )
    assert await world.own.publish(report, 0.0) is not None
    down = {"vm": "down", "health": "bad", "detail": "Down"}
    world.blocks.slots[2] = old_block(2, "h2", 7, 3400, json.dumps(down), flag, "EngineDown")
    slot_0 = encode_global(GlobalBlock(flag))
    flags, hosts = read_volume(slot_0 + world.blocks.slots[1] + world.blocks.slots[2])
    assert flags == {"maintenance": flag}
    assert hosts[1]["engine-status"]["vm"] == status["vm"]
    assert hosts[1]["maintenance"] is flag
    assert (hosts[2]["hostname"], hosts[2]["engine-status"]) == ("h2", down)
    first = hosts[1]["extra"].split("\n")
    assert f"state={state.value}" in first


async def test_an_agent_that_says_nothing_of_the_engine_is_no_end_of_old_agents(
    world: World,
) -> None:
    await world.publish()
    _, hosts = read_volume(bytes(4096) + world.blocks.slots[1])
    assert hosts[1]["engine-status"]["vm"] == "unknown"


async def test_a_reason_in_another_alphabet_comes_back(world: World) -> None:
    reason = "Wartung für Łódź &#8364; 🐘"
    report = Report(state="EngineDown", reason=reason, made_at=world.clock.now())
    await world.own.publish(report, 0.0)
    assert world.blocks.slots[1].isascii()
    assert world.lines()["reason"] == reason
