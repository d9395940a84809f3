# SPDX-License-Identifier: Apache-2.0
"""The broker's parts for the engine's push, put together from the configuration.

Always: a refresh that reaches all hosts, and the watch over this host's certificates. With a
`[push] listen_address`: the TLS listener.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from functools import partial
from typing import Any, Callable, Optional

from ha_agent.broker.blocks.monitor import StatusMonitor
from ha_agent.broker.definition.keeper import DefinitionKeeper
from ha_agent.broker.part import Part
from ha_agent.broker.push.api import PUT_DEADLINE_SECONDS, PushApi, Versions
from ha_agent.broker.push.expiry import CertificateWatch, watched_files
from ha_agent.broker.push.listener import PushListener
from ha_agent.broker.push.refresh import RefreshRequests
from ha_agent.broker.rpc.server import Handler, RpcServer, ServerLimits
from ha_agent.broker.watch import Board
from ha_agent.clock import SystemClock
from ha_agent.config.schema import Config

# What is around a document in its message is far less. Status of a large cluster is more.
_AROUND_BYTES = 64 * 1024
_LEAST_MESSAGE_BYTES = 4 * 1024 * 1024
# One engine, which has no need to ask much at once.
_MAX_IN_FLIGHT = 4
_STATUS_DEADLINE_SECONDS = 65.0


class PushParts:
    """Builds them; `requests.everywhere(who)` is the cluster's refresh."""

    def __init__(
        self,
        config: Config,
        board: Board,
        monitor: StatusMonitor,
        keeper: DefinitionKeeper,
        *,
        clock: SystemClock,
    ) -> None:
        self._config = config
        self._board = board
        self._keeper = keeper
        self._clock = clock
        self._certificates: Optional[CertificateWatch] = None
        self.requests = RefreshRequests(keeper, monitor, board, clock=clock)

    def vdsm_showed(self, der: Optional[bytes]) -> None:
        """Take the certificate that VDSM showed, if any: it may be an older one than its file's,
        and VDSM may be elsewhere."""
        if self._certificates is not None and der is not None:
            self._certificates.peer_seen("vdsm server", der)

    def part(
        self,
        *,
        history: Versions,
        on_socket: Mapping[str, Handler],
        put: Callable[[bytes, str], Awaitable[dict[str, Any]]],
    ) -> Part:
        """Return the feature. `on_socket`: the operators' status and can_do; `put`:
        DefinitionApi.put_pushed."""
        push = self._config.push
        listener: Optional[PushListener] = None
        if push.listen_address:
            listener = self._listener(history, on_socket, put)
        self._certificates = certificates = CertificateWatch(
            watched_files(push, self._config.vdsm),
            clock=self._clock,
            on_change=lambda entries: self._board.update(certificates=entries),
            more_files=() if listener is None else (push.key_file,),
            on_files=(lambda: None) if listener is None else listener.reload,
        )
        work = [self.requests.run, self.requests.run_looks, certificates.run]
        if listener is None:
            return Part("push", work=tuple(work))
        listener.on_peer = partial(certificates.peer_seen, "engine")
        return Part("push", work=(*work, listener.run), close=listener.close)

    def _listener(
        self,
        history: Versions,
        on_socket: Mapping[str, Handler],
        put: Callable[[bytes, str], Awaitable[dict[str, Any]]],
    ) -> PushListener:
        push = self._config.push
        max_document_bytes = push.max_document_kib * 1024

        def count(name: str) -> None:
            listener.count(name)

        api = PushApi(
            self._keeper,
            history,
            self._board,
            on_socket=on_socket,
            refresh=self.requests.everywhere,
            put=put,
            max_document_bytes=max_document_bytes,
            count=count,
        )
        server = RpcServer(
            api.handlers(),
            deadlines_seconds={
                "ovf.put": PUT_DEADLINE_SECONDS,
                "refresh": 3 * self._config.storage.ovf_deadline_seconds,
                "status": _STATUS_DEADLINE_SECONDS,
            },
            limits=ServerLimits(
                max_connections=push.max_connections,
                max_in_flight=_MAX_IN_FLIGHT,
                max_message_bytes=max(max_document_bytes + _AROUND_BYTES, _LEAST_MESSAGE_BYTES),
                call_deadline_seconds=push.call_deadline_seconds,
            ),
            on_bad_stream=lambda _error: count("bad_message"),
        )
        listener = PushListener(
            push,
            server,
            clock=self._clock,
            on_change=lambda entry: self._board.update(push=entry),
        )
        return listener
