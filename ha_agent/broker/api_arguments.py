# SPDX-License-Identifier: Apache-2.0
"""What the socket's verbs share: reading an argument, and who may change things."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional

from ha_agent.broker.rpc_server import Handler, Peer, RpcRefusal


@dataclass(frozen=True)
class Access:
    """Who may change things: root, the broker's own user, and members of `gid`."""

    uid: int
    gid: Optional[int]

    def check(self, peer: Peer, verb: str) -> None:
        """Raise RpcRefusal("denied") unless `peer` may call `verb`."""
        if peer.uid in (0, self.uid) or peer.gid == self.gid or self.gid in peer.groups:
            return
        raise RpcRefusal("denied", f"{verb}: user {peer.uid} may only look")

    def guarded(self, verb: str, handler: Handler) -> Handler:
        """Return the handler for those who may change things only."""

        async def checked(params: Mapping[str, Any], peer: Peer) -> Any:
            self.check(peer, verb)
            return await handler(params, peer)

        return checked


def argument(params: Mapping[str, Any], name: str, kind: Any, default: Any = None) -> Any:
    """Return an argument of the right type; `default` None means that it is required.

    Raises RpcRefusal("bad_argument").
    """
    if name not in params:
        if default is None:
            raise RpcRefusal("bad_argument", f"{name} is missing")
        return default
    value = params[name]
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise RpcRefusal("bad_argument", f"{name}: {value!r:.60} is of the wrong type")
    return value
