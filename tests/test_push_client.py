# SPDX-License-Identifier: Apache-2.0
"""The reference client: its deadlines, and its words for each thing that can go wrong."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ha_agent.broker.rpc import codec as rpc_codec
from ha_agent.clock import SystemClock
from ha_agent.errors import BadInput
from ha_agent.push_client import Deadlines, PushUnreachable, Target, call_host, client_context
from tests.broker.push_world import PushWorld
from tests.push_certs import Pki

CLOCK = SystemClock()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[PushWorld]:
    world = PushWorld(tmp_path)
    await world.start()
    yield world
    await world.stop()


def failure(target: Target, pki: Pki, seconds: float = 10.0) -> PushUnreachable:
    """Call there, and return why there was no answer."""
    pair = pki.pair("engine.example.com", file="client")
    context = client_context(pair.cert, pair.key, pki.ca)
    with pytest.raises(PushUnreachable) as caught:
        call_host(target, context, "version", {}, Deadlines(seconds, seconds), clock=CLOCK)
    return caught.value


async def test_a_host_that_is_another_one_is_not_told_anything(world: PushWorld) -> None:
    with pytest.raises(PushUnreachable) as caught:
        await world.call(server_name="h2.example.com")
    assert "its certificate is not accepted here" in str(caught.value)
    assert "h2.example.com" in str(caught.value)
    assert not caught.value.sent


async def test_a_host_of_another_ca_is_none_of_ours(world: PushWorld, tmp_path: Path) -> None:
    with pytest.raises(PushUnreachable, match="is not accepted here"):
        await world.call(ca=Pki(tmp_path / "other").ca)


def test_nobody_there(tmp_path: Path) -> None:
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        target = Target("127.0.0.1", taken.getsockname()[1], "x")
        assert "nobody listens there" in failure(target, Pki(tmp_path)).reason


def test_a_name_that_is_none(tmp_path: Path) -> None:
    target = Target("no-such-host.invalid", 1, "x")
    assert "its name is not found" in failure(target, Pki(tmp_path)).reason


def test_one_that_says_nothing(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        target = Target("127.0.0.1", silent.getsockname()[1], "x")
        error = failure(target, Pki(tmp_path), 0.1)
    assert error.reason == "no answer within 0.1 s"
    assert not error.sent


def answering(pki: Pki, answer: bytes) -> tuple[Target, threading.Thread, socket.socket]:
    """A host that takes one call, and answers with these bytes."""
    own = pki.pair("localhost", file="server")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own.cert, own.key)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        sock, _ = listener.accept()
        with context.wrap_socket(sock, server_side=True) as tls:
            tls.recv(1000)
            tls.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    return Target("127.0.0.1", listener.getsockname()[1], "localhost"), thread, listener


@pytest.mark.parametrize(
    ("answer", "words", "sent"),
    [
        (b"", "ended before the answer", True),
        (b"\xc1", "its answer can't be read", True),
        (
            rpc_codec.encode(rpc_codec.Notification("closing", {"code": "busy", "message": "x"})),
            "it closes the connection: x (busy)",
            False,
        ),
    ],
)
def test_answers_that_are_none(tmp_path: Path, answer: bytes, words: str, sent: bool) -> None:
    pki = Pki(tmp_path)
    target, thread, listener = answering(pki, answer)
    with listener:
        error = failure(target, pki)
        thread.join(10)
    assert words in error.reason
    assert error.sent is sent


@pytest.mark.parametrize("which", ["cert", "key", "ca"])
def test_files_that_cant_be_used_are_named(tmp_path: Path, which: str) -> None:
    pki = Pki(tmp_path)
    pair = pki.pair("engine")
    files: dict[str, Any] = {"cert": pair.cert, "key": pair.key, "ca": pki.ca}
    files[which].write_text("nonsense")
    with pytest.raises(BadInput, match=files[which].name):
        client_context(files["cert"], files["key"], files["ca"])
    files[which].unlink()
    with pytest.raises(BadInput, match="No such file"):
        client_context(files["cert"], files["key"], files["ca"])


async def test_several_at_once(world: PushWorld) -> None:
    answers = await asyncio.gather(*(world.call(number=number) for number in range(8)))
    assert [answer["params"]["number"] for answer in answers] == list(range(8))
