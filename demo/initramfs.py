# SPDX-License-Identifier: Apache-2.0
"""The guest's initramfs as bytes: a cpio archive in the kernel's "newc" format.

Written here rather than by cpio(1) because the archive must hold files owned by root,
and be the same bytes for the same input, whoever builds it. Pure: values in, bytes out.

Format (Linux Documentation/driver-api/early-userspace/buffer-format.rst): per member a
header of "070701" and thirteen fields of 8 hexadecimal digits, the name with a NUL, the
data; header and data are padded to 4 bytes; a member named TRAILER!!! ends it.
"""

from __future__ import annotations

import gzip
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Callable, Optional

from ha_agent.errors import BadInput


@dataclass(frozen=True)
class Member:
    """One file of the archive. `mode` holds type and permissions, as in st_mode."""

    name: str
    mode: int
    content: bytes = b""


def folder(name: str) -> Member:
    return Member(name, stat.S_IFDIR | 0o755)


def program(name: str, content: bytes) -> Member:
    return Member(name, stat.S_IFREG | 0o755, content)


def link(name: str, target: str) -> Member:
    return Member(name, stat.S_IFLNK | 0o777, target.encode())


def pack(members: Iterable[Member]) -> bytes:
    """Return the compressed archive; folders must come before what they hold."""
    archive = bytearray()
    numbered = enumerate([*members, Member("TRAILER!!!", 0)], start=1)
    for inode, member in numbered:
        name = member.name.encode() + b"\0"
        # inode, mode, uid, gid, links, mtime, size, 2 x 2 device numbers, name size, check
        fields = (inode, member.mode, 0, 0, 1, 0, len(member.content), 0, 0, 0, 0, len(name), 0)
        archive += b"070701" + b"".join(b"%08X" % field for field in fields) + name
        archive += b"\0" * (-len(archive) % 4)
        archive += member.content
        archive += b"\0" * (-len(archive) % 4)
    return gzip.compress(bytes(archive), mtime=0)


def module_dependencies(module: bytes) -> list[str]:
    """Return the modules that a kernel module (a .ko file's bytes) names in its .modinfo.

    Raises BadInput where there is no such line; modinfo(8) calls it "depends".
    """
    found = re.search(rb"\0depends=([^\0]*)\0", module)
    if found is None:
        raise BadInput("not a kernel module: it has no 'depends=' in its .modinfo")
    return [name for name in found.group(1).decode().split(",") if name]


def load_order(wanted: Iterable[str], read: Callable[[str], Optional[bytes]]) -> list[str]:
    """Return the wanted modules and all that they need, each after what it needs.

    `read` gives a module's .ko file as bytes, or None for one that is built into the kernel.
    """
    order: list[str] = []

    def add(name: str) -> None:
        module = read(name)
        if name in order or module is None:
            return
        for dependency in module_dependencies(module):
            add(dependency.replace("-", "_"))
        order.append(name)

    for name in wanted:
        add(name)
    return order
