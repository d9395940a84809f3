# SPDX-License-Identifier: Apache-2.0
"""libvirt's Python module, as far as it is used here, and the thread that its events come from.

The module is no dependency of ours: only hosts with `[host] hypervisor = libvirt` need it, from
their distribution (python3-libvirt on Debian, Fedora and Enterprise Linux), since it has to fit
the libvirt that is installed. So it is imported when it is asked for, and described by Protocols.

libvirt has one event loop for a whole process, which has to be registered before the first
connection. Its own default loop runs in one daemon thread here; callbacks are called in it, and
must only hand over. A keepalive of a connection is answered and watched by this loop as well.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import Any, Callable, Optional, Protocol

from ha_agent.errors import EnvironmentFault
from ha_agent.virt.errors import LibvirtCode

log = logging.getLogger(__name__)

LIFECYCLE = 0  # VIR_DOMAIN_EVENT_ID_LIFECYCLE
START_PAUSED = 1  # VIR_DOMAIN_START_PAUSED
LIST_ACTIVE = 1  # VIR_CONNECT_LIST_DOMAINS_ACTIVE


class Domain(Protocol):
    """virDomain. Calls block, and raise libvirtError."""

    def UUIDString(self) -> str: ...

    def state(self) -> Sequence[int]: ...

    def isActive(self) -> int: ...

    def isPersistent(self) -> int: ...

    def resume(self) -> int: ...

    def shutdown(self) -> int: ...

    def destroy(self) -> int: ...


class Connection(Protocol):
    """virConnect. Calls block, and raise libvirtError."""

    def lookupByUUIDString(self, uuid: str) -> Domain: ...

    def listAllDomains(self, flags: int) -> Sequence[Domain]: ...

    def createXML(self, xml: str, flags: int) -> Domain: ...

    def getCapabilities(self) -> str: ...

    def setKeepAlive(self, interval: int, count: int) -> int: ...

    def isAlive(self) -> int: ...

    def domainEventRegisterAny(
        self, dom: Optional[Domain], event: int, callback: Callable[..., None], opaque: object
    ) -> int: ...

    def domainEventDeregisterAny(self, callbackID: int) -> int: ...

    def registerCloseCallback(self, callback: Callable[..., None], opaque: object) -> int: ...

    def unregisterCloseCallback(self) -> int: ...

    def close(self) -> int: ...


class Libvirt:
    """The module; one for a process."""

    def __init__(self) -> None:
        """Raises EnvironmentFault that names the package when it is not there."""
        try:
            import libvirt
        except ImportError as error:
            raise EnvironmentFault(
                f"libvirt can't be used: {error}; install the package python3-libvirt"
            ) from error
        self._module: Any = libvirt
        self.error: type[Exception] = libvirt.libvirtError

    def open(self, uri: str) -> Connection:
        """Connect. Blocks; raises libvirtError."""
        _run_events(self._module)
        connection: Connection = self._module.open(uri)
        return connection

    @staticmethod
    def code(error: Exception) -> int:
        """Return a libvirtError's number."""
        number: Optional[int] = getattr(error, "get_error_code", lambda: None)()
        return LibvirtCode.INTERNAL_ERROR if number is None else number


_events_lock = threading.Lock()
_events: list[threading.Thread] = []


def _run_events(module: Any) -> None:
    with _events_lock:
        if _events:
            return
        # Without a handler libvirt prints every error to stderr; ours are raised, and told.
        module.registerErrorHandler(lambda _context, _error: None, None)
        module.virEventRegisterDefaultImpl()

        def body() -> None:
            while True:
                try:
                    module.virEventRunDefaultImpl()
                except module.libvirtError as error:
                    log.warning("libvirt's event loop: %s", error)

        thread = threading.Thread(target=body, name="libvirt events", daemon=True)
        _events.append(thread)
        thread.start()
