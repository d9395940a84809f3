# SPDX-License-Identifier: Apache-2.0
"""The contract under TLS: certificates both ways (facts/vdsm.md 1.1)."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import Optional

import pytest

from ha_agent.clock import SystemClock
from ha_agent.vdsm.client.client import ClientState, VdsmClient
from ha_agent.waiting import within
from tests.vdsm.contract.talk import PATIENCE_SECONDS
from tests.vdsm.contract.target import Target, context_of

_LOOK_SECONDS = 0.05
CONNECT = b"CONNECT\naccept-version:1.2\n\n\0"


@pytest.fixture
def under_tls(target: Target) -> Target:
    if target.tls is None:
        pytest.skip("plain TCP")
    return target


async def said_to(target: Target, context: Optional[ssl.SSLContext]) -> bytes:
    """Connect, greet, and return what comes; b"" when the other side ends without a word."""
    with contextlib.suppress(OSError):
        reader, writer = await within(
            PATIENCE_SECONDS, asyncio.open_connection(target.host, target.port, ssl=context)
        )
        try:
            writer.write(CONNECT)
            return await within(PATIENCE_SECONDS, reader.read(100))
        finally:
            writer.transport.abort()
    return b""


async def test_our_certificate_is_taken(under_tls: Target) -> None:
    assert under_tls.tls is not None
    assert (await said_to(under_tls, context_of(under_tls.tls))).startswith(b"CONNECTED")


async def test_no_certificate_is_refused(under_tls: Target) -> None:
    assert under_tls.tls is not None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(under_tls.tls.ca_file)
    assert await said_to(under_tls, context) == b""


async def test_another_ca_s_certificate_is_refused_and_the_client_says_so(
    under_tls: Target,
) -> None:
    if under_tls.wrong_tls is None:
        pytest.skip("there is no certificate of another CA")
    assert await said_to(under_tls, context_of(under_tls.wrong_tls)) == b""
    client = VdsmClient(
        under_tls.host,
        under_tls.port,
        clock=SystemClock(),
        uniform=lambda: 0.0,
        tls=under_tls.wrong_tls,
    )
    client.start()

    async def refused() -> None:
        while True:
            if "certificate" in client.reason or "unknown ca" in client.reason:
                return
            assert client.state is not ClientState.READY
            await asyncio.sleep(_LOOK_SECONDS)

    try:
        await within(PATIENCE_SECONDS, refused())
    finally:
        await client.close()


async def test_a_client_in_the_clear_is_not_served(under_tls: Target) -> None:
    assert not (await said_to(under_tls, None)).startswith(b"CONNECTED")
