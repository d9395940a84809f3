# SPDX-License-Identifier: Apache-2.0
"""`ha-agent upgrade` and `downgrade` as commands: words in, sentences and exit codes out."""

from __future__ import annotations

from pathlib import Path

import pytest

from ha_agent.cli import main as cli
from ha_agent.config import layers

SYSTEMCTL = """\
#!/bin/sh
while [ "$1" != -- ]; do shift; done
shift
for name; do
    printf 'Id=%s\\nLoadState=not-found\\nActiveState=inactive\\nUnitFileState=\\n\\n' "$name"
done
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host in a folder, whose systemd has no unit at all."""
    program = tmp_path / "bin" / "systemctl"
    program.parent.mkdir()
    program.write_text(SYSTEMCTL)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    monkeypatch.setenv(layers.ROOT_VARIABLE, str(tmp_path))
    monkeypatch.delenv(layers.PATH_VARIABLE, raising=False)
    conf = tmp_path / "etc/ha-agent/ha-agent.conf"
    conf.parent.mkdir(parents=True)
    conf.write_text(f"[host]\nrun_dir = {tmp_path}/run\nstate_dir = {tmp_path}/state\n")
    return tmp_path


def test_no_hosted_engine_host(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["upgrade", "--dry-run"]) == 1
    told = capsys.readouterr()
    assert f"there is no {root}/etc/ovirt-hosted-engine/hosted-engine.conf" in told.out
    assert "there is no ha-agent.service" in told.out
    assert "nothing to upgrade" in told.err
    assert not (root / "state").exists()


def test_nothing_to_go_back_to(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["downgrade"]) == 1
    assert f"no backup of an upgrade in {root}/state/setup" in capsys.readouterr().err


def test_a_file_that_is_no_configuration(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    conf = root / "etc/ovirt-hosted-engine/hosted-engine.conf"
    conf.parent.mkdir()
    conf.write_text("this is a letter\n")
    assert cli.main(["upgrade"]) == 1
    assert f"{conf}, line 1: is not KEY=VALUE" in capsys.readouterr().err


def test_an_unknown_word(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["downgrade", "--forse", "x"])
    assert ended.value.code == 2
    assert "--forse" in capsys.readouterr().err
