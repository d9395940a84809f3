# SPDX-License-Identifier: Apache-2.0
"""The verbs about single keys: who may ask, and what each fault is answered with."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
from pathlib import Path
from typing import Any

import pytest

from ha_agent.broker.api.arguments import Access
from ha_agent.broker.api.shared_keys import shared_keys_part
from ha_agent.broker.maintenance.local import LocalMaintenanceKeeper
from ha_agent.broker.rpc.server import Peer, RpcRefusal
from ha_agent.broker.store.shared_config import SharedConfig
from ha_agent.config import layers
from ha_agent.instant import WallTime
from ha_agent.ovfstore.conf_volume import FILE_NAMES, encode_conf_volume
from ha_agent.vdsm.client.verbs import Vdsm
from tests.broker.store_world import DOMAIN, FIRST, Host, World
from tests.fakes import FakeClock
from tests.small_config import NOWHERE, write_config

ROOT, STRANGER = Peer(1, 0, 0), Peer(2, 12345, 12345)


class Broker:
    def __init__(self, folder: Path) -> None:
        self.world = World(folder)
        files = dict.fromkeys(FILE_NAMES, b"a=1\n")
        files["broker.conf"] = b"[email]\n"
        self.world.add(FIRST, "", encode_conf_volume(files, WallTime(1e9)), disk_type="HECI")
        self.host = Host(self.world)
        self.local = folder / "hosted-engine.conf"
        self.local.write_text("a=2\npassword=topsecret\n")
        local: dict[str, Any] = {"hosted_engine_conf": self.local}
        self.part = shared_keys_part(
            SharedConfig(
                Vdsm(self.host), self.host.lane(), domain_uuid=DOMAIN, deadline_seconds=5
            ),
            LocalMaintenanceKeeper(
                folder, clock=FakeClock(), boot_id="b1", on_note=lambda text: None
            ),
            dataclasses.replace(layers.load([write_config(folder)], NOWHERE).storage, **local),
            clock=FakeClock(),
            access=Access(os.getuid(), None),
        )

    async def ask(self, verb: str, peer: Peer = ROOT, **params: Any) -> Any:
        return await self.part.handlers[verb](params, peer)

    async def refused(self, verb: str, peer: Peer = ROOT, **params: Any) -> RpcRefusal:
        with pytest.raises(RpcRefusal) as caught:
            await self.ask(verb, peer, **params)
        return caught.value


@pytest.fixture
async def broker(tmp_path: Path) -> Broker:
    return Broker(tmp_path)


async def test_a_key_is_told_and_set(broker: Broker) -> None:
    asked: dict[str, Any] = {"key": "a", "store": "he_shared"}
    assert await broker.ask("conf.get_key", **asked) == {**asked, "value": "1"}
    assert await broker.ask("conf.set_key", **asked, value="3") == asked
    assert (await broker.ask("conf.get_key", **asked))["value"] == "3"
    keys = (await broker.ask("conf.keys"))["keys"]
    assert {"a", "password", "network_test"} <= set(keys["he_local"])
    unset = await broker.ask("conf.get_key", key="email.smtp-port")
    assert unset == {"key": "email.smtp-port", "store": "broker", "value": None}


async def test_each_fault_has_its_code(broker: Broker) -> None:
    several = await broker.refused("conf.get_key", key="a")
    assert several.code == "bad_argument"
    assert several.details == {"stores": ["he_local", "he_shared"]}
    assert (await broker.refused("conf.get_key", key="nothing")).code == "not_found"
    assert (await broker.refused("conf.get_key", key="a", store="vm")).code == "bad_argument"
    bad_value = await broker.refused("conf.set_key", key="password", value="p w")
    assert bad_value.code == "bad_argument"
    assert "p w" not in str(bad_value)
    broker.local.write_text("nonsense\n")
    damaged = await broker.refused("conf.get_key", key="a", store="he_local")
    assert damaged.code == "bad_document"
    del broker.world.volumes[FIRST]
    assert (await broker.refused("conf.keys")).code in ("storage", "bad_document")
    assert (await broker.refused("conf.keys", store="broker")).code == "storage"


async def test_a_stranger_may_not_even_look(broker: Broker) -> None:
    assert (await broker.refused("conf.keys", STRANGER)).code == "denied"
    assert (await broker.refused("conf.get_key", STRANGER, key="password")).code == "denied"
    change: dict[str, Any] = {"key": "local_maintenance", "value": "True"}
    assert (await broker.refused("conf.set_key", STRANGER, **change)).code == "denied"


async def test_values_are_not_logged(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    await broker.ask("conf.set_key", key="password", value="another")
    assert "set password in he_local" in caplog.text
    assert "another" not in caplog.text


async def test_a_change_whose_caller_leaves_is_made(broker: Broker) -> None:
    asking = asyncio.Event()

    async def pause() -> None:
        asking.set()
        await asyncio.sleep(0)

    broker.host.pause = pause
    params: dict[str, Any] = {"key": "a", "value": "9", "store": "he_shared"}
    caller = asyncio.ensure_future(broker.ask("conf.set_key", **params))
    await asking.wait()
    caller.cancel()
    await asyncio.wait({caller})
    for _ in range(1000):  # looks on until the work that nobody waits for is done
        found = await broker.ask("conf.get_key", key="a", store="he_shared")
        if found["value"] == "9":
            break
    assert found["value"] == "9"


async def test_every_verb_that_waits_for_storage_has_time_for_it(broker: Broker) -> None:
    assert set(broker.part.deadlines_seconds) == set(broker.part.handlers)
