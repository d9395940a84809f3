# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import pytest

from ha_agent.errors import BadInput
from ha_agent.vdsm.client.verb_calls import VerbCalls
from ha_agent.vdsm.errors import VdsmBadAnswer, VdsmCallFailed
from tests.vdsm.recording_caller import RecordingCaller, refused


class Verbs(VerbCalls):
    """One verb, read by the function that is passed."""

    async def size(self) -> int:
        return await self._ask("Thing.getSize", {"id": "a"}, 3.0, _size)


def _size(answer: Any) -> int:
    if not isinstance(answer, int):
        raise BadInput("no number")
    return answer


async def test_a_call_has_its_deadline_and_its_answer_is_read() -> None:
    caller = RecordingCaller(7)
    assert await Verbs(caller).size() == 7
    assert (caller.method, caller.params) == ("Thing.getSize", {"id": "a"})
    assert caller.deadline_seconds == 3.0


async def test_an_answer_that_cannot_be_read_names_the_verb() -> None:
    with pytest.raises(VdsmBadAnswer, match=r"answer to Thing\.getSize can't be used: no number"):
        await Verbs(RecordingCaller("seven")).size()


async def test_a_refusal_goes_through() -> None:
    error = refused(4)
    with pytest.raises(type(error)) as caught:
        await Verbs(RecordingCaller(error)).size()
    assert caught.value is error


async def test_a_password_that_is_quoted_in_an_error_is_not_told() -> None:
    error = VdsmCallFailed("a verb", 1000, "no: {'password': 's3cret'}")
    params = {"connectionParams": [{"id": "a", "password": "s3cret"}, {"password": ""}]}
    with pytest.raises(VdsmCallFailed) as caught:
        await Verbs(RecordingCaller(error))._call("a verb", params, 1.0)
    told = caught.value
    assert (told.code, told.message) == (1000, "no: {'password': '(password)'}")
    assert told.__suppress_context__
