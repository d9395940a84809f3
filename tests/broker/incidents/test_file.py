# SPDX-License-Identifier: Apache-2.0
"""What is kept over restarts of the broker, and what over a reboot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ha_agent.broker.incidents.book import Incident, Told
from ha_agent.broker.incidents.file import FILE_NAME, IncidentFile, Kept, Sent
from ha_agent.broker.incidents.incident import Lasting, Trouble
from ha_agent.broker.incidents.rules import VmTrack
from ha_agent.instant import Instant

LASTING = Lasting(Trouble("storage", "EIO", hosts=("alpha",)), Instant(50.0), Instant(60.0), True)
INCIDENT = Incident(
    "1-5", "storage", "storage", "EIO", ("alpha",), 1.0, 2.0, 3.0, 2, (Told("mail", 5),), 1
)
KEPT = Kept(
    boot_id="one",
    number=5,
    dropped=1,
    incidents=(INCIDENT,),
    own=(LASTING,),
    starts=(Instant(40.0),),
    sent=(Sent("mail", 7.0),),
    seen_alive=(1, 2),
    vm=VmTrack(1, "alpha", Instant(55.0)),
)


def write(folder: Path, boot_id: str = "one") -> None:
    file = IncidentFile(folder, boot_id)
    file.start()
    file.save(KEPT)
    file.stop()


def test_all_of_it_is_there_after_a_restart(tmp_path: Path) -> None:
    write(tmp_path)
    again = IncidentFile(tmp_path, "one").load(Instant(100.0))
    assert again == Kept(**{**vars(KEPT), "starts": (Instant(40.0), Instant(100.0))})


def test_times_of_another_boot_begin_anew(tmp_path: Path) -> None:
    write(tmp_path)
    again = IncidentFile(tmp_path, "two").load(Instant(9.0))
    assert again.own == (Lasting(LASTING.trouble, Instant(9.0), open=True),)
    assert again.starts == (Instant(9.0),)
    assert again.vm == VmTrack(1, "alpha")
    assert (again.boot_id, again.incidents) == ("two", (INCIDENT,))


@pytest.mark.parametrize("content", ["", "[]", "{", '{"number": "x"}', "[" * 9999])
def test_a_file_that_cant_be_used_is_left(
    tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / FILE_NAME).write_text(content)
    kept = IncidentFile(tmp_path, "one").load(Instant(1.0))
    assert kept == Kept(boot_id="one", starts=(Instant(1.0),))
    assert str(tmp_path / FILE_NAME) in caplog.text


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("opened_unix_seconds", 1e300),
        ("opened_unix_seconds", -1e15),
        ("closed_unix_seconds", 1e12),
        ("changed_unix_seconds", -1.0),
        ("id", "x"),
    ],
)
def test_an_incident_that_no_text_can_be_made_of_is_not_taken(
    tmp_path: Path, key: str, value: object, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path)
    path = tmp_path / FILE_NAME
    wire = json.loads(path.read_text())
    wire["incidents"][0][key] = value
    path.write_text(json.dumps(wire))
    again = IncidentFile(tmp_path, "one").load(Instant(100.0))
    assert again.incidents == ()
    assert "what was told of incidents is lost" in caplog.text


def test_what_the_disk_did_not_take_is_written_again(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    file = IncidentFile(folder, "one")
    file.start()
    file.save(KEPT)
    file.stop()
    folder.mkdir()
    file.start()
    file.save(KEPT)
    file.stop()
    assert (folder / FILE_NAME).exists()


def test_a_kind_of_a_newer_version_is_not_taken(tmp_path: Path) -> None:
    write(tmp_path)
    path = tmp_path / FILE_NAME
    path.write_text(path.read_text().replace('"kind": "storage"', '"kind": "flood"'))
    assert json.loads(path.read_text())["incidents"][0]["kind"] == "flood"
    assert IncidentFile(tmp_path, "one").load(Instant(1.0)).incidents == ()


def test_no_file_is_a_new_beginning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert IncidentFile(tmp_path, "one").load(Instant(1.0)).starts == (Instant(1.0),)
    assert caplog.text == ""
