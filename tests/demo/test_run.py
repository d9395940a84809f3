# SPDX-License-Identifier: Apache-2.0
"""The story's judgement: the story is told by `make demo`, and by tests/e2e."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from demo import run
from demo.run import Demo, DemoFailed
from demo.watcher import Change, DiskWatcher


@pytest.fixture
def demo(tmp_path: Path) -> Demo:
    made = Demo(tmp_path, "tcg")
    made.watcher = DiskWatcher(tmp_path / "disk", {})
    return made


def test_two_at_once_are_a_failure(demo: Demo) -> None:
    assert demo.watcher is not None
    demo.watcher.most_at_once = 1
    demo.check_witness()
    demo.watcher.most_at_once = 2
    with pytest.raises(DemoFailed, match="2 QEMU processes"):
        demo.check_witness()


def test_a_vm_that_comes_back_elsewhere_after_a_crash_is_a_failure(demo: Demo) -> None:
    assert demo.watcher is not None
    demo.watcher.changes.append(Change(time.monotonic() + 60, 1, "host3", True))
    with pytest.raises(DemoFailed, match="came back on host3, not on host1"):
        demo.crash("host1")


def test_a_tool_that_is_missing_is_a_failure_with_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["demo", "--work", str(tmp_path / "work")])
    handler = signal.getsignal(signal.SIGTERM)
    try:
        assert run.main() == 1
    finally:
        signal.signal(signal.SIGTERM, handler)
    said = capsys.readouterr().out
    assert "busybox is not installed; get it with: apt-get install" in said
    assert "demo: FAILED" in said
