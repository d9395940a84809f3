# SPDX-License-Identifier: Apache-2.0
"""--deploy, --check-deployed and --check-liveliness."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.compat.hosted_engine.running import Here, conf_path, environment, hosted_engine


@pytest.mark.parametrize(
    "option",
    [
        "--generate-answer=x",
        "--restore-from-file=x",
        "--4",
        "--6",
        "--ansible-extra-vars=a=b",
    ],
)
def test_an_option_that_has_no_meaning_is_refused_by_name(here: Here, option: str) -> None:
    code, out, err = here("--deploy", option)
    assert (code, out) == (1, "")
    assert err.startswith(f"{option.partition('=')[0]} is not supported: ")


def test_check_deployed(here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert here("--check-deployed") == (0, "The hosted engine has been deployed\n", "")
    monkeypatch.setenv("HA_AGENT_CONFIG", str(tmp_path / "none.conf"))
    assert here("--check-deployed") == (0, "The hosted engine has been deployed\n", "")
    monkeypatch.setenv("HA_AGENT_HOST_ROOT", str(tmp_path))
    assert here("--check-deployed") == (1, "The hosted engine has not been deployed\n", "")


@contextmanager
def engine(*bodies: str) -> Iterator[int]:
    """Serve the health page: one answer after the other; gives the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for body in bodies:
                sock, _ = listener.accept()
                with sock:
                    sock.settimeout(10)
                    assert sock.recv(65536).startswith(b"GET /ovirt-engine/services/health ")
                    answer = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}"
                    sock.sendall(answer.encode())

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            thread.join(20)


def at_port(here: Here, port: int) -> None:
    path = here.folder / "ha-agent.conf"
    path.write_text(path.read_text().replace("127.0.0.1:1/", f"127.0.0.1:{port}/"))


def test_an_engine_that_is_up(here: Here) -> None:
    with engine("DB Up!Welcome to Health Status!") as port:
        at_port(here, port)
        code, out, err = here("--check-liveliness")
    assert (code, out) == (0, "Hosted Engine is up!\n")
    assert "DB Up!" in err


def test_an_engine_whose_page_is_bad(here: Here) -> None:
    with engine("starting") as port:
        at_port(here, port)
        assert here("--check-liveliness")[:2] == (1, "Hosted Engine is not up!\n")


def test_an_engine_that_does_not_answer(here: Here) -> None:
    code, out, err = here("--check-liveliness", "--timeout=5")
    assert (code, out, bool(err)) == (1, "Hosted Engine is not up!\n", True)


def test_an_engine_that_is_waited_for(here: Here) -> None:
    with engine("starting", "DB Up!") as port:
        at_port(here, port)
        code, out, _ = here("--check-liveliness", "--wait")
    assert (code, out) == (0, "Hosted Engine is up!\n")


def test_an_engine_that_nobody_names(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HA_AGENT_CONFIG", str(here.folder / "none.conf"))
    conf_path(here.folder).write_text("vmid=1\n")
    code, out, err = here("--check-liveliness")
    assert (code, out) == (2, "")
    assert "missing FQDN of the hosted engine VM" in err
    conf_path(here.folder).unlink()
    code, out, err = here("--check-liveliness")
    assert (code, err.startswith("Error reading the configuration file")) == (2, True)


def test_a_configuration_that_only_names_the_engine(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HA_AGENT_CONFIG", str(here.folder / "none.conf"))
    conf_path(here.folder).write_text("vmid=1\nfqdn=engine.invalid\n")
    assert here("--check-liveliness", "--timeout=5")[:2] == (1, "Hosted Engine is not up!\n")


def test_deploy_becomes_our_own(short_path: Path) -> None:
    answers = short_path / "answers.conf"
    answers.write_text("no_such_answer = 1\n")
    done = hosted_engine(short_path, "--deploy", f"--config-append={answers}", "--dry-run")
    assert done.returncode == 2
    assert f"{answers}:1: unknown key 'no_such_answer'" in done.stderr


def test_answers_from_a_pipe_reach_deploy(short_path: Path) -> None:
    line = (
        f"{sys.executable} -m ha_agent.compat.hosted_engine.cli --deploy --dry-run"
        " --config-append=<(echo no_such_answer = 1)"
    )
    done = subprocess.run(
        ["bash", "-c", line],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=environment(short_path),
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert ":1: unknown key 'no_such_answer'" in done.stderr


def test_answers_for_the_predecessors_set_up(here: Here) -> None:
    answers = here.folder / "answers.conf"
    answers.write_text("[environment:default]\nOVEHOSTED_NETWORK/fqdn=str:engine.example.com\n")
    code, out, err = here("--deploy", f"--config-append={answers}")
    assert (code, out) == (1, "")
    assert "an answer file of ovirt-hosted-engine-setup" in err
