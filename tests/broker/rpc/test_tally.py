# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ha_agent.broker.rpc import codec as rpc_codec
from ha_agent.broker.rpc.call import RpcCallFailed
from ha_agent.broker.rpc.client import RpcClient
from ha_agent.broker.rpc.server import Peer, RpcRefusal, RpcServer
from ha_agent.broker.rpc.tally import RpcTally
from ha_agent.broker.rpc.unix_listener import listen_unix


async def fine(_params: Mapping[str, Any], _peer: Peer) -> str:
    return "yes"


async def refused(_params: Mapping[str, Any], _peer: Peer) -> str:
    raise RpcRefusal("not_now", "later")


async def test_a_server_counts_calls_by_verb_and_result(tmp_path: Path) -> None:
    tally = RpcTally()
    server = RpcServer({"fine": fine, "refused": refused}, tally=tally)
    path = tmp_path / "socket"
    server.start(listen_unix(str(path)))
    client = RpcClient(str(path))
    try:
        await client.call("fine", {})
        await client.call("fine", {})
        for method in ("refused", "what", "ever"):
            with pytest.raises(RpcCallFailed):
                await client.call(method, {})
        assert (tally.connections, tally.open_connections) == (1, 1)
    finally:
        await client.close()
        await server.stop()
    assert tally.calls == {
        ("fine", "ok"): 2,
        ("refused", "not_now"): 1,
        ("unknown", rpc_codec.CODE_UNKNOWN_METHOD): 2,
    }
    assert tally.open_connections == 0
