# SPDX-License-Identifier: Apache-2.0
"""TLS of the embedded VDSM, over real sockets, with asyncio's own TLS at the other end."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Optional

import pytest

from ha_agent.certificates import TlsFiles
from ha_agent.errors import EnvironmentFault
from ha_agent.vdsm.server.stomp_server import StompServer
from ha_agent.vdsm.server.stomp_stream import server_context
from ha_agent.vdsm.stomp import Frame, encode
from tests.push_certs import Pair, Pki
from tests.vdsm.embedded import Client

HELLO = encode(Frame("CONNECT", {"accept-version": "1.2"}))


async def no_answer(_body: bytes) -> tuple[Optional[bytes], bool]:
    return None, True


class Place:
    """A server's files, in a folder, and who may come."""

    def __init__(self, folder: Path) -> None:
        self.pki = Pki(folder)
        own = self.pki.pair("some.host", file="own")
        self.files = TlsFiles(own.key, own.cert, self.pki.ca)
        self.client = self.pki.pair("any.name", file="client")

    def context(
        self, pair: Optional[Pair] = None, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
    ) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.minimum_version = context.maximum_version = version
        context.load_verify_locations(self.pki.ca)
        if pair is not None:
            context.load_cert_chain(pair.cert, pair.key)
        return context


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "pki")


@pytest.fixture
async def server(place: Place) -> AsyncIterator[StompServer]:
    made = StompServer(no_answer, place.files)
    await made.start("127.0.0.1", 0)
    yield made
    await made.close()


@contextlib.asynccontextmanager
async def connected(
    server: StompServer, context: Optional[ssl.SSLContext]
) -> AsyncIterator[Client]:
    client = Client(*await asyncio.open_connection("127.0.0.1", server.port, ssl=context))
    try:
        yield client
    finally:
        client.close()


async def greeted(server: StompServer, context: ssl.SSLContext) -> bytes:
    """Return the server's certificate, after a greeting."""
    async with connected(server, context) as client:
        client.writer.write(HELLO)
        assert (await client.frame()).command == "CONNECTED"
        der = client.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        assert isinstance(der, bytes)
        return der


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_any_certificate_of_the_ca_is_let_in(
    server: StompServer, place: Place, version: ssl.TLSVersion
) -> None:
    await greeted(server, place.context(place.client, version))


async def test_what_is_no_stomp_is_told_apart_under_tls_too(
    server: StompServer, place: Place
) -> None:
    async with connected(server, place.context(place.client)) as client:
        client.writer.write(b"GET / HTTP/1.1\r\n\r\n")
        with pytest.raises((EOFError, ConnectionError)):
            await client.frame()


async def test_a_client_without_certificate_is_told_by_its_first_read(
    server: StompServer, place: Place
) -> None:
    async with connected(server, place.context()) as client:
        with pytest.raises(ssl.SSLError, match="CERTIFICATE_REQUIRED"):
            await client.frame()
    # TLS 1.2 has no alert of that name, and ends in the handshake.
    with pytest.raises(ssl.SSLError, match="HANDSHAKE_FAILURE"):
        await greeted(server, place.context(version=ssl.TLSVersion.TLSv1_2))


async def test_a_client_of_another_ca_is_told(
    server: StompServer, place: Place, tmp_path: Path
) -> None:
    rogue = Pki(tmp_path / "rogue").pair("any.name")
    async with connected(server, place.context(rogue)) as client:
        with pytest.raises(ssl.SSLError, match="UNKNOWN_CA"):
            await client.frame()


async def test_old_tls_and_no_tls_at_all_end_in_the_handshake(
    server: StompServer, place: Place
) -> None:
    async with connected(server, None) as client:
        client.writer.write(HELLO)
        with pytest.raises((EOFError, ConnectionError)):
            await client.frame()
    await greeted(server, place.context(place.client))


async def test_who_says_nothing_in_its_handshake_keeps_nobody_out(
    server: StompServer, place: Place
) -> None:
    async with connected(server, None), connected(server, None):
        await greeted(server, place.context(place.client))


async def test_renewed_certificates_are_for_new_connections(
    server: StompServer, place: Place
) -> None:
    context = place.context(place.client)
    async with connected(server, context) as old:
        old.writer.write(HELLO)
        await old.frame()
        before = await greeted(server, context)
        renewed = place.pki.pair("some.host", file="renewed")
        shutil.copy(renewed.key, place.files.key_file)
        shutil.copy(renewed.cert, place.files.cert_file)
        assert await greeted(server, context) != before
        old.writer.write(HELLO)
        assert (await old.frame()).command == "CONNECTED"


async def test_files_that_break_keep_new_clients_out_until_they_are_whole(
    server: StompServer, place: Place
) -> None:
    context = place.context(place.client)
    whole = place.files.key_file.read_bytes()
    place.files.key_file.write_bytes(b"half a file")
    with pytest.raises((OSError, EOFError)):
        await greeted(server, context)
    place.files.key_file.write_bytes(whole)
    await greeted(server, context)


def test_what_is_wrong_with_the_files_is_said(place: Place, tmp_path: Path) -> None:
    files, gone = place.files, tmp_path / "gone.pem"
    for missing in (
        TlsFiles(gone, files.cert_file, files.ca_file),
        TlsFiles(files.key_file, gone, files.ca_file),
        TlsFiles(files.key_file, files.cert_file, gone),
    ):
        with pytest.raises(EnvironmentFault, match=r"gone\.pem: No such file"):
            server_context(missing)
    other = TlsFiles(place.client.key, files.cert_file, files.ca_file)
    with pytest.raises(EnvironmentFault, match="no pair"):
        server_context(other)
