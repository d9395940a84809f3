# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from ha_agent.compat.hosted_engine.command import (
    CONF_PATH,
    HostedEngine,
    complain,
    replace_process,
)
from ha_agent.config.layers import ConfigError
from ha_agent.errors import BadInput
from tests.compat.hosted_engine.running import conf_path, deployed, environment
from tests.small_config import VM


def command(folder: Path, **more: str) -> HostedEngine:
    arguments = argparse.Namespace(config=folder / "ha-agent.conf", timeout=1.0)
    return HostedEngine(arguments, environment(folder, **more))


def test_where_the_file_is(short_path: Path) -> None:
    assert HostedEngine(argparse.Namespace(), {}).conf_path == Path("/") / CONF_PATH
    assert command(short_path).conf_path == conf_path(short_path)


def test_the_vm_by_either_configuration(folder: Path) -> None:
    assert command(folder).vm_uuid == VM  # ours alone
    deployed(folder)
    (folder / "ha-agent.conf").unlink()
    assert command(folder).vm_uuid == VM  # the predecessor's alone
    conf_path(folder).write_text("vmid=\n")
    assert command(folder).vm_uuid == ""


def test_a_configuration_that_is_wrong_is_not_taken_for_none(folder: Path) -> None:
    (folder / "ha-agent.conf").write_text("[nonsense]\n")
    with pytest.raises(ConfigError, match="nonsense"):
        assert command(folder).vm_uuid


@pytest.mark.parametrize(
    ("data", "what"),
    [(b"\xff", "not UTF-8"), (b"x" * 70_000, "longer than"), (b"no pair\n", "not KEY=VALUE")],
)
def test_a_file_that_is_none(folder: Path, data: bytes, what: str) -> None:
    deployed(folder)
    conf_path(folder).write_bytes(data)
    with pytest.raises(BadInput) as caught:
        assert command(folder).vm_uuid
    assert what in str(caught.value)
    assert "hosted-engine.conf" in str(caught.value)


def test_a_file_that_can_not_be_read(folder: Path) -> None:
    conf_path(folder).mkdir(parents=True)
    with pytest.raises(BadInput, match="can't be read"):
        assert command(folder).conf


def test_a_complaint_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert complain("one\ntwo\x1b[2J") == 1
    assert capsys.readouterr() == ("", "one\ntwo?[2J\n")


def test_a_program_that_there_is_not(short_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert replace_process(str(short_path / "none"), "x") == 1
    assert "none can't be run: No such file or directory" in capsys.readouterr().err
