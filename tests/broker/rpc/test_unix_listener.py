# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import fcntl
import os
import socket
import stat
from pathlib import Path

import pytest

from ha_agent.broker.rpc.unix_listener import SocketInUse, listen_unix, remove_socket_file
from ha_agent.errors import EnvironmentFault


def _connect(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect(str(path))


def test_listens_with_the_mode_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with listen_unix(str(path), mode=0o640, gid=os.getegid()):
        found = path.stat()
        assert stat.S_IMODE(found.st_mode) == 0o640
        assert found.st_gid == os.getegid()
        _connect(path)


def test_a_file_that_a_dead_process_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    listen_unix(str(path)).close()
    assert path.exists()
    with listen_unix(str(path)):
        _connect(path)


def test_a_live_listener_keeps_its_address(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with listen_unix(str(path)):
        with pytest.raises(SocketInUse, match="another process answers"):
            listen_unix(str(path))
        _connect(path)


def test_a_busy_listener_keeps_its_address(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as caller:
        busy.bind(str(path))
        busy.listen(0)
        caller.connect(str(path))  # fills its queue
        with pytest.raises(SocketInUse):
            listen_unix(str(path))
        assert path.exists()


def test_what_is_not_a_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_text("precious")
    with pytest.raises(EnvironmentFault, match="is not a socket"):
        listen_unix(str(path))
    assert path.read_text() == "precious"


def test_two_that_begin_at_once(tmp_path: Path) -> None:
    other = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    try:
        with pytest.raises(SocketInUse, match="just beginning"):
            listen_unix(str(tmp_path / "s"))
    finally:
        os.close(other)


def test_unusable_paths(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match="at most 107"):
        listen_unix(str(tmp_path / ("x" * 120)))
    with pytest.raises(EnvironmentFault, match="can't listen: No such file"):
        listen_unix(str(tmp_path / "nowhere" / "s"))


def test_remove(tmp_path: Path) -> None:
    path = tmp_path / "s"
    listen_unix(str(path)).close()
    remove_socket_file(str(path))
    assert not path.exists()
    remove_socket_file(str(path))
