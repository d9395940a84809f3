# SPDX-License-Identifier: Apache-2.0
"""Single keys of the four stores: real archives in a volume that two hosts share, real files."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, Callable, Optional, cast

import pytest

from ha_agent import maintenance_file
from ha_agent.broker.maintenance.local import LocalMaintenanceKeeper
from ha_agent.broker.store.shared_config import SharedConfig
from ha_agent.broker.store.shared_keys import SharedKeys
from ha_agent.compat.shared_config import BadValue, KeyNotFound, SeveralStores
from ha_agent.errors import BadInput, EnvironmentFault
from ha_agent.instant import WallTime
from ha_agent.ovfstore.conf_volume import FILE_NAMES, encode_conf_volume
from ha_agent.vdsm.client.verbs import Vdsm
from tests.broker.store_world import DOMAIN, FIRST, Host, World
from tests.fakes import FakeClock

SHARED = "fqdn=engine.example.com\nhost_id=1\nvmid=aa\ngateway=192.0.2.1\n"
BROKER = "[email]\nsmtp-server = localhost\n\n[notify]\nstate_transition = start|stop\n"
FILES = {
    **{name: f"this is {name}\n".encode() for name in FILE_NAMES},
    "hosted-engine.conf": SHARED.encode(),
    "broker.conf": BROKER.encode(),
}


class CountingClock:
    """Sleeps for ever; tells for how long it was to be."""

    def __init__(self) -> None:
        self.slept: asyncio.Queue[float] = asyncio.Queue()

    async def sleep(self, duration_seconds: float) -> None:
        self.slept.put_nowait(duration_seconds)
        await asyncio.Event().wait()


class ActingClock:
    """Its sleep takes no time; somebody does something meanwhile."""

    def __init__(self, *acts: Callable[[], Awaitable[object]]) -> None:
        self.acts = list(acts)
        self.slept: list[float] = []

    async def sleep(self, duration_seconds: float) -> None:
        self.slept.append(duration_seconds)
        if self.acts:
            await self.acts.pop(0)()


class Broker:
    """One host's keys; hosts differ in their own files."""

    def __init__(self, world: World, folder: Path, host_id: int) -> None:
        folder.mkdir()
        self.host = Host(world, host_id=host_id)
        self.shared = SharedConfig(
            Vdsm(self.host), self.host.lane(), domain_uuid=DOMAIN, deadline_seconds=5
        )
        self.local = folder / "hosted-engine.conf"
        self.local.write_text(f"fqdn=engine.example.com\nhost_id={host_id}\nbridge=ovirtmgmt\n")
        self.ha_conf = folder / maintenance_file.FILE_NAME
        self.flags = LocalMaintenanceKeeper(
            folder, clock=FakeClock(), boot_id="b1", on_note=lambda text: None
        )
        self.copy = folder / "broker.conf"
        self.clock = CountingClock()
        self.keys = self.keys_with(self.local)

    def keys_with(self, local: Optional[Path], settle_seconds: float = 0.0) -> SharedKeys:
        return SharedKeys(
            self.shared,
            self.flags,
            hosted_engine_conf=local,
            broker_conf=self.copy,
            settle_seconds=settle_seconds,
            clock=self.clock,
        )

    async def file(self, name: str) -> str:
        return (await self.shared.read()).files[name].decode()


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.add(FIRST, "", encode_conf_volume(FILES, WallTime(1e9)), disk_type="HECI")
    return made


@pytest.fixture
async def one(world: World, tmp_path: Path) -> Broker:
    return Broker(world, tmp_path / "one", 1)


@pytest.fixture
async def two(world: World, tmp_path: Path) -> Broker:
    return Broker(world, tmp_path / "two", 2)


async def test_each_store_is_what_it_is_called(one: Broker, two: Broker) -> None:
    assert await two.keys.get("host_id", "he_local") == ("he_local", "2")
    assert await two.keys.get("host_id", "he_shared") == ("he_shared", "1")
    assert await two.keys.get("email.smtp-server") == ("broker", "localhost")
    assert await two.keys.get("local_maintenance") == ("ha", "False")
    assert await two.keys.get("bridge") == ("he_local", "ovirtmgmt")
    assert await two.keys.get("gateway") == ("he_shared", "192.0.2.1")


async def test_a_key_that_two_stores_have(one: Broker) -> None:
    with pytest.raises(SeveralStores) as caught:
        await one.keys.get("fqdn")
    assert caught.value.stores == ("he_local", "he_shared")
    with pytest.raises(SeveralStores):
        await one.keys.set("fqdn", "other", who="root")
    with pytest.raises(KeyNotFound, match="did you mean 'gateway'"):
        await one.keys.get("gatewy")
    with pytest.raises(KeyNotFound):
        await one.keys.get("bridge", "he_shared")


async def test_what_may_be_set_and_is_not(one: Broker) -> None:
    assert await one.keys.get("network_test", "he_shared") == ("he_shared", None)
    with pytest.raises(SeveralStores):
        await one.keys.get("network_test")
    await one.keys.set("network_test", "dns", "he_local", who="root")
    assert await one.keys.get("network_test") == ("he_local", "dns")
    assert await one.keys.get("email.smtp-port") == ("broker", None)


async def test_a_change_is_seen_by_the_other_host_and_leaves_the_rest(
    one: Broker, two: Broker
) -> None:
    await one.keys.set("gateway", "192.0.2.254", who="root")
    assert await two.file("hosted-engine.conf") == SHARED.replace("192.0.2.1", "192.0.2.254")
    await two.keys.set("email.smtp-server", "mail.example.com", who="root")
    assert await one.file("broker.conf") == BROKER.replace("localhost", "mail.example.com")
    await two.keys.set("email.smtp-port", "2525", "broker", who="root")
    assert await one.keys.get("email.smtp-port") == ("broker", "2525")
    assert (await one.shared.read()).files["vm.conf"] == FILES["vm.conf"]
    assert "host_id=2" in two.local.read_text()


async def test_two_hosts_that_set_different_keys_at_once_both_win(
    one: Broker, two: Broker
) -> None:
    """Each look at storage lets the other one in between."""

    async def let_the_other_in() -> None:
        await asyncio.sleep(0)

    one.host.pause = two.host.pause = let_the_other_in
    for number in range(10):
        value = str(number)
        await asyncio.gather(
            one.keys.set("gateway", value, "he_shared", who="root"),
            two.keys.set("tcp_t_port", value, "he_shared", who="root"),
            one.keys.set("email.smtp-port", value, "broker", who="root"),
            two.keys.set("email.source-email", value, "broker", who="root"),
        )
        assert await one.keys.get("gateway", "he_shared") == ("he_shared", value)
        assert await one.keys.get("tcp_t_port", "he_shared") == ("he_shared", value)
        assert await one.keys.get("email.smtp-port") == ("broker", value)
        assert await one.keys.get("email.source-email") == ("broker", value)


async def test_local_keys_set_at_once_are_all_there(one: Broker) -> None:
    values = {"network_test": "tcp", "tcp_t_address": "x", "tcp_t_port": "1", "bridge": "x"}
    values["fqdn"] = "x"
    setting = (one.keys.set(key, text, "he_local", who="root") for key, text in values.items())
    await asyncio.gather(*setting)
    assert {key: (await one.keys.get(key, "he_local")).value for key in values} == values
    assert one.local.read_text().startswith("fqdn=x\nhost_id=1\n")


async def test_the_flags_of_ha_conf_do_not_end_each_other(one: Broker) -> None:
    await one.keys.set("local_maintenance_manual", "True", who="root")
    await one.keys.set("local_maintenance", "true", who="vdsm")
    await one.keys.set("local_maintenance", "False", who="vdsm")
    state = maintenance_file.read(one.ha_conf)
    assert (state.by_engine, state.by_operator, state.who) == (False, True, "root")
    assert one.flags.active is True
    await one.keys.set("local_maintenance_manual", "0", "ha", who="root")
    assert (one.flags.active, maintenance_file.read(one.ha_conf).who) == (False, "")
    assert await one.keys.get("local_maintenance_manual") == ("ha", "False")


@pytest.mark.parametrize(
    ("store", "key", "value"),
    [
        ("he_local", "bridge", "a b"),
        ("he_shared", "gateway", "$(reboot)"),
        ("he_shared", "gateway", "1\nhost_id=2"),
        ("broker", "email.smtp-server", "a\n[notify]"),
        ("ha", "local_maintenance", "perhaps"),
        ("he_local", "ha_agent_lease_renew_interval_seconds", "soon"),
    ],
)
async def test_a_value_that_can_not_be_changes_nothing(
    one: Broker, store: str, key: str, value: str
) -> None:
    before = (one.local.read_text(), (await one.shared.read()).files)
    with pytest.raises(BadValue) as caught:
        await one.keys.set(key, value, store, who="root")
    assert value not in str(caught.value)
    assert (one.local.read_text(), (await one.shared.read()).files) == before
    assert not one.ha_conf.exists()


async def test_our_own_settings(one: Broker, two: Broker) -> None:
    key = "ha_agent_lease_renew_interval_seconds"
    await one.keys.set(key, "2.5", "he_shared", who="root")
    assert await two.keys.get(key) == ("he_shared", "2.5")
    with pytest.raises(KeyNotFound):
        await one.keys.set("ha_agent_lease_renew_intervall", "2.5", "he_shared", who="root")


async def test_keys_that_a_store_has(one: Broker) -> None:
    found = await one.keys.keys()
    assert list(found) == ["he_local", "he_shared", "ha", "broker"]
    assert {"bridge", "host_id", "network_test", "tcp_t_port"} <= set(found["he_local"])
    assert found["ha"] == ["local_maintenance", "local_maintenance_manual"]
    assert "notify.state_transition" in found["broker"]
    assert await one.keys.keys("he_local") == {"he_local": found["he_local"]}


async def test_local_stores_do_without_the_storage(world: World, one: Broker) -> None:
    del world.volumes[FIRST]
    assert await one.keys.get("bridge", "he_local") == ("he_local", "ovirtmgmt")
    await one.keys.set("local_maintenance", "True", "ha", who="root")
    with pytest.raises(EnvironmentFault, match="no configuration volume"):
        await one.keys.get("bridge")
    one.local.unlink()
    with pytest.raises(EnvironmentFault, match=r"hosted-engine\.conf: can't be read"):
        await one.keys.get("bridge", "he_local")
    with pytest.raises(EnvironmentFault, match="names no file"):
        await one.keys_with(None).keys("he_local")


async def test_damaged_files_are_told_and_left(one: Broker) -> None:
    one.local.write_text("this is no pair\n")
    with pytest.raises(BadInput, match="line 1"):
        await one.keys.set("bridge", "x", "he_local", who="root")
    one.local.write_bytes(b"\xff\xfe=1\n")
    with pytest.raises(BadInput, match="UTF-8"):
        await one.keys.get("bridge", "he_local")
    await one.shared.put("broker.conf", b"smtp-server = x\n")
    with pytest.raises(BadInput, match=r"broker\.conf"):
        await one.keys.set("email.smtp-port", "25", "broker", who="root")
    assert await one.file("broker.conf") == "smtp-server = x\n"


async def run_once(broker: Broker) -> float:
    """Let it look at its copy once; returns after how long it would look again."""
    work = asyncio.ensure_future(broker.keys.run())
    seconds = await broker.clock.slept.get()
    work.cancel()
    await asyncio.wait({work})
    return seconds


async def test_a_hosts_copy_of_broker_conf_follows_the_volume(one: Broker, two: Broker) -> None:
    two.copy.write_text(BROKER)
    await one.keys.set("email.smtp-server", "mail", who="root")
    assert not one.copy.exists()  # it had none, and needs none
    assert two.copy.read_text() == BROKER
    assert await run_once(two) == 3600.0
    assert two.copy.read_text() == BROKER.replace("localhost", "mail")
    await two.keys.set("email.smtp-server", "other", who="root")
    assert "other" in two.copy.read_text()


async def test_a_copy_stays_while_the_volume_tells_nothing_good(world: World, one: Broker) -> None:
    one.copy.write_text(BROKER)
    for content in (b"", b"nonsense\n", b"\xff"):
        await one.shared.put("broker.conf", content)
        await run_once(one)
    del world.volumes[FIRST]
    assert await run_once(one) == 60.0
    assert one.copy.read_text() == BROKER


async def test_on_block_storage_a_key_that_another_wrote_over_is_set_again(
    world: World, one: Broker, two: Broker
) -> None:
    """The other host looked before our write and wrote after it: no lock was in its way."""
    before = (await two.shared.read()).files
    theirs = SHARED.replace("host_id=1", "host_id=1\ntcp_t_port=80").encode()

    async def write_over() -> None:
        await two.host.lane().call(
            "write_conf_volume",
            5.0,
            path=str(world.volumes[FIRST].path),
            files={**before, "hosted-engine.conf": theirs},
            expected=None,
            lock_wait_seconds=1.0,
        )

    clock = ActingClock(write_over)
    one.clock = cast(Any, clock)
    await one.keys_with(one.local, 5.0).set("gateway", "new", "he_shared", who="root")
    assert clock.slept == [5.0, 5.0]
    assert await two.keys.get("gateway") == ("he_shared", "new")
    assert await two.keys.get("tcp_t_port", "he_shared") == ("he_shared", "80")


async def test_a_value_that_somebody_set_later_stays(one: Broker, two: Broker) -> None:
    async def set_later() -> None:
        await two.keys.set("gateway", "later", "he_shared", who="root")

    clock = ActingClock(set_later)
    one.clock = cast(Any, clock)
    await one.keys_with(one.local, 5.0).set("gateway", "new", "he_shared", who="root")
    assert clock.slept == [5.0]
    assert await one.keys.get("gateway") == ("he_shared", "later")


async def test_who_always_puts_the_old_value_back_wins_in_the_end(
    one: Broker, two: Broker
) -> None:
    async def put_back() -> None:
        await two.shared.put("hosted-engine.conf", SHARED.encode())

    one.clock = cast(Any, ActingClock(*[put_back] * 9))
    with pytest.raises(EnvironmentFault, match="all the time"):
        await one.keys_with(one.local, 5.0).set("gateway", "new", "he_shared", who="root")
