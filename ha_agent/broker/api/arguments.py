# SPDX-License-Identifier: Apache-2.0
"""What the socket's verbs share: their declarations bound to what carries them out.

`bound` is where a call is checked: who asks, with which arguments; and where the answer is held
to what the declaration (verb.py) promises.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Optional

from ha_agent.broker.api.verb import BadCall, Verb, Who
from ha_agent.broker.rpc import codec as rpc_codec
from ha_agent.broker.rpc.answer import Handler, Late, RpcRefusal, Stream
from ha_agent.broker.rpc.peer import Peer
from ha_agent.errors import InvariantBroken


@dataclass(frozen=True)
class Access:
    """Who may change things: root, the broker's own user, `others`, and members of `gid`."""

    uid: int
    gid: Optional[int]
    others: frozenset[int] = frozenset()
    """User ids."""

    def check(self, peer: Peer, verb: Verb) -> None:
        """Raise RpcRefusal("denied") unless `peer` may call `verb`."""
        if verb.who is Who.READ or peer.uid in (0, self.uid) or self._may_change(peer, verb):
            return
        raise RpcRefusal(
            rpc_codec.CODE_DENIED,
            f"{verb.name}: user {peer.uid} may only look; this is for {verb.who.value}",
        )

    def may_change(self, peer: Peer) -> bool:
        """Return whether `peer` is one of these."""
        by_group = self.gid is not None and (peer.gid == self.gid or self.gid in peer.groups)
        return peer.uid in (0, self.uid) or peer.uid in self.others or by_group

    def _may_change(self, peer: Peer, verb: Verb) -> bool:
        return verb.who is Who.CHANGE and self.may_change(peer)


def bound(
    verbs: Iterable[Verb], handlers: Mapping[str, Handler], access: Access
) -> dict[str, Handler]:
    """Return the handlers, each behind the checks that its declaration asks for.

    Raises ValueError where a verb has no handler or a handler no verb.
    """
    declared = {verb.name: verb for verb in verbs}
    if declared.keys() != handlers.keys():
        raise ValueError(f"verbs and handlers differ: {sorted(declared.keys() ^ handlers.keys())}")
    return {name: _bound(verb, handlers[name], access) for name, verb in declared.items()}


def _bound(verb: Verb, handler: Handler, access: Access) -> Handler:
    async def checked(params: Mapping[str, Any], peer: Peer) -> Any:
        access.check(peer, verb)
        try:
            arguments = verb.check(params)
        except BadCall as fault:
            raise RpcRefusal(rpc_codec.CODE_BAD_ARGUMENT, str(fault)) from fault
        result = await handler(arguments, peer)
        plain = result.first if isinstance(result, Stream) else result
        # What is made later is made from the dataclass that is declared.
        fault_in_result = "" if isinstance(plain, Late) else verb.fault_in_result(plain)
        if fault_in_result:
            raise InvariantBroken(f"the answer of {verb.name} {fault_in_result}")
        return result

    return checked


def deadlines_of(verbs: Iterable[Verb]) -> dict[str, float]:
    """Return the deadlines that are declared as numbers, by verb."""
    return {
        verb.name: verb.deadline_seconds for verb in verbs if verb.deadline_seconds is not None
    }
