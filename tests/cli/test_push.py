# SPDX-License-Identifier: Apache-2.0
"""`ha-agent push` as a process, against listeners whose answers the test writes."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import pytest

from demo.hosts import free_port
from ha_agent.broker.rpc.server import Handler, Peer, RpcRefusal
from ha_agent.broker.snapshot import DefinitionEntry, Snapshot, to_wire
from ha_agent.instant import Instant
from tests.broker.push_world import PushWorld

DEFINITION = to_wire(DefinitionEntry(available=True, identity="0123456789ab", vm_name="HE"))
PICTURE = to_wire(Snapshot(1, 1, "h1", "vm", Instant(5.0)))
PUT = {
    "identity": "0123456789ab",
    "last_updated": "now",
    "differences": ["more"],
    "notes": ["odd"],
}


@dataclass
class Ended:
    code: int
    out: str
    err: str


class Cli:
    """The command, and one host whose answers are in `answers`."""

    def __init__(self, folder: Path) -> None:
        self.answers: dict[str, Any] = {}
        self.asked: list[tuple[str, dict[str, Any]]] = []
        handlers: dict[str, Handler] = {
            name: self._handler(name)
            for name in ("version", "status", "can_do", "refresh", "ovf.put")
        }
        self.world = PushWorld(folder, handlers)

    def _handler(self, name: str) -> Handler:
        async def answer(params: Mapping[str, Any], _peer: Peer) -> Any:
            self.asked.append((name, dict(params)))
            found = self.answers[name]
            if isinstance(found, RpcRefusal):
                raise found
            return found

        return answer

    @property
    def here(self) -> str:
        return f"127.0.0.1:{self.world.config.listen_port}"

    async def run(self, *words: str, hosts: Optional[list[str]] = None) -> Ended:
        pair, arguments = self.world.engine, []
        for host in hosts or [self.here]:
            arguments += ["--host", host]
        arguments += ["--cert", str(pair.cert), "--key", str(pair.key)]
        arguments += ["--ca", str(self.world.pki.ca), "--server-name", "localhost"]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "ha_agent.cli", "push", *arguments, *words),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert b"Traceback" not in err, err.decode()
        assert process.returncode is not None
        return Ended(process.returncode, out.decode(), err.decode())


@pytest.fixture
async def cli(tmp_path: Path) -> AsyncIterator[Cli]:
    cli = Cli(tmp_path)
    await cli.world.start()
    yield cli
    await cli.world.stop()


async def test_a_file_is_put_and_what_it_changes_told(cli: Cli, tmp_path: Path) -> None:
    cli.answers["ovf.put"] = PUT
    (tmp_path / "new.ovf").write_bytes(b"<Envelope/>")
    ended = await cli.run("put", str(tmp_path / "new.ovf"))
    assert ended.code == 0
    assert ended.out.splitlines() == [
        "more",
        "note: odd",
        f"{cli.here}: definition 0123456789ab is in the store",
    ]
    assert cli.asked == [("ovf.put", {"document": b"<Envelope/>"})]


async def test_refresh_status_version_and_can_do(cli: Cli) -> None:
    cli.answers = {
        "refresh": {"problem": "", "told": "", "definition": DEFINITION},
        "status": PICTURE,
        "version": {"version": "1.2", "push_version": 1},
        "can_do": {"allowed": False, "code": "no_disk", "sentence": "It\x1b would."},
    }
    ended = await cli.run("refresh")
    assert (ended.code, "all other hosts were asked" in ended.out) == (0, True)
    assert "h1 (id 1)" in (await cli.run("status")).out
    assert "ha-agent 1.2, push version 1" in (await cli.run("version")).out
    ended = await cli.run("can-do", "disk.remove", "disk=7")
    assert (ended.code, ended.out) == (1, "no (no_disk): It? would.\n")
    assert cli.asked[-1] == ("can_do", {"action": "disk.remove", "object": {"disk": "7"}})


async def test_what_was_not_refreshed_is_a_failure(cli: Cli) -> None:
    cli.answers["refresh"] = {"problem": "no VDSM", "told": "no slot", "definition": DEFINITION}
    ended = await cli.run("refresh")
    assert ended.code == 1
    assert "not refreshed: no VDSM\nno slot\n" in ended.out


async def test_the_next_host_is_asked_when_one_cant(cli: Cli) -> None:
    cli.answers["version"] = {"version": "1.2", "push_version": 1}
    ended = await cli.run("--json", "version", hosts=[f"127.0.0.1:{free_port()}", cli.here])
    assert ended.code == 0
    assert json.loads(ended.out)["port"] == cli.world.config.listen_port
    assert "nobody listens there" in ended.err
    cli.answers["refresh"] = RpcRefusal("storage", "it hangs")
    ended = await cli.run("refresh", hosts=[cli.here, cli.here])
    assert (ended.code, len([a for a in cli.asked if a[0] == "refresh"])) == (1, 2)
    assert ended.err.count("it hangs") == 2


async def test_but_not_when_all_would_say_the_same(cli: Cli, tmp_path: Path) -> None:
    cli.answers["ovf.put"] = RpcRefusal("old_version", "it is old")
    (tmp_path / "old.ovf").write_bytes(b"<Envelope/>")
    put = ("--json", "put", str(tmp_path / "old.ovf"))
    ended = await cli.run(*put, hosts=[cli.here, cli.here])
    assert ended.code == 1
    assert json.loads(ended.out)["error"]["code"] == "old_version"
    assert len(cli.asked) == 1


@pytest.mark.parametrize(
    "words",
    [
        ("put",),
        ("put", "a", "b"),
        ("can-do",),
        ("can-do", "disk.remove", "disk"),
        ("status", "more"),
        ("nonsense",),
        ("--port", "0", "status"),
        ("--host", "h1:x", "status"),
        ("--host", "[::1", "status", "--host", ":5"),
        ("--host", "[::1]5", "status"),
    ],
)
async def test_a_command_line_that_is_wrong(cli: Cli, words: tuple[str, ...]) -> None:
    ended = await cli.run("--json", *words)
    assert ended.code == 2
    assert json.loads(ended.out)["error"]["code"] == "usage"
    assert cli.asked == []


async def test_files_that_are_wrong(cli: Cli, tmp_path: Path) -> None:
    ended = await cli.run("--json", "put", str(tmp_path / "none.ovf"))
    assert (ended.code, "none.ovf: No such file" in ended.err) == (1, True)
    cli.world.engine.key.write_text("nonsense")
    ended = await cli.run("--json", "status")
    assert ended.code == 2
    assert json.loads(ended.out)["error"]["code"] == "certificate"
