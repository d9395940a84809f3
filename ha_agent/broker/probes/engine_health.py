# SPDX-License-Identifier: Apache-2.0
"""One look at the engine's health page: is the engine in the VM answering and well?

It must not retry or judge: one request, one result; how many bad ones in a row matter is the
state machine's business. A fault of this host's own, before the engine could be asked, is no
result: an engine that is quite well would be stopped for it. The page is the engine's own and
unchanged for years:

    GET /ovirt-engine/services/health  ->  200, "DB Up!Welcome to Health Status!"

Healthy is only status 200 with "DB Up" in the body, as the predecessor judged (facts 2.1). One
deadline covers name resolution, connection, TLS and the whole answer, so that an engine which
drips bytes can't hold a probe; headers and body are bounded.
"""

from __future__ import annotations

import asyncio
import errno
import ssl
from dataclasses import dataclass, field
from typing import Optional, Protocol
from urllib.parse import urlsplit

import h11

from ha_agent.broker.probes import network_fault
from ha_agent.broker.probes.names import Names
from ha_agent.errors import BadInput, EnvironmentFault
from ha_agent.instant import Instant
from ha_agent.waiting import within

HEALTHY_TEXT = b"DB Up"
MAX_BODY_BYTES = 64 * 1024
_MAX_HEADER_BYTES = 16 * 1024
_READ_BYTES = 16 * 1024
_EXCERPT_BYTES = 60
_OUR_OWN_ERRNOS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Clock(Protocol):
    """What is needed of ports.Clock."""

    def now(self) -> Instant: ...


@dataclass(frozen=True)
class HealthTarget:
    """Where the health page is. `path` has the query, if any."""

    scheme: str
    host: str
    port: int
    path: str


@dataclass(frozen=True)
class HealthResult:
    """What one look found. `detail` is a plain sentence without varying figures.

    Two results that differ only in the time that they took are equal.
    """

    healthy: bool
    detail: str
    elapsed_seconds: float = field(compare=False)


class _Unhealthy(Exception):
    """The answer is not that of a healthy engine; str() is the sentence that says so."""


def parse_target(url: str) -> HealthTarget:
    """Split an http or https URL. Raises BadInput."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise BadInput(str(error), where=f"health URL {url!r}") from error
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise BadInput("not an http or https URL with a host", where=f"health URL {url!r}")
    host = parts.hostname
    if host.startswith(".") or any(character <= " " for character in host):
        raise BadInput(f"{host!r} is no host", where=f"health URL {url!r}")
    path = parts.path or "/"
    if parts.query:
        path += f"?{parts.query}"
    if not path.isascii() or any(character <= " " for character in path):
        raise BadInput("a path has no spaces and only ASCII", where=f"health URL {url!r}")
    return HealthTarget(parts.scheme, host, port or _DEFAULT_PORTS[parts.scheme], path)


async def probe(
    target: HealthTarget,
    *,
    deadline_seconds: float,
    clock: Clock,
    names: Names,
    ca_file: Optional[str] = None,
) -> HealthResult:
    """Ask for the health page once. Raises EnvironmentFault when this host can't ask.

    https without `ca_file` is not verified: the engine's certificate is from its own CA, which
    a host need not have, and nothing secret is sent. With it, chain and host name are.
    """
    begun = clock.now()
    healthy = False
    try:
        detail = await within(deadline_seconds, _look(target, names, ca_file))
        healthy = True
    except asyncio.TimeoutError:
        detail = f"no complete answer within {deadline_seconds:g} s"
    except _Unhealthy as unhealthy:
        detail = str(unhealthy)
    except h11.RemoteProtocolError as error:
        detail = f"the answer is not sound HTTP: {error}"
    except (OSError, UnicodeError) as error:  # UnicodeError: a name that IDNA can't express
        detail = network_fault.describe(error)
        if isinstance(error, OSError) and error.errno in _OUR_OWN_ERRNOS:
            raise EnvironmentFault(detail) from error
    return HealthResult(healthy, detail, clock.now() - begun)


async def _look(target: HealthTarget, names: Names, ca_file: Optional[str]) -> str:
    tls = None
    if target.scheme == "https":
        tls = _tls_context(ca_file)
    reader, writer = await names.connect(target.host, target.port, tls)
    try:
        return await _ask(target, reader, writer)
    finally:
        # Not close(): TLS would wait for the engine's goodbye.
        writer.transport.abort()


def _tls_context(ca_file: Optional[str]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca_file is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    try:
        context.load_verify_locations(ca_file)
    except OSError as error:
        raise EnvironmentFault(f"the CA file {ca_file} can't be used: {error}") from error
    return context


async def _ask(
    target: HealthTarget, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> str:
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEADER_BYTES)
    request = h11.Request(
        method="GET",
        target=target.path,
        headers=[
            ("Host", _host_header(target)),
            ("User-Agent", "ha-agent"),
            ("Accept", "text/plain, */*"),
            ("Connection", "close"),
        ],
    )
    for event in (request, h11.EndOfMessage()):
        writer.write(connection.send(event) or b"")
    await writer.drain()
    body = b""
    ended = False
    while True:
        try:
            answer = connection.next_event()
        except h11.RemoteProtocolError:
            if ended:
                raise _Unhealthy("the connection ended before the answer was whole") from None
            raise
        if answer is h11.NEED_DATA:
            # b"" at the end of stream tells h11, which knows if the answer was whole.
            data = await reader.read(_READ_BYTES)
            connection.receive_data(data)
            ended = not data
        elif isinstance(answer, h11.Response) and answer.status_code != 200:
            raise _Unhealthy(f"the engine answered with HTTP status {answer.status_code}")
        elif isinstance(answer, h11.Data):
            body += bytes(answer.data)
            if len(body) > MAX_BODY_BYTES:
                raise _Unhealthy(f"the page is longer than {MAX_BODY_BYTES} bytes")
        elif isinstance(answer, (h11.EndOfMessage, h11.ConnectionClosed)):
            return _judge(body)


def _host_header(target: HealthTarget) -> str:
    host = f"[{target.host}]" if ":" in target.host else target.host
    if target.port == _DEFAULT_PORTS[target.scheme]:
        return host
    return f"{host}:{target.port}"


def _judge(body: bytes) -> str:
    # repr: what a stranger sent goes to logs and terminals.
    excerpt = repr(body[:_EXCERPT_BYTES].decode("utf-8", "replace").strip())
    if HEALTHY_TEXT in body:
        return f"the engine says {excerpt}"
    raise _Unhealthy(f"the page does not say {HEALTHY_TEXT.decode()!r} but {excerpt}")
