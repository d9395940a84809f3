# SPDX-License-Identifier: Apache-2.0
"""ports.Hypervisor over libvirt: the contract, over its real QEMU driver and its test driver."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from ha_agent import ofd_lock
from ha_agent.virt.place import LeaseKind
from ha_agent.virt.verbs import Virt
from ha_agent.virt_port import VirtHypervisor
from tests.hypervisor_contract import HypervisorContract, OneHost
from tests.vdsm.embedded import VM, make_domain, make_xml
from tests.virt.connected import connected
from tests.virt.private_libvirtd import (
    give,
    libvirt_folder,
    needs_libvirtd,
    private_libvirtd,
)

REAL = [pytest.mark.qemu, pytest.mark.libvirt, needs_libvirtd]
XML = make_xml()


@pytest.fixture(scope="session")
def cache() -> Iterator[Path]:
    with libvirt_folder() as folder:
        give(folder)
        yield folder


@contextlib.asynccontextmanager
async def real_pair(kind: LeaseKind, cache: Path) -> AsyncIterator[list[OneHost]]:
    async with contextlib.AsyncExitStack() as stack:
        folder = stack.enter_context(libvirt_folder())
        (folder / "storage").mkdir()
        domain = make_domain(folder / "storage")
        give(folder / "storage")
        hosts = []
        for name in ("a", "b"):
            manager = "" if kind is LeaseKind.IMAGE else kind.value
            daemon = stack.enter_context(private_libvirtd(folder / name, cache, manager))
            virt = await stack.enter_async_context(connected(domain, daemon.uri, kind))

            async def silence(daemon: Any = daemon, virt: Virt = virt) -> None:
                daemon.kill()
                while virt.link.is_connected:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)

            hosts.append(OneHost(VirtHypervisor(virt, VM), daemon.kill_qemu, silence, xml=XML))
        yield hosts


@contextlib.asynccontextmanager
async def pretended_pair(folder: Path) -> AsyncIterator[list[OneHost]]:
    """libvirt's test driver has no QEMU; the lock of its disk is the test's own."""
    domain = make_domain(folder)
    definition = folder / "host.xml"
    definition.write_text("<node/>")
    async with contextlib.AsyncExitStack() as stack:
        for disk in domain.glob("images/*/*[!e][!t][!a]"):
            file = stack.enter_context(disk.open("r+b"))
            assert ofd_lock.try_lock(file.fileno(), 0, 1)
        hosts = []
        for _number in range(2):
            virt = await stack.enter_async_context(
                connected(domain, f"test://{definition}", LeaseKind.LOCKD, accelerator="auto")
            )

            async def silence(virt: Virt = virt) -> None:
                await virt.close()

            hosts.append(
                OneHost(
                    VirtHypervisor(virt, VM),
                    None,
                    silence,
                    has_lease=False,
                    xml=XML.replace("machine='pc'", "arch='i686'"),
                )
            )
        yield hosts


@pytest.fixture(
    params=[
        pytest.param(LeaseKind.IMAGE, marks=REAL),
        pytest.param(LeaseKind.LOCKD, marks=REAL),
        pytest.param(None, marks=[pytest.mark.libvirt, needs_libvirtd]),
    ],
    ids=["image", "lockd", "test-driver"],
)
async def pair(
    request: pytest.FixtureRequest, cache: Path, tmp_path: Path
) -> AsyncIterator[list[OneHost]]:
    made = pretended_pair(tmp_path) if request.param is None else real_pair(request.param, cache)
    async with made as hosts:
        yield hosts


class TestContract(HypervisorContract):
    """See HypervisorContract."""
