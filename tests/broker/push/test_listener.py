# SPDX-License-Identifier: Apache-2.0
"""The listener with real TLS: who is let in, who is not and what they are told, and reloading."""

from __future__ import annotations

import asyncio
import datetime
import logging
import os
import ssl
import warnings
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ha_agent.broker.push.certs import identity_in
from ha_agent.broker.push.listener import origin_of
from ha_agent.broker.rpc.call import RpcCallFailed
from ha_agent.broker.rpc.codec import Notification, RpcDecoder
from ha_agent.push_client import PushUnreachable
from tests.broker.push_world import MAX_MESSAGE_BYTES, PushWorld
from tests.push_certs import ENGINE, Pki


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[PushWorld]:
    world = PushWorld(tmp_path, max_connections=6, max_connections_per_address=4)
    await world.start()
    yield world
    await world.stop()


async def refused(world: PushWorld, **how: Any) -> str:
    """Call, and return why nobody answered."""
    with pytest.raises(PushUnreachable) as caught:
        await world.call(**how)
    return caught.value.reason


def read_by(world: PushWorld, context: ssl.SSLContext) -> bytes:
    """Connect with these settings, and return what comes until the end."""
    sock = world.plain_socket()
    with sock, context.wrap_socket(sock, server_hostname="localhost") as tls:
        return tls.recv(1000)


# Who is let in ----------------------------------------------------------------------------


async def test_the_engine_is_served_and_known_by_its_subject(world: PushWorld) -> None:
    answer = await world.call(number=5)
    assert answer["params"] == {"number": 5}
    der = world.seen[0]
    assert answer["who"] == identity_in(der).subject
    assert ENGINE in identity_in(der).names
    entry = world.listener.entry()
    assert (entry.last_peer, entry.counters.accepted) == (answer["who"], 1)
    await world.until(lambda: world.listener.entry().connections == 0)


async def test_a_common_name_is_a_name_whatever_its_case(world: PushWorld) -> None:
    pair = world.pki.pair("other.example.com", common_name=ENGINE.upper(), file="cn")
    answer = await world.call(pair=pair)
    assert f"CN={ENGINE.upper()}" in answer["who"]


async def test_only_the_verbs_that_it_has(world: PushWorld) -> None:
    with pytest.raises(RpcCallFailed) as caught:
        await world.call("lease.take")
    assert caught.value.code == "unknown_method"


async def test_long_answers_and_questions_go_through(world: PushWorld) -> None:
    text = "x" * (MAX_MESSAGE_BYTES - 2000)
    assert (await world.call(text=text))["params"]["text"] == text


# Who is not -------------------------------------------------------------------------------


async def test_another_name_of_the_same_ca_is_told_no(
    world: PushWorld, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        why = await refused(world, pair=world.pki.pair("host7.example.com"))
    assert "allowed_subjects" in why
    assert "(denied)" in why
    await world.counted("wrong_subject")
    assert "127.0.0.1 was refused" in caplog.text


async def test_another_ca_is_told_by_an_alert(world: PushWorld, tmp_path: Path) -> None:
    why = await refused(world, pair=Pki(tmp_path / "other").pair(ENGINE))
    assert "unknown ca" in why
    await world.counted("unknown_ca")


async def test_an_expired_certificate_is_told_by_an_alert(world: PushWorld) -> None:
    old = world.pki.pair(ENGINE, file="old", ends_in=datetime.timedelta(seconds=-60))
    assert "certificate expired" in await refused(world, pair=old)
    await world.counted("certificate_expired")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_no_certificate_is_told_by_an_alert(
    world: PushWorld, version: ssl.TLSVersion
) -> None:
    context = ssl.create_default_context(cafile=str(world.pki.ca))
    context.minimum_version = context.maximum_version = version
    with pytest.raises(ssl.SSLError, match="ALERT"):
        await asyncio.get_running_loop().run_in_executor(None, read_by, world, context)
    await world.counted("no_certificate")


async def test_old_tls_is_refused(world: PushWorld) -> None:
    context = ssl.create_default_context(cafile=str(world.pki.ca))
    context.load_cert_chain(world.engine.cert, world.engine.key)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the newer Pythons
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError, match="ALERT_PROTOCOL_VERSION"):
        await asyncio.get_running_loop().run_in_executor(None, read_by, world, context)
    await world.counted("bad_handshake")


@pytest.mark.parametrize("said", [b"GET / HTTP/1.0\r\n\r\n", b"\x94\x00\x01\xa6status\x90" * 9])
async def test_plain_text_is_no_tls(world: PushWorld, said: bytes) -> None:
    reader, writer = await world.raw()
    writer.write(said)
    assert await reader.read() == b""
    writer.close()
    await world.counted("plain_text")
    assert (await world.call())["who"]


async def test_what_begins_like_tls_and_is_none(world: PushWorld) -> None:
    reader, writer = await world.raw()
    writer.write(b"\x16" + b"nonsense" * 10)
    await reader.read()
    writer.close()
    await world.counted("bad_handshake")


async def test_who_goes_away_in_the_handshake_is_counted(world: PushWorld) -> None:
    world.plain_socket().close()
    await world.counted("bad_handshake")


async def test_a_silent_one_has_its_deadline(tmp_path: Path) -> None:
    world = PushWorld(tmp_path, handshake_deadline_seconds=0.1)
    await world.start()
    try:
        reader, writer = await world.raw()
        assert await reader.read() == b""
        writer.close()
        await world.counted("handshake_deadline")
    finally:
        await world.stop()


async def test_one_address_has_its_share(world: PushWorld) -> None:
    silent = [world.plain_socket() for _ in range(4)]
    await world.until(lambda: world.listener.entry().connections == 4)
    await refused(world)
    await world.counted("too_many")
    for sock in silent:
        sock.close()
    await world.until(lambda: world.listener.entry().connections == 0)
    assert (await world.call())["who"]


async def test_all_together_have_theirs(tmp_path: Path) -> None:
    world = PushWorld(tmp_path, max_connections=1)
    await world.start()
    try:
        with world.plain_socket():
            await world.until(lambda: world.listener.entry().connections == 1)
            await refused(world)
            await world.counted("too_many")
    finally:
        await world.stop()


async def test_a_flood_is_accepted_one_by_one_and_the_loop_goes_on(world: PushWorld) -> None:
    world.clock.go.clear()
    flood = [world.plain_socket() for _ in range(3)]
    await world.until(lambda: world.listener.entry().connections == 1)
    for _ in range(20):
        await asyncio.sleep(0)
    assert world.listener.entry().connections == 1
    world.clock.go.set()
    await world.until(lambda: world.listener.entry().connections == 3)
    for sock in flood:
        sock.close()


async def test_what_is_too_long_is_refused_before_it_is_here(world: PushWorld) -> None:
    why = await refused(world, text="x" * (MAX_MESSAGE_BYTES + 1))
    assert "bad_message" in why
    assert str(MAX_MESSAGE_BYTES) in why
    await world.counted("bad_message")


async def test_a_stream_that_is_cut_is_just_over(world: PushWorld) -> None:
    context = ssl.create_default_context(cafile=str(world.pki.ca))
    context.load_cert_chain(world.engine.cert, world.engine.key)
    _, writer = await asyncio.open_connection(
        "127.0.0.1", world.config.listen_port, ssl=context, server_hostname="localhost"
    )
    writer.write(bytes.fromhex("940001a4"))
    await writer.drain()
    writer.transport.abort()
    await world.until(lambda: world.listener.counters["accepted"] == 1)
    await world.until(lambda: world.listener.entry().connections == 0)
    assert (await world.call())["who"]


async def test_who_asks_nothing_for_long_makes_room_and_is_told(tmp_path: Path) -> None:
    world = PushWorld(tmp_path, idle_seconds=0.1, max_connections=1)
    await world.start()
    try:
        context = ssl.create_default_context(cafile=str(world.pki.ca))
        context.load_cert_chain(world.engine.cert, world.engine.key)
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", world.config.listen_port, ssl=context, server_hostname="localhost"
        )
        (said,) = RpcDecoder().feed(await reader.read())
        assert isinstance(said, Notification)
        assert said.params["code"] == "deadline"
        writer.close()
        await world.until(lambda: world.listener.entry().connections == 0)
        assert (await world.call())["who"]
        assert not world.listener.counters["handshake_deadline"]
    finally:
        await world.stop()


def test_an_origin_is_an_ipv4_address_or_the_net_of_an_ipv6_one() -> None:
    assert origin_of("::ffff:192.0.2.7") == origin_of("192.0.2.7") == "192.0.2.7"
    assert origin_of("2001:db8:1:2:3::4") == origin_of("2001:db8:1:2::9") == "2001:db8:1:2::/64"
    assert origin_of("fe80::1%eth0") == "fe80::/64"


# Certificates that change -----------------------------------------------------------------


async def test_new_files_are_taken_by_the_next_connection(
    world: PushWorld, tmp_path: Path
) -> None:
    new = Pki(tmp_path / "new")
    mine, engine = new.pair("localhost"), new.pair(ENGINE)
    for old, fresh in ((world.pki.ca, new.ca), *zip((world.own.cert, world.own.key),
                                                    (mine.cert, mine.key))):  # fmt: skip
        os.replace(fresh, old)
    assert "certificate" in await refused(world, pair=engine, ca=world.pki.ca)
    world.listener.reload()
    assert (await world.call(pair=engine, ca=world.pki.ca))["who"]
    assert "unknown ca" in await refused(world)


async def test_bad_new_files_leave_the_old_in_use_and_say_so(world: PushWorld) -> None:
    world.own.cert.write_text("not PEM")
    world.listener.reload()
    entry = world.listener.entry()
    assert entry.state == "listening"
    assert "no pair that can be used" in entry.problem
    assert "stay in use" in entry.problem
    assert (await world.call())["who"]


async def test_a_key_of_another_certificate_is_no_pair(world: PushWorld) -> None:
    world.own.key.write_bytes(world.engine.key.read_bytes())
    world.listener.reload()
    assert "key values mismatch" in world.listener.entry().problem
    assert (await world.call())["who"]


async def test_without_certificates_it_waits_for_some(tmp_path: Path) -> None:
    world = PushWorld(tmp_path)
    text = world.pki.ca.read_text()
    world.pki.ca.unlink()
    world.begin()
    try:
        await world.until(lambda: "ca.pem: No such file" in world.listener.entry().problem)
        assert world.listener.entry().state == "waiting"
        world.pki.ca.write_text(text)
        world.listener.reload()
        await world.until(lambda: world.listener.entry().state == "listening")
        assert (await world.call())["who"]
    finally:
        await world.stop()


async def test_a_port_that_is_taken_is_tried_again(tmp_path: Path) -> None:
    world = PushWorld(tmp_path)
    taken = await asyncio.start_server(lambda *_: None, "127.0.0.1", world.config.listen_port)
    world.begin()
    try:
        await world.until(lambda: "can't listen" in world.listener.entry().problem)
        key = world.own.key.read_bytes()
        world.own.key.write_text("broken")
        world.listener.reload()
        taken.close()
        await taken.wait_closed()
        await world.until(lambda: world.listener.entry().state == "listening")
        assert "stay in use" in world.listener.entry().problem  # the one has not cured the other
        world.own.key.write_bytes(key)
        world.listener.reload()
        assert world.listener.entry().problem == ""
    finally:
        await world.stop()


async def test_the_end_closes_who_is_still_there(tmp_path: Path) -> None:
    world = PushWorld(tmp_path)
    await world.start()
    context = ssl.create_default_context(cafile=str(world.pki.ca))
    context.load_cert_chain(world.engine.cert, world.engine.key)
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", world.config.listen_port, ssl=context, server_hostname="localhost"
    )
    silent, hush = await world.raw()
    await world.until(lambda: world.listener.entry().connections == 2)
    await world.stop()
    assert RpcDecoder().feed(await reader.read()) == []
    assert await silent.read() == b""
    for stream in (writer, hush):
        stream.close()
