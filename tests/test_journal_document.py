# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ha_agent import journal_document
from ha_agent.journal_messages import MESSAGES

ROOT = Path(__file__).resolve().parents[1]


def test_the_files_are_as_made_from_the_messages() -> None:
    assert (ROOT / "systemd/ha-agent.catalog").read_text() == journal_document.catalog(), (
        "run `make diagram`"
    )
    assert (ROOT / "docs/journal.md").read_text() == journal_document.document(), (
        "run `make diagram`"
    )


@pytest.mark.skipif(shutil.which("journalctl") is None, reason="no journalctl")
def test_journalctl_takes_the_catalog(tmp_path: Path) -> None:
    folder = tmp_path / "usr/lib/systemd/catalog"
    folder.mkdir(parents=True)
    shutil.copy(ROOT / "systemd/ha-agent.catalog", folder)

    def journalctl(*arguments: str) -> str:
        done = subprocess.run(
            ["journalctl", f"--root={tmp_path}", *arguments],
            capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        assert done.stderr == ""
        return done.stdout

    journalctl("--update-catalog")
    listed = dict(
        re.findall(r"^([0-9a-f]{32}) ha-agent: (.*)$", journalctl("--list-catalog"), re.M)
    )
    assert listed == {message.id: message.subject for message in MESSAGES.values()}
    died = MESSAGES["PEER_SILENT"]
    text = journalctl("--dump-catalog", died.id)
    assert "Documentation: file:///usr/share/doc/ha-agent/docs/guides/host-died.md" in text
    assert " ".join(died.you.split()) in " ".join(text.split())
