# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import logging
import os
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ha_agent.log_file import FileHandler

log = logging.getLogger("ha_agent.some.part")

ROOT = Path(__file__).resolve().parents[1]
LOGROTATE = Path("/usr/sbin/logrotate")


@pytest.fixture
def handlers() -> Iterator[list[FileHandler]]:
    """Those that are in use; closed at the end."""
    made: list[FileHandler] = []
    yield made
    for handler in made:
        logging.getLogger().removeHandler(handler)
        handler.close()


def begin(path: Path, handlers: list[FileHandler]) -> FileHandler:
    handler = FileHandler(path)
    handlers.append(handler)
    logging.getLogger().addHandler(handler)
    return handler


def test_a_file_that_was_moved_away_is_begun_anew(
    tmp_path: Path, handlers: list[FileHandler]
) -> None:
    path, old = tmp_path / "agent.log", tmp_path / "agent.log.1"
    handler = begin(path, handlers)
    log.warning("before")
    while not path.exists() or not path.read_text():
        time.sleep(0.01)
    path.rename(old)
    log.warning("after")
    logging.getLogger().removeHandler(handler)
    handler.close()
    assert old.read_text() == "before\n"
    assert path.read_text() == "after\n"
    assert oct(path.stat().st_mode & 0o777) == "0o640"


def test_a_full_disk_costs_only_the_lines_and_is_told_once(
    handlers: list[FileHandler], caplog: pytest.LogCaptureFixture
) -> None:
    path = Path("/dev/full")
    handler = begin(path, handlers)
    for number in range(20):
        log.warning("line %d", number)
    handler.close()
    told = [text for text in caplog.messages if "No space left on device" in text]
    assert told == [
        f"lines of {path} can't be written on this host's disk: [Errno 28] No space left on device"
    ]


def test_a_link_is_not_followed(
    tmp_path: Path, handlers: list[FileHandler], caplog: pytest.LogCaptureFixture
) -> None:
    """The folder is another's than root's, and the embedded VDSM writes there, too."""
    path, other = tmp_path / "vdsm.log", tmp_path / "other"
    other.write_text("not ours\n")
    path.symlink_to(other)
    handler = begin(path, handlers)
    log.warning("line")
    handler.close()
    assert other.read_text() == "not ours\n"
    assert "Too many levels of symbolic links" in caplog.text


def test_a_disk_that_hangs_holds_nobody_up(tmp_path: Path, handlers: list[FileHandler]) -> None:
    path = tmp_path / "agent.log"
    os.mkfifo(path)  # an open of it hangs until somebody reads
    begin(path, handlers)
    for number in range(2000):
        log.warning("line %d", number)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(path.read_bytes()))
    reader.start()
    for handler in handlers:
        handler.close()
    reader.join(30)
    assert b"line 0\n" in got[0]


def test_a_missing_folder_is_no_fault_of_the_daemons(
    tmp_path: Path, handlers: list[FileHandler], caplog: pytest.LogCaptureFixture
) -> None:
    handler = begin(tmp_path / "none" / "agent.log", handlers)
    log.warning("line")
    handler.close()
    assert "No such file or directory" in caplog.text


def test_what_packages_bring_is_about_one_folder(tmp_path: Path) -> None:
    """The key, the folder with its owner, and logrotate's file, which logrotate understands."""
    [folder] = re.findall(
        r"^folder = (.*)$", (ROOT / "conf/10-predecessor-logs.conf").read_text(), re.M
    )
    made = (ROOT / "systemd/ovirt-hosted-engine-ha.tmpfiles.conf").read_text().splitlines()[-1]
    assert made.split() == ["d", folder, "0755", "vdsm", "kvm", "-"]
    rotated = (ROOT / "conf/ovirt-hosted-engine-ha.logrotate").read_text()
    assert f"{folder}/*.log {{" in rotated


@pytest.mark.skipif(not LOGROTATE.exists(), reason="no logrotate")
def test_logrotate_and_the_file_understand_each_other(
    tmp_path: Path, handlers: list[FileHandler]
) -> None:
    text = (ROOT / "conf/ovirt-hosted-engine-ha.logrotate").read_text()
    text = text.replace("/var/log/ovirt-hosted-engine-ha", str(tmp_path))
    conf = tmp_path / "conf"
    conf.write_text(text.replace("    su vdsm kvm\n", ""))
    conf.chmod(0o644)
    path, old = tmp_path / "agent.log", tmp_path / "agent.log.1"
    handler = begin(path, handlers)
    log.warning("before")
    while not path.exists() or not path.read_text():
        time.sleep(0.01)
    state = f"--state={tmp_path}/state"
    subprocess.run([str(LOGROTATE), "--force", state, str(conf)], check=True, timeout=60)
    log.warning("after")
    logging.getLogger().removeHandler(handler)
    handler.close()
    assert old.read_text() == "before\n"
    assert path.read_text() == "after\n"
