# SPDX-License-Identifier: Apache-2.0
"""From a host's name to its addresses, without a name server that can hold anything up."""

from __future__ import annotations

import asyncio
import socket
import ssl
from dataclasses import dataclass
from typing import Any, Optional

from ha_agent.broker.probes.aside import Aside, StillBusy


@dataclass(frozen=True)
class Address:
    """One address of a host: what a socket is made of, and what it connects to."""

    family: socket.AddressFamily
    text: str
    sockaddr: tuple[Any, ...]


class Names:
    """The look-ups of one probe: one at a time, apart from all others."""

    def __init__(self) -> None:
        self._aside = Aside("name look-up")

    async def addresses(self, host: str, port: int) -> list[Address]:
        """Return the host's addresses, in the system's order; never none.

        Raises socket.gaierror, also while an earlier look-up hangs, UnicodeError for what no name
        can be, EnvironmentFault where none can be begun. No deadline of its own.
        """
        try:
            return _look_up(host, port, socket.AI_NUMERICHOST)
        except socket.gaierror:
            pass
        try:
            return await self._aside.call(lambda: _look_up(host, port, 0))
        except StillBusy:
            # As bad as one that ends without an address: the host can't be reached by its name.
            raise socket.gaierror(
                socket.EAI_AGAIN, "an earlier look-up has not ended yet"
            ) from None

    async def connect(
        self, host: str, port: int, tls: Optional[ssl.SSLContext] = None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to the first of the host's addresses that takes it.

        Raises as `addresses` does, and OSError (ssl.SSLError, too) of the last address.
        """
        found = await self.addresses(host, port)
        for left, address in zip(range(len(found) - 1, -1, -1), found):
            try:
                return await asyncio.open_connection(
                    address.text, port, ssl=tls, server_hostname=host if tls else None
                )
            except OSError:
                if not left:
                    raise
        raise AssertionError("a name has an address or is an error")


def _look_up(host: str, port: int, flags: int) -> list[Address]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    # An address that was given keeps its zone ("fe80::1%eth0"), which the socket's has not.
    return [
        Address(family, host if flags else str(where[0]), where) for family, *_, where in found
    ]
