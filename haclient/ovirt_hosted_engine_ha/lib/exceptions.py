# SPDX-License-Identifier: Apache-2.0
"""What the client raises. Callers catch these by the predecessor's names.

All that is wrong with the connection is an OSError with its errno, too: VDSM makes one line in
its log of an IOError, and a traceback of anything else (vdsm, lib/vdsm/host/api.py), and set-up's
tools catch socket.error, which is OSError.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional


class BrokerConnectionError(OSError):
    """The broker can't be reached: it is not there, or does not let us in."""


class BrokerTimeoutError(BrokerConnectionError):
    """The broker did not answer in time. What was asked for may still be done."""


class DisconnectionError(OSError):
    """The connection ended before the answer, or what came is none. It may have been done."""


class RequestError(Exception):
    """The broker refused, or tried and failed, and says why.

    `code` is for programs (docs/api.md of ha-agent), "" where there is none.
    """

    def __init__(
        self, message: str, code: str = "", details: Optional[Mapping[str, Any]] = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.details = dict(details or {})


class MetadataError(Exception):
    """A host's status can't be read. Not raised here: such a host has no `live-data`."""


class FatalMetadataError(Exception):
    """A host's status is of a newer version. Not raised here, as above."""
