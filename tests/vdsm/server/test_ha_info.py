# SPDX-License-Identifier: Apache-2.0
"""haStats and maintenance through the package that VDSM imports, over a broker's socket."""

from __future__ import annotations

import asyncio
import dataclasses
import shutil
import sys
from pathlib import Path

import pytest

from ha_agent.broker.snapshot import HostEntry, Snapshot, to_wire
from ha_agent.instant import Instant
from ha_agent.vdsm.deadline import StorageThreads
from ha_agent.vdsm.refusal import Refusal
from ha_agent.vdsm.server.ha_info import HaInfo, HaPlace
from tests.fake_broker import FakeBroker
from tests.vdsm.embedded import Host, Refused, hosts, make_domain, until

NOTHING = {
    "configured": False,
    "active": False,
    "score": 0,
    "globalMaintenance": False,
    "localMaintenance": False,
}
MINE = HostEntry(
    host_id=1, host_name="alpha", alive=True, score=2400, maintenance=True, changed_at=Instant(1.0)
)
PICTURE = Snapshot(1, 1, "alpha", "vm", Instant(2.0), hosts=(MINE,), global_maintenance=True)


@pytest.fixture
def info(folder: Path) -> HaInfo:
    return HaInfo(StorageThreads(), HaPlace(folder / "run" / "broker.socket", 1))


async def test_stats(info: HaInfo, broker: FakeBroker) -> None:
    broker.answers["status"] = (None, to_wire(PICTURE))
    assert await info.stats() == {
        "haStats": {
            "configured": True,
            "active": True,
            "score": 2400,
            "globalMaintenance": True,
            "localMaintenance": True,
        },
        "haScore": 2400,
    }
    other = dataclasses.replace(MINE, host_id=2)
    broker.answers["status"] = (None, to_wire(dataclasses.replace(PICTURE, hosts=(other,))))
    stats = (await info.stats())["haStats"]
    assert stats == {**NOTHING, "configured": True, "globalMaintenance": True}


async def test_a_broker_that_is_down_or_refuses(info: HaInfo, folder: Path) -> None:
    down = {"haStats": {**NOTHING, "configured": True}, "haScore": 0}
    assert await info.stats() == down
    with pytest.raises(Refusal) as caught:
        await info.set_maintenance("GLOBAL", True)
    assert caught.value.code == 61
    fake = FakeBroker(folder / "run" / "broker.socket")
    try:
        fake.answers["status"] = ({"code": "busy", "message": "later"}, None)
        assert await info.stats() == down
        fake.answers["status"] = (None, "nonsense")
        assert await info.stats() == down
        fake.answers["status"] = (None, to_wire(PICTURE))
        assert (await info.stats())["haScore"] == 2400
    finally:
        fake.close()


async def test_maintenance(info: HaInfo, broker: FakeBroker) -> None:
    broker.answers["maintenance.set"] = (None, {})
    broker.answers["conf.set_key"] = (None, {})
    assert await info.set_maintenance("GLOBAL", True) == {"code": 0, "message": "Done"}
    await info.set_maintenance("local", False)
    assert broker.asked == [
        ("maintenance.set", {"scope": "global", "enabled": True}),
        ("conf.set_key", {"key": "local_maintenance", "value": "False", "store": "ha"}),
    ]
    for mode in ("none", ""):
        with pytest.raises(Refusal) as caught:
            await info.set_maintenance(mode, True)
        assert caught.value.code == 61
    broker.answers["maintenance.set"] = ({"code": "denied", "message": "only look"}, None)
    with pytest.raises(Refusal, match="Failed to set Hosted Engine HA policy"):
        await info.set_maintenance("Global", False)


@pytest.mark.parametrize(
    "module", ["ovirt_hosted_engine_ha", "ovirt_hosted_engine_ha.env.settings"]
)
async def test_without_the_package_or_with_the_old_one(
    info: HaInfo, broker: FakeBroker, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    for name in [one for one in sys.modules if one.startswith("ovirt_hosted_engine_ha")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)  # its import fails then
    assert await info.stats() == {"haStats": NOTHING}
    assert await info.is_deployed() is False
    with pytest.raises(Refusal) as caught:
        await info.set_maintenance("GLOBAL", True)
    assert caught.value.code == 40
    assert broker.asked == []


async def test_a_host_of_no_hosted_engine() -> None:
    info = HaInfo(StorageThreads(), None)
    assert await info.stats() == {"haStats": NOTHING}
    assert await info.is_deployed() is False


async def test_the_loop_goes_on_while_the_broker_does_not_answer(
    info: HaInfo, broker: FakeBroker
) -> None:
    asking = asyncio.ensure_future(info.stats())
    await until(lambda: bool(broker.asked))
    assert not asking.done()
    asking.cancel()
    await asyncio.wait({asking})


@pytest.mark.qemu
@pytest.mark.skipif(not shutil.which("qemu-system-x86_64"), reason="needs QEMU")
async def test_over_vdsms_wire(tmp_path: Path, folder: Path, broker: FakeBroker) -> None:
    broker.answers["status"] = (None, to_wire(PICTURE))
    broker.answers["maintenance.set"] = (None, {})
    place = HaPlace(folder / "run" / "broker.socket", 1)
    async with hosts(Host(make_domain(tmp_path), ha=place)) as [client]:
        stats = await client.call("Host.getStats")
        assert stats["haStats"]["score"] == stats["haScore"] == 2400
        assert (await client.call("Host.getCapabilities"))["hostedEngineDeployed"] is True
        done = await client.call("Host.setHaMaintenanceMode", mode="GLOBAL", enabled=True)
        assert done == {"code": 0, "message": "Done"}
        broker.answers["maintenance.set"] = ({"code": "storage", "message": "EIO"}, None)
        with pytest.raises(Refused) as refused:
            await client.call("Host.setHaMaintenanceMode", mode="GLOBAL", enabled=True)
        assert refused.value.code == 61
