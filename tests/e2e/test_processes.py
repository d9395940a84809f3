# SPDX-License-Identifier: Apache-2.0
"""The three daemons as processes: what hinders them is one clear line, and so is their end."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator

import pytest

from demo.hosts import Host
from tests.e2e.lone import CLOCK, lone_host, no_tracebacks, run, says

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

DAEMONS = ("ha-agent", "ha-broker", "ha-vdsm")


@pytest.fixture
def host() -> Iterator[Host]:
    with lone_host() as made:
        yield made


def change(host: Host, old: str, new: str) -> None:
    text = host.config.read_text()
    assert old in text
    host.config.write_text(text.replace(old, new))


def refused(host: Host, daemon: str, *texts: str) -> None:
    """Look that it ends by itself with 1 and one last line that has all texts in it."""
    ended = run(daemon, host.config, *(["run"] if daemon == "ha-agent" else []))
    assert ended.returncode == 1, ended.stderr
    assert ended.stdout == ""
    assert "Traceback" not in ended.stderr
    last = ended.stderr.splitlines()[-1]
    assert last.startswith(f"{daemon}: ")
    for text in texts:
        assert text in last


@pytest.mark.parametrize("daemon", DAEMONS)
def test_a_run_folder_that_can_not_be_used(host: Host, daemon: str) -> None:
    wrong = host.folder / "file"
    wrong.write_text("")
    change(host, f"run_dir = {host.folder}/run", f"run_dir = {wrong}/run")
    refused(host, daemon, str(wrong))


@pytest.mark.parametrize("daemon", ["ha-agent", "ha-broker"])
def test_a_state_folder_that_can_not_be_used(host: Host, daemon: str) -> None:
    wrong = host.folder / "file"
    wrong.write_text("")
    change(host, f"state_dir = {host.folder}/state", f"state_dir = {wrong}/state")
    refused(host, daemon, str(wrong))


def test_a_socket_that_is_something_else(host: Host) -> None:
    (host.folder / "run").mkdir()
    (host.folder / "run" / "broker.socket").write_text("")
    refused(host, "ha-broker", "broker.socket", "not a socket")


def test_a_group_that_is_not_there(host: Host) -> None:
    with host.config.open("a") as config:
        config.write("[broker]\nsocket_group = no-such-group\n")
    refused(host, "ha-broker", "no-such-group", "socket_group")


def test_a_port_in_use(host: Host) -> None:
    port = int(host.config.read_text().partition("listen_port = ")[2].split()[0])
    with socket.create_server(("127.0.0.1", port)):
        refused(host, "ha-vdsm", f"127.0.0.1:{port}", "in use")


def test_no_qemu(host: Host) -> None:
    change(host, "accelerator = tcg", "accelerator = tcg\nqemu_binary = qemu-of-nowhere")
    refused(host, "ha-vdsm", "qemu-of-nowhere is not installed")


@pytest.mark.parametrize("order", list(itertools.permutations(DAEMONS)), ids="-".join)
def test_an_ordinary_stop_in_any_order(host: Host, order: tuple[str, ...]) -> None:
    host.start()
    says(host, "Lease: held by host1", "(EngineStarting)")
    for daemon in order:
        process = host.daemons[daemon]
        process.terminate()
        assert process.wait(20) == 0, (host.folder / f"{daemon}.log").read_text()
        CLOCK.block(0.2)
    no_tracebacks(host)
    # Stopping our services never stops the engine VM.
    assert any("qemu" in text for text in arguments_of(host))


def arguments_of(host: Host) -> list[str]:
    from demo.watcher import command_line

    return [command_line(pid).split(" ")[0] for pid in host.pids()]
