# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
from pathlib import Path

from ha_agent.clock import SystemClock
from ha_agent.config_schema import VdsmConfig
from ha_agent.vdsm.client import ClientState
from ha_agent.vdsm.from_config import vdsm_client
from ha_agent.vdsm.server import EmbeddedVdsm, ServerSettings
from ha_agent.vdsm.verbs import Vdsm
from ha_agent.waiting import wait_for_event


async def test_it_talks_to_the_vdsm_of_the_configuration(short_path: Path) -> None:
    server = EmbeddedVdsm(
        ServerSettings(run_dir=short_path, domain_paths=(), listen_port=0, accelerator="tcg")
    )
    await server.start()
    connected = asyncio.Event()
    config = VdsmConfig(host="127.0.0.1", port=server.port, ssl=False)
    client = vdsm_client(config, SystemClock(), connected.set)
    client.start()
    try:
        assert await wait_for_event(connected, 30.0)
        assert client.peer == f"127.0.0.1:{server.port}"
        assert await Vdsm(client).vm_list() == []
    finally:
        await client.close()
        await server.stop()


async def test_certificates_that_are_not_there_are_told(tmp_path: Path) -> None:
    missing = tmp_path / "vdsmkey.pem"
    config = VdsmConfig(
        host="127.0.0.1", port=1, key_file=missing, cert_file=missing, ca_file=missing
    )
    client = vdsm_client(config, SystemClock(), lambda: None)
    client.start()
    try:
        for _ in range(1000):
            if "not connected yet" not in client.reason:
                break
            await asyncio.sleep(0.01)
        assert client.state is ClientState.DISCONNECTED
        assert client.reason
        assert "not connected yet" not in client.reason
    finally:
        await client.close()
