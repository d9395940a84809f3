# SPDX-License-Identifier: Apache-2.0
"""The push in a real broker process: off unless configured, and served over real TLS when it is.

Storage and VDSM are not there; what needs them is tested over whole hosts, in tests/e2e.
"""

from __future__ import annotations

import asyncio
import datetime
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest

from demo.hosts import free_port
from ha_agent.broker.rpc import call as rpc_call
from ha_agent.broker.rpc.call import RpcCallFailed
from ha_agent.clock import SystemClock
from ha_agent.errors import EnvironmentFault
from ha_agent.push_client import Deadlines, Target, call_host, client_context
from tests.push_certs import ENGINE, Pki
from tests.small_config import write_config
from tests.vdsm.stomp_peer import StompPeer

CLOCK = SystemClock()
LIMIT_SECONDS = 30.0


class Process:
    """A broker, asked over its socket and over the push."""

    def __init__(self, folder: Path, more: str = "") -> None:
        self.pki = Pki(folder / "pki")
        own, self.engine = self.pki.pair("localhost", file="own"), self.pki.pair(ENGINE)
        self.port = free_port()
        push = (
            f"[push]\nlisten_port = {self.port}\ncert_file = {own.cert}\n"
            f"key_file = {own.key}\nca_file = {self.pki.ca}\n{more}"
        )
        self.config = write_config(folder, push)
        self.socket = folder / "run" / "broker.socket"
        self.log = folder / "broker.log"
        with self.log.open("wb") as log:
            command = [sys.executable, "-m", "ha_agent.broker.service"]
            self.popen = subprocess.Popen(
                [*command, "--config", str(self.config)], stdout=log, stderr=log
            )

    def status_when(self, look: Callable[[Any], Any]) -> Any:
        """Return status as soon as it is what a test waits for."""
        ends_at = CLOCK.now() + LIMIT_SECONDS
        status = None
        while status is None or not look(status):
            assert CLOCK.now() < ends_at, (status, self.log.read_text())
            assert self.popen.poll() is None, self.log.read_text()
            CLOCK.block(0.05)
            try:
                status = rpc_call.call_once(str(self.socket), "status", {}, 5, clock=CLOCK)
            except EnvironmentFault:
                continue
        return status

    def call(self, method: str, **params: Any) -> Any:
        context = client_context(self.engine.cert, self.engine.key, self.pki.ca)
        target = Target("127.0.0.1", self.port, "localhost")
        return call_host(target, context, method, params, Deadlines(10, 20), clock=CLOCK)

    def end(self) -> None:
        self.popen.kill()
        self.popen.wait(10)
        assert "Traceback" not in self.log.read_text(), self.log.read_text()


@pytest.fixture
def listening(short_path: Path) -> Iterator[Process]:
    more = f"listen_address = 127.0.0.1\nallowed_subjects = {ENGINE}\n"
    process = Process(short_path, more)
    yield process
    process.end()


def test_it_is_off_unless_it_is_configured(short_path: Path) -> None:
    process = Process(short_path)
    try:
        status = process.status_when(lambda status: status["storage"]["problem"])
        assert status["push"]["state"] == "off"
        assert status["certificates"] == []
        with pytest.raises(EnvironmentFault, match="nobody listens there"):
            process.call("version")
    finally:
        process.end()


def test_the_engine_is_served_without_storage_and_told_what_is_missing(
    listening: Process,
) -> None:
    status = listening.status_when(lambda status: status["push"]["state"] == "listening")
    assert {one["role"] for one in status["certificates"]} == {"push", "push CA"}
    assert listening.call("version")["push_version"] == 1
    assert listening.call("status")["host_name"] == "alpha"
    verdict = listening.call("can_do", action="nonsense", object={})
    assert verdict["allowed"] in (True, False)
    refreshed = listening.call("refresh")
    assert "VDSM" in refreshed["problem"]
    assert "next status block" in refreshed["told"]
    with pytest.raises(RpcCallFailed) as caught:
        listening.call("ovf.put", document=b"<no/>")
    assert caught.value.code == "bad_document"
    for other in ("lease.take", "ovf.get", "maintenance.set", "snapshot"):
        with pytest.raises(RpcCallFailed) as caught:
            listening.call(other)
        assert caught.value.code == "unknown_method"
    counters = listening.status_when(lambda status: status["push"]["counters"]["refused"])
    assert counters["push"]["counters"]["refreshes"] == 1
    assert "engine" in {one["role"] for one in counters["certificates"]}


async def test_the_certificates_of_vdsm_are_shown_those_of_files_and_its_own(
    short_path: Path,
) -> None:
    pki, peer = Pki(short_path / "vdsm"), StompPeer()
    # The file was renewed, and VDSM has not taken it.
    fresh = pki.pair("host1", file="fresh")
    old = pki.pair("host1", file="old", ends_in=datetime.timedelta(days=5))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(old.cert, old.key)
    await peer.start(context)
    drop_in = short_path / "ha-agent.conf.d" / "vdsm.conf"
    drop_in.parent.mkdir()
    drop_in.write_text(
        f"[vdsm]\nport = {peer.port}\nssl = true\n"
        f"cert_file = {fresh.cert}\nkey_file = {fresh.key}\nca_file = {pki.ca}\n"
    )
    process = Process(short_path)
    try:
        status = await asyncio.to_thread(
            process.status_when,
            lambda status: any(one["role"] == "vdsm server" for one in status["certificates"]),
        )
        days = {one["role"]: one["warning_days"] for one in status["certificates"]}
        assert days == {"vdsm": -1, "vdsm CA": -1, "vdsm server": 7}
    finally:
        process.end()
        await peer.stop()


def test_it_stops_when_told(listening: Process) -> None:
    listening.status_when(lambda status: status["push"]["state"] == "listening")
    listening.popen.send_signal(signal.SIGTERM)
    assert listening.popen.wait(20) == 0


def test_a_listener_without_allowed_subjects_is_refused(short_path: Path) -> None:
    process = Process(short_path, "listen_address = ::\n")
    assert process.popen.wait(20) == 2
    assert "name who may push" in process.log.read_text()
