# SPDX-License-Identifier: Apache-2.0
"""For the tests of deploy: a bare host with a real embedded VDSM, and ways to end a run early."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Optional

from ha_agent.certificates import TlsFiles
from ha_agent.setup.answers import Answers, Given, check
from ha_agent.setup.deploy.deploy import Request, deploy
from ha_agent.setup.own_host import OwnFiles
from ha_agent.setup.services import OUR_UNITS, UnitState
from ha_agent.vdsm.server.service import EmbeddedVdsm, ServerSettings

GUEST_BYTES = 3 << 20
# What changes something at VDSM's; the rest looks, or is harmless.
CHANGES = ("StorageDomain.create", "Volume.create", "Volume.setDescription")
_METHOD = re.compile(rb'"method": ?"([A-Za-z.0-9]+)"')


class FakeServices:
    """systemd's units in memory."""

    def __init__(self, *there: str) -> None:
        self.there = set(there)
        self.running: set[str] = set()
        self.enabled: set[str] = set()

    async def states(self, names: Sequence[str]) -> dict[str, UnitState]:
        return {
            name: UnitState(
                name, name, name in self.there, name in self.running, name in self.enabled
            )
            for name in names
        }

    async def enable(self, names: Sequence[str]) -> None:
        self.enabled.update(names)

    async def disable(self, names: Sequence[str]) -> None:
        self.enabled.difference_update(names)

    async def start(self, names: Sequence[str]) -> None:
        self.running.update(names)

    async def stop(self, names: Sequence[str]) -> None:
        self.running.difference_update(names)


class Killed(BaseException):
    """The run was ended, as by a SIGKILL: nothing of it goes on."""


class Wire:
    """Between deploy and VDSM: counts the calls that change something, and can end the run right
    after one was sent on, while VDSM is still at it."""

    def __init__(self, vdsm_port: int) -> None:
        self._vdsm_port = vdsm_port
        self._server: Optional[asyncio.Server] = None
        self.port = 0
        self.calls: list[str] = []
        self.kill_after: Optional[int] = None
        self.victim: Optional[asyncio.Task[tuple[str, ...]]] = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, ours = await asyncio.open_connection("127.0.0.1", self._vdsm_port)
        back = asyncio.ensure_future(self._pump(theirs, writer))
        try:
            while data := await reader.read(1 << 16):
                ours.write(data)
                await ours.drain()
                self._count(data)
        except ConnectionError:
            pass
        finally:
            back.cancel()
            ours.close()
            writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()

    def _count(self, data: bytes) -> None:
        for match in _METHOD.finditer(data):
            name = match[1].decode()
            # Volume.setDescription of no volume is the question whether a pool is wanted.
            if name in CHANGES and b'"volumeID": "00000000-' not in data:
                self.calls.append(name)
                if self.kill_after is not None and len(self.calls) >= self.kill_after:
                    assert self.victim is not None
                    self.victim.cancel()


class BareHost:
    """A host with nothing on it, and its storage."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.share = folder / "share"
        self.root = folder / "root"
        self.state_dir = folder / "state"
        self.image = folder / "guest.raw"
        self.services = FakeServices(*OUR_UNITS)
        self.lines: list[str] = []
        self.wire: Optional[Wire] = None
        for path in (self.share, self.root):
            path.mkdir()
        self.image.write_bytes(b"boots".ljust(GUEST_BYTES, b"\0"))

    def answers(self, **changes: str) -> Answers:
        assert self.wire is not None
        texts = {
            "storage_type": "localfs",
            "storage_connection": str(self.share),
            "engine_fqdn": "127.0.0.1",
            "memory_mib": "64",
            "cpus": "1",
            "machine": "pc",
            "console": "none",
            "bridge": "",
            "disk_image_file": str(self.image),
            "vdsm_host": "127.0.0.1",
            "vdsm_port": str(self.wire.port),
            "vdsm_ssl": "false",
            "host.run_dir": str(self.folder / "run"),
            "host.state_dir": str(self.state_dir),
            **changes,
        }
        return check({name: Given(text, "test") for name, text in texts.items() if text != "-"})

    async def deploy(self, *, dry: bool = False, start: bool = True, **changes: str) -> list[str]:
        """Run it, and return the names of the steps that had something to do."""
        assert self.wire is not None
        self.lines.clear()
        self.wire.calls.clear()
        request = Request(
            self.answers(**changes),
            OwnFiles(self.root, [], {}),
            self.services,
            self._say,
            dry_run=dry,
            start=start,
        )
        task = asyncio.ensure_future(deploy(request))
        self.wire.victim = task
        try:
            return list(await task)
        except asyncio.CancelledError:
            raise Killed from None

    kill_at_line = ""

    def _say(self, text: str) -> None:
        self.lines.append(text)
        if self.kill_at_line and self.kill_at_line in text:
            raise Killed

    def content(self) -> dict[str, str]:
        """What tells whether a file was changed: its beginning, its size, when it was written."""
        found = {}
        for top in (self.share, self.root, self.state_dir):
            for path in sorted(top.rglob("*")):
                if path.is_file():
                    with path.open("rb") as file:
                        digest = hashlib.blake2b(file.read(1 << 20)).hexdigest()
                    told = path.stat()
                    text = f"{digest} {told.st_size} {told.st_mtime_ns}"
                    found[str(path.relative_to(self.folder))] = text
        return found

    def volumes(self) -> dict[str, list[Path]]:
        """Return the volumes on the storage by their disk type."""
        found: dict[str, list[Path]] = {}
        for meta in self.share.glob("*/images/*/*.meta"):
            text = meta.read_text()
            kind = next(line[9:] for line in text.splitlines() if line.startswith("DISKTYPE="))
            found.setdefault(kind, []).append(meta.with_suffix(""))
        return found


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A folder that is gone afterwards: what stands in it takes gigabytes."""
    path = Path(tempfile.mkdtemp(prefix="deploy-"))
    try:
        yield path
    finally:
        shutil.rmtree(path)


@contextlib.asynccontextmanager
async def bare_host(tls: Optional[TlsFiles] = None) -> AsyncIterator[BareHost]:
    """A bare host whose VDSM runs."""
    with folder() as path:
        settings = ServerSettings(
            run_dir=path / "vdsm",
            domain_paths=(path / "elsewhere",),
            listen_port=0,
            accelerator="tcg",
            networks={"ovirtmgmt": "user"},
            sample_interval_seconds=0.05,
            tls=tls,
        )
        (path / "vdsm").mkdir()
        server = EmbeddedVdsm(settings)
        await server.start()
        host = BareHost(path)
        host.wire = Wire(server.port)
        await host.wire.start()
        try:
            yield host
        finally:
            await host.wire.stop()
            await server.stop()
