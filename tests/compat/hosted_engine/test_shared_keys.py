# SPDX-License-Identifier: Apache-2.0
"""`--get-shared-config` and `--set-shared-config`."""

from __future__ import annotations

import pytest

from tests.compat.hosted_engine.running import Here, refusal


def test_a_key_is_told(here: Here) -> None:
    here.broker.answers["conf.get_key"] = (
        None,
        {"key": "gateway", "store": "he_shared", "value": "192.0.2.1"},
    )
    said = "\ngateway : 192.0.2.1, type : he_shared\n\n"
    assert here("--get-shared-config", "gateway", "--type=he_shared") == (0, said, "")
    assert here.asked() == [("conf.get_key", {"key": "gateway", "store": "he_shared"})]


def test_a_key_is_set(here: Here) -> None:
    here.broker.answers["conf.set_key"] = (None, {"key": "gateway", "store": "he_local"})
    assert here("--set-shared-config", "gateway", "192.0.2.2") == (0, "", "")
    assert here.asked() == [("conf.set_key", {"key": "gateway", "value": "192.0.2.2"})]
    assert here("--set-shared-config", "email.smtp-port", "25", "--type=broker")[0] == 0
    assert here.asked()[0][1]["store"] == "broker"


def test_a_value_that_looks_like_an_option(here: Here) -> None:
    here.broker.answers["conf.set_key"] = (None, {"key": "k", "store": "he_local"})
    assert here("--set-shared-config", "mnt_options", "--soft")[0] == 0
    assert here.asked()[0][1]["value"] == "--soft"


@pytest.mark.parametrize(
    "words", [("--get-shared-config", "x"), ("--set-shared-config", "x", "1")]
)
def test_a_key_that_there_is_not(here: Here, words: tuple[str, ...]) -> None:
    verb = "conf.get_key" if len(words) == 2 else "conf.set_key"
    here.broker.answers[verb] = refusal("no key 'x'", "not_found")
    here.broker.answers["conf.keys"] = (None, {"keys": {"ha": ["local_maintenance"]}})
    code, out, err = here(*words, "--type=ha")
    assert (code, out) == (1, "")
    assert err.splitlines() == [
        "Invalid configuration key x.",
        "Available keys are:",
        "ha : ['local_maintenance']",
    ]
    assert here.asked()[-1] == ("conf.keys", {"store": "ha"})


def test_the_list_of_keys_may_fail_too(here: Here) -> None:
    here.broker.answers["conf.get_key"] = refusal("no key 'x'", "not_found")
    here.broker.answers["conf.keys"] = refusal("no volume", "storage")
    code, _, err = here("--get-shared-config", "x")
    assert (code, err.splitlines()[-1]) == (
        1,
        "which keys there are could not be read: no volume",
    )


def test_a_key_in_several_files(here: Here) -> None:
    here.broker.answers["conf.get_key"] = refusal("x is in ha and in broker", "bad_argument")
    assert here("--get-shared-config", "x") == (1, "", "x is in ha and in broker\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--get-shared-config",), "You must specify a key to get\n"),
        (("--set-shared-config",), "You must specify a key to set\n"),
        (("--set-shared-config", "x"), "You must specify a new value to set\n"),
        (("--get-shared-config", "x", "--type=y"), "Invalid value 'y' for --type\n"),
        (("--get-shared-config", "x", "y"), "Invalid option 'y'\n"),
    ],
)
def test_what_is_missing_or_too_much(here: Here, words: tuple[str, ...], said: str) -> None:
    code, _, err = here(*words)
    assert (code, err.startswith(said), here.asked()) == (1, True, [])
