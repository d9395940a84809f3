# SPDX-License-Identifier: Apache-2.0
"""The verbs about the broker itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import ha_agent
from ha_agent.broker.api.about import AboutApi
from ha_agent.broker.api.arguments import Access
from ha_agent.broker.rpc.server import Peer, RpcRefusal
from ha_agent.config import layers
from ha_agent.config.schema import Config
from tests.small_config import NOWHERE, write_config


def _api(settings: Config) -> AboutApi:
    return AboutApi(
        settings,
        access=Access(0, 36),
        verbs=lambda: ["version", "config"],
        features=lambda: ["push", "core"],
        connections=lambda: 4,
    )


async def _ask(settings: Config, verb: str, peer: Peer) -> Any:
    return await _api(settings).handlers()[verb]({}, peer)


@pytest.fixture
def settings(tmp_path: Path) -> Config:
    return layers.load([write_config(tmp_path)], NOWHERE)


async def test_everybody_may_ask_what_there_is(settings: Config) -> None:
    assert await _ask(settings, "version", Peer(1, 99, 99)) == {
        "version": ha_agent.__version__,
        "api_version": 1,
        "verbs": ["config", "version"],
        "features": ["core", "push"],
        "connections": 4,
    }


async def test_the_configuration_is_for_those_who_may_change_it(settings: Config) -> None:
    answer = await _ask(settings, "config", Peer(1, 99, 36))
    values = {(v["section"], v["key"]): (v["text"], v["origin"]) for v in answer["values"]}
    assert values["host", "name"] == ("alpha", f"{settings.files[0]}:3")
    assert values["broker", "call_deadline_seconds"][1] == "default"
    assert answer["files"] == [str(file) for file in settings.files]
    with pytest.raises(RpcRefusal) as caught:
        await _ask(settings, "config", Peer(1, 99, 99))
    assert caught.value.code == "denied"
