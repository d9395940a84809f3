# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ha_agent.errors import BadInput
from ha_agent.vdsm.answers import (
    DomainVitals,
    HostStats,
    StorageDomainInfo,
    VolumeInfo,
    read_domain_info,
    read_host_stats,
    read_storage_vitals,
    read_volume_info,
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


def test_host_stats() -> None:
    answer = {
        "memFree": 12345,
        "cpuLoad": "0.42",
        "cpuIdle": "97.10",
        "vmCount": 2,
        "network": {
            "ovirtmgmt": {"state": "up", "speed": 1000},
            "eth1": {"state": "down"},
            "odd": {},
        },
    }
    assert read_host_stats(answer) == HostStats(
        memory_free_mib=12345,
        cpu_load=0.42,
        cpu_idle_percent=97.1,
        networks_up={"ovirtmgmt": True, "eth1": False},
        vm_count=2,
    )


def test_host_stats_of_a_vdsm_that_has_just_started() -> None:
    assert read_host_stats({"memFree": 1}) == HostStats(1, None, None, None, None)


def test_storage_vitals() -> None:
    answer = {
        "sd": {
            "code": 0,
            "lastCheck": "4.2",
            "delay": "0.000412",
            "valid": True,
            "version": 5,
            "acquired": True,
            "actual": True,
        },
        "new": {"code": 0, "valid": True, "version": -1, "acquired": False, "actual": False},
    }
    vitals = read_storage_vitals(answer)
    assert vitals["sd"] == DomainVitals(
        code=0,
        valid=True,
        acquired=True,
        actual=True,
        delay_seconds=0.000412,
        last_check_seconds_ago=4.2,
        version=5,
    )
    assert (vitals["new"].acquired, vitals["new"].delay_seconds) == (False, None)


def test_vitals_that_say_nothing_are_not_good() -> None:
    vitals = read_storage_vitals({"sd": {}})["sd"]
    assert vitals.code != 0
    assert (vitals.valid, vitals.acquired, vitals.actual) == (False, False, False)


def test_domain_info() -> None:
    answer = {
        "uuid": "sd",
        "type": "NFS",
        "class": "Data",
        "name": "hosted_storage",
        "role": "Regular",
        "pool": ["sp"],
        "version": "5",
        "block_size": 512,
        "alignment": 1048576,
        "remotePath": "server:/export",
    }
    assert read_domain_info(answer) == StorageDomainInfo(
        domain_id="sd",
        type="NFS",
        name="hosted_storage",
        role="Regular",
        pool_ids=("sp",),
        version=5,
        block_size_bytes=512,
        alignment_bytes=1048576,
        remote_path="server:/export",
    )


def test_volume_info() -> None:
    description = '{"DiskAlias":"OVF_STORE","Disk Description":"OVF_STORE"}'
    answer = {
        "uuid": "vol",
        "image": "img",
        "description": description,
        "format": "RAW",
        "legality": "LEGAL",
        "capacity": "134217728",
        "apparentsize": "134217728",
        "truesize": "16384",
        "ctime": "1493889435",
    }
    assert read_volume_info(answer) == VolumeInfo(
        volume_id="vol",
        image_id="img",
        description=description,
        format="RAW",
        legality="LEGAL",
        capacity_bytes=134217728,
        apparent_size_bytes=134217728,
        true_size_bytes=16384,
        ctime_unix_seconds=1493889435,
    )


@pytest.mark.parametrize("bad", ["nan", "inf", "1e999", "", "x", None, True, [], 10**400])
def test_numbers_that_are_none(bad: Any) -> None:
    stats = read_host_stats({"memFree": bad, "cpuLoad": bad})
    assert (stats.memory_free_mib, stats.cpu_load) == (None, None)


@settings(deadline=None)
@given(json_values)
def test_any_answer_is_read_or_refused(answer: Any) -> None:
    for read in (read_host_stats, read_storage_vitals, read_domain_info, read_volume_info):
        try:
            read(answer)
        except BadInput:
            continue


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["memFree", "cpuLoad", "network", "pool"]), json_values))
def test_odd_fields(answer: Any) -> None:
    stats = read_host_stats(answer)
    assert stats.memory_free_mib is None or isinstance(stats.memory_free_mib, int)
