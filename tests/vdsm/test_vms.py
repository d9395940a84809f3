# SPDX-License-Identifier: Apache-2.0
"""Records, restarts and what VM.create refuses, with real QEMU."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ha_agent.vdsm import registry
from tests.vdsm.embedded import (
    VM,
    Client,
    Host,
    Refused,
    hosts,
    kill,
    make_domain,
    make_xml,
)

pytestmark = [
    pytest.mark.qemu,
    pytest.mark.skipif(not shutil.which("qemu-system-x86_64"), reason="needs QEMU"),
]


async def test_a_restart_finds_the_vm_again_and_sees_its_end(tmp_path: Path) -> None:
    host = Host(make_domain(tmp_path))
    async with hosts(host) as [client]:
        await client.create(make_xml())
        await client.event("Powering up")
        pid = host.pid()
        await host.stop()
        again = await host.start()
        try:
            assert (await again.status())["status"] == "Powering up"
            assert host.pid() == pid
            await again.call("VM.pause", vmID=VM)
            assert (await again.status())["status"] == "Paused"
            kill(pid)
            fields = await again.event("Down")
            assert (fields["exitCode"], fields["exitReason"]) == (1, 2)
        finally:
            again.close()


async def test_a_vm_that_died_meanwhile_is_a_down_record(tmp_path: Path) -> None:
    host = Host(make_domain(tmp_path))
    async with hosts(host) as [client]:
        await client.create(make_xml())
        await client.event("Powering up")
        pid = host.pid()
        await host.stop()
        kill(pid)
        again = await host.start()
        try:
            stats = await again.status()
            assert (stats["status"], stats["exitCode"], stats["exitReason"]) == ("Down", 1, 1)
        finally:
            again.close()


async def test_a_vm_is_found_when_its_pid_was_not_written_down(tmp_path: Path) -> None:
    host = Host(make_domain(tmp_path))
    async with hosts(host) as [client]:
        await client.create(make_xml())
        await client.event("Powering up")
        pid = host.pid()
        await host.stop()
        [record], _ = registry.load_all(host.run_dir)
        values = {**record.__dict__, "pid": None, "start_ticks": None, "status": "WaitForLaunch"}
        registry.save(host.run_dir, registry.VmRecord(**values))
        again = await host.start()
        try:
            assert (await again.status())["status"] == "Powering up"
            assert host.pid() == pid
        finally:
            again.close()


async def test_a_recycled_pid_is_not_taken_for_the_vm(tmp_path: Path) -> None:
    host = Host(make_domain(tmp_path))
    async with hosts(host) as [client]:
        await client.create(make_xml())
        await client.event("Powering up")
        pid = host.pid()
        await host.stop()
        kill(pid)
        [record], _ = registry.load_all(host.run_dir)
        registry.save(host.run_dir, registry.VmRecord(**{**record.__dict__, "pid": os.getpid()}))
        again = await host.start()
        try:
            assert (await again.status())["status"] == "Down"
        finally:
            again.close()


@pytest.fixture
async def idle(tmp_path: Path) -> AsyncIterator[Client]:
    async with hosts(Host(make_domain(tmp_path))) as [client]:
        yield client


async def test_create_wants_xml(idle: Client) -> None:
    for params in ({}, {"xmlBase64": "PGRvbWFpbi8+"}):
        with pytest.raises(Refused) as refused:
            await idle.call("VM.create", vmID=VM, vmParams=params)
        assert refused.value.code == 100
        assert refused.value.message == """General Exception: ("'xml'",)"""
    with pytest.raises(Refused) as refused:
        await idle.create("<!DOCTYPE a [<!ENTITY b 'c'>]><domain>&b;</domain>")
    assert refused.value.code == 100
    vnc = "<graphics type='vnc' passwdValidTo=''/>"
    with pytest.raises(Refused) as refused:
        await idle.create(make_xml(devices=vnc))
    assert refused.value.code == 9
