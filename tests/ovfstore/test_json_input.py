# SPDX-License-Identifier: Apache-2.0
"""JSON from outside: an object, or a refusal that names the place."""

from __future__ import annotations

from typing import Union

import pytest

from ha_agent.errors import BadInput
from ha_agent.ovfstore.json_input import json_object


def test_an_object_of_text_or_bytes() -> None:
    assert json_object(b'{"a": "\xc3\xa4"}', where="F") == {"a": "\u00e4"}
    assert json_object('{"a": [1]}', where="F") == {"a": [1]}


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"\xff{}", "is not JSON"),
        ("", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[" + "9" * 10_000 + "]", "is not"),
        ("[]", "is not a JSON object"),
        (b"null", "is not a JSON object"),
    ],
)
def test_what_is_no_object_is_refused(data: Union[bytes, str], what: str) -> None:
    with pytest.raises(BadInput, match=f"the note {what}") as caught:
        json_object(data, where="F", what="the note")
    assert caught.value.where == "F"
