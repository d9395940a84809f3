# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from ha_agent.cli.main import main
from ha_agent.cli.setup import Screen

ENOUGH = """storage_type = localfs
storage_connection = /share
engine_fqdn = engine.example.org
disk_image_file = /image
"""


def test_missing_answers_are_all_told_where_nobody_can_be_asked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["deploy"]) == 2
    told = capsys.readouterr().err
    for name in ("storage_connection", "engine_fqdn", "disk_image_file"):
        assert f"{name} is missing" in told


def test_faults_of_a_file_are_told_with_file_and_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "answers"
    path.write_text(ENOUGH + "memory_mb = 4096\nhost_id = many\n")
    assert main(["deploy", "--answers", str(path)]) == 2
    told = capsys.readouterr().err
    assert f"{path}:5: unknown key 'memory_mb'; did you mean memory_mib?" in told
    assert f"{path}:6: host_id = 'many': expected a whole number" in told


def test_a_file_that_is_not_there_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["deploy", "--answers", "/absent"]) == 2
    assert "/absent: can't be read" in capsys.readouterr().err


def test_the_given_answers_become_a_file_and_options_count_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "answers", tmp_path / "out"
    path.write_text(ENOUGH)
    words = ["deploy", "--answers", str(path), "--engine-fqdn", "other.example.org"]
    assert main([*words, "--answers-out", str(out)]) == 0
    assert "engine_fqdn = other.example.org\n" in out.read_text()
    assert main([*words, "--answers-out", str(out)]) == 1
    assert "File exists" in capsys.readouterr().err


def test_a_line_is_shown_whole_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    screen = Screen()
    screen.say("[1/2] a ...")
    screen.say("[1/2] a ... done")
    screen.close()
    assert capsys.readouterr().out == "[1/2] a ...\n[1/2] a ... done\n"


def test_a_set_up_that_failed_says_how_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HA_AGENT_HOST_ROOT", str(tmp_path))
    image, answers = tmp_path / "image", tmp_path / "answers"
    image.write_bytes(bytes(1 << 20))
    answers.write_text(
        f"storage_type = localfs\nstorage_connection = {tmp_path}\nengine_fqdn = e\n"
        f"disk_image_file = {image}\nvdsm_port = 1\nvdsm_ssl = false\n"
        f"vdsm_host = 127.0.0.1\nhost.state_dir = {tmp_path}/state\n"
        f"host.run_dir = {tmp_path}/run\n"
    )
    assert main(["deploy", "--answers", str(answers)]) == 1
    assert "run it again with the same answers, and it goes on" in capsys.readouterr().err
    image.write_bytes(b"\x1f\x8b")
    assert main(["deploy", "--answers", str(answers)]) == 2
    assert "compressed by gzip" in capsys.readouterr().err
