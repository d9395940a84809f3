# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from ha_agent.config.layers import Config, ConfigError, load
from ha_agent.config.relations import RELATIONS
from ha_agent.config.schema import SECTIONS
from tests.small_config import NOWHERE

DOMAIN = "00000000-0000-4000-8000-000000000002"
MINIMAL = f"""
[host]
id = 7
[engine]
vm_uuid = 00000000-0000-4000-8000-000000000001
health_url = http://engine.example.com/ovirt-engine/services/health
[storage]
domain_uuid = {DOMAIN}
domain_path = /rhev/{DOMAIN}
status_image = 00000000-0000-4000-8000-000000000003
status_volume = 00000000-0000-4000-8000-000000000004
"""


def load_with(folder: Path, text: str) -> Config:
    """Load the minimal configuration and `text` as its drop-in."""
    (folder / "c.conf").write_text(MINIMAL, encoding="utf-8")
    (folder / "c.conf.d").mkdir()
    (folder / "c.conf.d" / "x.conf").write_text(text, encoding="utf-8")
    return load([folder / "c.conf"], NOWHERE)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[lease]\nbackend = sanlock\n[storage]\ndomain_type = fc", "no room for a file"),
        (
            "[lease]\nbackend = sanlock\n[storage]\ndomain_type = fc\n[sanlock]\n"
            f"path = /rhev/{DOMAIN}/{DOMAIN}/x",
            "no room for a file",
        ),
        (
            "[lease]\nbackend = sanlock\n[sanlock]\nwatchdog_fire_seconds = 22",
            "must leave the owner time to end its VM",
        ),
        (
            f"[lease]\nbackend = sanlock\n[sanlock]\nlockspace = {'x' * 49}",
            "at most 48 characters",
        ),
        ("[lease]\nrenew_interval_seconds = 4", "3 * renew_interval must be less than"),
        ("[lease]\nrenew_deadline_seconds = 8", "renew_interval + renew_deadline must be less"),
        ("[lease]\nfence_margin_seconds = 6", "3 * renew_interval must be less than"),
        ("[status]\npublish_interval_seconds = 10", "more than 3 * publish_interval"),
        ("[engine]\nbad_health_grace_seconds = 7", "more than health_interval + health_deadline"),
        ("[score]\ncpu_load_low = 0.9", "cpu_load_low must be below cpu_load_high"),
        ("[score]\ncpu_load_leave = 0.41", "cpu_load_leave must not be above cpu_load_low"),
        ("[score]\nnetwork_leave = 0.36", "network_leave must not be above network_enter"),
        ("[score]\nsamples_needed = 2", "more than half of samples_kept"),
        ("[score]\nsamples_kept = 2", "more than half of samples_kept"),
        ("[push]\nlisten_address = ::", "name who may push"),
        ("[network]\ntest = ping", "needs an address"),
        ("[network]\ntest = tcp\naddress = 10.0.0.1", "needs a port"),
        ("[storage]\nmax_hosts = 6", "must not be above max_hosts"),
        ("[storage]\ndomain_type = iscsi", "a block domain has none"),
        ("[storage]\ndomain_type = fc", "a block domain has none"),
        ("[storage]\ndomain_type = nfs3", "NFSv3 server never frees the locks"),
        ("[storage]\ndomain_path = /rhev/other", "must end in the domain's UUID"),
    ],
)
def test_broken_relation(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_with(tmp_path, text)
    [found] = [str(found).replace(f"{tmp_path}/", "") for found in caught.value.faults]
    assert fault in found
    # The place is the last key of the rule that a file sets; a rule names one at least.
    assert re.match(r"c\.conf(\.d/x\.conf)?:\d+: ", found)


@pytest.mark.parametrize(
    "text",
    [
        "[lease]\nrenew_interval_seconds = 3.66",
        "[lease]\nrenew_deadline_seconds = 7.9",
        "[status]\npublish_interval_seconds = 9.9",
        "[storage]\nmax_hosts = 7",
        "[network]\ntest = dns",
        "[lease]\nbackend = sanlock\n[sanlock]\nwatchdog_fire_seconds = 23",
        "[lease]\nbackend = sanlock\n[storage]\ndomain_type = fc\n[sanlock]\npath = /dev/a/b",
        # A volume of the domain, as VDSM shows it.
        "[lease]\nbackend = sanlock\n[storage]\ndomain_type = fc\n[sanlock]\n"
        f"path = /rhev/{DOMAIN}/{DOMAIN}/{DOMAIN}",
        f"[sanlock]\nlockspace = {'x' * 49}",
    ],
)
def test_relation_that_just_holds(tmp_path: Path, text: str) -> None:
    load_with(tmp_path, text)


def test_relations_name_known_keys() -> None:
    known = {
        f"{name}.{key.name}"
        for name, section in SECTIONS.items()
        for key in dataclasses.fields(section)
    }
    assert {key for relation in RELATIONS for key in relation.keys} <= known


def test_a_relation_is_not_judged_when_one_of_its_values_is_faulty(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_with(tmp_path, "[lease]\nrenew_interval_seconds = 59\nlease_expiry_seconds = x\n")
    [found] = caught.value.faults
    assert found.what.startswith("lease_expiry_seconds = x: expected")
