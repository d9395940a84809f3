# SPDX-License-Identifier: Apache-2.0
"""Byte-range locks that belong to an open file description (fcntl(2), F_OFD_SETLK).

Unlike classic POSIX locks they are not dropped when some other descriptor of the same file is
closed, they exclude two descriptors of one process, and a child that inherits the descriptor
keeps them. NFSv4, Gluster and CephFS carry them to all hosts as ordinary byte-range locks.

The module never waits: it tries once, and callers that wait have a deadline of their own.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct

# Python's fcntl has names for these only since 3.9 on some builds; the numbers are Linux's ABI
# (include/uapi/asm-generic/fcntl.h).
_F_OFD_GETLK = 36
_F_OFD_SETLK = 37

# struct flock of 64-bit Linux: l_type, l_whence, l_start, l_len, l_pid (0 for OFD locks), padded.
_FLOCK = struct.Struct("hhqqi4x")


def _flock(kind: int, start: int, length_bytes: int) -> bytes:
    return _FLOCK.pack(kind, os.SEEK_SET, start, length_bytes, 0)


def try_lock(fd: int, start: int, length_bytes: int) -> bool:
    """Take the write lock on the bytes if it is free; `fd` must be open for writing.

    Returns False when somebody else has a lock there. Raises OSError when the file system
    can't lock at all.
    """
    try:
        fcntl.fcntl(fd, _F_OFD_SETLK, _flock(fcntl.F_WRLCK, start, length_bytes))
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise
    return True


def unlock(fd: int, start: int, length_bytes: int) -> None:
    """Give the lock up. Raises OSError."""
    fcntl.fcntl(fd, _F_OFD_SETLK, _flock(fcntl.F_UNLCK, start, length_bytes))


def is_locked(fd: int, start: int, length_bytes: int) -> bool:
    """Whether another open file description has a lock there; takes nothing."""
    answer = fcntl.fcntl(fd, _F_OFD_GETLK, _flock(fcntl.F_WRLCK, start, length_bytes))
    return bool(_FLOCK.unpack(answer)[0] != fcntl.F_UNLCK)
