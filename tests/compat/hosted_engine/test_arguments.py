# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha_agent.compat.hosted_engine.arguments import read_arguments
from ha_agent.compat.hosted_engine.declare import Verb
from ha_agent.compat.hosted_engine.verbs import BY_NAME, VERBS
from ha_agent.errors import BadInput


def test_values_and_flags_in_any_order() -> None:
    verb = BY_NAME["--clean-metadata"]
    for words in (
        ["--force-cleanup", "--host-id=7", "--timeout=1.5"],
        ["--timeout", "1.5", "--host-id", "7", "--force-cleanup"],
    ):
        read = read_arguments(verb, words)
        assert (read.force_cleanup, read.host_id, read.timeout) == (True, 7, 1.5)


def test_what_is_not_given() -> None:
    read = read_arguments(BY_NAME["--clean-metadata"], [])
    assert (read.force_cleanup, read.host_id, read.timeout) == (False, None, 60.0)


def test_with_wait_the_limit_is_another() -> None:
    verb = BY_NAME["--vm-status"]
    assert read_arguments(verb, []).timeout == 10.0
    assert read_arguments(verb, ["--wait"]).timeout == 900.0
    assert read_arguments(verb, ["--wait", "--timeout=3"]).timeout == 3.0


def test_a_value_may_have_an_equals_sign() -> None:
    read = read_arguments(BY_NAME["--add-console-password"], ["--password=a=b"])
    assert read.password == "a=b"


def test_operands_come_before_or_after_options() -> None:
    verb = BY_NAME["--set-shared-config"]
    for words in (["k", "v=1", "--type=ha"], ["--type", "ha", "k", "v=1"]):
        read = read_arguments(verb, words)
        assert (read.key, read.value, read.type) == ("k", "v=1", "ha")


def test_what_is_for_another_program_is_passed_on() -> None:
    read = read_arguments(BY_NAME["--deploy"], ["--dry-run", "--config-append=a", "x"])
    assert (read.rest, read.config_append) == (["--dry-run", "x"], "a")


@pytest.mark.parametrize(
    ("verb", "words", "said"),
    [
        ("--vm-status", ["--jsn"], "Invalid option '--jsn'"),
        ("--vm-status", ["json"], "Invalid option 'json'"),
        ("--vm-status", ["--json=yes"], "--json takes no value"),
        ("--vm-status", ["--timeout"], "--timeout needs a value: --timeout=SECONDS"),
        ("--vm-status", ["--timeout=nan"], "Invalid value 'nan' for --timeout"),
        ("--vm-status", ["--timeout=-1"], "Invalid value '-1' for --timeout"),
        ("--vm-status", ["--timeout=1e9"], "Invalid value '1e9' for --timeout"),
        ("--clean-metadata", ["--host-id=x"], "Invalid value 'x' for --host-id"),
        ("--clean-metadata", ["--host-id=-1"], "Invalid value '-1' for --host-id"),
        ("--vm-start", ["--vm-conf="], "--vm-conf needs a value"),
        ("--set-maintenance", ["--mode=Global"], "Invalid value 'Global' for --mode"),
        ("--set-shared-config", ["--tpye=ha", "gateway"], "Invalid option '--tpye'"),
        ("--add-console-password", ["--pasword=s3cret"], "Invalid option '--pasword'\n"),
        ("--get-shared-config", [], "You must specify a key to get"),
    ],
)
def test_bad_input(verb: str, words: list[str], said: str) -> None:
    with pytest.raises(BadInput) as caught:
        read_arguments(BY_NAME[verb], words)
    assert f"{caught.value}\n".startswith(said)


@given(st.sampled_from(VERBS), st.lists(st.text(max_size=12), max_size=4))
def test_any_words_are_read_or_refused(verb: Verb, words: list[str]) -> None:
    with contextlib.suppress(BadInput):
        assert read_arguments(verb, words).program == "hosted-engine"
