# SPDX-License-Identifier: Apache-2.0
"""First step of a deploy: can this host do it? It changes nothing.

All that is wrong is told at once. The definition is judged by the guard that also judges what the
engine sends, so that what would not be started later is refused before anything is made.
"""

from __future__ import annotations

import shutil
import socket
from collections.abc import AsyncIterator

from ha_agent.errors import BadInput, DeadlineExceeded, EnvironmentFault
from ha_agent.ovfstore.ovf_parse import parse_ovf
from ha_agent.setup.deploy import qemu_image
from ha_agent.setup.deploy.config import read_conf
from ha_agent.setup.deploy.definition import Document, refusals
from ha_agent.setup.deploy.deployment import Deployment
from ha_agent.setup.services import PREDECESSOR_UNITS, Services
from ha_agent.setup.step import Found, Say, SetupRefused
from ha_agent.vdsm.vm_status import VmStatus

_EARLIEST_UNIX_SECONDS = 1_700_000_000  # November 2023: a clock before it was never set
_RESOLVE_SECONDS = 15.0


class CheckHost:
    """Looks, and does nothing."""

    name, title = "host", "check this host"

    def __init__(self, deployment: Deployment, services: Services, document: Document) -> None:
        self._deployment = deployment
        self._services = services
        self._document = document

    async def look(self) -> Found:
        """Raises SetupRefused with everything that is wrong."""
        wrong = [text async for text in self._faults()]
        if wrong:
            raise SetupRefused("; ".join(wrong))
        return Found(True, f"{self._deployment.host_name} can run the engine VM")

    async def do(self, say: Say) -> str:
        """There is nothing to do."""
        del say
        return "nothing"

    async def _faults(self) -> AsyncIterator[str]:
        deployment = self._deployment
        if deployment.clock.wall().unix_seconds < _EARLIEST_UNIX_SECONDS:
            yield "this host's clock is wrong: set it, and keep it right with NTP"
        if deployment.answers.path("disk_image_file") and not shutil.which(qemu_image.PROGRAM):
            yield f"{qemu_image.PROGRAM} is not installed"
        is_here = await self._is_ours()
        for text in await self._of_vdsm(is_here):
            yield text
        for text in await self._of_definition():
            yield text
        for text in await self._of_name():
            yield text
        if not is_here:
            for text in await self._of_services():
                yield text

    async def _is_ours(self) -> bool:
        """Whether an earlier run came so far that the VM may run here."""
        deployment = self._deployment
        path = deployment.conf_path
        conf = await deployment.blocking(str(path), lambda: read_conf(path))
        return conf is not None and conf.values.get("vmid", "").lower() == deployment.vm_uuid

    async def _of_vdsm(self, is_here: bool) -> list[str]:
        deployment, found = self._deployment, []
        stats = await deployment.vdsm.host_stats()
        vm = await deployment.vdsm.vm_stats(deployment.vm_uuid)
        runs = vm is not None and vm.status is not VmStatus.DOWN
        if runs and not is_here:
            found.append(f"the engine VM {deployment.vm_uuid} runs on this host already")
        bridge, networks = deployment.answers.text("bridge"), stats.networks_up
        if bridge and networks is not None and bridge not in networks:
            known = ", ".join(sorted(networks)) or "none"
            found.append(f"there is no network {bridge} on this host (VDSM sees {known})")
        # One of an OVF may be called otherwise by VDSM; an answer is what VDSM calls it.
        network = deployment.answers.text("network")
        if network and network != bridge and networks is not None and network not in networks:
            known = ", ".join(sorted(networks)) or "none"
            found.append(
                f"there is no network {network} for the engine VM on this host (VDSM sees {known})"
            )
        needed = parse_ovf(await self._document(), where="the engine VM's OVF").memory_mib
        free = stats.memory_free_mib
        if not runs and free is not None and free < needed:
            found.append(f"{free} MiB of memory are free, and the engine VM takes {needed}")
        return found

    async def _of_definition(self) -> list[str]:
        deployment = self._deployment
        capabilities = await deployment.vdsm.host_capabilities()
        try:
            found = refusals(
                await self._document(),
                deployment.domain_uuid,
                capabilities,
                deployment.host_id,
                deployment.host_name,
            )
        except BadInput as error:
            return [f"the engine VM's definition: {error}"]
        return [f"the engine VM's definition: {one}" for one in found]

    async def _of_name(self) -> list[str]:
        name = self._deployment.answers.text("engine_fqdn")

        def resolve() -> None:
            socket.getaddrinfo(name, None)

        try:
            await self._deployment.blocking("resolve", resolve, seconds=_RESOLVE_SECONDS)
        except DeadlineExceeded:
            return [f"{name}: the name servers don't answer"]
        except EnvironmentFault:
            return [f"{name} does not resolve: enter it into DNS or /etc/hosts"]
        return []

    async def _of_services(self) -> list[str]:
        try:
            states = await self._services.states(PREDECESSOR_UNITS)
        except EnvironmentFault:
            return []  # a host without systemd has no such units either
        running = [s.name for s in states.values() if s.exists and s.running and not s.is_other]
        if running:
            return [
                f"{', '.join(running)} runs on this host: it is one of the predecessor's, use"
                " `ha-agent upgrade`"
            ]
        return []
