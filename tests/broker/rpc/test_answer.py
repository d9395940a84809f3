# SPDX-License-Identifier: Apache-2.0
"""A refusal keeps what it says."""

from __future__ import annotations

from ha_agent.broker.rpc.answer import RpcRefusal


def test_a_refusal_keeps_code_sentence_and_details() -> None:
    details = {"host_id": 7}
    refusal = RpcRefusal("not_found", "there is no host 7", details)
    details["host_id"] = 8
    assert (refusal.code, refusal.message, refusal.details) == (
        "not_found",
        "there is no host 7",
        {"host_id": 7},
    )
    assert str(refusal) == "there is no host 7"
    assert RpcRefusal("x", "y").details == {}
