# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from typing import Any

import pytest

from ha_agent.broker.rpc.call import RpcCallFailed
from ha_agent.broker.snapshot import DefinitionEntry, to_wire
from ha_agent.engine.store_view import BrokerView, Definition, StoreCopy, unwritten
from ha_agent.errors import BadInput, EnvironmentFault

OLD = (StoreCopy("v1", True, "updated Mon"), StoreCopy("v2", True, "updated Mon"))
NEW = (StoreCopy("v1", True, "updated Tue"), StoreCopy("v2", True, "updated Tue"))


def test_all_copies_have_to_be_whole_and_new() -> None:
    assert unwritten(OLD, NEW) == ""
    assert unwritten(None, OLD) == ""
    assert unwritten(OLD, (NEW[0], OLD[1])) == "copy v2 is still the one from before"
    torn = StoreCopy("v2", False, "volume v2: being written")
    assert unwritten(OLD, (NEW[0], torn)) == "copy v2 is being written"
    assert unwritten(None, (torn,)) == "copy v2 is being written"
    assert unwritten(OLD, ()) == "there is no copy of the OVF_STORE"
    # The engine may have made copies of its own.
    assert unwritten(OLD, (*NEW, StoreCopy("v3", True, "updated Tue"))) == ""


async def test_what_the_broker_answers() -> None:
    asked: list[str] = []

    def ask(method: str) -> Any:
        asked.append(method)
        if method == "store.list":
            return {
                "copies": [
                    {"volume_uuid": "v1", "usable": True, "sentences": ["updated Mon", "1 byte"]},
                    {"volume_uuid": "v2", "usable": False, "sentences": []},
                ]
            }
        return {"definition": to_wire(DefinitionEntry(identity="abc", last_updated="Mon"))}

    view = BrokerView(ask)
    assert await view.copies() == (
        StoreCopy("v1", True, "updated Mon; 1 byte"),
        StoreCopy("v2", False, ""),
    )
    assert await view.definition(refresh=True) == Definition("abc", "Mon", "")
    await view.definition(refresh=False)
    assert asked == ["store.list", "refresh", "status"]


@pytest.mark.parametrize("answer", [None, [], {"copies": 3}])
async def test_nonsense_is_named(answer: Any) -> None:
    view = BrokerView(lambda method: answer)
    with pytest.raises(BadInput, match=r"store\.list"):
        await view.copies()
    with pytest.raises(BadInput):
        await view.definition(refresh=False)


async def test_a_broker_that_refuses_can_not_tell() -> None:
    def ask(method: str) -> Any:
        raise RpcCallFailed("busy", "the store can't be read", {})

    with pytest.raises(EnvironmentFault, match="the broker can't tell: the store can't be read"):
        await BrokerView(ask).copies()
