# SPDX-License-Identifier: Apache-2.0
"""The embedded VDSM as a process and as an object."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ha_agent.errors import BadInput, EnvironmentFault
from ha_agent.vdsm import registry
from ha_agent.vdsm.server import EmbeddedVdsm, ServerSettings
from tests.vdsm.embedded import (
    DOMAIN,
    VM,
    Client,
    Host,
    hosts,
    make_domain,
    make_xml,
)

pytestmark = [
    pytest.mark.qemu,
    pytest.mark.skipif(not shutil.which("qemu-system-x86_64"), reason="needs QEMU"),
]


@pytest.fixture
async def idle(tmp_path: Path) -> AsyncIterator[Client]:
    async with hosts(Host(make_domain(tmp_path))) as [client]:
        yield client


async def test_a_monitor_reads_the_domain(idle: Client) -> None:
    assert await idle.call("Host.getStorageRepoStats") == {}
    assert await idle.call("Host.startMonitoringDomain", sdUUID=DOMAIN, hostID=1) is True
    while True:
        vitals = (await idle.call("Host.getStorageRepoStats"))[DOMAIN]
        if vitals["actual"]:
            break
    assert (vitals["code"], vitals["valid"], vitals["version"]) == (0, True, 5)
    assert vitals["acquired"] is True
    assert float(vitals["delay"]) < 5
    assert await idle.call("Host.stopMonitoringDomain", sdUUID=DOMAIN) is True
    assert await idle.call("Host.getStorageRepoStats") == {}


async def test_a_run_directory_without_room_for_sockets_is_refused(tmp_path: Path) -> None:
    vdsm = EmbeddedVdsm(ServerSettings(run_dir=tmp_path / ("x" * 100), domain_paths=()))
    with pytest.raises(BadInput, match="no room for socket names"):
        await vdsm.start()


async def test_a_port_in_use_is_a_clear_error(idle: Client, tmp_path: Path) -> None:
    port = idle.writer.get_extra_info("peername")[1]
    host = Host(tmp_path)
    try:
        vdsm = EmbeddedVdsm(ServerSettings(host.run_dir, (), listen_port=port))
        with pytest.raises(EnvironmentFault, match="can't listen"):
            await vdsm.start()
    finally:
        await host.clean_up()


CONFIG = """
[host]
id = 1
name = host1
run_dir = {run_dir}
state_dir = {run_dir}
[engine]
vm_uuid = {vm}
health_url = http://127.0.0.1:9/
[storage]
domain_uuid = {domain_uuid}
domain_path = {domain}
domain_type = localfs
status_image = {domain_uuid}
status_volume = {domain_uuid}
[vdsm]
ssl = false
[vdsm-server]
listen_port = {port}
accelerator = tcg
networks = net: user
"""


async def test_the_process_may_be_killed_and_its_vms_live(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    # Only for its clean-up of what runs below the directory.
    host = Host(tmp_path)
    path = tmp_path / "ha-agent.conf"
    domain = make_domain(tmp_path)
    path.write_text(
        CONFIG.format(run_dir=host.run_dir, vm=VM, domain_uuid=DOMAIN, domain=domain, port=port)
    )
    arguments = [sys.executable, "-m", "ha_agent.vdsm.server", "--config", str(path)]
    process = await asyncio.create_subprocess_exec(*arguments)
    try:
        client = await _connect(port)
        await client.create(make_xml())
        await client.event("Powering up")
        client.close()
        pid = int((host.run_dir / "vdsm" / VM / "qemu.pid").read_text())
        process.kill()
        await process.wait()
        assert registry.start_ticks(pid) is not None
        process = await asyncio.create_subprocess_exec(*arguments)
        client = await _connect(port)
        assert (await client.status())["status"] == "Powering up"
        client.close()
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 10) == 0
        assert registry.start_ticks(pid) is not None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        await host.clean_up()


async def _connect(port: int) -> Client:
    """Connect once the process listens and no longer answers 99."""
    for _ in range(400):
        with contextlib.suppress(OSError):
            client = await Client.connect(port)
            if await client.is_ready():
                return client
            client.close()
        await asyncio.sleep(0.02)
    raise AssertionError("ha-vdsm does not listen")
