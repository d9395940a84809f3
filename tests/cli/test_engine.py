# SPDX-License-Identifier: Apache-2.0

"""`ha-agent engine` as an operator runs it: the whole command, the real SDK, and SIGKILL."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ha_agent.cli import main as cli
from tests.engine.engine_model import CENTER, DOMAIN, HOST, VM, Model
from tests.engine.engine_server import PASSWORD, USER, EngineServer, Trouble, serving
from tests.fake_broker import FakeBroker
from tests.push_certs import Pki
from tests.small_config import write_config

pytest.importorskip("ovirtsdk4", reason="the extra `engine` is not installed")

EXPORT = ("localfs", "", "/srv/he")


@pytest.fixture
def model() -> Model:
    made = Model(polls=1)
    made.on_storage = {EXPORT: DOMAIN}
    return made


@pytest.fixture
def server(tmp_path: Path, model: Model) -> Iterator[EngineServer]:
    with serving(tmp_path, model) as running:
        yield running


class Operator:
    """Types `ha-agent engine ...`; no broker runs on this host."""

    def __init__(self, server: EngineServer, folder: Path) -> None:
        config = write_config(folder)
        text = config.read_text()
        config.write_text(
            text.replace("domain_type = localfs", "domain_type = localfs\nconnection = /srv/he")
        )
        self.password_file = folder / "password"
        self.password_file.write_text(f"{PASSWORD}\nsecond line\n")
        self.before = ["--config", str(config), "engine"]
        self.login = ["--url", server.url, "--user", USER]
        self.login += ["--password-file", str(self.password_file)]
        self.trust = ["--ca-file", server.ca]

    def line(self, verb: str, *more: str) -> list[str]:
        return [*self.before, verb, *self.login, *self.trust, *more]

    def types(self, verb: str, *more: str) -> int:
        return cli.main(self.line(verb, *more))


@pytest.fixture
def operator(server: EngineServer, tmp_path: Path) -> Operator:
    return Operator(server, tmp_path)


def test_import_and_again(
    operator: Operator, model: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    assert operator.types("import") == 0
    told = capsys.readouterr()
    assert "[7/7] have the engine write the OVF_STORE ... done" in told.out
    assert "note: this host's broker can't be asked" in told.out
    assert model.done == ["import", "attach", "register", "protect", "update"]
    assert operator.types("import") == 0
    assert capsys.readouterr().out.endswith("nothing to do\n")
    assert len(model.done) == 5


def copies(date: str) -> tuple[None, dict[str, Any]]:
    """What a broker answers to store.list."""
    return None, {
        "copies": [
            {"volume_uuid": uuid, "usable": True, "sentences": [f"updated {date}"]}
            for uuid in ("v-1", "v-2")
        ]
    }


def test_the_store_is_seen_through_the_broker(
    operator: Operator,
    server: EngineServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "run").mkdir()
    broker = FakeBroker(tmp_path / "run" / "broker.socket")
    try:
        broker.answers["store.list"] = copies("Mon")
        broker.answers["status"] = (None, {"definition": {"identity": "old"}})
        broker.answers["refresh"] = (None, {"definition": {"identity": "new"}})

        def written() -> None:
            broker.answers["store.list"] = copies("Tue")

        action = f"POST /storagedomains/{DOMAIN}/updateovfstore"
        server.troubles = [Trouble(action, "lost", killed=written)]
        assert operator.types("import") == 0
    finally:
        broker.close()
    told = capsys.readouterr().out
    assert "have the engine write the OVF_STORE ... done" in told
    assert "updated Tue; updated Tue" in told
    assert "note: definition new is in use; it was old before" in told


def test_import_for_programs(
    operator: Operator, model: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    assert operator.types("import", "--json", "--dry-run") == 0
    planned = json.loads(capsys.readouterr().out)
    assert planned["plan"] == ["import", "attach", "activate", "register", "protect", "ovf_store"]
    assert model.done == []
    assert operator.types("import", "--json") == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["changed"] == [
        "import",
        "attach",
        "register",
        "protect",
        "ovf_store",
    ]
    assert "connected: oVirt Engine" in told.err


def test_status(operator: Operator, model: Model, capsys: pytest.CaptureFixture[str]) -> None:
    assert operator.types("status") == 1
    told = capsys.readouterr().out
    assert "missing  import the storage domain: the engine does not know" in told
    assert "update interval: 60 min" in told
    operator.types("import")
    capsys.readouterr()
    assert operator.types("status", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["done"] is True
    assert {step["name"] for step in answer["steps"]} >= {"import", "register", "ovf_store"}
    assert answer["ovf_update_interval_minutes"] == 60


def test_check(operator: Operator, model: Model, capsys: pytest.CaptureFixture[str]) -> None:
    model.hosts[HOST].configured, model.hosts[HOST].score = True, 3400
    assert operator.types("check") == 0
    told = capsys.readouterr().out.splitlines()
    assert told[-1].split() == ["alpha", "up", "3400", "configured,", "active"]
    assert operator.types("check", "--json") == 0
    (host,) = json.loads(capsys.readouterr().out)["hosts"]
    assert (host["name"], host["score"], host["active"]) == ("alpha", 3400, True)


def test_what_the_engine_says_is_told(
    operator: Operator, server: EngineServer, capsys: pytest.CaptureFixture[str]
) -> None:
    detail = "[Cannot attach Storage. Äußerst\x1b[31m schlecht.]".replace("\x1b", "")
    server.troubles = [
        Trouble(f"POST /datacenters/{CENTER}/storagedomains", "fault", code=409, detail=detail)
    ]
    assert operator.types("import", "--json") == 1
    told = capsys.readouterr()
    error = json.loads(told.out)["error"]
    assert error["code"] == "engine"
    assert "HTTP 409: Operation Failed: [Cannot attach Storage. Äußerst" in error["message"]


@pytest.mark.parametrize(
    ("changed", "code", "words"),
    [
        (["--url", "http://engine/"], 2, "is not https://ENGINE/ovirt-engine/api"),
        (["--password-file", "/nowhere"], 2, "--password-file /nowhere: can't be read: No such"),
        (["--password-file", os.devnull], 2, "has no password in its first line"),
        (["--password-file", "/dev/zero"], 2, "its first line has over 1024 bytes"),
        (["--ca-file", "/nowhere"], 2, "--ca-file /nowhere: can't be used"),
        (["--ca-file", os.devnull], 2, "can't be used"),
        (["--user", "somebody"], 1, "Cannot authenticate user 'somebody'"),
        (["--host", "nobody"], 1, "the engine has no host nobody; it has: alpha"),
        (["--datacenter", "Nowhere"], 1, "the engine has no data centre Nowhere"),
        (["--cluster", "nowhere"], 1, "the engine has no cluster nowhere"),
        (["--timeout", "0.05", "--url", "https://localhost:1"], 1, "no answer within 0.05 s"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    operator: Operator,
    model: Model,
    capsys: pytest.CaptureFixture[str],
    changed: list[str],
    code: int,
    words: str,
) -> None:
    assert operator.types("import", *changed) == code
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith("ha-agent: ")
    assert words in told
    assert model.done == []


def test_a_wrong_ca(
    operator: Operator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert operator.types("import", "--ca-file", str(Pki(tmp_path / "other").ca)) == 1
    assert "--ca-file does not vouch for its certificate" in capsys.readouterr().err


def test_insecure_warns(operator: Operator, capsys: pytest.CaptureFixture[str]) -> None:
    operator.trust = ["--insecure"]
    assert operator.types("check") == 0
    assert "the password goes to whoever answers" in capsys.readouterr().err


def test_trust_has_to_be_said(operator: Operator) -> None:
    operator.trust = []
    with pytest.raises(SystemExit) as ended:
        operator.types("import")
    assert ended.value.code == 2


@pytest.mark.parametrize(
    "action",
    [
        "POST /storagedomains",
        f"POST /storagedomains/{DOMAIN}/vms/{VM}/register",
        f"POST /storagedomains/{DOMAIN}/updateovfstore",
    ],
)
def test_killed_while_the_engine_works(
    operator: Operator, server: EngineServer, model: Model, action: str
) -> None:
    """The engine has done it; we are killed before its answer, and run again."""
    line = [sys.executable, "-m", "ha_agent.cli", *operator.line("import")]
    with subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:

        def kill() -> None:
            process.send_signal(signal.SIGKILL)

        server.troubles = [Trouble(action, "lost", killed=kill)]
        try:
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == -signal.SIGKILL, errors.decode()
    server.troubles = []
    assert operator.types("import") == 0
    assert model.vms[VM].protected
    assert model.done[-1] == "update"
    assert [done for done in model.done if done != "update"] == [
        "import",
        "attach",
        "register",
        "protect",
    ]


def test_interrupted(operator: Operator, server: EngineServer, model: Model) -> None:
    line = [sys.executable, "-m", "ha_agent.cli", *operator.line("import")]
    with subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:

        def interrupt() -> None:
            process.send_signal(signal.SIGINT)

        # The engine never answers: only an interrupt gets out of that.
        server.troubles = [Trouble("GET /hosts", "hang", killed=interrupt)]
        try:
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 1
    assert errors.decode().splitlines()[-1] == (
        "ha-agent: interrupted; the same command goes on from there"
    )
    assert operator.types("import") == 0


def test_without_the_sdk_it_says_what_to_install(operator: Operator, tmp_path: Path) -> None:
    """A package of that name that can't be imported stands in front of the real one."""
    (tmp_path / "shadow").mkdir()
    (tmp_path / "shadow" / "ovirtsdk4.py").write_text(
        "raise ModuleNotFoundError('No module named ovirtsdk4', name='ovirtsdk4')\n"
    )
    line = [sys.executable, "-m", "ha_agent.cli", *operator.line("status")]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "shadow")}
    ended = subprocess.run(line, capture_output=True, text=True, env=environment, timeout=60)
    assert ended.returncode == 1
    assert "oVirt's Python SDK is not installed" in ended.stderr
    assert "Traceback" not in ended.stderr
