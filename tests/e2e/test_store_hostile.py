# SPDX-License-Identifier: Apache-2.0
"""What is put, imported or found in the store may be anything, and this host's disk full.

Each time a sentence says what is wrong, nothing is written, and the broker goes on.
"""

from __future__ import annotations

import contextlib
import io
import os
import socket
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import pytest

from demo.hosts import Host
from ha_agent.ovfstore.approval import identity_of
from tests.e2e.lone import (
    done,
    edited,
    failed,
    in_use,
    lone_host,
    no_tracebacks,
    says,
    started,
    store_volumes,
)

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

HUNDRED_MB = 100 * 1024 * 1024


@pytest.fixture
def host() -> Iterator[Host]:
    with lone_host() as made:
        yield made
        assert made.dead_daemons() == []
        no_tracebacks(made)


def kept(host: Host) -> list[tuple[bytes, str]]:
    return [
        (volume.read_bytes(), volume.with_suffix(".meta").read_text())
        for volume in store_volumes(host.domain)
    ]


def with_doctype(ovf: bytes, doctype: bytes) -> bytes:
    head, end, rest = ovf.partition(b"?>")
    return head + end + doctype + rest.replace(b"HostedEngine", b"&e;")


EXTERNAL = b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>'
BOMB = (
    b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaaaaaaaaaaaa">'
    + b"".join(b'<!ENTITY %c "%s">' % (98 + n, b"&%c;" % (97 + n) * 20) for n in range(12))
    + b'<!ENTITY e "&m;">]>'
)
BAD_FILES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "100 MB": (lambda ovf: ovf + bytes(HUNDRED_MB), "more than 8388608 bytes"),
    "garbage": (lambda ovf: bytes(range(256)) * 64, "neither an OVF nor"),
    "nothing": (lambda ovf: b"", "is empty"),
    "garbage that begins well": (lambda ovf: b"<" + bytes(range(256)), "is no text"),
    "a half": (lambda ovf: ovf[: len(ovf) // 2], "line"),
    "external entity": (lambda ovf: with_doctype(ovf, EXTERNAL), "DOCTYPE"),
    "entity bomb": (lambda ovf: with_doctype(ovf, BOMB), "DOCTYPE"),
    "deep nest": (lambda ovf: b"<a>" * 100_000 + b"</a>" * 100_000, "depth"),
    "NULs": (lambda ovf: ovf.replace(b"HostedEngine", b"Hosted\0Engine"), "is no text"),
    "a vm.conf": (lambda ovf: b"vmId=1\nmemSize=4096\n", "translate"),
    "another document": (lambda ovf: b"<?xml version='1.0'?><html/>", "html"),
}


def test_what_is_put_may_be_anything(host: Host, tmp_path: Path) -> None:
    started(host)
    good, before = in_use(host), kept(host)
    broker = host.daemons["ha-broker"].pid
    file = tmp_path / "bad.ovf"
    for name, (change, reason) in BAD_FILES.items():
        file.write_bytes(change(good))
        said = failed(host, "store", "put", str(file), "--force")
        assert reason in said, name
        assert str(file) in said
        assert said.count("\n") == 1
        assert len(said) < 500
        assert "root:" not in said
    assert "No such file" in failed(host, "store", "put", str(tmp_path / "none"))
    assert "directory" in failed(host, "store", "put", str(tmp_path))
    assert kept(host) == before
    assert in_use(host) == good
    assert host.daemons["ha-broker"].pid == broker


def test_a_document_of_100_mb_at_the_socket(host: Host) -> None:
    started(host)
    good = in_use(host)
    head = b"\x94\x00\x00\xa7ovf.put\x81\xa8document\xc6" + HUNDRED_MB.to_bytes(4, "big")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(30)
        sock.connect(str(host.folder / "run" / "broker.socket"))
        sock.sendall(head)
        told, sent = b"", 0
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while sent < HUNDRED_MB:
                sock.sendall(bytes(1 << 20))
                sent += 1 << 20
        with contextlib.suppress(ConnectionResetError):
            while data := sock.recv(4096):
                told += data
    assert sent < HUNDRED_MB
    assert b"bad_message" in told
    assert in_use(host) == good


def test_a_definition_as_long_as_they_may_be(host: Host, tmp_path: Path) -> None:
    started(host)
    ovf, file = in_use(host), tmp_path / "long.ovf"
    file.write_bytes(ovf + b"<!--" + b"x" * (7 * 1024 * 1024) + b"-->")
    done(host, "store", "put", str(file))
    assert in_use(host) == file.read_bytes()
    backup = tmp_path / "backup.tar"
    done(host, "ovf", "export", str(backup))
    done(host, "ovf", "import", str(backup))
    done(host, "ovf", "rollback", "1")
    assert in_use(host) == ovf


def tar_of(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for info, data in members:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return made.getvalue()


def link(name: str, target: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, target
    return info


def test_archives_that_lead_out(host: Host, tmp_path: Path) -> None:
    started(host)
    good = in_use(host)
    ovf = f"{host.domain.vm_uuid}.ovf"
    archives = [
        tar_of((tarfile.TarInfo("../../etc/passwd"), b"x"), (tarfile.TarInfo(ovf), good)),
        tar_of((tarfile.TarInfo("/etc/passwd"), b"x"), (tarfile.TarInfo(ovf), good)),
        tar_of((link(ovf, "/etc/passwd"), b"")),
        bytes(20480),
        os.urandom(20480),
    ]
    for archive in archives:
        file = tmp_path / "archive.tar"
        file.write_bytes(archive)
        said = [
            failed(host, "ovf", "import", str(file)),
            failed(host, "ovf", "translate", "--volume", str(file), "--to", "json"),
        ]
        for sentence in said:
            assert str(file) in sentence
            assert "root:" not in sentence
        for volume in store_volumes(host.domain):
            with volume.open("r+b") as store:
                store.write(archive)
        assert "no copy of the OVF_STORE can be used" in failed(host, "refresh")
        assert in_use(host) == good
        says(host, "the last good one, accepted")
    assert len(done(host, "ovf", "history").splitlines()) == 2
    backup = tmp_path / "backup.tar"
    done(host, "ovf", "export", str(backup))
    backup.write_bytes(backup.read_bytes().replace(b"000001.ovf", b"../001.ovf"))
    failed(host, "ovf", "import", str(backup))


# --- this host's disk ----------------------------------------------------------------------


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """Mount a file system of 64 KiB there."""
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "ha-e2e", str(folder)]
    if subprocess.run(command, capture_output=True, timeout=30, check=False).returncode != 0:
        pytest.skip("this user may not mount a tmpfs")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], timeout=30, check=True)


def fill(file: Path) -> None:
    with file.open("wb", buffering=0) as full, contextlib.suppress(OSError):
        while True:
            full.write(bytes(4096))


@pytest.mark.root
def test_a_full_disk_keeps_no_definition_from_being_used(host: Host, tmp_path: Path) -> None:
    state = host.folder / "state"
    with small_disk(state):
        started(host)
        old = in_use(host)
        fill(state / "filler")
        history = {path: path.read_bytes() for path in (state / "definitions").iterdir()}
        file = tmp_path / "new.ovf"
        file.write_bytes(edited(host.domain, old, memory_mib=300))
        done(host, "store", "put", str(file))
        says(host, f"definition {identity_of(file.read_bytes())}", "No space left")
        assert in_use(host) == file.read_bytes()
        for path, data in history.items():
            assert path.read_bytes() == data
        assert len(done(host, "ovf", "history").splitlines()) == 2

        (state / "filler").unlink()
        done(host, "refresh")
        assert "No space left" not in says(host, "definition ")
        assert len(done(host, "ovf", "history").splitlines()) == 3
        host.stop()
        host.daemons.clear()
