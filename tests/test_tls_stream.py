# SPDX-License-Identifier: Apache-2.0
"""One connection under TLS: bytes both ways, ends of all kinds, and words for failures."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import socket
import ssl
import sys
import termios
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any, Optional

import pytest

from ha_agent.broker.push.certs import server_context
from ha_agent.certificates import TlsFiles
from ha_agent.push_client import client_context
from ha_agent.tls_stream import NotTls, TlsStream, handshake_fault
from tests.push_certs import ENGINE, Pki

LIMIT_SECONDS = 20.0


class Ends:
    """Our stream, and the other end as asyncio's."""

    def __init__(self, folder: Path) -> None:
        pki = Pki(folder)
        own, self.engine = pki.pair("localhost"), pki.pair(ENGINE)
        self.ours, self._theirs = socket.socketpair()
        self.ours.setblocking(False)
        self._theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        self.stream = TlsStream(self.ours, server_context(TlsFiles(own.key, own.cert, pki.ca)))
        self._context = client_context(self.engine.cert, self.engine.key, pki.ca)
        self.reader: asyncio.StreamReader
        self.writer: Optional[asyncio.StreamWriter] = None

    async def meet(self) -> asyncio.StreamWriter:
        both = asyncio.gather(
            self.stream.handshake(),
            asyncio.open_connection(
                sock=self._theirs, ssl=self._context, server_hostname="localhost"
            ),
        )
        _, (self.reader, self.writer) = await both
        return self.writer

    def fill(self, data: bytes) -> None:
        self._theirs.sendall(data)

    async def close(self) -> None:
        await self.stream.dispose()
        if self.writer is not None:
            # A transport that has ended knows its protocol no more, and raises for that.
            with contextlib.suppress(AttributeError):
                self.writer.transport.abort()
        self._theirs.close()


@pytest.fixture
async def ends(tmp_path: Path) -> AsyncIterator[Ends]:
    ends = Ends(tmp_path)
    yield ends
    await ends.close()


async def test_bytes_go_both_ways_at_once(ends: Ends) -> None:
    writer = await ends.meet()
    data = bytes(range(256)) * 4000
    writer.write(data)
    ends.stream.write(data)
    sending = asyncio.ensure_future(ends.stream.drain())
    reading = asyncio.ensure_future(ends.reader.readexactly(len(data)))
    got = b""
    while len(got) < len(data):
        got += await ends.stream.read()
    await sending
    assert got == await reading == data


async def test_it_has_the_certificate_of_the_other_end(ends: Ends) -> None:
    await ends.meet()
    pem = ends.engine.cert.read_text().split("-----END")[0] + "-----END CERTIFICATE-----\n"
    assert ends.stream.peer_certificate() == ssl.PEM_cert_to_DER_cert(pem)


async def test_a_goodbye_is_an_end(ends: Ends) -> None:
    writer = await ends.meet()
    writer.close()
    assert await ends.stream.read() == b""


async def test_a_cut_is_an_end(ends: Ends) -> None:
    writer = await ends.meet()
    writer.transport.abort()
    assert await ends.stream.read() == b""


async def test_our_last_words_arrive_though_more_was_sent_than_we_read(ends: Ends) -> None:
    writer = await ends.meet()
    writer.write(bytes(300_000))
    ends.stream.write(b"no more")
    ends.stream.close()
    assert ends.stream.is_closing()
    closing = asyncio.ensure_future(ends.stream.wait_closed())
    assert await ends.reader.read() == b"no more"
    writer.close()
    await closing


async def test_an_abort_wakes_who_reads(ends: Ends) -> None:
    await ends.meet()
    reading = asyncio.ensure_future(ends.stream.read())
    await asyncio.sleep(0.01)
    ends.stream.abort()
    assert await reading == b""
    assert await ends.stream.read() == b""


async def test_a_call_that_was_cancelled_leaves_nothing_in_the_loop(ends: Ends) -> None:
    await ends.meet()
    reading = asyncio.ensure_future(ends.stream.read())
    await asyncio.sleep(0.01)
    reading.cancel()
    await ends.stream.dispose()
    # The next socket has the number of ours; a watch that was left would be found on it.
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        loop = asyncio.get_running_loop()
        waiting = asyncio.ensure_future(loop.sock_recv(ours, 10))
        await asyncio.sleep(0.01)
        theirs.send(b"hello")
        assert await waiting == b"hello"


async def left_after_two_turns(ends: Ends, work: Coroutine[Any, Any, object]) -> int:
    """Begin `work` with more to read than it takes at once; return what is left soon after."""
    began = asyncio.ensure_future(work)
    for _ in range(2):
        await asyncio.sleep(0)
    left = int.from_bytes(fcntl.ioctl(ends.ours, termios.FIONREAD, bytes(4)), sys.byteorder)
    began.cancel()
    await asyncio.wait({began})
    return left


async def test_who_sends_without_a_pause_leaves_turns_to_others(ends: Ends) -> None:
    ends.fill(b"\x16" + bytes(199_999))
    assert await left_after_two_turns(ends, ends.stream.wait_closed()) > 0


async def test_a_tls_peer_that_sends_without_a_pause_does_so_too(ends: Ends) -> None:
    writer = await ends.meet()
    writer.write(bytes(150_000))

    async def read_all() -> None:
        while await ends.stream.read():
            pass

    assert await left_after_two_turns(ends, read_all()) > 0


def certificate_error(code: int, message: str) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "x")
    error.verify_code, error.verify_message = code, message
    return error


def alert(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, "x")
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("error", "counter", "words"),
    [
        (certificate_error(10, "certificate has expired"), "certificate_expired", "out of date"),
        (certificate_error(20, "no issuer"), "unknown_ca", "no issuer"),
        (certificate_error(9, "not yet valid"), "certificate_expired", "clock is wrong"),
        (alert("TLSV1_ALERT_UNKNOWN_CA"), "bad_handshake", "it refuses this host's certificate"),
        (NotTls(), "plain_text", "does not speak TLS"),
        (ssl.SSLEOFError(8, "EOF"), "bad_handshake", "went away"),
        (ConnectionResetError(errno.ECONNRESET, "reset"), "bad_handshake", "went away"),
        (OSError(errno.ENETDOWN, "Network is down"), "bad_handshake", "Network is down"),
    ],
)
def test_each_failure_has_its_counter_and_its_words(
    error: OSError, counter: str, words: str
) -> None:
    found, why = handshake_fault(error)
    assert found == counter
    assert words in why
