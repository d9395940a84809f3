# SPDX-License-Identifier: Apache-2.0
"""Who is at the other end, by the kernel, and what they are called."""

from __future__ import annotations

import os
import socket

from ha_agent.broker.rpc.peer import Peer, peer_of


def test_the_kernel_says_who_connected() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        peer = peer_of(ours)
    assert (peer.pid, peer.uid, peer.gid) == (os.getpid(), os.getuid(), os.getgid())
    assert peer.groups <= {*os.getgroups(), os.getgid()}
    assert (peer.who, str(peer)) == (f"user {os.getuid()}", f"pid {os.getpid()}")


def test_one_with_a_name_is_called_by_it_and_has_nobodys_ids() -> None:
    peer = Peer(-1, -1, -1, name="CN=engine")
    assert (peer.who, str(peer)) == ("CN=engine", "CN=engine")
    assert peer.uid not in (0, os.getuid())
