# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from ha_agent.errors import HaAgentError
from ha_agent.setup.step import Found, SetupFailed, SetupRefused


def test_what_a_step_raises_is_ours_and_a_refusal_is_no_failure() -> None:
    assert issubclass(SetupRefused, HaAgentError)
    assert issubclass(SetupFailed, HaAgentError)
    assert not issubclass(SetupRefused, SetupFailed)


def test_found_is_a_value() -> None:
    assert Found(True, "there") == Found(True, "there") != Found(False, "there")
