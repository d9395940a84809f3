# SPDX-License-Identifier: Apache-2.0
"""The client's TLS against peers with good, renewed, expired and foreign certificates, or none."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import os
import socket
import ssl
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Callable, Optional

import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ha_agent.certificates import TlsFiles
from ha_agent.clock import SystemClock
from ha_agent.vdsm.client.client import ClientState, VdsmClient
from ha_agent.vdsm.errors import VdsmConnectionLost
from ha_agent.waiting import within
from tests.push_certs import Pki
from tests.vdsm.stomp_peer import StompPeer

AGO = datetime.timedelta(days=-3)


class QuickClock(SystemClock):
    """Real time, but waits of the client's own choice are a twentieth as long."""

    async def sleep(self, duration_seconds: float) -> None:
        await asyncio.sleep(duration_seconds / 20)


class World:
    """A peer, an authority, and the client's files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pki = Pki(folder / "pki")
        self.peer = StompPeer()
        self.files = self.make_files("host")
        self._clients: list[VdsmClient] = []

    def make_files(self, name: str, *, ends_in: Optional[datetime.timedelta] = None) -> TlsFiles:
        pair = self.pki.pair(name, ends_in=ends_in)
        return TlsFiles(pair.key, pair.cert, self.pki.ca)

    def client(self, port: int = 0, *, tls: bool = True, deadline: float = 10.0) -> VdsmClient:
        client = VdsmClient(
            "127.0.0.1",
            port or self.peer.port,
            clock=QuickClock(),
            uniform=lambda: 0.5,
            tls=self.files if tls else None,
            connect_deadline_seconds=deadline,
        )
        client.start()
        self._clients.append(client)
        return client

    async def end(self) -> None:
        for client in self._clients:
            await client.close()
        if self.peer.port:
            await self.peer.stop()


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path)
    yield made
    await made.end()


def server_context(files: TlsFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.cert_file, files.key_file)
    context.load_verify_locations(files.ca_file)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


async def until(condition: Callable[[], bool]) -> None:
    async def poll() -> None:
        while not condition():  # noqa: ASYNC110 - it watches plain values
            await asyncio.sleep(0.005)

    await within(30, poll())


async def ready(client: VdsmClient) -> VdsmClient:
    await until(lambda: client.state is ClientState.READY)
    return client


async def reason(client: VdsmClient, *words: str) -> str:
    await until(lambda: all(word in client.reason for word in words))
    return client.reason


def der_of(path: Path) -> bytes:
    return ssl.PEM_cert_to_DER_cert(path.read_text())


async def test_calls_and_the_certificate_that_vdsm_shows(world: World) -> None:
    shown = world.make_files("some-other-name")
    await world.peer.start(server_context(shown))
    client = await ready(world.client())
    assert await client.call("Echo", {"n": 1}) == {"n": 1}
    assert client.server_certificate == der_of(shown.cert_file)


async def test_an_answer_in_many_tls_records_comes_whole(world: World) -> None:
    """asyncio reads record after record into slices of the buffer that it was given, which must
    be views of it and no copies."""
    await world.peer.start(server_context(world.files))
    client = await ready(world.client())
    params = {f"name {number}": "x" * 1000 for number in range(200)}
    assert await client.call("Echo", params) == params


async def test_renewed_files_are_taken_by_the_next_connection(world: World) -> None:
    await world.peer.start(server_context(world.files))
    client = await ready(world.client())
    world.pki = Pki(world.folder / "new")
    new = world.make_files("host")
    for name in ("key_file", "cert_file", "ca_file"):
        os.replace(getattr(new, name), getattr(world.files, name))
    assert await client.call("Echo", {"n": 1}) == {"n": 1}
    assert world.peer.connections == 1
    await world.peer.stop()
    await world.peer.start(server_context(world.files), port=world.peer.port)
    await until(lambda: world.peer.connections == 2)
    await ready(client)
    assert client.server_certificate == der_of(world.files.cert_file)


@contextlib.asynccontextmanager
async def refusing(context: ssl.SSLContext) -> AsyncIterator[int]:
    """A plain socket's server, as VDSM's is; asyncio's own closes without sending the alert."""
    listener = socket.create_server(("127.0.0.1", 0))
    seen = threading.Event()

    def refuse_one() -> None:
        accepted, _ = listener.accept()
        accepted.settimeout(10)
        with context.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False) as tls:
            with contextlib.suppress(ssl.SSLError):
                tls.do_handshake()
            seen.wait(10)  # a close with unread bytes is a reset, which may overtake the alert

    server = asyncio.create_task(asyncio.to_thread(refuse_one))
    try:
        yield listener.getsockname()[1]
    finally:
        seen.set()
        await server
        listener.close()


async def test_a_certificate_of_another_authority_is_refused(world: World) -> None:
    vdsm = server_context(world.files)
    world.pki = Pki(world.folder / "rogue")
    rogue = world.make_files("host")
    world.files = TlsFiles(rogue.key_file, rogue.cert_file, world.files.ca_file)
    async with refusing(vdsm) as port:
        client = world.client(port)
        assert f"it refuses {rogue.cert_file}, our certificate: " in await reason(
            client, "unknown ca"
        )


async def test_our_expired_certificate_is_named_with_its_end(world: World) -> None:
    vdsm = server_context(world.files)
    world.files = world.make_files("expired", ends_in=AGO)
    async with refusing(vdsm) as port:
        said = await reason(world.client(port), "certificate expired")
    assert f"it refuses {world.files.cert_file}, our certificate" in said
    assert f"it ended at {(datetime.datetime.now(datetime.timezone.utc) + AGO):%Y-%m-%d}" in said


async def test_vdsms_own_expired_certificate(world: World) -> None:
    world.files = world.make_files("expired", ends_in=AGO)
    await world.peer.start(server_context(world.files))
    said = await reason(world.client(), "certificate has expired")
    assert f"{world.files.cert_file} ended at " in said


def write_expired_authority(folder: Path) -> TlsFiles:
    """Return a pair that is good for longer than its CA."""
    now = datetime.datetime.now(datetime.timezone.utc)
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, n)]) for n in ("CA", "host")]
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in names]
    certificates = []
    for number, ends in enumerate((now + AGO, now - AGO)):
        builder = x509.CertificateBuilder(
            issuer_name=names[0],
            subject_name=names[number],
            public_key=keys[number].public_key(),
            serial_number=number + 1,
            not_valid_before=now + 10 * AGO,
            not_valid_after=ends,
        )
        basic = x509.BasicConstraints(ca=number == 0, path_length=None)
        builder = builder.add_extension(basic, critical=True)
        certificates.append(builder.sign(keys[0], hashes.SHA256()))
    files = TlsFiles(folder / "x.key", folder / "x.pem", folder / "x-ca.pem")
    pem = serialization.Encoding.PEM
    files.key_file.write_bytes(
        keys[1].private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    files.ca_file.write_bytes(certificates[0].public_bytes(pem))
    files.cert_file.write_bytes(certificates[1].public_bytes(pem))
    return files


async def test_an_expired_authority_is_named_with_its_end(world: World) -> None:
    world.files = write_expired_authority(world.folder)
    await world.peer.start(server_context(world.files))
    said = await reason(world.client(), "certificate has expired")
    assert f"{world.files.ca_file} ended at " in said


async def test_vdsm_of_another_authority(world: World) -> None:
    ours = world.files
    world.pki = Pki(world.folder / "rogue")
    await world.peer.start(server_context(world.make_files("host")))
    world.files = ours
    await reason(world.client(), f"its certificate is not accepted with {ours.ca_file}: ")


@pytest.mark.parametrize("name", ["key_file", "cert_file", "ca_file"])
async def test_a_missing_file_is_a_reason_and_not_the_end(world: World, name: str) -> None:
    await world.peer.start(server_context(world.files))
    path = getattr(world.files, name)
    kept = path.rename(path.with_suffix(".kept"))
    client = world.client()
    await reason(client, f"{path}: No such file or directory")
    kept.rename(path)
    await ready(client)


@contextlib.asynccontextmanager
async def raw_peer(answer: Optional[bytes]) -> AsyncIterator[int]:
    """Takes what comes first, says `answer` and closes; None: neither ever."""

    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65536)
        if answer is None:
            await ended.wait()
        else:
            writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        ended.set()
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"", "does it have TLS turned off?"),
        (b"ERROR\ncontent-length:3\n\nno!\0", "no TLS with it, wrong version number"),
        (None, "127.0.0.1: connected, but no TLS handshake within 0."),
    ],
)
async def test_peers_that_do_not_speak_tls(
    world: World, answer: Optional[bytes], said: str
) -> None:
    async with raw_peer(answer) as port:
        client = world.client(port, deadline=0.3)
        await reason(client, said)
        await client.close()


async def test_a_peer_that_wants_tls_where_we_have_none(world: World) -> None:
    await world.peer.start(server_context(world.files))
    client = world.client(tls=False)
    await reason(client, "closed by VDSM before its greeting: does it want TLS")


async def test_a_handshake_and_then_nothing(world: World) -> None:
    world.peer.greets = False
    await world.peer.start(server_context(world.files))
    await reason(world.client(deadline=0.3), "STOMP greeting of VDSM at 127.0.0.1", "no answer")


async def test_what_was_not_sent_under_tls_was_surely_not_executed(world: World) -> None:
    await world.peer.start(server_context(world.files))
    client = await ready(world.client())
    world.peer.stop_reading()
    big = {"xml": "x" * 4_000_000}
    first = asyncio.create_task(client.call("VM.create", big))
    await asyncio.sleep(0)
    # asyncio's TLS tells of a full socket one frame late (CPython 3.11 to 3.13).
    between = asyncio.create_task(client.call("Echo", {}))
    await asyncio.sleep(0)
    last = asyncio.create_task(client.call("VM.destroy", {}))
    await asyncio.sleep(0)
    world.peer.drop()
    with pytest.raises(VdsmConnectionLost):
        await between
    for call, may_have_executed in ((first, True), (last, False)):
        with pytest.raises(VdsmConnectionLost) as caught:
            await call
        assert caught.value.may_have_executed is may_have_executed
