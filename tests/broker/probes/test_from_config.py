# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import socket

import pytest

from ha_agent.broker.probes.from_config import HealthSample, health_loop
from ha_agent.clock import SystemClock
from ha_agent.config.schema import EngineConfig
from ha_agent.errors import BadInput


async def test_the_page_is_asked_for_where_the_configuration_says() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    heard: asyncio.Future[HealthSample] = asyncio.get_running_loop().create_future()
    config = EngineConfig("", f"http://127.0.0.1:{port}/health")
    loop = health_loop(config, SystemClock(), heard.set_result)
    task = asyncio.ensure_future(loop.run())
    sample = await heard
    task.cancel()
    await asyncio.wait({task})
    assert sample.value is not None
    assert (sample.value.healthy, sample.value.detail) == (False, "the connection was refused")


def test_a_bad_url() -> None:
    with pytest.raises(BadInput, match="not an http or https URL"):
        health_loop(EngineConfig("", "ftp://engine"), SystemClock(), lambda _sample: None)
