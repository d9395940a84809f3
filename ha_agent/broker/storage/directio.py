# SPDX-License-Identifier: Apache-2.0
"""Read and write shared storage past the page cache, in whole aligned blocks.

Another host's writes must be seen and ours must be on the storage when a call returns, so
the kernel's page cache is avoided with O_DIRECT. It wants the file offset, the length and the
memory address aligned to the sector: everything here is done in blocks of 4096 bytes from
anonymous mmaps (page aligned), which suits storage with 512-byte and with 4096-byte sectors.

Where the file system refuses O_DIRECT with EINVAL, at open (tmpfs before Linux 6.6) or at the
first transfer (some FUSE servers), the file is used through the page cache instead: reads
drop cached pages first, writes are still synchronous. `DirectFile.direct` says which it was.

Every function here may block for as long as the storage hangs. They are for worker processes
(storage/worker.py) only; nothing that serves an event loop may call them.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import stat
from types import TracebackType
from typing import Callable, Optional

BLOCK_BYTES = 4096
"""Alignment of every transfer: the bigger of the two sector sizes in use."""

_TRANSFER_BYTES = 8 * 1024 * 1024
"""One system call moves at most this much, which bounds the pinned memory of a call."""


class DirectFile:
    """An open regular file or block device. Made by `open_file`; close it, or use `with`.

    `direct` is True while transfers bypass the page cache. Not for use by several threads.
    """

    def __init__(self, fd: int, path: str, direct: bool) -> None:
        self.fd = fd
        self.path = path
        self.direct = direct

    def __enter__(self) -> DirectFile:
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. A second call does nothing."""
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            os.close(fd)

    def size_bytes(self) -> int:
        """Return the size of the file, or of the block device, in bytes."""
        status = os.fstat(self.fd)
        if stat.S_ISREG(status.st_mode):
            # Not by seeking to the end: on FUSE (Gluster's client, too) that waits for the
            # inode's lock, which a write that hangs in another process has (fs/fuse/file.c,
            # fuse_file_llseek).
            return status.st_size
        # There fstat gives 0.
        return os.lseek(self.fd, 0, os.SEEK_END)

    def is_regular(self) -> bool:
        """Whether it is a regular file, which grows; a block device does not."""
        return stat.S_ISREG(os.fstat(self.fd).st_mode)

    def read(self, offset: int, length_bytes: int) -> bytes:
        """Read up to `length_bytes` at `offset`; fewer only where the file ends before.

        Neither number need be aligned: what is read is rounded outward to whole blocks.
        Raises OSError with `filename` set, ValueError for negative numbers.
        """
        if offset < 0 or length_bytes < 0:
            raise ValueError(f"can't read {length_bytes} bytes at {offset}")
        start = offset - offset % BLOCK_BYTES
        end = _round_up(offset + length_bytes)
        pieces = []
        while start < end:
            wanted = min(end - start, _TRANSFER_BYTES)
            piece = self._read_aligned(start, wanted)
            pieces.append(piece)
            start += wanted
            if len(piece) < wanted:
                break
        skip = offset % BLOCK_BYTES
        return b"".join(pieces)[skip : skip + length_bytes]

    def read_into(self, offset: int, view: memoryview) -> int:
        """Fill `view` from `offset` on; return how much of it was, less where the file ends.

        `offset` and the view's length must be whole blocks, its memory must be page aligned (an
        mmap). Raises OSError with `filename` set, ValueError.
        """
        if offset < 0 or offset % BLOCK_BYTES or len(view) % BLOCK_BYTES:
            raise ValueError(f"can't read {len(view)} bytes at {offset}: not whole blocks")
        if not self.direct:
            # Another host may have written since these pages were cached.
            os.posix_fadvise(self.fd, offset, len(view), os.POSIX_FADV_DONTNEED)
        done = 0
        while done < len(view):
            count = self._transfer(os.preadv, view, done, len(view), offset)
            done += count
            # An unaligned count is the end of the file: going on from there would be an
            # unaligned direct read.
            if count == 0 or (self.direct and count % BLOCK_BYTES):
                break
        return done

    def pread_exact(self, offset: int, length_bytes: int) -> bytes:
        """Read exactly `length_bytes` at `offset`.

        Raises OSError(ENODATA) where the file ends before, else as `read`.
        """
        data = self.read(offset, length_bytes)
        if len(data) < length_bytes:
            ends_at = offset + len(data)
            raise OSError(
                errno.ENODATA, f"file ends at {ends_at}, wanted {offset + length_bytes}", self.path
            )
        return data

    def write_blocks(self, offset: int, data: bytes) -> None:
        """Write whole blocks at a block boundary; they are on the storage at return.

        Raises OSError with `filename` set (after which some of the blocks may be written),
        ValueError when `offset` or the length is not a multiple of BLOCK_BYTES.
        """
        if offset < 0 or offset % BLOCK_BYTES or not data or len(data) % BLOCK_BYTES:
            raise ValueError(f"can't write {len(data)} bytes at {offset}: not whole blocks")
        with mmap.mmap(-1, len(data)) as memory, memoryview(memory) as view:
            view[:] = data
            done = 0
            while done < len(data):
                written = self._transfer(os.pwritev, view, done, len(data), offset)
                if written == 0 or (self.direct and written % BLOCK_BYTES):
                    raise OSError(errno.EIO, f"short write at {offset + done}", self.path)
                done += written

    def set_size(self, size_bytes: int) -> None:
        """Cut a regular file off, or lengthen it with zeros; a block device keeps its size.

        The change is on the storage at return. Raises OSError with `filename` set.
        """
        if not self.is_regular() or self.size_bytes() == size_bytes:
            return
        try:
            os.ftruncate(self.fd, size_bytes)
            os.fsync(self.fd)  # O_DSYNC is about writes only
        except OSError as error:
            error.filename = self.path
            raise

    def _read_aligned(self, offset: int, length_bytes: int) -> bytes:
        with mmap.mmap(-1, length_bytes) as memory, memoryview(memory) as view:
            return bytes(view[: self.read_into(offset, view)])

    def _transfer(
        self,
        call: Callable[[int, list[memoryview], int], int],
        view: memoryview,
        done: int,
        end: int,
        offset: int,
    ) -> int:
        with view[done:end] as rest:
            try:
                return call(self.fd, [rest], offset + done)
            except OSError as error:
                if error.errno != errno.EINVAL or not self.direct:
                    error.filename = self.path
                    raise
            self._leave_direct()
            try:
                return call(self.fd, [rest], offset + done)
            except OSError as error:
                error.filename = self.path
                raise

    def _leave_direct(self) -> None:
        flags = fcntl.fcntl(self.fd, fcntl.F_GETFL)
        fcntl.fcntl(self.fd, fcntl.F_SETFL, flags & ~os.O_DIRECT)
        self.direct = False


def open_file(path: str, *, write: bool = False) -> DirectFile:
    """Open an existing file or block device for reading, or for reading and writing.

    Writing never makes the file: on storage a missing volume is a fault, not a wish.
    Raises OSError.
    """
    # O_DSYNC: a write, direct or buffered, returns when the data is on the storage, as
    # fdatasync(2) after it would do; an error is that write's own.
    flags = os.O_CLOEXEC | (os.O_RDWR | os.O_DSYNC if write else os.O_RDONLY)
    try:
        return DirectFile(os.open(path, flags | os.O_DIRECT), path, direct=True)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    return DirectFile(os.open(path, flags), path, direct=False)


def _round_up(offset: int) -> int:
    return -(-offset // BLOCK_BYTES) * BLOCK_BYTES
