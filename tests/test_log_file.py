# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ha_agent.log_file import FileHandler

log = logging.getLogger("ha_agent.some.part")


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
    tmp_path: Path, handlers: list[FileHandler], caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "agent.log"
    path.symlink_to("/dev/full")
    handler = begin(path, handlers)
    for number in range(20):
        log.warning("line %d", number)
    handler.close()
    told = [text for text in caplog.messages if "No space left on device" in text]
    assert told == [
        f"lines of {path} can't be written on this host's disk: [Errno 28] No space left on device"
    ]


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
