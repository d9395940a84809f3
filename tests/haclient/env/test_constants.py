# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

from ovirt_hosted_engine_ha.env import constants

from ha_agent.compat.legacy_keys import FILES, HOSTED_ENGINE
from ha_agent.config.schema import StatusConfig


def test_they_are_what_the_daemons_have() -> None:
    assert constants.ENGINE_SETUP_CONF_FILE in FILES[HOSTED_ENGINE]
    assert StatusConfig().host_alive_seconds == constants.HOST_ALIVE_TIMEOUT_SECS
    # oVirt's system tests look for the file and write to it.
    assert Path(constants.__file__).is_file()
