# SPDX-License-Identifier: Apache-2.0
"""What the declarations about definitions promise."""

from __future__ import annotations

import pytest

from ha_agent.broker.api.definition_verbs import VERBS
from ha_agent.broker.api.verb import BadCall, Who
from ha_agent.broker.rpc.codec import DEFAULT_MAX_MESSAGE_BYTES

BY_NAME = {verb.name: verb for verb in VERBS}


def test_who_may_only_look_sees_no_document_and_changes_nothing() -> None:
    assert {verb.name for verb in VERBS if verb.who is Who.READ} == {"ovf.history", "can_do"}


def test_a_document_as_long_as_a_message_is_not_refused_for_its_length() -> None:
    document = bytes(DEFAULT_MAX_MESSAGE_BYTES)
    assert BY_NAME["ovf.put"].check({"document": document})["how"] == "put"
    with pytest.raises(BadCall, match="document: is"):
        BY_NAME["ovf.put"].check({"document": document + b"x"})


def test_what_writes_to_the_store_has_longer_than_what_only_asks() -> None:
    for name in ("ovf.put", "store.create", "conf.put"):
        assert (BY_NAME[name].deadline_seconds or 0.0) >= 300.0
