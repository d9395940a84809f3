# SPDX-License-Identifier: Apache-2.0
"""broker.conf and agent.conf: as Python's configparser reads them, or refused with the line."""

from __future__ import annotations

from configparser import ConfigParser, Error

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha_agent.compat.ini_conf import IniValue, parse
from ha_agent.errors import BadInput

SHIPPED = """\
[email]
smtp-server=localhost
smtp-port = 25
Destination-Emails: root@localhost,
   # not the end of it
   more@localhost
source-email=

[notify]
state_transition=100%%|up
"""


def test_the_values_and_their_lines() -> None:
    conf = parse(SHIPPED, "broker.conf")
    assert conf.values == {
        ("email", "smtp-server"): IniValue("localhost", 2, 2),
        ("email", "smtp-port"): IniValue("25", 3, 3),
        ("email", "destination-emails"): IniValue("root@localhost,\nmore@localhost", 4, 6),
        ("email", "source-email"): IniValue("", 7, 7),
        ("notify", "state_transition"): IniValue("100%|up", 10, 10),
    }
    assert conf.sections == {"email": 7, "notify": 10}


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("x=1\n", 1, "'x=1' stands before any [section]"),
        ("[a]\nx\n", 2, "'x' is neither [section] nor key = value"),
        ("[a]\n=x\n", 2, "'=x' is neither [section] nor key = value"),
        ("[a]\nx=1\nX = 2\n", 3, "x is there already, in line 2"),
        ("[a]\n[b]\n[a]\n", 3, "[a] is there already"),
        ("[a\nx=1\n", 1, "'[a' is no [section]"),
        ("[DEFAULT]\nx=1\n", 1, "[DEFAULT] is for all sections, which is not read"),
        ("[a]\nx=%(y)s\n", 2, "a '%' that is not '%%' refers to another key, which is not read"),
        ("[a]\nx=\x01\n", 2, "has a control character in it"),
    ],
)
def test_what_is_wrong_has_file_and_line(text: str, line: int, what: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse(text, "broker.conf")
    assert str(caught.value) == f"broker.conf, line {line}: {what}"


_LINES = st.lists(
    st.one_of(
        st.sampled_from(
            (
                *("[email]", "[notify]", "  [x]", "# c", "; c", "", " ", "  more", "\tmore"),
                *("smtp-port = 25", "smtp-server: a = b", "KEY=1", " key = 2", "a=%%", "b=%(a)s"),
                *("crlf = 1\r", "empty =", "no value"),
            )
        ),
        st.text(max_size=12),
    ),
    max_size=10,
)


@given(_LINES)
def test_what_is_read_is_what_python_reads(lines: list[str]) -> None:
    text = "\n".join(lines)
    try:
        conf = parse(text, "broker.conf")
    except BadInput:
        return
    theirs = ConfigParser(empty_lines_in_values=False)
    theirs.read_string(text)
    assert {name: value.text for name, value in conf.values.items()} == {
        (section, key): value
        for section in theirs.sections()
        for key, value in theirs.items(section)
    }


def test_a_file_that_python_takes_is_taken() -> None:
    theirs = ConfigParser()
    try:
        theirs.read_string(SHIPPED)
    except Error as error:
        pytest.fail(str(error))
    assert theirs["notify"]["state_transition"] == "100%|up"
