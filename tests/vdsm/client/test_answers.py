# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ha_agent.errors import BadInput
from ha_agent.vdsm.client.answers import (
    DomainVitals,
    HostCapabilities,
    HostStats,
    SpmStatus,
    StorageDomainInfo,
    VolumeInfo,
    read_domain_info,
    read_host_capabilities,
    read_host_stats,
    read_spm_status,
    read_storage_vitals,
    read_task_id,
    read_task_status,
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
        "disktype": "OVFS",
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
        disk_type="OVFS",
    )


def test_host_capabilities() -> None:
    answer = {
        "memSize": "64155",
        "cpuThreads": "16",
        "cpuModel": "Intel(R) Xeon(R)",
        "cpuFlags": "fpu,vme,model_Nehalem,",
        "emulatedMachines": ["pc-q35-rhel8.6.0", "q35", 7],
    }
    assert read_host_capabilities(answer) == HostCapabilities(
        memory_mib=64155,
        cpu_threads=16,
        emulated_machines=frozenset(("pc-q35-rhel8.6.0", "q35")),
        cpu_model="Intel(R) Xeon(R)",
        cpu_flags=frozenset(("fpu", "vme", "model_Nehalem")),
    )
    nothing = HostCapabilities(None, None, frozenset(), "", frozenset())
    assert read_host_capabilities({"emulatedMachines": "q35"}) == nothing


def test_spm_status() -> None:
    spm = read_spm_status({"spmStatus": "SPM", "spmLver": 40, "spmId": 2})
    assert (spm, spm.is_spm) == (SpmStatus("SPM", 2), True)
    other = read_spm_status({"spmStatus": "Free", "spmLver": "-1", "spmId": "-1"})
    assert (other, other.is_spm) == (SpmStatus("Free", None), False)


def test_a_task_succeeds_only_with_that_result() -> None:
    running = read_task_status({"taskState": "running", "taskResult": "", "code": 0})
    assert (running.has_ended, running.has_succeeded) == (False, False)
    done = read_task_status({"taskState": "finished", "taskResult": "success", "code": 0})
    assert (done.has_ended, done.has_succeeded) == (True, True)
    undone = read_task_status(
        {"taskState": "finished", "taskResult": "cleanSuccess", "code": 200, "message": "full"}
    )
    assert (undone.has_ended, undone.has_succeeded) == (True, False)
    assert (undone.code, undone.message) == (200, "full")
    assert read_task_id("a") == "a"


@pytest.mark.parametrize("bad", ["nan", "inf", "1e999", "", "x", None, True, [], 10**400])
def test_numbers_that_are_none(bad: Any) -> None:
    stats = read_host_stats({"memFree": bad, "cpuLoad": bad})
    assert (stats.memory_free_mib, stats.cpu_load) == (None, None)


@settings(deadline=None)
@given(json_values)
def test_any_answer_is_read_or_refused(answer: Any) -> None:
    readers: tuple[Callable[[Any], object], ...] = (
        read_host_stats,
        read_storage_vitals,
        read_domain_info,
        read_volume_info,
        read_host_capabilities,
        read_spm_status,
        read_task_status,
    )
    for read in readers:
        try:
            read(answer)
        except BadInput:
            continue


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["memFree", "cpuLoad", "network", "pool"]), json_values))
def test_odd_fields(answer: Any) -> None:
    stats = read_host_stats(answer)
    assert stats.memory_free_mib is None or isinstance(stats.memory_free_mib, int)
