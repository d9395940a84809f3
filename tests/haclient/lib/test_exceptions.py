# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno
import socket

import pytest
from ovirt_hosted_engine_ha.lib import exceptions


@pytest.mark.parametrize(
    "kind",
    [
        exceptions.BrokerConnectionError,
        exceptions.BrokerTimeoutError,
        exceptions.DisconnectionError,
    ],
)
def test_what_is_wrong_with_the_connection_is_caught_as_it_always_was(kind: type[OSError]) -> None:
    error = kind(errno.ENOENT, "why", "/path")
    assert type(error) is kind
    assert isinstance(error, socket.error)
    assert (error.errno, str(error)) == (errno.ENOENT, "[Errno 2] why: '/path'")


def test_a_refusal_has_a_code() -> None:
    error = exceptions.RequestError("why", "denied")
    assert (str(error), error.code, error.details) == ("why", "denied", {})
    assert not isinstance(error, OSError)
