# SPDX-License-Identifier: Apache-2.0
"""What the predecessor's values are in our words; the paths are as VDSM makes them."""

from __future__ import annotations

import re
from typing import Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha_agent.compat import legacy_values as values
from ha_agent.compat.hosted_engine_conf import parse
from ha_agent.compat.legacy_values import Make, Pairs
from ha_agent.errors import BadInput

SD = "22222222-2222-4222-8222-222222222222"


def pairs(**texts: str) -> Pairs:
    return parse("".join(f"{key}={text}\n" for key, text in texts.items()), "he.conf")


@pytest.mark.parametrize(
    ("kind", "source", "folder"),
    [
        (
            "nfs",
            "server.example.org:/export/he",
            "/rhev/data-center/mnt/server.example.org:_export_he",
        ),
        ("nfs4", "s:/a_b/c__d/", "/rhev/data-center/mnt/s:_a__b_c____d"),
        ("nfs3", "10.0.0.1:/a//b", "/rhev/data-center/mnt/10.0.0.1:_a_b"),
        ("nfs", "[fe80::1]:/he", "/rhev/data-center/mnt/[fe80::1]:_he"),
        ("glusterfs", "s:/vol_1", "/rhev/data-center/mnt/glusterSD/s:_vol__1"),
        ("glusterfs", "s:vol", "/rhev/data-center/mnt/glusterSD/s:vol"),
        ("iscsi", "10.0.0.1", "/run/vdsm/storage"),
        ("fc", "", "/run/vdsm/storage"),
    ],
)
def test_the_domains_path_is_where_vdsm_has_it(kind: str, source: str, folder: str) -> None:
    conf = pairs(domainType=kind, storage=source, sdUUID=SD.upper())
    assert values.domain_path(conf) == f"{folder}/{SD}"


@given(st.from_regex(r"/[a-z_]([a-z_]|/[a-z_]){0,12}", fullmatch=True))
def test_two_exports_never_have_one_folder(export: str) -> None:
    path = values.domain_path(pairs(domainType="nfs", storage=f"s:{export}", sdUUID=SD))
    assert path is not None
    folder = path.split("/")[-2]
    back = re.sub("__|_", lambda found: "_" if found[0] == "__" else "/", folder)
    # "a_/b" and "a/_b" are one folder to VDSM, too: what it can't tell apart we can't.
    if "_/" not in export and "/_" not in export:
        assert back == f"s:{export}"


@pytest.mark.parametrize(
    ("texts", "fault"),
    [
        ({"domainType": "nfs", "storage": "nowhere"}, "he.conf, line 2: storage: "),
        ({"domainType": "nfs"}, "he.conf: storage: is missing"),
        (
            {"domainType": "tape", "storage": "s:/a"},
            "he.conf, line 1: domainType: 'tape' is none of",
        ),
    ],
)
def test_no_path_can_be_made_of_it(texts: dict[str, str], fault: str) -> None:
    with pytest.raises(BadInput, match=f"^{re.escape(fault)}"):
        values.domain_path(pairs(**texts, sdUUID=SD))


@pytest.mark.parametrize(
    ("kind", "version", "ours"),
    [
        ("nfs", "auto", "nfs"),
        ("nfs", "", "nfs"),
        ("nfs", "v4_1", "nfs"),
        ("nfs", "v3", "nfs3"),
        ("nfs3", "None", "nfs3"),
        ("nfs4", "auto", "nfs"),
        ("glusterfs", "v3", "glusterfs"),
        ("iscsi", "", "iscsi"),
        ("fc", "None", "fc"),
    ],
)
def test_the_version_of_nfs_is_part_of_the_type(kind: str, version: str, ours: str) -> None:
    assert values.domain_type(pairs(domainType=kind, nfs_version=version)) == ours


def test_the_health_page_is_on_the_engines_name() -> None:
    url = values.health_url(pairs(fqdn="engine.example.org"))
    assert url == "http://engine.example.org/ovirt-engine/services/health"
    with pytest.raises(BadInput, match="line 1: fqdn: 'a/b' is no host name"):
        values.health_url(pairs(fqdn="a/b"))


@pytest.mark.parametrize(
    ("texts", "test", "ping", "tcp"),
    [
        ({}, "ping", "10.0.0.1", None),
        ({"network_test": "None"}, "ping", "10.0.0.1", None),
        ({"network_test": "ping"}, None, "10.0.0.1", None),
        ({"network_test": "dns"}, None, None, None),
        ({"network_test": "tcp"}, None, None, "10.0.0.2"),
    ],
)
def test_the_network_test(
    texts: dict[str, str], test: Optional[str], ping: Optional[str], tcp: Optional[str]
) -> None:
    conf = pairs(gateway="10.0.0.1", tcp_t_address="10.0.0.2", **texts)
    makes: tuple[Make, ...] = (
        values.network_test_of_gateway,
        values.ping_address,
        values.of_tcp("tcp_t_address"),
    )
    assert [make(conf) for make in makes] == [test, ping, tcp]


def test_a_vm_conf_that_is_the_only_one_is_never_ours_to_write() -> None:
    for path, ours in (
        ("/var/run/ovirt-hosted-engine-ha/vm.conf", True),
        ("/run/vm.conf", True),
        ("/etc/ovirt-hosted-engine/vm.conf", False),
    ):
        assert (values.vm_conf_path(pairs(conf=path)) == path) is ours


@pytest.mark.parametrize(
    ("low", "leave"), [("0.2", "0.2"), (".1", ".1"), ("0", "0"), ("0.4", None), ("x", None)]
)
def test_the_threshold_below_theirs_is_not_above_it(low: str, leave: Optional[str]) -> None:
    name = "score.cpu-load-penalty-min"
    assert values.cpu_load_leave(Pairs("agent.conf", {name: low}, {name: 2})) == leave


def test_mail_without_a_rule_went_to_nobody() -> None:
    to, rule = "email.destination-emails", "notify.state_transition"
    assert values.mail_to(Pairs("broker.conf", {to: "a@b.c"}, {to: 2, rule: 4})) == "a@b.c"
    assert values.mail_to(Pairs("broker.conf", {to: "a@b.c"}, {to: 2})) is None


def test_true_and_false_are_small_letters() -> None:
    assert values.lower_case("vdsm_use_ssl")(pairs(vdsm_use_ssl="True")) == "true"
