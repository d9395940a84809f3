# SPDX-License-Identifier: Apache-2.0
"""Where a definition is read from: a file, stdin, a volume, the store."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ha_agent.instant import WallTime
from ha_agent.ovfstore.tar_volume import build_archive
from tests.fake_broker import FakeBroker, ha_agent
from tests.small_config import VM

OVF = Path(__file__).parents[1] / "data" / "engine_vm.ovf"


def name_in(output: str) -> bool:
    return '"name": "Engine' in output


def test_a_file_needs_no_configuration(tmp_path: Path) -> None:
    done = ha_agent(tmp_path, "ovf", "translate", str(OVF), "--to", "json")
    assert done.returncode == 0
    assert name_in(done.stdout)


def test_stdin(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ha_agent.cli", "ovf", "translate", "-", "--to", "json"],
        input=OVF.read_bytes(),
        capture_output=True,
        timeout=30,
        check=True,
    )
    assert name_in(done.stdout.decode())


def test_a_volume_is_read_by_its_member(folder: Path) -> None:
    volume = folder / "volume"
    text = "Sun Nov 22 05:16:23 UTC 2026"
    archive = build_archive(
        VM, [(VM, OVF.read_bytes())], last_updated_text=text, written_at=WallTime(1e9)
    )
    volume.write_bytes(archive)
    done = ha_agent(folder, "ovf", "translate", "--volume", str(volume), "--to", "json")
    assert done.returncode == 0
    assert name_in(done.stdout)
    other = "00000000-0000-4000-8000-0000000000ff"
    done = ha_agent(
        folder, "ovf", "translate", "--volume", str(volume), "--vm", other, "--to", "json"
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert f"no member '{other}.ovf'" in done.stderr


def test_a_volume_that_is_none(folder: Path) -> None:
    missing = folder / "nothing"
    done = ha_agent(folder, "ovf", "explain", "--volume", str(missing))
    assert done.returncode == 1
    assert str(missing) in done.stderr
    missing.write_bytes(b"no archive" * 200)
    done = ha_agent(folder, "ovf", "explain", "--volume", str(missing))
    assert done.returncode == 1
    assert "not an archive header" in done.stderr


def test_what_the_broker_uses(folder: Path) -> None:
    broker = FakeBroker(folder / "run" / "broker.socket")
    try:
        broker.answers["ovf.get"] = (None, {"document": OVF.read_bytes()})
        done = ha_agent(folder, "ovf", "translate", "--store", "--to", "json")
        assert name_in(done.stdout)
        broker.answers["ovf.get"] = (None, {"document": "text"})
        done = ha_agent(folder, "ovf", "translate", "--store", "--to", "json")
        assert done.returncode == 1
        assert "broker.ovf.get" in done.stderr
    finally:
        broker.close()


def test_a_file_that_is_not_there_or_too_long(tmp_path: Path) -> None:
    done = ha_agent(tmp_path, "ovf", "explain", str(tmp_path / "none.ovf"))
    assert done.returncode == 1
    assert "none.ovf: No such file" in done.stderr
    long = tmp_path / "volume"
    with long.open("wb") as file:
        file.truncate(128 * 1024 * 1024)
    done = ha_agent(tmp_path, "ovf", "explain", str(long))
    assert done.returncode == 1
    assert "--volume" in done.stderr


def test_one_source_is_wanted(tmp_path: Path) -> None:
    assert ha_agent(tmp_path, "ovf", "explain").returncode == 2
    assert ha_agent(tmp_path, "ovf", "explain", str(OVF), "--store").returncode == 2


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "is empty"),
        (b" \r\n", "is empty"),
        ("<a/>".encode("utf-16"), "is UTF-16"),
        (b"vmId=\0", "is no text"),
        (build_archive(VM, [], last_updated_text="x", written_at=WallTime(1e9)), "--volume"),
    ],
)
def test_what_is_no_definition_is_called_what_it_is(
    tmp_path: Path, data: bytes, what: str
) -> None:
    path = tmp_path / "odd"
    path.write_bytes(data)
    for verb in (("explain",), ("translate", "--to", "xml")):
        done = ha_agent(tmp_path, "ovf", verb[0], str(path), *verb[1:])
        assert (done.returncode, done.stdout) == (1, "")
        assert f"{path}: " in done.stderr
        assert what in done.stderr


def test_a_vm_conf_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "vm.conf"
    path.write_bytes(b"\xef\xbb\xbfvmId=" + VM.encode() + b"\nmemSize=4096\nsmp=2\n")
    done = ha_agent(tmp_path, "ovf", "translate", str(path), "--to", "json")
    assert done.returncode == 0, done.stderr
    assert VM in done.stdout
