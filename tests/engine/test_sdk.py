# SPDX-License-Identifier: Apache-2.0

"""What the SDK's errors mean: each is one that the real SDK raises at a server of ours."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ha_agent.engine.budget import Budget
from ha_agent.engine.faults import (
    EngineBusy,
    EngineFault,
    EngineNotFound,
    EngineRefused,
    LoginRefused,
)
from ha_agent.engine.sdk import NOT_INSTALLED, EngineLink, Login, fault_of
from ha_agent.errors import DeadlineExceeded
from tests.engine.engine_server import PASSWORD, USER, EngineServer, Trouble
from tests.fakes import FakeClock
from tests.push_certs import Pki

sdk = pytest.importorskip("ovirtsdk4", reason="the extra `engine` is not installed")


def link_to(server: EngineServer, **changes: Any) -> EngineLink:
    fields = {"url": server.url, "user": USER, "password": PASSWORD, "ca_file": server.ca}
    return EngineLink(Login(**{**fields, **changes}), Budget(FakeClock(), 60.0))


async def ask(link: EngineLink) -> int:
    found = await link.call("the hosts", lambda system: system.hosts_service().list())
    return len(found)


@contextmanager
def raises(kind: type[EngineFault], words: str) -> Iterator[None]:
    """As pytest.raises, of exactly that kind: a busy engine is asked again, others are not."""
    with pytest.raises(kind, match=words) as raised:
        yield
    assert raised.type is kind
    assert "Traceback" not in str(raised.value)


async def test_one_login_for_all_calls(server: EngineServer) -> None:
    link = link_to(server)
    assert [await ask(link), await ask(link)] == [1, 1]
    await link.close()
    await link.close()
    assert server.logins == 1
    assert server.requests.count("POST /ovirt-engine/services/sso-logout") == 1


async def test_a_wrong_password(server: EngineServer) -> None:
    link = link_to(server, password="wrong")
    with raises(LoginRefused, "The username or password is incorrect"):
        await ask(link)
    await link.close()


async def test_the_password_is_not_shown(server: EngineServer) -> None:
    assert "secret" not in repr(Login("https://engine", "admin", "secret", None))


async def test_a_wrong_ca(server: EngineServer, tmp_path: Path) -> None:
    link = link_to(server, ca_file=str(Pki(tmp_path / "other").ca))
    with raises(EngineFault, "certificate is not trusted"):
        await ask(link)


async def test_any_certificate_if_told_so(server: EngineServer) -> None:
    link = link_to(server, ca_file=None)
    assert await ask(link) == 1
    await link.close()


@pytest.mark.parametrize(
    ("trouble", "kind", "words"),
    [
        (Trouble("GET /hosts", "reset"), EngineBusy, "the hosts: "),
        (Trouble("GET /hosts", "lost"), EngineBusy, "the hosts: "),
        (Trouble("GET /hosts", "torn"), EngineBusy, "cut off or no XML"),
        (Trouble("GET /hosts", "bare"), EngineBusy, "a page came instead"),
        (Trouble("GET /hosts", "page", code=503), EngineBusy, "HTTP 503, the engine is starting"),
        (Trouble("GET /hosts", "page", code=404), EngineBusy, "HTTP 404, the engine is starting"),
        (Trouble("GET /hosts", "page", code=200), EngineBusy, "a page came instead"),
        (Trouble("GET /hosts", "page", code=500), EngineFault, "HTTP 500 with a page"),
        (Trouble("POST .*/token", "page", code=503), EngineBusy, "a page came instead"),
        (Trouble("POST .*/token", "reset"), EngineBusy, "the hosts: "),
        (
            Trouble("GET /hosts", "fault", code=400, detail="no good"),
            EngineRefused,
            "refuses with HTTP 400: Operation Failed: no good",
        ),
        (Trouble("GET /hosts", "fault", code=404, detail="gone"), EngineNotFound, "gone"),
        (Trouble("GET /hosts", "fault", code=409, detail="[Bad.]"), EngineRefused, "Bad"),
        (
            Trouble("GET /hosts", "fault", code=409, detail="[Please try again later.]"),
            EngineBusy,
            "try again later",
        ),
        (Trouble("GET /hosts", "fault", code=503, detail="down"), EngineBusy, "down"),
        (Trouble("GET /hosts", "fault", code=403, detail="Not yours"), LoginRefused, "Not yours"),
        (Trouble("GET /hosts", "fault", code=500, detail="NullPointer"), EngineRefused, "Null"),
    ],
    ids=lambda value: (
        f"{value.pattern}-{value.kind}-{value.code}" if isinstance(value, Trouble) else ""
    ),
)
async def test_what_an_error_means(
    server: EngineServer, trouble: Trouble, kind: type[EngineFault], words: str
) -> None:
    trouble.times = 1
    server.troubles = [trouble]
    link = link_to(server)
    with raises(kind, words):
        await ask(link)
    assert await ask(link) == 1  # the next call is a good one
    await link.close()


async def test_an_expired_token_costs_one_login(server: EngineServer) -> None:
    link = link_to(server)
    await ask(link)
    server.expire_tokens()
    assert await ask(link) == 1
    assert server.logins == 2
    await link.close()


async def test_tokens_that_never_hold(server: EngineServer) -> None:
    server.troubles = [Trouble("GET /hosts", "expired", times=2)]
    link = link_to(server)
    with raises(LoginRefused, "401"):
        await ask(link)


async def test_a_call_that_hangs_is_left(server: EngineServer) -> None:
    server.troubles = [Trouble("POST .*/token", "hang")]  # where the SDK itself waits for ever
    link = EngineLink(Login(server.url, USER, PASSWORD, server.ca), Budget(FakeClock(), 0.3))
    with pytest.raises(DeadlineExceeded, match=r"the hosts: no answer within 0\.3 s"):
        await ask(link)
    await link.close()


async def test_a_cancelled_call_ends_at_once(server: EngineServer) -> None:
    server.troubles = [Trouble("GET /hosts", "hang")]
    task = asyncio.ensure_future(ask(link_to(server)))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_other_errors_keep_their_text() -> None:
    fault = fault_of(sdk, "it", sdk.Error("Something\n odd"), 0)
    assert type(fault) is EngineFault
    assert str(fault) == "it: Something odd"


def test_what_to_install_is_said() -> None:
    assert "python3-ovirt-engine-sdk4" in NOT_INSTALLED
    assert "ha-agent[engine]" in NOT_INSTALLED
