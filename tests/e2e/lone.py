# SPDX-License-Identifier: Apache-2.0
"""One host whose engine VM has an empty disk: for tests of what a host says, not of the VM.

Its daemons are the real ones, as processes; its storage is a folder of its own.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable, Optional, TypeVar

import pytest

from demo.domain import DemoDomain, make_domain
from demo.guest import GuestImage
from demo.hosts import PROGRAMS, Host, free_port
from ha_agent.clock import SystemClock
from ha_agent.ovfstore.locate import format_description, java_date_text
from ha_agent.ovfstore.tar_volume import build_archive, read_member
from tests.e2e.cluster import SHORT_TIMES

T = TypeVar("T")

CLOCK = SystemClock()
LIMIT_SECONDS = 30.0


@contextlib.contextmanager
def lone_host(extra_config: str = "") -> Iterator[Host]:
    """Make storage and one host on it; nothing runs yet, and nothing runs afterwards."""
    if shutil.which("qemu-system-x86_64") is None:
        pytest.skip("needs qemu-system-x86_64: apt-get install qemu-system-x86")
    # Not tmp_path: the path of a UNIX socket has at most 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="ha-lone-"))
    blank = folder / "blank"
    blank.write_bytes(bytes(1 << 20))
    storage = folder / "storage"
    storage.mkdir()
    domain = make_domain(storage, GuestImage(blank, 1 << 20, "", ""))
    host = Host(1, folder / "host1", domain, free_port(), SHORT_TIMES + extra_config)
    host.write_config("tcg")
    try:
        yield host
    finally:
        host.stop()
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def twin_of(host: Host, number: int = 1) -> Iterator[Host]:
    """Make another host on the same storage, with that host id."""
    twin = Host(
        number, host.folder.parent / "twin", host.domain, host.engine_port, host.extra_config
    )
    twin.write_config("tcg")
    text = twin.config.read_text().replace(f"name = host{number}", "name = twin")
    twin.config.write_text(text)
    try:
        yield twin
    finally:
        twin.stop()


def eventually(look: Callable[[], Optional[T]], missing: str) -> T:
    """Look until there is an answer that is not None or False."""
    ends_at = CLOCK.now() + LIMIT_SECONDS
    while True:
        found = look()
        if found:
            return found
        assert CLOCK.now() < ends_at, f"after {LIMIT_SECONDS:g} s {missing}"
        CLOCK.block(0.1)


def says(host: Host, *texts: str) -> str:
    """Wait until `ha-agent status` has all these texts in it, and return it."""
    last = ""

    def look() -> Optional[str]:
        nonlocal last
        answer = host.cli("status", "--timeout", "5")
        last = answer.stdout + answer.stderr
        return last if answer.returncode == 0 and all(text in last for text in texts) else None

    try:
        return eventually(look, "")
    except AssertionError:
        logs = "\n".join(log.read_text() for log in host.folder.glob("*.log"))
        pytest.fail(f"no {texts} in:\n{last}\n{logs[-3000:]}")


def run(name: str, config: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one of the programs to its end."""
    return subprocess.run(
        [str(PROGRAMS / name), "--config", str(config), *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def one_json(text: str) -> dict[str, Any]:
    """Return the one object that stdout must be."""
    value = json.loads(text)
    assert isinstance(value, dict)
    return value


def no_tracebacks(host: Host) -> None:
    """Look that no daemon of the host has logged one."""
    for log in host.folder.glob("*.log"):
        assert "Traceback" not in log.read_text(), log.read_text()[-3000:]


# --- the OVF_STORE -----------------------------------------------------------------------


def store_volumes(domain: DemoDomain) -> list[Path]:
    """Return both copies' volume files."""
    metas = sorted(domain.path.glob("images/*/*.meta"))
    return [meta.with_suffix("") for meta in metas if "OVF_STORE" in meta.read_text()]


def tear(volume: Path) -> None:
    """Cut the archive in its middle."""
    with volume.open("r+b") as file:
        file.truncate(2048)


def read_ovf(domain: DemoDomain) -> bytes:
    """Return the OVF as it is in the first copy."""
    data = store_volumes(domain)[0].read_bytes()[: 1 << 20]

    def read_at(offset: int, length: int) -> bytes:
        return data[offset : offset + length]

    meta = store_volumes(domain)[0].with_suffix(".meta").read_text()
    description = next(x for x in meta.splitlines() if x.startswith("DESCRIPTION="))
    size_bytes = json.loads(description.partition("=")[2])["Size"]
    return read_member(read_at, size_bytes, f"{domain.vm_uuid}.ovf", where="test")


def write_ovf(domain: DemoDomain, ovf: bytes) -> None:
    """Put an OVF into both copies, as the engine would write it."""
    wall = CLOCK.wall()
    updated = java_date_text(wall)
    members = [(domain.vm_uuid, ovf)]
    data = build_archive(domain.uuid, members, last_updated_text=updated, written_at=wall)
    description = format_description(
        storage_domain_uuid=domain.uuid,
        updated=True,
        last_updated_text=updated,
        size_bytes=len(data),
    )
    for volume in store_volumes(domain):
        with volume.open("r+b") as file:
            file.write(data)
        meta = volume.with_suffix(".meta")
        lines = [
            f"DESCRIPTION={description}" if line.startswith("DESCRIPTION=") else line
            for line in meta.read_text().splitlines()
        ]
        meta.write_text("\n".join(lines) + "\n")
