# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import resource
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha_agent.errors import BadInput, EnvironmentFault
from ha_agent.maintenance_file import (
    LocalMaintenance,
    form,
    parse,
    read,
    take_over,
    with_key,
    write,
)

FULL = LocalMaintenance(
    by_operator=True,
    who="root",
    when="2026-11-22T06:45:49Z",
    why="new disks: slots 3, 4",
    until="2026-11-22T08:45:49Z",
    ends_boottime_seconds=11042.5,
    boot_id="2f0c-1",
    others=(("vm_down", "False"),),
)


def test_text_is_the_predecessors_with_notes_it_skips() -> None:
    text = form(FULL)
    assert text == (
        "local_maintenance=False\n"
        "local_maintenance_manual=True\n"
        "vm_down=False\n"
        "# set by: root\n"
        "# set at: 2026-11-22T06:45:49Z\n"
        "# reason: new disks: slots 3, 4\n"
        "# until: 2026-11-22T08:45:49Z\n"
        "# ends: 11042.5 s of boot 2f0c-1\n"
    )
    assert all("=" not in line for line in text.splitlines() if line.startswith("#"))


@pytest.mark.parametrize(
    ("text", "by_engine", "by_operator"),
    [
        ("", False, False),
        ("local_maintenance=True\n", True, False),
        ("local_maintenance = true", True, False),
        ("local_maintenance=False\nlocal_maintenance_manual=True\n", False, True),
        ("local_maintenance=yes\nlocal_maintenance=no\n", False, False),
        ("# local_maintenance=True\n\nlocal_maintenance=0\n", False, False),
    ],
)
def test_flags(text: str, by_engine: bool, by_operator: bool) -> None:
    state = parse(text, "ha.conf")
    assert (state.by_engine, state.by_operator) == (by_engine, by_operator)
    assert state.active == (by_engine or by_operator)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "\nlocal_maintenance=maybe",
            "ha.conf:2: local_maintenance=maybe: expected True or False",
        ),
        ("local_maintenance=", "ha.conf:1: local_maintenance=: expected True or False"),
        ("local_maintenance", "ha.conf:1: 'local_maintenance' is not key=value"),
        ("=True", "ha.conf:1: '=True' is not key=value"),
    ],
)
def test_bad_line(text: str, message: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse(text, "ha.conf")
    assert str(caught.value) == message


@pytest.mark.parametrize("text", ["", "soon", "-1 s of boot b", "nan s of boot b", "5 s of boot"])
def test_an_end_that_can_not_be_read_is_none(text: str) -> None:
    state = parse(f"local_maintenance_manual=True\n# ends: {text}\n", "ha.conf")
    assert (state.active, state.ends_boottime_seconds, state.boot_id) == (True, None, "")


def test_a_note_can_not_become_a_key() -> None:
    sly = LocalMaintenance(why="x\nlocal_maintenance=True")
    assert not parse(form(sly), "").active
    assert parse(form(sly), "").why == "x local_maintenance-True"


_NOTE = st.text(st.characters(codec="utf-8"), max_size=30)


@given(
    st.builds(
        LocalMaintenance, by_engine=st.booleans(), by_operator=st.booleans(), who=_NOTE, why=_NOTE
    )
)
def test_flags_survive_any_note(state: LocalMaintenance) -> None:
    again = parse(form(state), "")
    assert (again.by_engine, again.by_operator, again.others) == (
        state.by_engine,
        state.by_operator,
        (),
    )


@given(st.text(max_size=100))
def test_any_text_is_refused_clearly_or_read(text: str) -> None:
    try:
        state = parse(text, "ha.conf")
    except BadInput as error:
        where = error.where
    else:
        where = "ha.conf:"
        assert parse(form(state), "").active == state.active
    assert where.startswith("ha.conf:")


def test_write_and_read(tmp_path: Path) -> None:
    path = tmp_path / "ha.conf"
    write(path, LocalMaintenance(by_engine=True))
    write(path, FULL)
    assert read(path) == FULL
    assert [file.name for file in tmp_path.iterdir()] == ["ha.conf"]


def test_no_file_is_no_maintenance(tmp_path: Path) -> None:
    assert read(tmp_path / "ha.conf") == LocalMaintenance()


def test_unusable_files(tmp_path: Path) -> None:
    path = tmp_path / "ha.conf"
    path.write_bytes(b"local_maintenance=\xff")
    with pytest.raises(BadInput, match="byte 18: is not UTF-8 text"):
        read(path)
    path.write_bytes(b"#" * 70000)
    with pytest.raises(BadInput, match="larger than 64 KiB"):
        read(path)
    with pytest.raises(EnvironmentFault, match="can't be read: Is a directory"):
        read(tmp_path)


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "ha.conf"
    write(path, FULL)
    with pytest.raises(EnvironmentFault, match=r"ha\.conf: can't be written: No such file"):
        write(tmp_path / "missing" / "ha.conf", FULL)
    (tmp_path / "folder.conf").mkdir()
    with pytest.raises(EnvironmentFault, match="can't be written"):
        write(tmp_path / "folder.conf", FULL)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        with pytest.raises(EnvironmentFault, match="can't be written: File too large"):
            write(path, LocalMaintenance())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert read(path) == FULL
    assert sorted(file.name for file in tmp_path.iterdir()) == ["folder.conf", "ha.conf"]


def test_the_predecessors_is_taken_over_once(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ha.conf", tmp_path / "theirs.conf"
    theirs.write_text("local_maintenance=True\nlocal_maintenance_manual=false\nx=1\n")
    assert take_over(ours, theirs)
    assert read(ours) == LocalMaintenance(by_engine=True, others=(("x", "1"),))
    write(ours, LocalMaintenance())
    assert not take_over(ours, theirs)
    assert not read(ours).active
    theirs.write_text("local_maintenance=perhaps\n")
    with pytest.raises(BadInput, match="expected True or False"):
        take_over(tmp_path / "other.conf", theirs)
    assert not (tmp_path / "other.conf").exists()


def test_one_key_is_set_and_the_others_stay() -> None:
    engine = with_key(FULL, "local_maintenance", "yes")
    assert (engine.by_engine, engine.by_operator, engine.why) == (True, True, FULL.why)
    assert with_key(engine, "local_maintenance_manual", "False").by_engine
    assert with_key(FULL, "vm_down", "True").others == (("vm_down", "True"),)
    assert with_key(FULL, "more", " 1 ").others == (("vm_down", "False"), ("more", "1"))
    assert parse(form(with_key(FULL, "more", "1")), "w") == with_key(FULL, "more", "1")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("local_maintenance", "perhaps"),
        ("vm_down", "x\nlocal_maintenance_manual=False"),
        ("#", "x"),
        ("", "x"),
        ("a=b", "x"),
        ("a\nb", "x"),
    ],
)
def test_a_key_or_value_that_would_be_more_than_one_is_refused(key: str, value: str) -> None:
    with pytest.raises(BadInput, match=r"ha\.conf"):
        with_key(FULL, key, value)
