# SPDX-License-Identifier: Apache-2.0
"""The contract on the host: what it says of itself, its answers to calls that can't be met."""

from __future__ import annotations

import pytest

from ha_agent.vdsm.errors import VdsmCallFailed, VdsmCode
from tests.vdsm.contract.talk import Talk, unique


async def test_it_answers(vdsm: Talk) -> None:
    await vdsm.ping2()
    assert await vdsm.call("Host.ping2") is True


async def test_the_host_says_what_it_has(vdsm: Talk) -> None:
    stats = await vdsm.host_stats()
    assert stats.memory_free_mib is not None
    assert stats.memory_free_mib > 0
    assert stats.cpu_load is not None
    assert stats.vm_count is not None
    # The first samples of a real one take 30 s; until then it says nothing of networks.
    assert stats.networks_up is None or all(
        isinstance(is_up, bool) for is_up in stats.networks_up.values()
    )


async def test_figures_travel_as_vdsm_sends_them(vdsm: Talk) -> None:
    stats = await vdsm.call("Host.getStats")
    assert isinstance(stats["memFree"], int)
    assert isinstance(stats["cpuLoad"], str)
    assert isinstance(stats["vmCount"], int)


async def test_capabilities(vdsm: Talk) -> None:
    capabilities = await vdsm.host_capabilities()
    assert capabilities.memory_mib
    assert capabilities.cpu_threads
    assert capabilities.emulated_machines
    assert capabilities.cpu_flags


async def test_the_list_of_vms_has_three_members_each(vdsm: Talk) -> None:
    listed = await vdsm.call("Host.getVMList")
    assert all(set(one) == {"vmId", "status", "statusTime"} for one in listed)
    assert {vm.vm_id for vm in await vdsm.vm_list()} == {one["vmId"] for one in listed}


async def test_a_vm_that_is_not_there(vdsm: Talk) -> None:
    nobody = unique()
    assert await vdsm.vm_stats(nobody) is None
    assert await vdsm.destroy_vm(nobody) is False
    assert await vdsm.shutdown_vm(nobody) is False
    assert await vdsm.migration_status(nobody) is None
    assert await vdsm.set_console_password(nobody, "secret", ttl_seconds=5) is False
    for verb in ("VM.cont", "VM.pause"):
        with pytest.raises(VdsmCallFailed) as failed:
            await vdsm.call(verb, vmID=nobody)
        assert failed.value.code == VdsmCode.NO_SUCH_VM


async def test_the_text_of_code_1_is_a_python_dict(vdsm: Talk) -> None:
    nobody = unique()
    with pytest.raises(VdsmCallFailed) as failed:
        await vdsm.call("VM.getStats", vmID=nobody)
    assert failed.value.code == VdsmCode.NO_SUCH_VM
    assert failed.value.message == f"Virtual machine does not exist: {{'vmId': '{nobody}'}}"


@pytest.mark.parametrize("params", [{}, {"xmlBase64": "PGRvbWFpbi8+"}])
async def test_a_create_without_xml_is_code_100(vdsm: Talk, params: dict[str, str]) -> None:
    # Harmless anywhere: nothing is there that could be started.
    with pytest.raises(VdsmCallFailed) as failed:
        await vdsm.call("VM.create", vmID=unique(), vmParams=params)
    assert failed.value.code == VdsmCode.GENERAL_EXCEPTION
    assert failed.value.message == """General Exception: ("'xml'",)"""


async def test_a_console_without_password_is_code_9(vdsm: Talk) -> None:
    # Refused before anything is made of it; the name says whose it was if it were not.
    xml = (
        f"<domain type='kvm'><name>ha-agent-contract</name><uuid>{unique()}</uuid>"
        "<memory>32768</memory><vcpu>1</vcpu><os><type machine='pc'>hvm</type></os>"
        "<devices><graphics type='vnc' passwdValidTo=''/></devices></domain>"
    )
    with pytest.raises(VdsmCallFailed) as failed:
        await vdsm.create_vm(unique(), xml)
    assert failed.value.code == VdsmCode.CANNOT_CREATE_VM


async def test_a_verb_that_is_gone(vdsm: Talk) -> None:
    with pytest.raises(VdsmCallFailed) as failed:
        await vdsm.call("Volume.getPath")
    assert failed.value.code == VdsmCode.METHOD_NOT_FOUND
