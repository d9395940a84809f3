# SPDX-License-Identifier: Apache-2.0
"""Every verb and option of the predecessor is there: facts/predecessor-and-peers.md 2.1."""

from __future__ import annotations

from ha_agent.compat.hosted_engine.verbs import BY_NAME, VERBS

PREDECESSORS = {
    "--deploy": {
        "--config-append",
        "--generate-answer",
        "--restore-from-file",
        "--4",
        "--6",
        "--ansible-extra-vars",
    },
    "--vm-start": {"--vm-conf"},
    "--vm-start-paused": set(),
    "--vm-shutdown": set(),
    "--vm-poweroff": set(),
    "--vm-status": {"--json"},
    "--add-console-password": {"--password"},
    "--check-deployed": set(),
    "--check-liveliness": set(),
    "--connect-storage": set(),
    "--disconnect-storage": set(),
    "--console": set(),
    "--set-maintenance": {"--mode"},
    "--set-shared-config": {"--type"},
    "--get-shared-config": {"--type"},
    "--reinitialize-lockspace": {"--force"},
    "--clean-metadata": {"--force-cleanup", "--host-id"},
    "--clean_metadata": {"--force-cleanup", "--host-id"},
}


def test_every_verb_and_option_of_the_predecessor() -> None:
    ours = {
        name: {option.name for option in verb.options if not option.ours}
        for name, verb in BY_NAME.items()
    }
    assert ours == PREDECESSORS


def test_who_asks_somebody_has_a_deadline() -> None:
    """All but what only reads a file, or becomes another program."""
    without = {verb.name for verb in VERBS if verb.timeout_seconds is None}
    assert without == {"--deploy", "--check-deployed"}


def test_the_codes_are_the_declared_ones() -> None:
    for verb in VERBS:
        assert {code for code, _ in verb.exits} <= {0, 1, 2, 254, 255}, verb.name
