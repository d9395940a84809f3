# SPDX-License-Identifier: Apache-2.0
"""What is written is read the same, by us and by bash, and what was not named stays."""

from __future__ import annotations

import os
import stat
import string
import subprocess
from configparser import ConfigParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha_agent.compat import hosted_engine_conf, ini_conf
from ha_agent.compat.conf_writer import (
    new_hosted_engine_conf,
    set_ini_keys,
    set_keys,
    shell_safe,
    write_conf,
)
from ha_agent.errors import BadInput, EnvironmentFault

KEYS = st.from_regex(r"k[A-Za-z0-9_]{0,10}", fullmatch=True)
TYPED = st.text(string.printable.replace("\n", "").replace("\r", ""), max_size=20)
SAFE = st.text(string.ascii_letters + string.digits + "_./:@%+,=-[]{}*?!^#", max_size=20)


def as_bash_reads(folder: Path, text: str, keys: list[str]) -> dict[str, str]:
    path = folder / "he.conf"
    path.write_text(text)
    script = f". {path}\n" + "".join(f"printf '%s\\n' \"{key}=${key}\"\n" for key in keys)
    # A folder with a file that a pattern would match, were it expanded.
    ran = subprocess.run(
        ["bash", "-e", "-c", script], cwd=folder, capture_output=True, text=True, timeout=60
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    return dict(line.split("=", 1) for line in ran.stdout.splitlines())


def test_bash_reads_each_character_that_may_be_written(tmp_path: Path) -> None:
    marks = [char for char in map(chr, range(32, 127)) if shell_safe(char)]
    values = {}
    for number, mark in enumerate(marks):
        values[f"alone{number}"] = mark
        values[f"first{number}"] = f"{mark}he.conf"
        values[f"inside{number}"] = f"a{mark}b{mark}{mark}c"
    values |= {"braces": "{a,b}", "glob": "*", "address": "[fe80::1%eth0]:/export/he", "empty": ""}
    assert as_bash_reads(tmp_path, new_hosted_engine_conf(values), list(values)) == values
    assert set(string.punctuation) - set(marks) == set("\"$&'();<>\\`|~")


@given(st.dictionaries(KEYS, SAFE), st.dictionaries(KEYS, SAFE))
def test_what_is_written_is_read(old: dict[str, str], new: dict[str, str]) -> None:
    text = set_keys(new_hosted_engine_conf(old), new, where="he.conf")
    wanted = {key: value for key, value in {**old, **new}.items() if value not in ("", "None")}
    assert hosted_engine_conf.parse(text, "he.conf").values == wanted
    assert set_keys(text, dict.fromkeys({**old, **new}), where="he.conf") == ""


@given(TYPED)
def test_what_the_shell_would_change_is_refused_and_not_shown(value: str) -> None:
    if shell_safe(value):
        return
    with pytest.raises(BadInput) as caught:
        set_keys("", {"password": value}, where="he.conf")
    assert str(caught.value) == (
        "he.conf: password: has blanks or characters that mean something to the shell, "
        "which sources the file"
    )


def test_what_is_not_named_stays() -> None:
    text = "# ours\n\n unknown = is ours\nhost_id=1\nfqdn=a b\n#fqdn=c\nlast=1"
    with pytest.raises(BadInput, match="line 3"):
        set_keys(text, {"host_id": "2"}, where="he.conf")
    text = text.replace(" unknown = is ours", "  unknown=is $ours  ")
    assert set_keys(text, {}, where="he.conf") == text
    changed = set_keys(text, {"host_id": "2", "new": "x", "last": None}, where="he.conf")
    assert changed == "# ours\n\n  unknown=is $ours  \nhost_id=2\nfqdn=a b\n#fqdn=c\nnew=x\n"
    assert set_keys("a=1\r\nb=2\r\n", {"a": "3", "c": "4"}, where="x") == "a=3\r\nb=2\r\nc=4\r\n"
    assert set_keys("a=1\r\nb=2", {"c": "4"}, where="x") == "a=1\r\nb=2\r\nc=4\r\n"
    assert set_keys("a=1\nb=2", {"c": "4"}, where="x") == "a=1\nb=2\nc=4\n"


def test_a_key_that_bash_could_not_read_is_refused() -> None:
    for key in ("", "a-b", "1a", "a b", "a\n"):
        with pytest.raises(BadInput, match="name of a shell variable"):
            set_keys("", {key: "x"}, where="he.conf")


BROKER = """\
# who is told
[email]
smtp-server=localhost
destination-emails = root@localhost,
  more@localhost

; when
[notify]
state_transition=start|stop
"""


def test_an_ini_file_keeps_what_is_not_named() -> None:
    assert set_ini_keys(BROKER, {}, where="broker.conf") == BROKER
    changes = {
        ("email", "smtp-port"): "26",
        ("email", "destination-emails"): "a@b.c",
        ("notify", "state_transition"): "100%",
        ("new", "key"): "",
        ("email", "not-there"): None,
        ("other", "not-there"): None,
    }
    assert set_ini_keys(BROKER, changes, where="broker.conf") == (
        "# who is told\n[email]\nsmtp-server=localhost\ndestination-emails = a@b.c\n"
        "smtp-port = 26\n\n; when\n[notify]\nstate_transition = 100%%\n[new]\nkey = \n"
    )
    gone = set_ini_keys(BROKER, {("email", "Destination-Emails"): None}, where="broker.conf")
    assert gone == BROKER.replace("destination-emails = root@localhost,\n  more@localhost\n", "")
    assert set_ini_keys("[a]\nx=1", {("a", "y"): "2", ("b", "z"): "3"}, where="x") == (
        "[a]\nx=1\ny = 2\n[b]\nz = 3\n"
    )


@given(
    st.dictionaries(
        st.tuples(st.sampled_from(["email", "notify", "other"]), KEYS),
        st.text(string.printable, max_size=20),
    )
)
def test_what_is_written_to_an_ini_file_is_read_by_us_and_by_python(
    changes: dict[tuple[str, str], str],
) -> None:
    changes = {(section, key.lower()): value for (section, key), value in changes.items()}
    if not all(value.isprintable() and value == value.strip() for value in changes.values()):
        with pytest.raises(BadInput, match="one line of plain text"):
            set_ini_keys(BROKER, changes, where="broker.conf")
        return
    text = set_ini_keys(BROKER, changes, where="broker.conf")
    ours = {name: value.text for name, value in ini_conf.parse(text, "broker.conf").values.items()}
    theirs = ConfigParser()
    theirs.read_string(text)
    assert ours == {
        (section, key): value
        for section in theirs.sections()
        for key, value in theirs.items(section)
    }
    assert changes.items() <= ours.items()


def test_mode_and_owner_stay(tmp_path: Path) -> None:
    path = tmp_path / "hosted-engine.conf"
    write_conf(path, "a=1\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    path.chmod(0o440)
    if os.geteuid() == 0:
        os.chown(path, 36, 36)
    before = path.stat()
    write_conf(path, "a=2\n")
    after = path.stat()
    assert path.read_text() == "a=2\n"
    assert (after.st_mode, after.st_uid, after.st_gid) == (
        before.st_mode,
        before.st_uid,
        before.st_gid,
    )
    assert [file.name for file in tmp_path.iterdir()] == ["hosted-engine.conf"]
    with pytest.raises(EnvironmentFault, match="can't be written"):
        write_conf(tmp_path / "none" / "he.conf", "a=1\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_roots_file_becomes_the_daemons(tmp_path: Path) -> None:
    path = tmp_path / "hosted-engine.conf"
    write_conf(path, "a=1\n")
    write_conf(path, "a=2\n", owner=(36, 36))
    assert (path.stat().st_uid, path.stat().st_gid) == (36, 36)
    os.chown(path, 107, 36)
    write_conf(path, "a=3\n", owner=(36, 36))
    assert (path.stat().st_uid, path.stat().st_gid) == (107, 36)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is to be led astray")
def test_root_follows_its_own_links_and_nobody_elses(tmp_path: Path) -> None:
    path, target = tmp_path / "hosted-engine.conf", tmp_path / "elsewhere"
    target.write_text("a=1\n")
    path.symlink_to(target)
    write_conf(path, "a=2\n")
    assert (target.read_text(), path.is_symlink()) == ("a=2\n", True)
    os.chown(path, 36, 36, follow_symlinks=False)
    with pytest.raises(EnvironmentFault, match="is a link of user 36"):
        write_conf(path, "a=3\n", owner=(36, 36))
    assert target.read_text() == "a=2\n"
    assert target.stat().st_uid == 0
