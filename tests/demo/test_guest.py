# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Callable, TypeVar

import pytest

from demo import guest
from ha_agent.clock import SystemClock
from ha_agent.errors import BadInput, EnvironmentFault

CACHE = Path(__file__).parents[2] / ".cache" / "guest"
BOOT_DEADLINE_SECONDS = 120.0
CLOCK = SystemClock()
T = TypeVar("T")


class Machine:
    """One QEMU process with the guest in it, under TCG, its port 80 forwarded to a free one."""

    def __init__(self, image: Path, folder: Path, machine: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])
        self.qmp_path = folder / "qmp"
        self.serial_path = folder / "serial"
        self.process = subprocess.Popen(
            [
                *("qemu-system-x86_64", "-machine", machine, "-accel", "tcg"),
                *("-m", str(guest.MEMORY_MIB), "-nodefaults", "-no-user-config"),
                *("-display", "none", "-serial", f"file:{self.serial_path}"),
                *("-qmp", f"unix:{self.qmp_path},server=on,wait=off"),
                *("-drive", f"file={image},format=raw,if=none,id=disk"),
                *("-device", "virtio-blk-pci,drive=disk"),
                *("-netdev", f"user,id=net,hostfwd=tcp:127.0.0.1:{self.port}-:80"),
                *("-device", "virtio-net-pci,netdev=net"),
            ],
            stdin=subprocess.DEVNULL,
        )

    def get(self, path: str, deadline_seconds: float = 10.0) -> tuple[int, str]:
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=deadline_seconds)
        try:
            link.request("GET", path)
            answer = link.getresponse()
            return answer.status, answer.read().decode()
        finally:
            link.close()

    def press_power_button(self) -> None:
        with socket.socket(socket.AF_UNIX) as qmp:
            qmp.settimeout(10)
            qmp.connect(str(self.qmp_path))
            lines = qmp.makefile("rw")
            for command in ("qmp_capabilities", "system_powerdown"):
                lines.write(json.dumps({"execute": command}) + "\n")
                lines.flush()
            returned = 0
            while returned < 2:
                returned += "return" in json.loads(lines.readline())

    def wait_for(self, question: Callable[[], T]) -> T:
        """Ask until there is an answer that is true, or fail with what the guest said."""
        end = CLOCK.now() + BOOT_DEADLINE_SECONDS
        while CLOCK.now() < end:
            assert self.process.poll() is None, "QEMU ended"
            try:
                answer = question()
            except (OSError, http.client.HTTPException):
                pass
            else:
                if answer:
                    return answer
            CLOCK.block(0.1)
        pytest.fail(f"no answer from the guest; it said: {self.serial_path.read_text()}")

    def wait_until_healthy(self) -> None:
        answer = self.wait_for(lambda: self.get(guest.HEALTH_PATH, deadline_seconds=1.0))
        assert answer == (200, guest.HEALTH_BODY)


@pytest.fixture
def image(tmp_path: Path) -> guest.GuestImage:
    return guest.build_guest(CACHE, image=tmp_path / "disk", progress=print)


@pytest.fixture
def start(image: guest.GuestImage, tmp_path: Path) -> Iterator[Callable[[str], Machine]]:
    if shutil.which("qemu-system-x86_64") is None:
        pytest.skip("needs qemu-system-x86_64: apt-get install qemu-system-x86")
    machines: list[Machine] = []

    def started(machine: str) -> Machine:
        machines.append(Machine(image.path, tmp_path, machine))
        return machines[-1]

    yield started
    for machine in machines:
        machine.process.kill()
        machine.process.wait(10)


@pytest.mark.qemu
@pytest.mark.timeout(700)  # the first run fetches the kernel
def test_it_answers_as_an_engine_does_and_obeys_the_power_button(
    start: Callable[[str], Machine],
) -> None:
    machine = start("q35")
    machine.wait_until_healthy()

    assert machine.get("/cgi-bin/health?down")[0] == 200
    assert machine.get(guest.HEALTH_PATH)[0] == 404
    assert machine.get("/cgi-bin/health?hang")[0] == 200
    with pytest.raises(socket.timeout):  # TimeoutError from Python 3.10 on
        machine.get(guest.HEALTH_PATH, deadline_seconds=0.5)
    assert machine.get("/cgi-bin/health?up")[0] == 200
    assert machine.get(guest.HEALTH_PATH) == (200, guest.HEALTH_BODY)
    assert machine.get("/cgi-bin/health?sideways")[0] == 400
    assert machine.get("/cgi-bin/panic?sideways")[0] == 400

    machine.press_power_button()
    assert machine.process.wait(20) == 0
    assert "power button pressed" in machine.serial_path.read_text()


@pytest.mark.qemu
@pytest.mark.timeout(700)
def test_what_it_wrote_is_on_disk_after_a_kill_and_goes_on_counting(
    image: guest.GuestImage, start: Callable[[str], Machine]
) -> None:
    assert guest.read_counters(image.path) == guest.Counters(boots=0, heartbeat=0)
    first = start("pc")
    first.wait_until_healthy()
    seen = first.wait_for(lambda: first.get("/cgi-bin/counters")[1])
    first.wait_for(lambda: guest.read_counters(image.path).heartbeat >= 2)
    first.process.kill()
    first.process.wait(10)

    assert seen.startswith("boots 0000000001\nheartbeat ")
    after_kill = guest.read_counters(image.path)
    assert after_kill.boots == 1
    assert after_kill.heartbeat >= 2

    second = start("pc")
    second.wait_until_healthy()
    second.wait_for(lambda: guest.read_counters(image.path).heartbeat > after_kill.heartbeat)
    assert guest.read_counters(image.path).boots == 2
    assert second.get("/cgi-bin/counters")[1].startswith("boots 0000000002\nheartbeat ")

    assert second.get("/cgi-bin/panic?reboot")[0] == 200
    second.wait_for(lambda: guest.read_counters(image.path).boots == 3)
    assert second.process.poll() is None


@pytest.mark.timeout(700)
def test_two_at_once_fetch_the_kernel_and_build_the_disk_once(
    image: guest.GuestImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the labs of `make lab-full LABS=4` do in a fresh clone."""
    (package,) = CACHE.glob(f"linux-image-{image.kernel_release}_*.deb")
    tools, work = tmp_path / "tools", tmp_path / "work"
    tools.mkdir()
    write_tool(tools / "apt-cache", f"echo '  Depends: {package.name.partition('_')[0]}'")
    write_tool(tools / "apt-get", f"cp {package} . && echo fetched >> {tmp_path}/log")
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    second_says = threading.Event()
    second: list[Future[guest.GuestImage]] = []

    with ThreadPoolExecutor() as pool:

        def progress(text: str) -> None:
            if text.startswith("fetching"):
                second.append(pool.submit(build, "second", lambda _: second_says.set()))
                assert second_says.wait(60)

        def build(name: str, progress: Callable[[str], None]) -> guest.GuestImage:
            return guest.build_guest(work, image=tmp_path / name, progress=progress)

        first = build("first", progress)
        assert second[0].result().content_hash == first.content_hash
    assert (tmp_path / "log").read_text() == "fetched\n"
    assert (tmp_path / "second").read_bytes() == (tmp_path / "first").read_bytes()


def write_tool(path: Path, command: str) -> None:
    path.write_text(f"#!/bin/sh\n{command}\n")
    path.chmod(0o755)


def test_a_missing_tool_is_named_with_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvironmentFault, match="apt-get install busybox-static"):
        guest.build_guest(tmp_path, image=tmp_path / "disk", progress=print)
    assert not (tmp_path / "disk").exists()


def test_an_address_that_could_change_the_boot_options_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="neither"):
        guest.build_guest(
            tmp_path, image=tmp_path / "disk", progress=print, address="10.0.2.15/24 init=/x"
        )


def test_a_disk_without_counters_is_refused(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(4096))
    with pytest.raises(EnvironmentFault, match="mtype"):
        guest.read_counters(disk)
