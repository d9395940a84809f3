# SPDX-License-Identifier: Apache-2.0
"""The embedded VDSM as a process and as an object."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Optional

import pytest

from ha_agent.certificates import TlsFiles
from ha_agent.clock import SystemClock
from ha_agent.errors import BadInput, EnvironmentFault
from ha_agent.vdsm.client.client import VdsmClient
from ha_agent.vdsm.server.service import EmbeddedVdsm, ServerSettings
from ha_agent.vdsm.vm import registry
from tests.faulty_storage import faulty_storage
from tests.push_certs import Pki
from tests.storage_faults import Fault
from tests.vdsm.embedded import (
    BLANK,
    DOMAIN,
    IMAGE,
    VM,
    VOLUME,
    Client,
    Host,
    Refused,
    hosts,
    kill,
    make_domain,
    make_xml,
    until,
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


class Process:
    """`ha-vdsm` as a process over one configuration, started again and again."""

    def __init__(self, tmp_path: Path, *, domain: Optional[Path] = None, **settings: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.host = Host(tmp_path)  # for its clean-up of what runs below the directory
        self.run_dir = registry.run_folder(self.host.run_dir)
        self._config = tmp_path / "ha-agent.conf"
        text = CONFIG.format(
            run_dir=self.host.run_dir,
            vm=VM,
            domain_uuid=DOMAIN,
            domain=domain or make_domain(tmp_path),
            port=self.port,
        )
        self._config.write_text(text + "".join(f"{k} = {v}\n" for k, v in settings.items()))
        self.process: Optional[asyncio.subprocess.Process] = None

    async def spawn(self) -> asyncio.subprocess.Process:
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "ha_agent.vdsm.server.service", "--config", str(self._config))
        )
        return self.process

    async def start(self) -> Client:
        """Start it, and return a client once it no longer answers 99."""
        await self.spawn()
        return await _connect(self.port)

    async def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        await self.process.wait()

    async def clean_up(self) -> None:
        if self.process is not None and self.process.returncode is None:
            await self.kill()
        await self.host.clean_up()


async def test_the_process_may_be_killed_and_its_vms_live(tmp_path: Path) -> None:
    vdsm = Process(tmp_path)
    try:
        client = await vdsm.start()
        await client.create(make_xml())
        await client.event("Powering up")
        client.close()
        pid = int((vdsm.run_dir / VM / "qemu.pid").read_text())
        await vdsm.kill()
        assert registry.start_ticks(pid) is not None
        client = await vdsm.start()
        assert (await client.status())["status"] == "Powering up"
        client.close()
        assert vdsm.process is not None
        vdsm.process.terminate()
        assert await vdsm.process.wait() == 0
        assert registry.start_ticks(pid) is not None
    finally:
        await vdsm.clean_up()


# Told that it is QEMU for a VM, it says so, and waits; then it becomes QEMU.
SLOW_QEMU = """#!/bin/sh
case "$*" in *-uuid*)
    echo $$ > {place}/begun
    while [ ! -e {place}/go ]; do sleep 0.01; done ;;
esac
exec qemu-system-x86_64 "$@"
"""


async def test_killed_in_the_middle_of_a_start_it_finds_what_it_began(tmp_path: Path) -> None:
    slow = tmp_path / "slow-qemu"
    slow.write_text(SLOW_QEMU.format(place=tmp_path))
    slow.chmod(0o755)
    vdsm = Process(tmp_path, qemu_binary=str(slow))
    try:
        client = await vdsm.start()
        await client.create(make_xml())
        await until(lambda: (tmp_path / "begun").exists())
        await vdsm.kill()
        client.close()
        (tmp_path / "go").touch()
        client = await vdsm.start()
        stats = await client.status()
        assert (stats["status"], stats["pid"]) == (
            "Powering up",
            (tmp_path / "begun").read_text().strip(),
        )
        await client.call("VM.destroy", vmID=VM)
        await client.create(make_xml())  # and its lease is free again
        await client.event("Powering up")
        client.close()
    finally:
        await vdsm.clean_up()


async def test_killed_in_the_middle_of_a_destroy_it_ends_the_vm_when_asked_again(
    tmp_path: Path,
) -> None:
    vdsm = Process(tmp_path)
    try:
        client = await vdsm.start()
        await client.create(make_xml())
        await client.event("Powering up")
        pid = int((vdsm.run_dir / VM / "qemu.pid").read_text())
        os.kill(pid, signal.SIGSTOP)  # so that it does not take QMP's quit
        client.request("VM.destroy", {"vmID": VM}, "1")
        # Its order is in: answered after the destroy has begun.
        assert (await client.status())["pid"] == str(pid)
        await vdsm.kill()
        client.close()
        client = await vdsm.start()
        assert (await client.status())["pid"] == str(pid)
        assert await client.call("VM.destroy", vmID=VM) is True
        assert registry.start_ticks(pid) is None
        await client.create(make_xml())
        await client.event("Powering up")
        client.close()
    finally:
        await vdsm.clean_up()


async def test_while_it_recovers_every_verb_is_99_and_no_event_is_sent(tmp_path: Path) -> None:
    slow = tmp_path / "slow-qemu"
    gate = tmp_path / "help"
    slow.write_text(
        f'#!/bin/sh\nwhile [ ! -e {gate} ]; do sleep 0.01; done\nexec qemu-system-x86_64 "$@"\n'
    )
    slow.chmod(0o755)
    host = Host(make_domain(tmp_path), qemu_binary=str(slow))
    gate.touch()
    async with hosts(host) as [client]:
        await client.create(make_xml())
        await client.event("Powering up")
        pid = host.pid()
        await host.stop()
        kill(pid)
        gate.unlink()
        host.vdsm = vdsm = EmbeddedVdsm(host.settings)
        starting = asyncio.create_task(vdsm.start())
        await until(lambda: vdsm.port != 0)
        again = await Client.connect(vdsm.port)
        try:
            for verb in ("Host.ping2", "VM.getStats", "No.such"):
                with pytest.raises(Refused) as refused:
                    await again.call(verb, vmID=VM)
                assert refused.value.code == 99
            gate.touch()
            await starting
            assert (await again.status())["status"] == "Down"
            assert again.events == []
        finally:
            again.close()


async def test_it_serves_tls_as_configured(tmp_path: Path) -> None:
    pki = Pki(tmp_path / "pki")
    own, other = pki.pair("some.host", file="own"), pki.pair("another.host", file="other")
    vdsm = Process(
        tmp_path,
        ssl="true",
        key_file=str(own.key),
        cert_file=str(own.cert),
        ca_file=str(pki.ca),
    )
    ready = asyncio.Event()
    client = VdsmClient(
        "127.0.0.1",
        vdsm.port,
        clock=SystemClock(),
        uniform=lambda: 0.5,
        tls=TlsFiles(other.key, other.cert, pki.ca),
        on_connected=ready.set,
    )
    try:
        await vdsm.spawn()
        client.start()
        await ready.wait()
        assert await client.call("Host.getVMList", {}) == []
        with pytest.raises((EOFError, ConnectionError)):
            await Client.connect(vdsm.port)  # in the clear
    finally:
        await client.close()
        await vdsm.clean_up()


async def test_keys_that_can_t_be_used_are_said_at_the_start(tmp_path: Path) -> None:
    gone = tmp_path / "gone.pem"
    host = Host(tmp_path, tls=TlsFiles(gone, gone, gone))
    try:
        with pytest.raises(EnvironmentFault, match=r"gone\.pem: No such file"):
            await host.start()
    finally:
        await host.clean_up()


async def test_a_host_that_is_not_set_up_has_one_too(tmp_path: Path) -> None:
    spawned = Process(tmp_path)
    (tmp_path / "ha-agent.conf").write_text(
        f"[host]\nrun_dir = {spawned.host.run_dir}\n"
        f"[vdsm-server]\nlisten_port = {spawned.port}\naccelerator = tcg\n"
    )
    try:
        client = await spawned.start()
        assert await client.call("Host.getStorageRepoStats") == {}
        assert (await client.call("Host.getStats"))["haStats"]["configured"] is False
        client.close()
    finally:
        await spawned.clean_up()


async def test_it_ends_in_time_while_storage_hangs(tmp_path: Path) -> None:
    """A FIFO stands for storage: who opens it hangs, as a thread on a dead mount does."""
    vdsm = Process(tmp_path)
    try:
        client = await vdsm.start()
        metadata = tmp_path / DOMAIN / "images" / IMAGE / f"{VOLUME}.meta"
        metadata.unlink()
        os.mkfifo(metadata)
        ids = {"storagepoolID": BLANK, "storagedomainID": DOMAIN, "imageID": IMAGE}
        client.request("Volume.getInfo", {**ids, "volumeID": VOLUME}, "1")
        assert await client.call("Host.ping2") is True
        assert vdsm.process is not None
        await until(lambda: has_storage_thread(vdsm.process))
        vdsm.process.terminate()
        assert await vdsm.process.wait() == 0
        client.close()
    finally:
        await vdsm.clean_up()


def has_storage_thread(process: Optional[asyncio.subprocess.Process]) -> bool:
    assert process is not None
    return len(os.listdir(f"/proc/{process.pid}/task")) > 1


async def test_it_ends_in_the_middle_of_its_start(tmp_path: Path) -> None:
    stuck = tmp_path / "stuck-qemu"
    stuck.write_text(f"#!/bin/sh\ntouch {tmp_path}/asked\nexec sleep 1000\n")
    stuck.chmod(0o755)
    vdsm = Process(tmp_path, qemu_binary=str(stuck))
    try:
        process = await vdsm.spawn()
        await until(lambda: (tmp_path / "asked").exists())
        process.terminate()
        assert await process.wait() == 0
    finally:
        await vdsm.clean_up()


async def test_a_record_that_can_t_be_written_loses_neither_vm_nor_event(tmp_path: Path) -> None:
    host = Host(make_domain(tmp_path))
    async with hosts(host) as [client]:
        await client.create(make_xml())
        await client.event("Powering up")
        pid = host.pid()
        record = host.run_dir / VM / "vm.json"
        record.unlink()
        record.mkdir()  # so that no file can take its place
        await client.call("VM.shutdown", vmID=VM)
        await client.event("Powering down")
        await host.stop()
        again = await host.start()
        try:
            assert (await again.status())["pid"] == str(pid)
            kill(pid)
            assert (await again.event("Down"))["exitReason"] == 2
        finally:
            again.close()
        record.rmdir()


@pytest.mark.root
async def test_it_makes_way_while_a_thread_of_it_can_t_even_be_killed(tmp_path: Path) -> None:
    """In state D, as on a hung NFS mount, the thread stays until the storage answers. What was
    ha-vdsm is a shell then, and the next one serves the VMs."""
    folder = tmp_path / "folder"
    folder.mkdir()
    make_domain(folder)
    with faulty_storage(folder, tmp_path / "mount") as storage:
        vdsm = Process(tmp_path, domain=storage.mount / DOMAIN)
        first = None
        try:
            client = await vdsm.start()
            await client.create(make_xml())
            await client.event("Powering up")
            storage.set(Fault(("open", "read", "getattr"), "*.meta", hang=True))
            ids = {"storagepoolID": BLANK, "storagedomainID": DOMAIN, "imageID": IMAGE}
            client.request("Volume.getInfo", {**ids, "volumeID": VOLUME}, "1")
            await until(lambda: bool(storage.hanging()))
            first = vdsm.process
            assert first is not None
            first.terminate()
            # Its main thread has ended; nobody can wait for the rest of it.
            await until(lambda: registry.start_ticks(first.pid) is None)
            client.close()
            client = await vdsm.start()
            assert (await client.status())["status"] == "Powering up"
            await client.call("VM.destroy", vmID=VM)
            client.close()
        finally:
            storage.release()
            if first is not None:
                await first.wait()
            await vdsm.clean_up()


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
