# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import dataclasses
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Callable

import pytest
import pytest_asyncio

from demo.hosts import free_port
from ha_agent.clock import SystemClock
from ha_agent.config.schema import VdsmConfig
from ha_agent.vdsm.client.client import ClientState, VdsmClient
from ha_agent.vdsm.client.from_config import tls_files, vdsm_client
from ha_agent.vdsm.client.verbs import Vdsm
from ha_agent.vdsm.errors import VdsmConnectionLost
from ha_agent.vdsm.server.service import EmbeddedVdsm, ServerSettings
from ha_agent.waiting import wait_for_event, within
from tests.small_config import write_config
from tests.vdsm.stomp_peer import StompPeer


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


class Process:
    """An embedded VDSM in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        section = f"[vdsm-server]\nlisten_port = {self.port}\naccelerator = tcg\n"
        self._arguments = ["-m", "ha_agent.vdsm.server.service", "--config"]
        self._arguments.append(str(write_config(folder, section)))

    async def start(self) -> None:
        self._popen = await asyncio.create_subprocess_exec(sys.executable, *self._arguments)

    def signal(self, number: int) -> None:
        os.kill(self._popen.pid, number)

    async def end(self) -> None:
        if self._popen.returncode is None:
            self._popen.kill()  # works on a stopped one, too
            await self._popen.wait()


@pytest_asyncio.fixture
async def process(short_path: Path) -> AsyncIterator[Process]:
    if not shutil.which("qemu-system-x86_64"):
        pytest.skip("needs QEMU")
    made = Process(short_path)
    await made.start()
    yield made
    await made.end()


async def _until(condition: Callable[[], bool]) -> None:
    async def poll() -> None:
        while not condition():  # noqa: ASYNC110 - it watches plain values
            await asyncio.sleep(0.02)

    await within(50, poll())


def _client(process: Process) -> VdsmClient:
    config = VdsmConfig(
        host="127.0.0.1",
        port=process.port,
        ssl=False,
        connect_deadline_seconds=1.0,
        heart_beat_interval_seconds=1.0,
    )
    client = vdsm_client(config, SystemClock(), lambda: None)
    client.start()
    return client


@pytest.mark.qemu
async def test_a_vdsm_that_stands_still_is_noticed_and_found_again(process: Process) -> None:
    client = _client(process)
    try:
        await _until(lambda: client.state is ClientState.READY)
        process.signal(signal.SIGSTOP)
        with pytest.raises(VdsmConnectionLost, match=r"no heart-beat for 1\.5 s") as caught:
            await client.call("Host.getStats", {}, deadline_seconds=40)
        assert caught.value.may_have_executed
        # The kernel still takes connections for it.
        await _until(lambda: "STOMP greeting" in client.reason)
        process.signal(signal.SIGCONT)
        await _until(lambda: client.state is ClientState.READY)
        assert await Vdsm(client).vm_list() == []
    finally:
        await client.close()


@pytest.mark.qemu
async def test_a_vdsm_that_is_killed_and_started_again(process: Process) -> None:
    client = _client(process)
    try:
        await _until(lambda: client.state is ClientState.READY)
        process.signal(signal.SIGKILL)
        await _until(lambda: "refused" in client.reason)
        await process.end()
        await process.start()
        await _until(lambda: client.state is ClientState.READY)
        assert await Vdsm(client).vm_list() == []
    finally:
        await client.close()


async def test_beats_are_promised_less_often_than_they_are_wanted_and_sent() -> None:
    peer = StompPeer()
    await peer.start()
    config = VdsmConfig(host="127.0.0.1", port=peer.port, ssl=False)
    client = vdsm_client(config, SystemClock(), lambda: None)
    client.start()
    try:
        await _until(lambda: client.state is ClientState.READY)
        assert peer.frames[0].headers["heart-beat"] == "15000,5000"
    finally:
        await client.close()
        await peer.stop()


async def test_no_tls_files_without_tls() -> None:
    config = VdsmConfig()
    files = tls_files(config)
    assert files is not None
    assert (files.cert_file, files.ca_file) == (config.cert_file, config.ca_file)
    assert tls_files(dataclasses.replace(config, ssl=False)) is None
