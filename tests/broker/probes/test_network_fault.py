# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno
import socket
import ssl

import pytest

from ha_agent.broker.probes.network_fault import describe


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
            "its name can't be resolved: Name or service not known",
        ),
        (ConnectionRefusedError(errno.ECONNREFUSED, "x"), "the connection was refused"),
        (ConnectionResetError(), "the connection was reset"),
        (
            OSError(errno.EHOSTUNREACH, "Connect call failed ('192.0.2.1', 80)"),
            "the connection failed: no route to host",
        ),
        (OSError("Multiple exceptions: a, b"), "the connection failed: Multiple exceptions: a, b"),
        (OSError(), "the connection failed: OSError"),
        (ssl.SSLError(1, "[SSL] wrong version number"), "TLS failed: [ssl] wrong"),
    ],
)
def test_describe(error: Exception, sentence: str) -> None:
    assert describe(error).startswith(sentence)
