# SPDX-License-Identifier: Apache-2.0
"""Keys in texts; tests/broker/store/test_shared_keys.py has them in files."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha_agent.compat import shared_config as stores
from ha_agent.errors import BadInput

TEXT = "# kept\nfqdn=engine\nport=3260\n"


def test_a_key_of_broker_conf_without_a_section_is_in_default() -> None:
    assert stores.name_in("broker", "X") == "default.x"
    assert stores.name_in("broker", "email.SMTP-Server") == "email.smtp-server"
    assert stores.name_in("he_local", "sdUUID") == "sdUUID"
    assert stores.values_in("broker", "[default]\nx = 1\n", "w") == {"default.x": "1"}


def test_where_it_is_counts_before_where_it_might_be() -> None:
    some = {"he_local": {"network_test": "dns"}, "he_shared": {}}
    assert stores.store_of("network_test", some) == "he_local"
    with pytest.raises(stores.SeveralStores):
        stores.store_of("network_test", {"he_local": {}, "he_shared": {}})
    with pytest.raises(stores.KeyNotFound, match="'nothing' in he_local"):
        stores.store_of("nothing", {"he_local": {}})


def test_a_password_that_is_refused_is_not_told() -> None:
    with pytest.raises(stores.BadValue) as caught:
        stores.with_key("he_local", "password=x\n", "password", "to p$ecret", where="w")
    assert "password" in str(caught.value)
    assert "p$ecret" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("host_id", "one", "host_id: expected a whole number, 1 to 2000"),
        ("vmid", "x", "vmid: expected a UUID"),
        ("fqdn", "-x", "fqdn: '-x' is no host name"),
        ("domainType", "tape", "domainType: 'tape' is none of nfs"),
        ("network_test", "pnig", "network_test: expected one of"),
        ("nfs_version", "v9", "nfs_version: 'v9' is no version of NFS"),
        ("storage", "nonsense", "'nonsense' is not server:/export"),
    ],
)
def test_a_value_that_no_daemon_would_start_with(key: str, value: str, told: str) -> None:
    text = (
        "fqdn=engine\nhost_id=1\nvmid=\ndomainType=nfs\nnfs_version=auto\nstorage=s:/e\n"
        "sdUUID=22222222-2222-4222-8222-222222222222\n"
    )
    for store in (stores.HE_LOCAL, stores.HE_SHARED):
        with pytest.raises(stores.BadValue, match=told):
            stores.with_key(store, text, key, value, where="w")
    assert "host_id=2" in stores.with_key(stores.HE_LOCAL, text, "host_id", "2", where="w")
    if key != "storage":
        assert f"{key}=\n" in stores.with_key(stores.HE_LOCAL, text, key, "", where="w")


@given(st.text(max_size=30))
def test_what_is_set_is_read_back_and_the_rest_is_kept(value: str) -> None:
    try:
        changed = stores.with_key("he_shared", TEXT, "fqdn", value, where="w")
    except stores.BadValue:
        return
    values = stores.values_in("he_shared", changed, "w")
    assert values == {"fqdn": "" if value == "None" else value, "port": "3260"}
    assert changed.startswith("# kept\n")


@given(st.text(max_size=30))
def test_a_text_that_is_none_is_bad_input_or_read(text: str) -> None:
    for store in stores.STORES:
        with contextlib.suppress(BadInput):
            stores.values_in(store, text, "w")


def test_only_what_ha_conf_has_is_set_in_it() -> None:
    stores.check_ha_key("", "local_maintenance", "YES")
    stores.check_ha_key("mine=1\n", "mine", "2")
    with pytest.raises(stores.KeyNotFound):
        stores.check_ha_key("", "mine", "2")
    with pytest.raises(stores.BadValue):
        stores.check_ha_key("mine=1\n", "mine", "2\nlocal_maintenance=True")


def test_what_only_one_host_may_say_of_itself_is_no_shared_setting() -> None:
    assert stores.is_optional("he_shared", "ha_agent_lease_backend")
    for key in ("ha_agent_host_id", "ha_agent_storage_hosted_engine_conf", "ha_agent_x"):
        assert not stores.is_optional("he_shared", key)
