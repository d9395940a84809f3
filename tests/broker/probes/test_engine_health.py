# SPDX-License-Identifier: Apache-2.0
"""The health probe against small servers on real sockets, good and bad."""

from __future__ import annotations

import asyncio
import os
import re
import resource
import shutil
import socket
import ssl
import struct
import subprocess
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Callable, Optional

import pytest

from ha_agent.broker.probes.engine_health import (
    HealthResult,
    HealthTarget,
    parse_target,
    probe,
)
from ha_agent.broker.probes.names import Names
from ha_agent.clock import SystemClock
from ha_agent.errors import BadInput, EnvironmentFault

_PAGE = b"DB Up!Welcome to Health Status!"
_GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(_PAGE), _PAGE)
_PATH = "/ovirt-engine/services/health"

_Act = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def _engine(act: _Act, tls: Optional[ssl.SSLContext] = None) -> AsyncIterator[int]:
    tasks: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.append(task)
        try:
            await act(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


def _answering(answer: bytes) -> _Act:
    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.write_eof()
        await reader.read()

    return act


async def _probe(
    port: int,
    *,
    scheme: str = "http",
    deadline_seconds: float = 5.0,
    ca_file: Optional[Path] = None,
    host: str = "127.0.0.1",
) -> HealthResult:
    return await probe(
        HealthTarget(scheme, host, port, _PATH),
        deadline_seconds=deadline_seconds,
        clock=SystemClock(),
        names=Names(),
        ca_file=str(ca_file) if ca_file else None,
    )


@pytest.mark.parametrize(
    "answer",
    [
        _GOOD,
        b"HTTP/1.0 200 OK\r\n\r\n" + _PAGE,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nDB U\r\n2\r\np!\r\n0\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\n" + _GOOD,
    ],
)
async def test_healthy(answer: bytes) -> None:
    async with _engine(_answering(answer)) as port:
        result = await _probe(port)
    assert result.healthy, result.detail
    assert "DB Up!" in result.detail
    assert 0 < result.elapsed_seconds < 5


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", "HTTP status 503"),
        (b"HTTP/1.1 500 Broken\r\n\r\n" + _PAGE, "HTTP status 500"),
        (b"HTTP/1.1 302 Found\r\nLocation: /x\r\n\r\n", "HTTP status 302"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nDB \x1bDown!", r"'DB \\x1bDown!'"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "does not say 'DB Up'"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n" + _PAGE, "ended before"),
        (b"HTTP/1.1 200 OK\r\n", "ended before"),
        (b"", "ended before"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "not sound HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", "not sound HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "not sound HTTP"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n" + _PAGE + bytes(899_000),
            "longer than 65536 bytes",
        ),
    ],
)
async def test_unhealthy(answer: bytes, says: str) -> None:
    async with _engine(_answering(answer)) as port:
        result = await _probe(port)
    assert not result.healthy
    assert re.search(says, result.detail)


async def test_request_is_what_the_engine_expects() -> None:
    seen = bytearray()

    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.extend(await reader.readuntil(b"\r\n\r\n"))
        writer.write(_GOOD)
        await writer.drain()

    async with _engine(act) as port:
        await _probe(port)
    lines = bytes(seen).decode().split("\r\n")
    assert lines[0] == f"GET {_PATH} HTTP/1.1"
    assert f"host: 127.0.0.1:{port}" in [line.lower() for line in lines]


async def test_dripping_engine_does_not_stretch_the_deadline() -> None:
    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for byte in _GOOD * 10:
            writer.write(bytes([byte]))
            await asyncio.sleep(0.01)

    async with _engine(act) as port:
        result = await _probe(port, deadline_seconds=0.1)
    assert not result.healthy
    assert result.detail == "no complete answer within 0.1 s"
    assert 0.09 < result.elapsed_seconds < 1


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_engine_that_never_answers(scheme: str) -> None:
    async def act(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        while await reader.read(1000):
            pass

    async with _engine(act) as port:
        result = await _probe(port, scheme=scheme, deadline_seconds=0.1)
    assert not result.healthy
    assert result.detail == "no complete answer within 0.1 s"
    assert result.elapsed_seconds < 1


async def test_endless_body_is_cut_off() -> None:
    sent_bytes = 0

    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent_bytes
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"DB Up!" * 10_000)
            await writer.drain()
            sent_bytes += 60_000

    async with _engine(act) as port:
        result = await _probe(port)
    assert not result.healthy
    assert "longer than" in result.detail


async def test_reset_and_refused() -> None:
    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        linger = struct.pack("ii", 1, 0)  # close with RST
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    async with _engine(act) as port:
        result = await _probe(port)
        assert (result.healthy, result.detail) == (False, "the connection was reset")
    result = await _probe(port)
    assert (result.healthy, result.detail) == (False, "the connection was refused")


@pytest.mark.parametrize("host", ["x" * 64, "a..b"])
async def test_unusable_names(host: str) -> None:
    result = await _probe(80, host=host)
    assert not result.healthy
    assert "its name" in result.detail


async def test_equal_findings_are_equal_whatever_time_they_took() -> None:
    async with _engine(_answering(_GOOD)) as port:
        first, second = await _probe(port), await _probe(port)
    assert first == second


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("tls")
    key, pem = folder / "key.pem", folder / "cert.pem"
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
        f"-subj /CN=engine -addext subjectAltName=IP:127.0.0.1 -keyout {key} -out {pem}"
    )
    subprocess.run(command.split(), check=True, capture_output=True, timeout=30)
    return pem, key


@pytest.fixture
def server_tls(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


def _answering_tls(answer: bytes) -> _Act:
    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        await reader.read()

    return act


async def test_https_without_a_ca_is_not_verified(server_tls: ssl.SSLContext) -> None:
    async with _engine(_answering_tls(_GOOD), server_tls) as port:
        result = await _probe(port, scheme="https")
        assert result.healthy, result.detail
        plain = await _probe(port, scheme="http")
        assert not plain.healthy


async def test_https_with_a_ca_is_verified(
    server_tls: ssl.SSLContext, certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    pem, key = certificate
    async with _engine(_answering_tls(_GOOD), server_tls) as port:
        good = await _probe(port, scheme="https", ca_file=pem)
        assert good.healthy, good.detail
        wrong_name = await _probe(port, scheme="https", ca_file=pem, host="localhost")
        assert not wrong_name.healthy
        assert "certificate is not accepted" in wrong_name.detail
        for unusable in (tmp_path / "absent.pem", key):
            with pytest.raises(EnvironmentFault, match=f"the CA file {unusable} can't be used"):
                await _probe(port, scheme="https", ca_file=unusable)


async def test_want_of_descriptors_is_no_word_about_the_engine() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        with pytest.raises(EnvironmentFault, match="too many open files"):
            await _probe(1)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_https_to_a_plain_server() -> None:
    async with _engine(_answering(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as port:
        result = await _probe(port, scheme="https", deadline_seconds=0.3)
    assert not result.healthy


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://engine/x?y=1", HealthTarget("http", "engine", 80, "/x?y=1")),
        ("https://engine.example.com", HealthTarget("https", "engine.example.com", 443, "/")),
        ("http://[fe80::1]:8080/h", HealthTarget("http", "fe80::1", 8080, "/h")),
    ],
)
def test_parse_target(url: str, target: HealthTarget) -> None:
    assert parse_target(url) == target


@pytest.mark.parametrize(
    "url",
    [
        "engine/health",
        "ftp://engine/",
        "http:///health",
        "http://engine:99999/",
        "http://[::1/",
        "http://engine/a b",
        "http://en gine/",
        "http://.engine/",
        "http://engine/\u00fc",
    ],
)
def test_parse_target_refuses(url: str) -> None:
    with pytest.raises(BadInput, match="health URL"):
        parse_target(url)
