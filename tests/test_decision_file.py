# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from ha_agent.decision_codec import decode
from ha_agent.decision_file import DecisionRing, Recorder, parse_segment, read_ring
from ha_agent.errors import BadInput, EnvironmentFault
from ha_agent.fsm.machine import Fsm, Step
from ha_agent.fsm.memory import Memory
from ha_agent.fsm.policy import Policy
from ha_agent.fsm.state import State
from ha_agent.instant import WallTime
from tests.fsm.pictures import seen

MEMORY = Memory(global_maintenance=False)
STEP = Step(
    State.ENGINE_DOWN,
    MEMORY,
    seen(),
    Policy(),
    Fsm().step(State.ENGINE_DOWN, MEMORY, seen(), Policy()),
)


def kept(folder: Path) -> list[bytes]:
    records, problems = read_ring(folder)
    assert problems == []
    return [record for _, record in records]


def test_what_is_written_is_read_in_order(tmp_path: Path) -> None:
    ring = DecisionRing(tmp_path / "ring")
    for i in range(5):
        ring.append(b"record %d" % i)
    assert kept(tmp_path / "ring") == [b"record %d" % i for i in range(5)]


def test_it_is_bounded_and_keeps_the_newest(tmp_path: Path) -> None:
    ring = DecisionRing(tmp_path, segment_bytes=1000)
    written = [b"%0100d" % i for i in range(100)]
    for record in written:
        ring.append(record)
        size_bytes = sum(file.stat().st_size for file in tmp_path.iterdir())
        assert size_bytes <= 2 * (1000 + 108 + 16)
        assert kept(tmp_path)[-1] == record
    found = kept(tmp_path)
    assert found == written[-len(found) :]
    assert len(found) >= 9


def test_a_new_writer_goes_on_where_the_last_one_ended(tmp_path: Path) -> None:
    written = [b"%050d" % i for i in range(60)]
    for record in written:
        DecisionRing(tmp_path, segment_bytes=500).append(record)
    found = kept(tmp_path)
    assert found == written[-len(found) :]
    assert len(found) >= 8


@pytest.mark.parametrize("cut_bytes", [1, 5, 9])
def test_a_torn_end_is_told_and_cut_off(
    tmp_path: Path, cut_bytes: int, caplog: pytest.LogCaptureFixture
) -> None:
    ring = DecisionRing(tmp_path)
    ring.append(b"first")
    ring.append(b"second")
    ring.close()
    file = tmp_path / "0.ring"
    os.truncate(file, file.stat().st_size - cut_bytes)
    records, problems = read_ring(tmp_path)
    assert [record for _, record in records] == [b"first"]
    assert "not written to its end" in problems[0]
    with caplog.at_level(logging.INFO):
        DecisionRing(tmp_path).append(b"third")
    assert "cut off" in caplog.text
    assert kept(tmp_path) == [b"first", b"third"]


def test_a_damaged_record_is_told(tmp_path: Path) -> None:
    ring = DecisionRing(tmp_path)
    ring.append(b"first")
    ring.append(b"second")
    ring.close()
    file = tmp_path / "0.ring"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    records, problems = read_ring(file)
    assert [record for _, record in records] == [b"first"]
    assert "checksum" in problems[0]


def test_one_bad_segment_does_not_hide_the_other(tmp_path: Path) -> None:
    ring = DecisionRing(tmp_path, segment_bytes=20)
    for i in range(2):
        ring.append(b"%040d" % i)
    (tmp_path / "0.ring").write_bytes(b"")
    records, problems = read_ring(tmp_path)
    assert [record for _, record in records] == [b"%040d" % 1]
    assert "too short" in problems[0]


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no decisions"):
        read_ring(tmp_path)
    with pytest.raises(EnvironmentFault):
        read_ring(tmp_path / "none")
    (tmp_path / "0.ring").write_bytes(b"something else, quite another file")
    with pytest.raises(BadInput, match="does not begin as one"):
        read_ring(tmp_path)
    with pytest.raises(BadInput, match="does not begin"):
        parse_segment(b"\xff" * 64, where="x")
    DecisionRing(tmp_path).append(b"anew")
    assert kept(tmp_path) == [b"anew"]


def test_a_segment_with_the_last_number_is_written_anew(tmp_path: Path) -> None:
    (tmp_path / "0.ring").write_bytes(b"HADECIS1" + b"\xff" * 8)
    ring = DecisionRing(tmp_path, segment_bytes=20)
    for _ in range(3):
        ring.append(b"record")
    assert kept(tmp_path)[-1] == b"record"


def test_the_recorder_keeps_steps(tmp_path: Path) -> None:
    recorder = Recorder(DecisionRing(tmp_path))
    recorder.start()
    for i in range(3):
        recorder.record(STEP, WallTime(100.0 + i))
    recorder.stop()
    records = [decode(record, where="x") for record in kept(tmp_path)]
    assert [record.at for record in records] == [WallTime(100.0 + i) for i in range(3)]
    assert records[0].observation == STEP.observation
    assert recorder.lost == 0


def test_a_failed_write_leaves_whole_records_only(tmp_path: Path) -> None:
    folder = tmp_path / "ring"
    folder.write_text("a file where the folder should be")
    ring = DecisionRing(folder)
    with pytest.raises(FileExistsError):
        ring.append(b"lost")
    folder.unlink()
    ring.append(b"kept")
    assert kept(folder) == [b"kept"]
