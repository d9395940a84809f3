# SPDX-License-Identifier: Apache-2.0
"""Every key of the predecessor's files has a row, and each row becomes keys that we have."""

from __future__ import annotations

import dataclasses
import re

import pytest

from ha_agent.compat import hosted_engine_conf, ini_conf
from ha_agent.compat.legacy_keys import (
    AGENT,
    BROKER,
    FILES,
    HA,
    HOSTED_ENGINE,
    KEYS,
    OWN_PREFIX,
    own_settings,
    pairs_of_ini,
    translated,
    uses,
)
from ha_agent.compat.legacy_values import Pairs
from ha_agent.config.schema import SECTIONS
from tests.compat.test_hosted_engine_conf import NFS

OURS = [
    f"{name}.{key.name}"
    for name, section in SECTIONS.items()
    for key in dataclasses.fields(section)
]
# facts/ovf-and-volumes.md, 4.1, and predecessor-and-peers.md, 5.6.
KNOWN = """
fqdn vmid vm_disk_id vm_disk_vol_id host_id storage domainType nfs_version mnt_options conf spUUID
sdUUID connectionUUID vdsm_use_ssl gateway bridge network_test tcp_t_address tcp_t_port
metadata_volume_UUID metadata_image_UUID lockspace_volume_UUID lockspace_image_UUID
conf_volume_UUID conf_image_UUID configured iqn portal user password port iscsi_paths_blacklist
console ca_cert ca_subject
"""


def said(text: str) -> dict[str, str]:
    pairs = hosted_engine_conf.parse(text, "he.conf")
    return {one.key: one.text for one in translated(HOSTED_ENGINE, pairs)}


def test_every_known_key_has_one_row() -> None:
    names = [row.name for row in KEYS if row.file == HOSTED_ENGINE]
    assert sorted(names) == sorted(KNOWN.split())
    assert {row.file for row in KEYS} == set(FILES) == {HOSTED_ENGINE, AGENT, BROKER, HA}
    assert len({(row.file, row.name) for row in KEYS}) == len(KEYS)


def test_a_row_becomes_keys_that_we_have_or_tells_why_not() -> None:
    for row in KEYS:
        assert {key for key, _ in row.becomes} <= set(OURS), row.name
        assert row.becomes or row.what, row.name
        assert row.used or not row.becomes, row.name
    verbs = {verb for row in KEYS for verb in re.findall("`(.*?)`", row.what)}
    assert verbs == {"ha-agent upgrade"}


def test_what_the_set_up_writes_is_all_that_a_host_needs() -> None:
    required = {
        f"{name}.{key.name}"
        for name, section in SECTIONS.items()
        for key in dataclasses.fields(section)
        if key.default is dataclasses.MISSING
        and key.default_factory is dataclasses.MISSING
        and not key.metadata["derived"]
    }
    found = said(NFS)
    assert required <= set(found)
    assert found["host.id"] == "1"
    assert found["network.test"] == "ping"
    assert found["network.address"] == "192.168.1.1"


def test_names_of_our_settings_can_be_told_apart() -> None:
    names = {OWN_PREFIX + key.replace("-", "_").replace(".", "_") for key in OURS}
    assert len(names) == len(OURS)


def test_settings_in_our_own_words() -> None:
    text = (
        "ha_agent_lease_lease_expiry_seconds=20\nha_agent_vdsm_ssl=true\n"
        "ha_agent_network_bridge=\nha_agent_lease_lease_expiri_seconds=2\nha_agent_host_id=1\n"
        "ha_agent_storage_hosted_engine_conf=/x\nha_agent_host_name=x\nha_agent_xyzzy=1\n"
        "ha_agent_vdsm_server_qemu_binary=/tmp/mine\n"
    )
    pairs = hosted_engine_conf.parse(text, "he.conf")
    found = [(one.key, one.text, one.where, one.fault) for one in own_settings(pairs, OURS)]
    assert found[:3] == [
        ("lease.lease_expiry_seconds", "20", "he.conf:1", ""),
        ("vdsm.ssl", "true", "he.conf:2", ""),
        ("network.bridge", "", "he.conf:3", ""),
    ]
    shared = "can't be in a file that all hosts share"
    assert [fault for _, _, _, fault in found[3:]] == [
        "unknown key 'ha_agent_lease_lease_expiri_seconds'; "
        "did you mean ha_agent_lease_lease_expiry_seconds?",
        f"ha_agent_host_id {shared}: host_id says it",
        f"ha_agent_storage_hosted_engine_conf {shared}: it would be about the file that it stands"
        " in",
        f"ha_agent_host_name {shared}: each host has its own",
        "unknown key 'ha_agent_xyzzy'",
        "ha_agent_vdsm_server_qemu_binary is for ha-agent.conf only: ha-vdsm is root, and this"
        " file is the daemons'",
    ]
    assert not any(key for key, *_ in found[3:])


def test_a_fault_names_the_line_that_it_is_about() -> None:
    pairs = hosted_engine_conf.parse("domainType=nfs\nstorage=s:/x\nnfs_version=v9\n", "he.conf")
    [fault] = translated(HOSTED_ENGINE, pairs)
    assert (fault.where, fault.fault) == ("he.conf:3", "nfs_version: 'v9' is no version of NFS")


def of_ini(text: str) -> Pairs:
    return pairs_of_ini(ini_conf.parse(text, "x.conf"))


@pytest.mark.parametrize("name", ["gateway-score-penalty", "network-score-penalty"])
def test_scores(name: str) -> None:
    text = f"[score]\nbase-score=2400\n{name}=800\ncpu-load-penalty-min=0.3\n"
    found = [(one.key, one.text, one.where) for one in translated(AGENT, of_ini(text))]
    assert found == [
        ("score.base", "2400", "x.conf:2"),
        ("score.network", "800", "x.conf:3"),
        ("score.cpu_load_low", "0.3", "x.conf:4"),
        ("score.cpu_load_leave", "0.3", "x.conf:4"),
    ]


def test_the_newer_of_two_names_counts() -> None:
    text = "[score]\nnetwork-score-penalty=1\ngateway-score-penalty=2\n"
    assert [one.text for one in translated(AGENT, of_ini(text))] == ["2", "1"]


def test_every_key_of_a_file_is_told() -> None:
    text = (
        "host_id=1\nconsole=vnc\niqn=\nbridge=None\nhost_idd=2\nxyz=1\nha_agent_log_level=debug\n"
    )
    pairs = hosted_engine_conf.parse(text, "he.conf")
    everything = [*translated(HOSTED_ENGINE, pairs), *own_settings(pairs, OURS)]
    found = [
        (use.line, use.name, use.becomes, use.what, use.known)
        for use in uses(HOSTED_ENGINE, pairs, everything)
    ]
    assert found == [
        (1, "host_id", ("host.id",), "", True),
        (2, "console", (), "not used: the OVF says which console the VM has", True),
        (3, "iqn", (), "no value", True),
        (4, "bridge", (), "no value", True),
        (5, "host_idd", (), "not known, and not used; did you mean host_id?", False),
        (6, "xyz", (), "not known, and not used", False),
        (7, "ha_agent_log_level", ("log.level",), "", True),
    ]
