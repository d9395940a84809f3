# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest
from ovirt_hosted_engine_ha.client.client import HAClient
from ovirt_hosted_engine_ha.env import config
from ovirt_hosted_engine_ha.env.settings import Settings

from tests.fake_broker import FakeBroker


@pytest.fixture
def made(folder: Path, broker: FakeBroker) -> config.Config:
    settings = Settings(str(folder / "run" / "broker.socket"), 1)
    path = str(folder / "hosted-engine.conf")
    return config.Config(client=HAClient(settings=settings), hosted_engine_conf=path)


def test_keys_of_the_brokers_stores(made: config.Config, broker: FakeBroker) -> None:
    broker.answers["conf.get_key"] = lambda params: (
        None,
        {"key": params["key"], "store": params["store"], "value": "True"},
    )
    broker.answers["conf.set_key"] = lambda params: (
        None,
        {"key": params["key"], "store": params["store"]},
    )
    assert made.get(config.HE_CONF, "gateway") == "True"
    assert made.get_local_maintenance() is True
    made.set(config.HA, "local_maintenance", False)
    assert broker.asked[-1] == (
        "conf.set_key",
        {"key": "local_maintenance", "store": "ha", "value": "False"},
    )


def test_what_is_not_there(made: config.Config, broker: FakeBroker) -> None:
    broker.answers["conf.get_key"] = lambda params: (
        None,
        {"key": params["key"], "store": params["store"], "value": None},
    )
    assert made.get(config.BROKER, "email.smtp-port") is None
    with pytest.raises(ValueError, match="smtp-port"):
        made.get(config.BROKER, "email.smtp-port", raise_on_none=True)
    with pytest.raises(KeyError):
        made.get("vm", "memSize")
    assert made.get(config.ENGINE, "vmid") is None


def test_this_hosts_own_file_is_read_without_a_broker(
    made: config.Config, folder: Path, broker: FakeBroker
) -> None:
    (folder / "hosted-engine.conf").write_text("vmid=1-2\n")
    assert made.get(config.ENGINE, "vmid") == "1-2"
    assert broker.asked == []
