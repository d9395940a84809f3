# SPDX-License-Identifier: Apache-2.0
"""One host whose engine VM has an empty disk: for tests of what a host says, not of the VM.

Its daemons are the real ones, as processes; its storage is a folder of its own.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable, Optional, TypeVar

import pytest

from demo.domain import DemoDomain, make_domain
from demo.guest import GuestImage
from demo.hosts import PROGRAMS, Host, free_port
from ha_agent.clock import SystemClock
from ha_agent.ovfstore.locate import format_description, java_date_text
from ha_agent.ovfstore.ovf_build import build_ovf
from ha_agent.ovfstore.ovf_parse import parse_ovf
from ha_agent.ovfstore.tar_volume import build_archive, read_member
from ha_agent.ovfstore.translate import with_engine_xml
from ha_agent.status_text import status_text
from tests.e2e.cluster import SHORT_TIMES

T = TypeVar("T")

CLOCK = SystemClock()
LIMIT_SECONDS = 100.0  # three runs at once on two cores, in `make test`
STORAGE_ONLY = ("ha-vdsm", "ha-broker")
IN_USE = "MiB, from volume"
OTHER_OVF = b"<another/>".ljust(16384)


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

    def has_all(said: str) -> bool:
        return all(text in said for text in texts)

    def look() -> Optional[str]:
        picture = host.picture()
        if picture is None or not has_all(status_text(picture, CLOCK.wall())):
            return None
        answer = host.cli("status", "--timeout", "5")
        return answer.stdout if answer.returncode == 0 and has_all(answer.stdout) else None

    try:
        return eventually(look, "")
    except AssertionError:
        last = host.cli("status", "--timeout", "5")
        logs = "\n".join(log.read_text() for log in host.folder.glob("*.log"))
        pytest.fail(f"no {texts} in:\n{last.stdout}{last.stderr}\n{logs[-3000:]}")


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


# --- commands ----------------------------------------------------------------------------


def started(*hosts: Host) -> None:
    """Start what reads the store, and wait until each host has a definition out of it."""
    for host in hosts:
        host.start(STORAGE_ONLY)
    for host in hosts:
        says(host, IN_USE)


def done(host: Host, *arguments: str) -> str:
    """Run a command that must succeed, and return what it prints."""
    ended = host.cli(*arguments)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def failed(host: Host, *arguments: str) -> str:
    """Run a command that must fail with a sentence, and return it."""
    ended = host.cli(*arguments)
    assert ended.returncode == 1, ended
    assert "Traceback" not in ended.stderr
    return ended.stderr


def in_use(host: Host) -> bytes:
    """Return the document that the host has in use after a look at the store."""
    host.cli("refresh")
    return done(host, "store", "get").encode()


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

    size_bytes = described(store_volumes(domain)[0])["Size"]
    return read_member(read_at, size_bytes, f"{domain.vm_uuid}.ovf", where="test")


def write_ovf(domain: DemoDomain, ovf: bytes, *, others: int = 0) -> None:
    """Put an OVF into both copies, as the engine would write it, before `others` of other VMs."""
    wall = CLOCK.wall()
    updated = java_date_text(wall)
    more = [(str(uuid.UUID(int=number)), OTHER_OVF) for number in range(1, others + 1)]
    data = build_archive(
        domain.uuid, [(domain.vm_uuid, ovf), *more], last_updated_text=updated, written_at=wall
    )
    description = format_description(
        storage_domain_uuid=domain.uuid,
        updated=True,
        last_updated_text=updated,
        size_bytes=len(data),
    )
    for volume in store_volumes(domain):
        with volume.open("r+b") as file:
            file.write(data)
        describe(volume, description)


def describe(volume: Path, description: str) -> None:
    """Give a volume another description."""
    meta = volume.with_suffix(".meta")
    lines = [
        f"DESCRIPTION={description}" if line.startswith("DESCRIPTION=") else line
        for line in meta.read_text().splitlines()
    ]
    meta.write_text("\n".join(lines) + "\n")


def described(volume: Path) -> dict[str, Any]:
    """Return a volume's description."""
    for line in volume.with_suffix(".meta").read_text().splitlines():
        if line.startswith("DESCRIPTION="):
            return one_json(line.partition("=")[2])
    raise AssertionError(f"{volume} has no description")


def without_store(domain: DemoDomain) -> None:
    """Take both copies away."""
    for volume in store_volumes(domain):
        shutil.rmtree(volume.parent)


def edited(domain: DemoDomain, ovf: bytes, **changes: Any) -> bytes:
    """Return the OVF as the engine would write it after an edit of the VM: fields of the model."""
    vm = parse_ovf(ovf, where="test")
    vm = dataclasses.replace(vm, engine_xml=None, **changes)
    return build_ovf(with_engine_xml(vm, storage_domain_uuid=domain.uuid)[0])
