# SPDX-License-Identifier: Apache-2.0
"""The commands of the guides that set hosts up, run as they stand there: bare hosts become a
cluster, and hosts of the predecessor become ours."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
import trustme

from demo.domain import make_domain
from demo.guest import HEALTH_PATH, MEMORY_MIB, GuestImage, build_guest
from ha_agent.clock import SystemClock
from ha_agent.config import layers
from ha_agent.ovfstore.ovf_parse import parse_ovf
from ha_agent.ovfstore.translate import domain_xml
from ha_agent.setup.own_host import connected_vdsm
from tests.e2e.cluster import GUEST_CACHE, ROOT
from tests.e2e.guide import Deed, Story
from tests.e2e.lone import read_ovf
from tests.e2e.setup_hosts import SetupHost, make_predecessors, setup_hosts

pytestmark = [pytest.mark.e2e, pytest.mark.qemu, pytest.mark.timeout(600)]

GUIDES = ROOT / "docs" / "guides"
ANSWERS = "answers.conf"
_ROOTED = re.compile(r"(?<![\w./:])/(?=(etc|run|var/lib)/)")


class SetupStory(Story):
    """A guide on hosts in folders; their roots are not seen in it."""

    def __init__(self, folder: Path, hosts: list[SetupHost]) -> None:
        super().__init__(folder)
        self._hosts = {host.name: host for host in hosts}
        self._pids: list[int] = []

    def environment(self, host: str) -> Mapping[str, str]:
        return self._hosts[host].environment

    def ours(self, host: str, text: str) -> str:
        return text.replace(str(self._hosts[host].root), "").replace(str(self.folder), "")

    def theirs(self, host: str, text: str) -> str:
        text = text.replace("https://engine.example.com", "https://127.0.0.1:1")
        return _ROOTED.sub(f"{self._hosts[host].root}/", text)

    def _do_power_cut(self, name: str) -> None:
        self._hosts[name].power_cut()

    def _do_vm_is_remembered(self) -> None:
        self.eventually(lambda: len(self._qemus()) == 1, "there is no VM")
        self._pids = self._qemus()

    def _do_vm_is_the_same(self) -> None:
        assert self._qemus() == self._pids

    def _do_vm_runs_on(self, name: str) -> None:
        host = self._hosts[name]
        self.eventually(lambda: bool(host.qemus()), lambda: f"no VM here\n{host.logs()}")

    def _qemus(self) -> list[int]:
        return [pid for host in self._hosts.values() for pid in host.qemus()]


def laboratory_answers(guide: Path, changes: Mapping[str, str]) -> str:
    """Return the guide's answers file with some answers changed, and others added."""
    fences = re.findall(r"```ini\n(.*?)```", guide.read_text(), re.DOTALL)
    assert len(fences) == 1
    lines, left = [], dict(changes)
    for line in str(fences[0]).splitlines():
        name = line.partition("=")[0].strip()
        lines.append(f"{name} = {left.pop(name)}" if name in left else line)
    # Answers need no section; after one, only its own may stand.
    return "\n".join([*(f"{name} = {text}" for name, text in left.items()), *lines, ""])


def test_from_bare_hosts_to_a_cluster() -> None:
    with setup_hosts(3) as (folder, hosts, port):
        story = SetupStory(folder, hosts)
        image, share = folder / "engine.qcow2", folder / "share"
        build_guest(GUEST_CACHE, image=image, progress=print)
        share.mkdir()
        changes = {
            "storage_type": "localfs", "storage_connection": str(share), "bridge": "",
            "gateway": "", "engine_fqdn": "127.0.0.1", "mac": "00:16:3e:35:83:68",
            "health_url": f"http://127.0.0.1:{port}{HEALTH_PATH}", "machine": "pc",
            "memory_mib": str(MEMORY_MIB), "cpus": "1", "console": "none",
            "disk_image_file": str(image), "disk_size_gib": "",
        }  # fmt: skip
        first = GUIDES / "install-first-host.md"
        (folder / ANSWERS).write_text(laboratory_answers(first, changes))
        (folder / "password").write_text("secret\n")
        trustme.CA().cert_pem.write_to_path(str(folder / "ca.pem"))
        for host in hosts:
            host.systemctl("start", "ha-vdsm.service")
        story.tell(first)
        story.tell(GUIDES / "add-hosts.md")


def test_from_the_predecessor() -> None:
    with setup_hosts(2) as (folder, hosts, port):
        blank, storage = folder / "blank", folder / "storage"
        blank.write_bytes(bytes(1 << 20))
        storage.mkdir()
        domain = make_domain(storage, GuestImage(blank, 1 << 20, "", ""))
        make_predecessors(domain, hosts, port)
        vm = parse_ovf(read_ovf(domain), where="test")
        start_vm(hosts[0], domain.vm_uuid, domain_xml(vm, storage_domain_uuid=domain.uuid).xml)
        story = SetupStory(folder, hosts)
        story.do(Deed("", ("vm-is-remembered",)))
        story.tell(GUIDES / "from-the-predecessor.md")


def start_vm(host: SetupHost, vm_uuid: str, xml: str) -> None:
    """Start the VM as the predecessor does: VDSM is told, and no lease of ours is taken."""
    settings = layers.load([], {}, host_root=host.root)

    async def create() -> None:
        async with connected_vdsm(settings.vdsm, SystemClock()) as vdsm:
            await vdsm.create_vm(vm_uuid, xml)

    asyncio.run(create())
