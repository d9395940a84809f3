# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from ha_agent.compat.hosted_engine.declare import Option, Verb
from ha_agent.compat.hosted_engine.deployed import check_deployed


def test_an_option_as_it_is_written() -> None:
    assert Option("--host-id", "", metavar="N").usage == "--host-id=N"
    assert Option("--mode", "", choices=("a", "b")).usage == "--mode=a|b"
    assert Option("--force-cleanup", "").usage == "--force-cleanup"
    assert Option("--force-cleanup", "").key == "force_cleanup"


def test_who_asks_somebody_has_a_limit() -> None:
    verb = Verb("--x", check_deployed, "", "", ())
    assert verb.all_options == ()
    asking = Verb("--x", check_deployed, "", "", (), timeout_seconds=10.0, wait_seconds=90.0)
    (limit,) = asking.all_options
    assert limit.help == "give up after this; the default is 10, with --wait 90"
    assert (asking.limit_seconds(waits=False), asking.limit_seconds(waits=True)) == (10.0, 90.0)
