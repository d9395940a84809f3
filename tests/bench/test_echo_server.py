# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import socket
from pathlib import Path

import pytest

from bench.cluster import NotMeasured
from bench.status_latency import Caller, echo_server


def test_each_call_gets_its_params_back_on_one_connection_after_another() -> None:
    with echo_server() as path:
        for _connection in range(2):
            caller = Caller(path)
            for number in range(3):
                seconds, result = caller.call("version", number=number)
                assert result == {"number": number}
                assert 0 < seconds < 5
            caller.close()


def test_a_server_that_hangs_up_is_not_measured(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()
        caller = Caller(path)
        accepted, _address = listener.accept()
        accepted.shutdown(socket.SHUT_WR)
        with pytest.raises(NotMeasured, match="closed the connection in a call of status"):
            caller.call("status")
        accepted.close()
        caller.close()
