# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import gzip
import stat

import pytest

from demo import initramfs
from ha_agent.errors import BadInput


def module(*needs: str) -> bytes:
    return b"\x7fELF...license=GPL\0depends=" + ",".join(needs).encode() + b"\0name=x\0"


def test_pack_is_newc_padded_and_closed_by_its_trailer() -> None:
    archive = gzip.decompress(initramfs.pack([initramfs.program("bin/x", b"hello")]))
    mode = stat.S_IFREG | 0o755
    assert archive[:30] == b"070701" + b"00000001" + b"%08X" % mode + b"00000000"
    assert archive[110:116] == b"bin/x\0"
    assert archive[116:124] == b"hello\0\0\0"
    assert archive[124:130] == b"070701"
    assert archive[124 + 110 :].startswith(b"TRAILER!!!\0")
    assert len(archive) % 4 == 0


def test_pack_gives_the_same_bytes_for_the_same_members() -> None:
    members = [initramfs.folder("bin"), initramfs.link("bin/sh", "busybox")]
    assert initramfs.pack(members) == initramfs.pack(iter(members))


def test_load_order_puts_each_module_after_what_it_needs_once() -> None:
    modules = {
        "virtio_net": module("net_failover", "virtio"),
        "net_failover": module("failover"),
        "failover": module(),
        "virtio": module("virtio-ring"),
        "virtio_ring": module("built_in"),
    }
    order = initramfs.load_order(["virtio_net", "virtio", "built_in"], modules.get)
    assert order == ["failover", "net_failover", "virtio_ring", "virtio", "virtio_net"]


def test_a_file_that_is_no_module_is_refused() -> None:
    with pytest.raises(BadInput, match="not a kernel module"):
        initramfs.module_dependencies(b"\x7fELF")
