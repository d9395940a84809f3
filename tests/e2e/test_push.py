# SPDX-License-Identifier: Apache-2.0
"""The engine's push over two whole hosts: `ha-agent push` against real brokers, over real TLS."""

from __future__ import annotations

import datetime
import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import msgpack
import pytest

from demo.hosts import PROGRAMS, Host, free_port
from ha_agent.broker.rpc import call as rpc_call
from ha_agent.ovfstore.approval import identity_of
from tests.e2e.lone import (
    CLOCK,
    done,
    edited,
    eventually,
    lone_host,
    no_tracebacks,
    one_json,
    read_ovf,
    started,
    twin_of,
    write_ovf,
)
from tests.push_certs import ENGINE, Pair, Pki

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]


@dataclass
class Pushed:
    """Host 1 listens for the push, host 2 (the twin) has the same storage and no listener."""

    host: Host
    twin: Host
    pki: Pki
    engine: Pair
    port: int

    def push(
        self, *words: str, pair: Optional[Pair] = None, first: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run `ha-agent push` as the engine, or with another certificate."""
        pair = pair or self.engine
        hosts = [*(["--host", first] if first else []), "--host", f"127.0.0.1:{self.port}"]
        ended = subprocess.run(
            [
                *(str(PROGRAMS / "ha-agent"), "push", *hosts, "--server-name", "localhost"),
                *("--cert", str(pair.cert), "--key", str(pair.key), "--ca", str(self.pki.ca)),
                *words,
            ],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "Traceback" not in ended.stderr
        return ended

    def ok(self, *words: str) -> str:
        ended = self.push(*words)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def refused(self, *words: str, **how: Any) -> dict[str, str]:
        ended = self.push("--json", *words, **how)
        assert ended.returncode == 1, ended
        error: dict[str, str] = json.loads(ended.stdout)["error"]
        return error

    def counters(self) -> dict[str, int]:
        counters: dict[str, int] = self.picture(self.host)["push"]["counters"]
        return counters

    def picture(self, host: Host) -> Any:
        path = str(host.folder / "run" / "broker.socket")
        return rpc_call.call_once(path, "status", {}, 10, clock=CLOCK)

    def uses(self, host: Host, identity: str) -> bool:
        return bool(self.picture(host)["definition"]["identity"] == identity)


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pushed]:
    pki = Pki(tmp_path_factory.mktemp("pki"))
    own, engine = pki.pair("localhost", file="host"), pki.pair(ENGINE, file="engine")
    port = free_port()
    # Within an hour a host looks only when it is told.
    quiet = "[definition]\nrefresh_interval_seconds = 3600\n"
    with lone_host(quiet) as host, twin_of(host, 2) as twin:
        with host.config.open("a") as config:
            config.write(
                f"[push]\nlisten_address = 127.0.0.1\nlisten_port = {port}\n"
                f"allowed_subjects = other.example.com, {ENGINE}\nmax_document_kib = 512\n"
                f"cert_file = {own.cert}\nkey_file = {own.key}\nca_file = {pki.ca}\n"
            )
        write_ovf(host.domain, generation(read_ovf(host.domain), 10))
        started(host, twin)
        made = Pushed(host, twin, pki, engine, port)
        eventually(lambda: made.picture(host)["push"]["state"] == "listening", "no listener")
        yield made
        for one in (host, twin):
            no_tracebacks(one)


def generation(ovf: bytes, number: int) -> bytes:
    """Return the OVF as of that many edits in the engine."""
    bare = re.sub(rb"<Generation>[^<]*</Generation>", b"", ovf)
    return re.sub(rb"(<Content[^>]*>)", rb"\1<Generation>%d</Generation>" % number, bare, count=1)


def file_with(tmp_path: Path, ovf: bytes) -> str:
    path = tmp_path / f"{identity_of(ovf)}.ovf"
    path.write_bytes(ovf)
    return str(path)


def test_a_put_is_in_use_on_all_hosts_and_an_older_one_is_refused(
    pushed: Pushed, tmp_path: Path
) -> None:
    first = read_ovf(pushed.host.domain)
    new = generation(edited(pushed.host.domain, first, memory_mib=300), 11)
    said = pushed.ok("put", file_with(tmp_path, new))
    assert f"definition {identity_of(new)} is in the store" in said
    assert "300 MiB" in said
    assert read_ovf(pushed.host.domain) == new
    assert pushed.uses(pushed.host, identity_of(new))
    eventually(lambda: pushed.uses(pushed.twin, identity_of(new)), "the twin was not told")
    listed = done(pushed.host, "ovf", "history")
    subject = pushed.picture(pushed.host)["push"]["last_peer"]
    assert f"pushed by {subject}" in listed
    assert f"The engine ({subject}) sent the definition" in done(pushed.host, "events")
    pushed.ok("put", file_with(tmp_path, new))  # again is no fault
    error = pushed.refused("put", file_with(tmp_path, first))
    assert error["code"] == "old_version"
    assert "its generation is 10, and the store has 11" in error["message"]
    assert read_ovf(pushed.host.domain) == new
    assert pushed.counters()["old_version"] == 1
    assert pushed.counters()["puts"] == 2


def test_a_refresh_on_one_host_reaches_the_other(pushed: Pushed) -> None:
    for number, (asked, other) in enumerate(
        ((pushed.host, pushed.twin), (pushed.twin, pushed.host))
    ):
        ovf = generation(
            edited(pushed.host.domain, read_ovf(pushed.host.domain), memory_mib=310 + number),
            20 + number,
        )
        write_ovf(pushed.host.domain, ovf)
        if asked is pushed.host:
            assert "all other hosts were asked" in pushed.ok("refresh")
        else:
            done(asked, "refresh")
        assert pushed.uses(asked, identity_of(ovf))
        eventually(lambda: pushed.uses(other, identity_of(ovf)), "the other was not told")  # noqa: B023


def test_what_else_may_be_asked(pushed: Pushed) -> None:
    assert "push version 1" in pushed.ok("version")
    assert "host1 (id 1)" in pushed.ok("status")
    answer = one_json(pushed.ok("status", "--json"))
    assert answer["result"]["push"]["state"] == "listening"
    assert answer["port"] == pushed.port
    domain = f"storage_domain={pushed.host.domain.uuid}"
    ended = pushed.push("can-do", "storage_domain.detach", domain)
    assert ended.returncode == 1
    assert ended.stdout.startswith("no (")
    said = pushed.push("version", first=f"127.0.0.1:{free_port()}")
    assert said.returncode == 0
    assert "nobody listens there" in said.stderr


def test_what_is_refused_is_told_and_counted(pushed: Pushed, tmp_path: Path) -> None:
    before = pushed.counters()
    current = read_ovf(pushed.host.domain)
    long = current.replace(b"</Content>", b" " * 600_000 + b"</Content>")
    assert pushed.refused("put", file_with(tmp_path, long))["code"] == "too_large"
    longer = current + b" " * (5 << 20)
    assert "bad_message" in pushed.refused("put", file_with(tmp_path, longer))["message"]
    assert pushed.refused("put", file_with(tmp_path, b"<no/>"))["code"] == "bad_document"
    host7 = pushed.pki.pair("host7.example.com")
    assert "allowed_subjects" in pushed.refused("status", pair=host7)["message"]
    old = pushed.pki.pair(ENGINE, file="old", ends_in=datetime.timedelta(minutes=-1))
    assert "certificate expired" in pushed.refused("status", pair=old)["message"]
    other = Pki(tmp_path / "other").pair(ENGINE)
    assert "unknown ca" in pushed.refused("status", pair=other)["message"]
    with socket.create_connection(("127.0.0.1", pushed.port), 10) as plain:
        plain.sendall(msgpack.packb([0, 1, "status", []]))
        assert plain.recv(100) == b""
    counted = {
        name: n - before[name] for name, n in pushed.counters().items() if n != before[name]
    }
    assert counted.pop("accepted") == 3
    assert counted.pop("calls") == 2
    once = ("too_large", "bad_message", "refused", "wrong_subject", "plain_text")
    assert counted == dict.fromkeys((*once, "certificate_expired", "unknown_ca"), 1)
    assert read_ovf(pushed.host.domain) == current


def test_new_certificates_need_no_restart(pushed: Pushed) -> None:
    ends = datetime.timedelta(days=6)
    fresh = pushed.pki.pair("localhost", file="fresh", ends_in=ends)
    files = pushed.picture(pushed.host)["certificates"]
    path = Path(next(one["path"] for one in files if one["role"] == "push"))
    os.replace(fresh.key, path.with_suffix(".key"))
    os.replace(fresh.cert, path)

    def warned() -> bool:
        found = pushed.picture(pushed.host)["certificates"]
        return any(one["role"] == "push" and one["warning_days"] == 7 for one in found)

    eventually(warned, "the new certificate was not seen")
    assert "expires within 7 days" in done(pushed.host, "status")
    pushed.ok("version")
    path.write_text("broken")
    eventually(lambda: "stay in use" in pushed.picture(pushed.host)["push"]["problem"], "not said")
    pushed.ok("version")
    assert "stay in use" in done(pushed.host, "status")
    daemon = pushed.host.daemons["ha-broker"]
    daemon.send_signal(signal.SIGTERM)
    assert daemon.wait(20) == 0
