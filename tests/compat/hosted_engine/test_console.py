# SPDX-License-Identifier: Apache-2.0
"""`--console` becomes the program that shows the console; here programs that tell how."""

from __future__ import annotations

import socket
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.compat.hosted_engine.running import (
    GONE,
    PICTURE,
    UP,
    deployed,
    hosted_engine,
    shows,
)
from tests.fake_broker import FakeBroker
from tests.small_config import VM, write_config


@pytest.fixture
def host(folder: Path, broker: FakeBroker) -> Path:
    deployed(folder)
    shows(broker, PICTURE)
    for name in ("virsh", "socat"):
        program = folder / name
        program.write_text(f'#!/bin/sh\necho {name} "$@"\nexit 7\n')
        program.chmod(0o755)
    return folder


def console(host: Path) -> subprocess.CompletedProcess[str]:
    return hosted_engine(host, "--console", more={"PATH": f"{host}:/usr/bin:/bin"})


def test_with_vdsm_it_is_libvirts(host: Path) -> None:
    done = console(host)
    assert (done.returncode, done.stdout.splitlines()) == (
        7,
        [
            "The engine VM is running on this host",
            "virsh -c qemu:///system?authfile=/etc/ovirt-hosted-engine/virsh_auth.conf"
            f" console {VM}",
        ],
    )


def test_with_the_embedded_vdsm_it_is_a_socket(host: Path) -> None:
    folder = host / "run-vdsm" / VM
    folder.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "console.sock"))
        done = console(host)
    assert (done.returncode, done.stdout.splitlines()[1:]) == (
        7,
        [
            "Escape character is ^]",
            f"socat UNIX-CONNECT:{folder}/console.sock STDIO,raw,echo=0,escape=29",
        ],
    )


def test_without_vdsm_it_is_the_configured_libvirt(host: Path) -> None:
    write_config(host, "[libvirt]\nuri = qemu:///session\n")
    text = (host / "ha-agent.conf").read_text()
    (host / "ha-agent.conf").write_text(text.replace("[host]\n", "[host]\nhypervisor = libvirt\n"))
    assert console(host).stdout.splitlines()[1] == f"virsh -c qemu:///session console {VM}"


def test_a_vm_that_is_not_up(host: Path, broker: FakeBroker) -> None:
    status = {**UP, "detail": "Paused"}
    shows(broker, replace(PICTURE, agent=replace(PICTURE.agent, engine_status=status)))
    lines = console(host).stdout.splitlines()
    assert lines[:2] == [
        "The engine VM is on this host but its status is Paused",
        "Trying anyway to connect to its console:",
    ]


def test_a_vm_that_is_elsewhere(host: Path, broker: FakeBroker) -> None:
    shows(broker, replace(PICTURE, agent=replace(PICTURE.agent, engine_status=GONE)))
    done = console(host)
    assert (done.returncode, done.stdout) == (1, "The engine VM is not on this host\n")


def test_a_program_that_is_missing(host: Path) -> None:
    (host / "virsh").unlink()
    done = hosted_engine(host, "--console", more={"PATH": str(host)})
    assert (done.returncode, done.stderr) == (
        1,
        "virsh is not installed, which shows the console\n",
    )
