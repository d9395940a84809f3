# SPDX-License-Identifier: Apache-2.0
"""The verbs; the keepers behind them are played."""

from __future__ import annotations

import asyncio
import os
from typing import Any, Optional, cast

import pytest

from ha_agent.broker.api.arguments import Access
from ha_agent.broker.api.maintenance import MaintenanceApi
from ha_agent.broker.maintenance.local import LocalMaintenanceKeeper
from ha_agent.broker.maintenance.order import Order
from ha_agent.broker.maintenance.orders import MaintenanceKeeper, Overtaken
from ha_agent.broker.rpc.server import Peer, RpcRefusal
from ha_agent.errors import BadInput, EnvironmentFault, HaAgentError
from ha_agent.maintenance_file import LocalMaintenance

ROOT = Peer(1, 0, 0)
STRANGER = Peer(2, 12345, 12345)


class Parts:
    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.fault: Optional[HaAgentError] = None
        self.gate: Optional[asyncio.Event] = None

    async def give(self, what: str, **more: Any) -> Order:
        return await self._do(what, more) or Order(7, what)

    async def clear(self, **more: Any) -> Optional[Order]:
        return await self._do("clear", more)

    async def set(self, enabled: bool, **more: Any) -> LocalMaintenance:
        await self._do(f"local {enabled}", more)
        return LocalMaintenance(by_operator=enabled, until="then")

    async def _do(self, what: str, more: dict[str, Any]) -> Optional[Order]:
        if self.gate is not None:
            await self.gate.wait()
        if self.fault is not None:
            raise self.fault
        self.asked.append((what, more))
        return None

    async def call(self, verb: str, peer: Peer = ROOT, **params: Any) -> Any:
        api = MaintenanceApi(
            cast(MaintenanceKeeper, self),
            cast(LocalMaintenanceKeeper, self),
            access=Access(os.getuid(), None),
        )
        return await api.handlers()[verb](params, peer)

    async def refusal(self, verb: str, peer: Peer = ROOT, **params: Any) -> RpcRefusal:
        with pytest.raises(RpcRefusal) as caught:
            await self.call(verb, peer, **params)
        return caught.value


@pytest.fixture
async def parts() -> Parts:
    return Parts()


async def test_who_is_what_the_kernel_says(parts: Parts) -> None:
    await parts.call("maintenance.set", scope="global", enabled=True, reason="a\nb")
    await parts.call("maintenance.set", scope="local", enabled=False)
    rest = {"who": "root (uid 0)", "for_seconds": None}
    assert parts.asked == [
        ("maintenance", {**rest, "reason": "a b", "now": False}),
        ("local False", {**rest, "reason": ""}),
    ]


async def test_a_user_without_a_name_has_a_number(parts: Parts) -> None:
    nobody = Peer(3, 4_000_000_000, 0)
    api = MaintenanceApi(
        cast(MaintenanceKeeper, parts),
        cast(LocalMaintenanceKeeper, parts),
        access=Access(nobody.uid, None),
    )
    await api.handlers()["cluster.order"]({"what": "none"}, nobody)
    assert parts.asked == [("clear", {"who": "uid 4000000000", "reason": ""})]


async def test_an_end_and_a_shutdown_now(parts: Parts) -> None:
    answer = await parts.call("maintenance.set", scope="global", enabled=True, for_seconds=60)
    assert answer["order"]["number"] == 7
    await parts.call("cluster.order", what="shutdown", now=True)
    assert [more["for_seconds"] for _what, more in parts.asked] == [60.0, None]
    assert [more["now"] for _what, more in parts.asked] == [False, True]


@pytest.mark.parametrize("verb", ["maintenance.set", "cluster.order"])
async def test_strangers_may_only_look(parts: Parts, verb: str) -> None:
    assert (await parts.refusal(verb, STRANGER)).code == "denied"


@pytest.mark.parametrize(
    ("verb", "params", "named"),
    [
        ("maintenance.set", {"scope": "local"}, "enabled"),
        ("maintenance.set", {"scope": "solar", "enabled": True}, "scope"),
        ("maintenance.set", {"scope": "local", "enabled": True, "for_seconds": 0}, "for_seconds"),
        (
            "maintenance.set",
            {"scope": "local", "enabled": True, "for_seconds": 1e9},
            "for_seconds",
        ),
        (
            "maintenance.set",
            {"scope": "local", "enabled": True, "for_seconds": "1h"},
            "for_seconds",
        ),
        ("maintenance.set", {"scope": "local", "enabled": False, "for_seconds": 5}, "for_seconds"),
        ("maintenance.set", {"scope": "local", "enabled": True, "reason": "x" * 201}, "reason"),
        ("cluster.order", {}, "what"),
        ("cluster.order", {"what": "maintenance"}, "what"),
        ("cluster.order", {"what": "shutdown", "now": 1}, "now"),
    ],
)
async def test_bad_arguments_are_named(
    parts: Parts, verb: str, params: dict[str, Any], named: str
) -> None:
    caught = await parts.refusal(verb, **params)
    assert caught.code == "bad_argument"
    assert named in caught.message
    assert parts.asked == []


@pytest.mark.parametrize(
    ("verb", "params", "code", "told"),
    [
        ("cluster.order", {"what": "none"}, "storage", "is not known to be cleared: EIO"),
        (
            "cluster.order",
            {"what": "shutdown"},
            "storage",
            "shutdown is not known to be ordered: EIO",
        ),
        (
            "maintenance.set",
            {"scope": "global", "enabled": True},
            "storage",
            "known to be set: EIO",
        ),
        ("maintenance.set", {"scope": "local", "enabled": True}, "failed", "not set: EIO"),
    ],
)
async def test_what_failed_is_told(
    parts: Parts, verb: str, params: dict[str, Any], code: str, told: str
) -> None:
    parts.fault = EnvironmentFault("EIO")
    caught = await parts.refusal(verb, **params)
    assert (caught.code, told in caught.message) == (code, True)


async def test_who_was_overtaken_is_not_told_of_storage(parts: Parts) -> None:
    parts.fault = Overtaken("maintenance was ordered on h2 at the same time")
    caught = await parts.refusal("cluster.order", what="shutdown")
    assert (caught.code, caught.message) == ("overtaken", str(parts.fault))


async def test_a_file_that_can_not_be_used_is_told(parts: Parts) -> None:
    parts.fault = BadInput("is not key=value", where="ha.conf:1")
    caught = await parts.refusal("maintenance.set", scope="local", enabled=True)
    assert "ha.conf:1" in caught.message


async def test_a_caller_that_leaves_stops_nothing_half_way(parts: Parts) -> None:
    parts.gate = asyncio.Event()
    call = asyncio.ensure_future(parts.call("cluster.order", what="shutdown"))
    await asyncio.sleep(0.05)
    call.cancel()
    await asyncio.wait({call})
    parts.gate.set()
    await asyncio.sleep(0.01)
    assert [what for what, _more in parts.asked] == ["shutdown"]
