# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from ovirt_hosted_engine_ha.env import config_constants

from ha_agent.compat import legacy_keys
from ha_agent.compat.shared_config import STORES


def test_names_of_stores_and_keys_are_the_brokers() -> None:
    stores = {"ENGINE", "HE_CONF", "HA", "BROKER"}
    values = {name: value for name, value in vars(config_constants).items() if name.isupper()}
    assert {values.pop(name) for name in stores} == set(STORES)
    known = {row.name for row in legacy_keys.KEYS}
    assert set(values.values()) <= known
