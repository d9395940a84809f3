# SPDX-License-Identifier: Apache-2.0
"""Bad input from outside, against whole daemons: each says what is wrong, none goes down."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import pytest

from demo.hosts import Host
from ha_agent.broker.blocks import codec as block_codec
from ha_agent.broker.blocks.codec import StatusBlock
from tests.e2e.lone import (
    CLOCK,
    eventually,
    no_tracebacks,
    one_json,
    read_ovf,
    run,
    says,
    store_volumes,
    tear,
    twin_of,
    write_ovf,
)

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

STORAGE_ONLY = ("ha-vdsm", "ha-broker")
HUNDRED_MB = 100 * 1024 * 1024


# --- the OVF_STORE -----------------------------------------------------------------------


@pytest.mark.parametrize("copy", [0, 1])
def test_a_torn_copy_gives_way_to_the_other(host: Host, copy: int) -> None:
    tear(store_volumes(host.domain)[copy])
    host.start(STORAGE_ONLY)
    whole = store_volumes(host.domain)[1 - copy].name
    # Until VDSM is connected the last good one is used, read from the same volume before.
    eventually(
        lambda: (
            f"volume {whole}" in (text := host.cli("status").stdout) and "last good" not in text
        ),
        "the other copy is not used",
    )


def test_with_both_copies_torn_the_last_good_one_is_used_and_looks_stale(host: Host) -> None:
    host.start(STORAGE_ONLY)
    says(host, "MiB, from volume")
    for volume in store_volumes(host.domain):
        tear(volume)
    refreshed = host.cli("refresh")
    assert refreshed.returncode == 1
    assert "no copy of the OVF_STORE can be used" in refreshed.stderr
    says(host, "the last good one, accepted", store_volumes(host.domain)[0].name)
    broker = host.daemons["ha-broker"]
    broker.kill()
    broker.wait(10)
    host.start(["ha-broker"])
    says(host, "the last good one, accepted", "from this host's history, version 1")


def without_uuid(ovf: bytes, uuid: str) -> bytes:
    found = f'id="{uuid}"'.encode()
    assert found in ovf
    return ovf.replace(found, b'id=""')


def with_external_entity(ovf: bytes, _uuid: str) -> bytes:
    head, end, rest = ovf.partition(b"?>")
    entity = b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>'
    return head + end + entity + rest.replace(b"HostedEngine", b"&e;")


def only_zeros(_ovf: bytes, _uuid: str) -> bytes:
    return bytes(2000)


@pytest.mark.parametrize(
    ("change", "reason"),
    [(without_uuid, "UUID"), (with_external_entity, "DOCTYPE"), (only_zeros, "NUL byte")],
)
def test_a_definition_that_was_never_good_starts_nothing(
    host: Host, change: Callable[[bytes, str], bytes], reason: str
) -> None:
    write_ovf(host.domain, change(read_ovf(host.domain), host.domain.vm_uuid))
    host.start()
    text = says(host, "no definition of the engine VM", reason, "score 0")
    assert "root:" not in text
    assert one_json(host.cli("status", "--json").stdout)["1"]["score"] == 0
    assert b"state: free" in host.domain.lease.read_bytes()


def test_with_both_copies_torn_from_the_start_the_score_is_0(host: Host) -> None:
    for volume in store_volumes(host.domain):
        tear(volume)
    host.start()
    says(host, "no definition of the engine VM", "score 0", store_volumes(host.domain)[1].name)


# --- the lock file -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (bytes(4096), "never been initialised"),
        (bytes(range(256)) * 16, "not a lease record"),
        (b"ha-agent-lease 7\nstate: free\n".ljust(4096, b"\0"), "version"),
    ],
    ids=["zeros", "garbage", "version"],
)
def test_a_lock_file_that_can_not_be_read_is_never_taken(
    host: Host, content: bytes, reason: str
) -> None:
    host.domain.lease.write_bytes(content)
    host.start()
    says(host, "Lease: unreadable", reason, "This host: host1 (id 1): ")
    for _tick in range(20):
        assert host.dead_daemons() == []
        CLOCK.block(0.1)
    assert host.domain.lease.read_bytes()[:4096] == content
    assert "VM runs" not in (host.folder / "ha-agent.log").read_text()


# --- status blocks -----------------------------------------------------------------------


def put_block(host: Host, slot: int, data: bytes) -> None:
    domain = host.domain
    with (domain.path / "images" / domain.status_image / domain.status_volume).open("r+b") as file:
        file.seek(4096 * slot)
        file.write(data)


def block_of(slot: int, timestamp_seconds: int) -> bytes:
    status = {"vm": "down", "health": "bad", "detail": "unknown", "reason": "none"}
    return block_codec.encode(StatusBlock(slot, f"host{slot}", timestamp_seconds, 3400, status))


def flipped(data: bytes) -> bytes:
    return data[:20] + bytes([data[20] ^ 1]) + data[21:]


def not_utf8(data: bytes) -> bytes:
    return data.replace(b"host2", b"\xff\xfe\xfd\xfc2")


@pytest.mark.parametrize("damage", [flipped, not_utf8])
def test_a_bad_status_block_is_its_own_hosts_problem(
    host: Host, damage: Callable[[bytes], bytes]
) -> None:
    put_block(host, 2, damage(block_of(2, 4711)))
    put_block(host, 3, block_of(3, 4711))
    host.start()
    says(host, "host id 2: its status block can't be used", "host3")
    put_block(host, 3, block_of(3, 4712))  # a block that changes is a host that lives
    says(host, "host3  yes")
    status_json = one_json(host.cli("status", "--json").stdout)
    assert "2" not in status_json
    assert status_json["3"]["live-data"] is True


# --- configuration -----------------------------------------------------------------------


@pytest.mark.parametrize("program", ["ha-agent", "ha-broker", "ha-vdsm"])
def test_three_faults_in_the_configuration_are_told_at_once(program: str, tmp_path: Path) -> None:
    config = tmp_path / "ha-agent.conf"
    config.write_text("[host]\nid = many\n[lease]\nrenew_intervall_seconds = 3\n[statsu]\na = 1\n")
    verb = ["status"] if program == "ha-agent" else []
    ended = run(program, config, *verb)
    assert ended.returncode == 2
    for line in (2, 4, 5):
        assert f"{config}:{line}: " in ended.stderr
    assert "renew_interval_seconds" in ended.stderr
    assert "Traceback" not in ended.stderr


# --- wires -------------------------------------------------------------------------------


def pour(sock: socket.socket, size_bytes: int) -> int:
    """Send so many bytes or until the other end has closed; return how many went."""
    chunk = bytes([120]) * (1 << 20)
    sent = 0
    with contextlib.suppress(OSError):
        while sent < size_bytes:
            sock.sendall(chunk)
            sent += len(chunk)
    return sent


def test_a_stomp_frame_of_100_mb_to_the_embedded_vdsm(host: Host) -> None:
    host.start(STORAGE_ONLY)
    says(host, "MiB, from volume")
    port = int(host.config.read_text().partition("listen_port = ")[2].split()[0])
    with socket.create_connection(("127.0.0.1", port), 10) as sock:
        sock.sendall(b"CONNECT\naccept-version:1.2\nhost:x\n\n\0")
        sock.sendall(b"SEND\ndestination:x\ncontent-length:%d\n\n" % HUNDRED_MB)
        assert pour(sock, HUNDRED_MB) < HUNDRED_MB
    assert host.cli("refresh").returncode == 0


@contextlib.contextmanager
def flooding_vdsm() -> Iterator[tuple[int, list[int]]]:
    """A VDSM that answers everybody with one endless frame; yields port and bytes sent."""
    flooded: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    sock, _ = listener.accept()
                    with sock:
                        sock.settimeout(10)
                        sock.recv(4096)
                        sock.sendall(b"CONNECTED\nversion:1.2\nheart-beat:0,0\n\n\0")
                        sock.sendall(b"MESSAGE\ncontent-length:%d\n\n" % HUNDRED_MB)
                        flooded.append(pour(sock, HUNDRED_MB))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1], flooded
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(20)
        assert not thread.is_alive()


def test_a_stomp_frame_of_100_mb_from_a_vdsm(host: Host) -> None:
    with flooding_vdsm() as (port, flooded):
        text = host.config.read_text()
        before, mark, after = text.partition("\nport = ")
        host.config.write_text(before + mark + f"{port}\n" + after.partition("\n")[2])
        host.start(["ha-broker"])
        eventually(lambda: flooded, "the broker has not connected")
        assert flooded[0] < HUNDRED_MB
        says(host, "VDSM at 127.0.0.1")


@pytest.mark.parametrize(
    "bomb",
    [b"\xdd\xff\xff\xff\xff", b"\x91" * 100_000, b"\x94\x00\x01\xdb\xff\xff\xff\xff"],
    ids=["array of 4 G elements", "deep nest", "string of 4 GB"],
)
def test_a_messagepack_bomb_ends_its_connection_only(host: Host, bomb: bytes) -> None:
    host.start(["ha-broker"])
    says(host, "This host")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(str(host.folder / "run" / "broker.socket"))
        sock.sendall(bomb)
        told = b""
        with contextlib.suppress(ConnectionResetError):
            while data := sock.recv(4096):
                told += data
    assert b"bad_message" in told
    says(host, "This host")


# --- one host id twice -------------------------------------------------------------------


def test_a_second_host_with_the_same_id_is_kept_out(host: Host) -> None:
    host.start(STORAGE_ONLY)
    says(host, "MiB, from volume")
    with twin_of(host) as twin:
        twin.start()
        # It has the definition, and the lease is free: not for this one, and it takes nothing.
        says(twin, "host id 1 is in use by host 'host1'", "MiB, from volume", "Lease: unknown")
        assert "in use by host 'host1'" in (twin.folder / "ha-broker.log").read_text()
        for _tick in range(20):
            assert twin.dead_daemons() == []
            CLOCK.block(0.1)
        domain = host.domain
        volume = domain.path / "images" / domain.status_image / domain.status_volume
        assert volume.read_bytes()[4096:8192] == bytes(4096)
        assert b"state: free" in domain.lease.read_bytes()
        no_tracebacks(twin)


def test_a_second_broker_and_agent_of_the_same_host_are_refused(host: Host) -> None:
    host.start()
    says(host, "Lease: held by host1 (id 1), epoch 1, this host")
    broker = run("ha-broker", host.config)
    assert broker.returncode == 1
    assert "another process answers on it" in broker.stderr
    agent = run("ha-agent", host.config, "run")
    assert agent.returncode == 1
    assert f"pid {host.daemons['ha-agent'].pid}" in agent.stderr
    vdsm = run("ha-vdsm", host.config)
    assert vdsm.returncode == 1
    assert "in use" in vdsm.stderr
    for ended in (broker, agent, vdsm):
        assert "Traceback" not in ended.stderr
        assert ended.stdout == ""
    assert host.dead_daemons() == []
    says(host, "Lease: held by host1")
