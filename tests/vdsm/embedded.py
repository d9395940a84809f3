# SPDX-License-Identifier: Apache-2.0
"""For the tests of the embedded VDSM: a domain with a disk, definitions, a client, a clean-up."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import tempfile
import uuid
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Callable, Optional

from ha_agent.vdsm import file_domain
from ha_agent.vdsm.server.service import EmbeddedVdsm, ServerSettings
from ha_agent.vdsm.stomp import Frame, StompDecoder, encode
from ha_agent.vdsm.vm import registry

DOMAIN = "11111111-1111-4111-8111-111111111111"
IMAGE = "22222222-2222-4222-8222-222222222222"
VOLUME = "33333333-3333-4333-8333-333333333333"
VM = "44444444-4444-4444-8444-444444444444"
BLANK = file_domain.BLANK_UUID

# A boot sector that halts for ever.
LOOP = bytes.fromhex("f4ebfd").ljust(510, b"\0") + b"\x55\xaa"


def make_domain(parent: Path, sector: bytes = LOOP) -> Path:
    """Make a storage domain with one bootable 1 MiB volume."""
    path = file_domain.create_domain(parent, DOMAIN, name="hosted_storage")
    source = parent / "sector"
    source.write_bytes(sector)
    file_domain.create_volume(
        path, IMAGE, VOLUME, 1 << 20, "disk", "HEVD", created_at_seconds=1, source=source
    )
    return path


def make_xml(
    *,
    vm: str = VM,
    devices: str = "",
    metadata: str = "",
    lease: bool = True,
    name: str = "engine",
) -> str:
    """Return a definition that boots the domain's volume and has its lease."""
    lease_xml = (
        f"<lease><key>{VOLUME}</key><lockspace>{DOMAIN}</lockspace>"
        f"<target path='LEASE-PATH:{VOLUME}:{DOMAIN}' offset='LEASE-OFFSET:x'/></lease>"
    )
    return f"""<domain type='kvm'><name>{name}</name><uuid>{vm}</uuid>
      <memory>32768</memory><vcpu>1</vcpu><os><type machine='pc'>hvm</type></os>
      <devices>
        <disk type='file' device='disk'><target dev='vda' bus='virtio'/><source file=''/>
          <driver name='qemu' type='raw' cache='none' io='threads' error_policy='stop'/>
          <boot order='1'/></disk>
        {lease_xml if lease else ""}{devices}
      </devices>
      <metadata xmlns:ovirt-vm='http://ovirt.org/vm/1.0'><ovirt-vm:vm>{metadata}
        <ovirt-vm:device devtype='disk' name='vda'>
          <ovirt-vm:poolID>{BLANK}</ovirt-vm:poolID><ovirt-vm:domainID>{DOMAIN}</ovirt-vm:domainID>
          <ovirt-vm:imageID>{IMAGE}</ovirt-vm:imageID><ovirt-vm:volumeID>{VOLUME}</ovirt-vm:volumeID>
        </ovirt-vm:device></ovirt-vm:vm></metadata></domain>"""


class Host:
    """One host: a run directory, and embedded VDSMs over it, one after the other."""

    def __init__(self, domain: Path, **settings: Any) -> None:
        self.run_dir = Path(tempfile.mkdtemp(prefix="vdsm-", dir="/tmp"))
        values = {
            "accelerator": "tcg",
            "networks": {"net": "user"},
            "sample_interval_seconds": 0.05,
            **settings,
        }
        self.settings = ServerSettings(
            run_dir=self.run_dir, domain_paths=(domain,), listen_port=0, **values
        )
        self.vdsm: Optional[EmbeddedVdsm] = None

    async def start(self) -> Client:
        self.vdsm = EmbeddedVdsm(self.settings)
        await self.vdsm.start()
        return await Client.connect(self.vdsm.port)

    async def stop(self) -> None:
        if self.vdsm is not None:
            await self.vdsm.stop()
            self.vdsm = None

    def pid(self, vm: str = VM) -> int:
        records, _ = registry.load_all(self.run_dir)
        pid = next(record.pid for record in records if record.uuid == vm)
        assert pid is not None
        return pid

    async def clean_up(self) -> None:
        """Kill every QEMU of this run directory and wait for its end by pidfd."""
        await self.stop()
        for name in filter(str.isdecimal, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                if os.fsencode(self.run_dir) in Path(f"/proc/{name}/cmdline").read_bytes():
                    kill(int(name))
        shutil.rmtree(self.run_dir)


async def until(holds: Callable[[], bool]) -> None:
    """Wait until something that is no event of ours holds; the test's own time limit ends it."""
    while not holds():  # noqa: ASYNC110 - it watches plain values
        await asyncio.sleep(0.005)


def kill(pid: int) -> None:
    """Send SIGKILL and wait for the end, without reaping somebody else's child."""
    with contextlib.suppress(ProcessLookupError, ChildProcessError):
        descriptor = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            os.waitid(os.P_PIDFD, descriptor, os.WEXITED | os.WNOWAIT)
        finally:
            os.close(descriptor)


@contextlib.asynccontextmanager
async def hosts(*made: Host) -> AsyncIterator[list[Client]]:
    """Start hosts, give a client of each, and leave nothing running."""
    clients: list[Client] = []
    try:
        for host in made:
            clients.append(await host.start())
        yield clients
    finally:
        for client in clients:
            client.close()
        for host in made:
            await host.clean_up()


class Refused(Exception):
    """The server answered with an error."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class Client:
    """A STOMP client as simple as can be: raw frames, JSON by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.frames: list[Frame] = []
        self.events: list[tuple[str, Mapping[str, Any]]] = []
        self._decoder = StompDecoder()
        self.reply_to = str(uuid.uuid4())

    @classmethod
    async def connect(cls, port: int) -> Client:
        client = cls(*await asyncio.open_connection("127.0.0.1", port))
        client.send("CONNECT", {"accept-version": "1.2", "heart-beat": "0,0"})
        assert (await client.frame()).command == "CONNECTED"
        client.send("SUBSCRIBE", {"destination": client.reply_to, "id": "replies"})
        client.send("SUBSCRIBE", {"destination": "jms.queue.events", "id": "events"})
        return client

    def close(self) -> None:
        self.writer.transport.abort()

    def send(self, command: str, headers: Mapping[str, str], body: bytes = b"") -> None:
        self.writer.write(encode(Frame(command, headers, body)))

    async def frame(self, deadline_seconds: float = 20.0) -> Frame:
        while not self.frames:
            data = await asyncio.wait_for(self.reader.read(65536), deadline_seconds)
            if not data:
                raise EOFError
            self.frames += self._decoder.feed(data)
        return self.frames.pop(0)

    async def message(self) -> Mapping[str, Any]:
        """Return the next reply; events are put aside."""
        while True:
            frame = await self.frame()
            assert frame.command == "MESSAGE", frame
            value: Mapping[str, Any] = json.loads(frame.body)
            if "method" not in value:
                return value
            self._keep(value)

    def _keep(self, value: Mapping[str, Any]) -> None:
        vm = value["method"].rpartition("|")[2]
        self.events.append((vm, value["params"][vm]))

    def request(self, method: str, params: Any, request_id: str) -> None:
        body = {"jsonrpc": "2.0", "method": method, "params": params, "id": request_id}
        headers = {"destination": "jms.topic.vdsm_requests", "reply-to": self.reply_to}
        self.send("SEND", headers, json.dumps(body).encode())

    async def call(self, method: str, **params: Any) -> Any:
        request_id = str(uuid.uuid4())
        self.request(method, params, request_id)
        while True:
            reply = await self.message()
            if reply["id"] == request_id:
                break
        if "error" in reply:
            raise Refused(reply["error"]["code"], reply["error"]["message"])
        return reply["result"]

    async def is_ready(self) -> bool:
        """Tell whether calls are answered, and not refused with code 99."""
        try:
            await self.call("Host.ping2")
        except Refused as refused:
            if refused.code != 99:
                raise
            return False
        return True

    async def event(self, status: str, vm: str = VM) -> Mapping[str, Any]:
        """Wait for the VM's next event with this status, and return its fields."""
        while True:
            while self.events:
                uuid_, fields = self.events.pop(0)
                if uuid_ == vm and fields["status"] == status:
                    return fields
            self._keep(json.loads((await self.frame()).body))

    async def create(self, xml: str, vm: str = VM) -> Any:
        return await self.call("VM.create", vmID=vm, vmParams={"xml": xml})

    async def status(self, vm: str = VM) -> Mapping[str, Any]:
        stats: list[Mapping[str, Any]] = await self.call("VM.getStats", vmID=vm)
        return stats[0]
