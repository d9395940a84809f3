# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import datetime
import socket
from pathlib import Path

import pytest

from ha_agent.engine.budget import Budget
from ha_agent.engine.faults import EngineBusy, EngineFault
from ha_agent.engine.reach import api_url, look, trust_of
from ha_agent.errors import BadInput
from tests.engine.engine_model import Model
from tests.engine.engine_server import EngineServer, Trouble, serving
from tests.fakes import FakeClock
from tests.push_certs import Pki

HEALTH = "GET /ovirt-engine/services/health"


async def looked(url: str, ca: str) -> None:
    await look(url, trust_of(ca), Budget(FakeClock(), 60.0))


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://engine/ovirt-engine/api", "https://engine/ovirt-engine/api"),
        ("https://engine/ovirt-engine/api/", "https://engine/ovirt-engine/api"),
        ("https://engine", "https://engine/ovirt-engine/api"),
        ("https://engine:8443/ovirt-engine/", "https://engine:8443/ovirt-engine/api"),
        ("https://[fd00::1]:8443", "https://[fd00::1]:8443/ovirt-engine/api"),
    ],
)
def test_a_url_is_completed(text: str, url: str) -> None:
    assert api_url(text) == url


@pytest.mark.parametrize(
    "text",
    [
        "http://engine/ovirt-engine/api",  # the password would be readable on its way
        "engine",
        "https://",
        "https://engine:port/",
        "https://engine/api/v3",
        "https://engine/ovirt-engine/api?x=1",
        "https://admin:secret@engine/",
        "https://engi ne/",
        "https://[fd00::1/",
        "",
    ],
)
def test_other_urls_are_refused(text: str) -> None:
    with pytest.raises(BadInput, match="--url"):
        api_url(text)


async def test_an_engine_that_is_well(server: EngineServer) -> None:
    await looked(server.url, server.ca)
    assert server.requests == [HEALTH]


async def test_any_certificate_if_told_so(server: EngineServer) -> None:
    await look(server.url, trust_of(None), Budget(FakeClock(), 60.0))


async def test_a_wrong_ca(server: EngineServer, tmp_path: Path) -> None:
    other = str(Pki(tmp_path / "other").ca)
    with pytest.raises(EngineFault, match=r"--ca-file does not vouch") as raised:
        await looked(server.url, other)
    assert not isinstance(raised.value, EngineBusy)
    assert server.requests == []


async def test_a_wrong_name(tmp_path: Path) -> None:
    pair = Pki(tmp_path / "named")
    refused = pytest.raises(EngineFault, match="not for the name localhost")
    with serving(tmp_path, Model(), pair.pair("engine.example.com")) as server, refused:
        await looked(server.url, str(pair.ca))


async def test_an_expired_certificate(tmp_path: Path) -> None:
    pki = Pki(tmp_path / "old")
    pair = pki.pair("localhost", ends_in=datetime.timedelta(days=-1))
    refused = pytest.raises(EngineFault, match="has expired")
    with serving(tmp_path, Model(), pair) as server, refused:
        await looked(server.url, str(pki.ca))


@pytest.mark.parametrize("code", [500, 502, 503])
async def test_an_engine_that_starts(server: EngineServer, code: int) -> None:
    server.health = (code, b"")
    with pytest.raises(EngineBusy, match=f"HTTP {code}: it is starting"):
        await looked(server.url, server.ca)


@pytest.mark.parametrize("health", [(404, b""), (200, b"It works!"), (302, b"")])
async def test_something_else_than_an_engine(
    server: EngineServer, health: tuple[int, bytes]
) -> None:
    server.health = health
    with pytest.raises(EngineFault, match="is no oVirt engine") as raised:
        await looked(server.url, server.ca)
    assert not isinstance(raised.value, EngineBusy)


async def test_a_connection_that_breaks(server: EngineServer) -> None:
    server.troubles = [Trouble(HEALTH, "reset")]
    with pytest.raises(EngineBusy):
        await looked(server.url, server.ca)


async def test_nobody_listens(server: EngineServer) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"https://localhost:{taken.getsockname()[1]}/ovirt-engine/api"
        with pytest.raises(EngineBusy, match="can't be reached"):
            await looked(url, server.ca)


def test_a_ca_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"--ca-file .*No such file"):
        trust_of(str(tmp_path / "absent"))
    (tmp_path / "text").write_text("no certificate")
    with pytest.raises(BadInput, match=r"--ca-file .*can't be used"):
        trust_of(str(tmp_path / "text"))
