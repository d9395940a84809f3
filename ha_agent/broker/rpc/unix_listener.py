# SPDX-License-Identifier: Apache-2.0
"""A listening UNIX socket at a path: made safely, beside what an earlier process left behind.

Only for a broker that systemd did not hand a socket to. It must not serve anything itself.
A socket file stays when its process is killed. It is removed here only when nobody answers on
it, so that a second broker with the same run folder fails with a clear error instead of
stealing the first one's address.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import stat
from collections.abc import Iterator
from typing import Optional

from ha_agent.errors import EnvironmentFault

# sun_path of unix(7) has 108 bytes, one of them for the final NUL.
MAX_PATH_BYTES = 107
# The kernel caps this at net.core.somaxconn. Callers beyond it wait in connect().
BACKLOG = 1024
# A live listener takes or queues a connection at once; this is only against a full queue.
_PROBE_SECONDS = 1.0


class SocketInUse(EnvironmentFault):
    """Another process listens at that path, or is just about to."""


def listen_unix(path: str, *, mode: int = 0o660, gid: Optional[int] = None) -> socket.socket:
    """Return a stream socket that listens at `path`, with `mode` and group `gid` (None: ours).

    Raises SocketInUse, or EnvironmentFault when the path can't be used (too long, no such
    folder, not a socket, no permission).
    """
    if len(os.fsencode(path)) > MAX_PATH_BYTES:
        raise EnvironmentFault(f"{path}: a socket's path has at most {MAX_PATH_BYTES} bytes")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _folder_lock(path):
            _remove_stale(path)
            listener.bind(path)
            # Before listen(): until then nobody can connect, so no wider mode is ever in force.
            os.chmod(path, mode)
            if gid is not None:
                os.chown(path, -1, gid)
            listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise EnvironmentFault(f"{path}: can't listen: {error.strerror or error}") from error
    except EnvironmentFault:
        listener.close()
        raise
    return listener


def remove_socket_file(path: str) -> None:
    """Remove the file of a listener that has been closed. Not having it is fine."""
    with contextlib.suppress(OSError):
        os.unlink(path)


@contextlib.contextmanager
def _folder_lock(path: str) -> Iterator[None]:
    """Keep a second broker from looking, removing and binding at the same moment."""
    folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SocketInUse(f"{path}: another process is just beginning to listen") from None
        yield
    finally:
        os.close(folder)


def _remove_stale(path: str) -> None:
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise EnvironmentFault(f"{path}: is there and is not a socket; it is left alone")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
        caller.settimeout(_PROBE_SECONDS)
        try:
            caller.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except OSError as error:
            # A full queue (EAGAIN), no permission: somebody may well be there.
            raise SocketInUse(f"{path}: is in use: {error.strerror or error}") from error
    raise SocketInUse(f"{path}: another process answers on it")
