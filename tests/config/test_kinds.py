# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha_agent.config import kinds

ALL = {
    "bool": kinds.BOOL,
    "path": kinds.PATH,
    "optional path": kinds.OPTIONAL_PATH,
    "uuid": kinds.UUID,
    "name": kinds.NAME,
    "optional name": kinds.OPTIONAL_NAME,
    "address": kinds.ADDRESS,
    "optional address": kinds.OPTIONAL_ADDRESS,
    "url": kinds.URL,
    "mode": kinds.MODE,
    "networks": kinds.NETWORKS,
    "program": kinds.PROGRAM,
    "port": kinds.PORT,
    "optional port": kinds.OPTIONAL_PORT,
    "seconds": kinds.seconds(0.5, 60),
    "whole": kinds.whole(1, 2000),
    "choice": kinds.choice("one", "two"),
    "list": kinds.list_of(kinds.seconds(0, 60)),
}


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("bool", "true", True),
        ("bool", "false", False),
        ("path", "/a b/c", Path("/a b/c")),
        ("optional path", "", None),
        ("uuid", "35AECB25-6470-45d0-b1fb-c4a1b0f2a0a1", "35aecb25-6470-45d0-b1fb-c4a1b0f2a0a1"),
        ("optional name", "", ""),
        ("address", "fe80::1%eth0", "fe80::1%eth0"),
        ("url", "https://[::1]:8443/x?y=z", "https://[::1]:8443/x?y=z"),
        ("mode", "0660", 0o660),
        ("mode", "600", 0o600),
        ("networks", "", {}),
        ("networks", "a: user,x=y:z;", {"a": "user,x=y:z"}),
        ("program", "qemu-kvm", "qemu-kvm"),
        ("program", "/usr/libexec/qemu-kvm", "/usr/libexec/qemu-kvm"),
        ("optional port", "", None),
        ("optional port", "80", 80),
        ("seconds", "0.5", 0.5),
        ("seconds", "60", 60.0),
        ("whole", "2000", 2000),
        ("list", "0,1 , 2.5", (0.0, 1.0, 2.5)),
    ],
)
def test_accepted(kind: str, text: str, value: Any) -> None:
    assert ALL[kind].parse(text) == value


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("bool", "True"),
        ("bool", ""),
        ("path", "a/b"),
        ("path", ""),
        ("optional path", "a"),
        ("uuid", "35aecb25-6470-45d0-b1fb-c4a1b0f2a0a"),
        ("uuid", "{35aecb25-6470-45d0-b1fb-c4a1b0f2a0a1}"),
        ("name", ""),
        ("name", "a b"),
        ("address", ""),
        ("address", "a/b"),
        ("url", "ftp://host/"),
        ("url", "http:///x"),
        ("url", "http://host:99999/"),
        ("url", "http://host:0/"),
        ("url", "http://user:secret@host/"),
        ("url", "http://ho st/"),
        ("url", "http://[::1/"),
        ("mode", "0680"),
        ("mode", "4755"),
        ("networks", "a"),
        ("networks", "a:"),
        ("networks", "a: b; a: c"),
        ("networks", "a b: c"),
        ("program", "bin/qemu"),
        ("program", ""),
        ("port", "0"),
        ("port", "65536"),
        ("optional port", "x"),
        ("seconds", "0.4"),
        ("seconds", "60.1"),
        ("seconds", "nan"),
        ("seconds", "inf"),
        ("seconds", "1e1"),
        ("seconds", "3s"),
        ("whole", "0"),
        ("whole", "2001"),
        ("whole", "1_0"),
        ("whole", "-1"),
        ("whole", "\u0661"),
        ("whole", "1.0"),
        ("choice", "three"),
        ("choice", ""),
        ("list", ""),
        ("list", "1,,2"),
    ],
)
def test_refused(kind: str, text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (callers show `expected`, not the text)
        ALL[kind].parse(text)


@pytest.mark.parametrize("kind", sorted(ALL))
@given(text=st.text(max_size=40))
def test_any_text_is_refused_with_value_error_or_comes_back(kind: str, text: str) -> None:
    try:
        value = ALL[kind].parse(text)
    except ValueError:
        return
    assert ALL[kind].parse(ALL[kind].form(value)) == value


@given(st.integers(0, 10**8).map(lambda ms: ms / 1000))
def test_numbers_come_back_as_people_write_them(value: float) -> None:
    kind = kinds.seconds(0, 10**6)
    assert kind.parse(kind.form(value)) == value
    assert not kind.form(value).endswith(".0")


def test_expected_tells_the_bounds() -> None:
    assert kinds.seconds(0.05, 60).expected == "seconds, 0.05 to 60"
    assert kinds.whole(1, 65535).expected == "a whole number, 1 to 65535"
    assert kinds.choice("a", "b").expected == "one of a, b"
