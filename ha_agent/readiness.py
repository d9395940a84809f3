# SPDX-License-Identifier: Apache-2.0
"""What systemd is told (sd_notify), and the sockets that it passes.

Type=notify: `ready` after the first real look at the outside, `status` one live line,
`watchdog` from the loop whose progress matters and from nowhere else: a timer or a thread
beside it would go on feeding while the loop hangs. Without NOTIFY_SOCKET, so not under
systemd, all of it does nothing.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import Optional

import sdnotify

from ha_agent.errors import EnvironmentFault

# STATUS= is one line of `systemctl status`.
_MAX_STATUS_LENGTH = 200
# Counted from each message; the loops send one every few seconds.
_START_EXTENSION_MICROSECONDS = 60 * 1000000


class Readiness:
    """The notifications of this process."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._notifier: Optional[sdnotify.SystemdNotifier] = None
        if environ.get("NOTIFY_SOCKET"):
            self._notifier = sdnotify.SystemdNotifier()
            if self._notifier.socket is not None:
                # A systemd that reads no more, itself hanging somewhere, must not hold our loop.
                self._notifier.socket.setblocking(False)

    def ready(self) -> None:
        """Tell that the start, or a reload, is over: systemd starts what is ordered after us."""
        self._notify("READY=1")

    def starting(self) -> None:
        """Tell that the start goes on, and may take some more time (EXTEND_TIMEOUT_USEC=).

        Until `ready` systemd does not look at the watchdog; this way a loop that waits for
        storage is left alone for as long as it takes, and one that hangs is not.
        """
        self._notify(f"EXTEND_TIMEOUT_USEC={_START_EXTENSION_MICROSECONDS}")

    def status(self, text: str) -> None:
        """Show one line in `systemctl status`."""
        self._notify("STATUS=" + " ".join(text.split())[:_MAX_STATUS_LENGTH])

    def watchdog(self) -> None:
        """Tell that the loop goes round."""
        self._notify("WATCHDOG=1")

    def reloading(self) -> None:
        """Tell that a reload begins; `ready` ends it."""
        self._notify("RELOADING=1")

    def stopping(self) -> None:
        """Tell that the stop begins."""
        self._notify("STOPPING=1")

    def _notify(self, message: str) -> None:
        if self._notifier is not None:
            # sdnotify encodes as Latin-1 and drops what does not fit; this way the bytes that
            # it sends are UTF-8, which is what systemd reads.
            self._notifier.notify(message.encode("utf-8", "replace").decode("latin-1"))


def listen_sockets(environ: Mapping[str, str] = os.environ) -> list[socket.socket]:
    """Return the listening sockets that systemd passed to this process, non-blocking.

    Empty when it passed none. They are handed out once; the caller closes them. Raises
    EnvironmentFault when there are some and systemd-python, which takes them, is missing.
    """
    if environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    try:
        from systemd.daemon import listen_fds
    except ImportError as error:
        raise EnvironmentFault(
            "systemd passes a socket, but systemd-python (python3-systemd) is missing: "
            f"install it or stop and disable the .socket unit ({error})"
        ) from error
    sockets = []
    for descriptor in listen_fds():
        passed = socket.socket(fileno=descriptor)
        passed.setblocking(False)
        sockets.append(passed)
    return sockets
