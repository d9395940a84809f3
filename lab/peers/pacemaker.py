# SPDX-License-Identifier: Apache-2.0
"""Three lab hosts with Pacemaker, corosync and libvirt in place of ours. Implements side.Side.

The same containers, bridge, shared storage, guest and disk as ours have: a domain made by
demo.domain on the lab's storage, of which Pacemaker uses the boot disk alone. What differs is what
runs on the hosts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Optional

from demo.domain import DemoDomain, engine_vm, make_domain
from demo.guest import build_guest
from lab.cluster import GUEST_CACHE, Choices, LabCluster, Say
from lab.host import LabHost
from lab.observer import Observer
from lab.peers import fence_lab
from lab.peers.fence_switch import FenceSwitch
from lab.peers.layer import lay, versions, write
from lab.peers.pacemaker_files import (
    DOMAIN_FILE,
    FENCE_AGENT,
    SWITCH_FOLDER_THERE,
    domain_file,
    host_extras,
    resources_xml,
    troubles,
    unit_links,
)
from lab.peers.side import PACEMAKER, UNFENCED, observer_of
from lab.plan import HOSTS, PREFIX_LENGTH, LabPlan
from lab.ports import LabError
from lab.storage import SHARE_THERE
from lab.tools import wait_until

# corosync waits for its peers, then Pacemaker elects (dc-deadtime is 20 s), then it starts the VM.
SETTLE_SECONDS = 180.0
_STATUS = ("crm_mon", "-1", "--output-as=xml")


class PacemakerSide:
    """One cluster, from nothing to `remove`. `layer`: what layer.py has installed."""

    def __init__(self, plan: LabPlan, layer: Path, *, fencing: bool, say: Say) -> None:
        self.name = PACEMAKER if fencing else UNFENCED
        self.cluster = LabCluster(plan, Choices(), say)
        self._layer = layer
        self._fencing = fencing
        self._say = say
        self._switch_folder = plan.work / "switch"
        self.switch = FenceSwitch(self._switch_folder, self.cluster.hosts)
        self._observer: Optional[Observer] = None
        self._why = "nothing was looked at"

    @property
    def observer(self) -> Observer:
        """Who looks on. Raises LabError before `start`."""
        if self._observer is None:
            raise LabError(f"{self.name}: nobody looks on yet")
        return self._observer

    def start(self) -> None:
        """Make and boot the hosts, and have the VM started. Raises LabError."""
        for host in self.cluster.hosts.values():
            self._add_peers(host)
        self.cluster.make()
        xml = _domain_xml(self._make_domain())
        for host in self.cluster.hosts.values():
            write(host.root, {DOMAIN_FILE: xml}, {})
        self._observer = observer_of(self.cluster)
        self._observer.start()
        self._configure()

    def _add_peers(self, host: LabHost) -> None:
        """Have what makes it a Pacemaker host on its disk before it boots."""
        plug = host.before_boot

        def before_boot() -> None:
            plug()
            self.switch.start()
            host.binds = {**host.binds, SWITCH_FOLDER_THERE: self._switch_folder}
            lay(self._layer, host.root)
            agent = "#!/usr/bin/python3\n" + Path(fence_lab.__file__).read_text()
            write(host.root, host_extras(self.cluster.plan, agent), unit_links())
            (host.root / FENCE_AGENT).chmod(0o755)

        host.before_boot = before_boot

    def _make_domain(self) -> DemoDomain:
        plan, storage = self.cluster.plan, self.cluster.storage
        image = plan.work / "guest.img"
        address = f"{plan.engine_address}/{PREFIX_LENGTH}"
        guest = build_guest(GUEST_CACHE, image=image, progress=self._say, address=address)
        domain = make_domain(storage.share, guest)
        image.unlink()
        storage.disk_is(domain.uuid, domain.boot_disk.parent.name, domain.boot_disk.name)
        self.cluster.vm_uuid = domain.vm_uuid
        return domain

    def _configure(self) -> None:
        first = self.cluster.hosts["host1"]

        def has_quorum() -> bool:
            status = first.run(*_STATUS).stdout
            return 'with_quorum="true"' in status and status.count('online="true"') == HOSTS

        wait_until(has_quorum, SETTLE_SECONDS, f"{self.name}: the hosts have no quorum")
        if not self._fencing:
            first.must("crm_attribute", "--name=stonith-enabled", "--update=false")
        command = ["cibadmin", "--replace", "--scope=resources", "--xml-pipe"]
        first.must(*command, text=resources_xml(self._fencing))

    def settle(self) -> str:
        """Wait until all is well, and return the host with the VM. Raises LabError."""
        try:
            wait_until(self._is_well, SETTLE_SECONDS, "")
        except LabError as error:
            raise LabError(f"{error}{self.name} is not well: {self._why}") from None
        return self.observer.qemus.running()[0].host

    def _is_well(self) -> bool:
        running = self.observer.qemus.running()
        self._why = f"{len(running)} VMs run"
        if len(running) != 1:
            return False
        self._why = "the engine's page is not good"
        if self.observer.page.good_since(running[0].begun_at) is None:
            return False
        ended = self.cluster.hosts[running[0].host].run(*_STATUS)
        if ended.returncode != 0:
            self._why = f"crm_mon: {ended.stderr.strip()}"
            return False
        found = troubles(ended.stdout, running[0].host, self._fencing)
        self._why = "; ".join(found)
        return not found

    def versions(self) -> dict[str, str]:
        """Return package -> version of what runs. Raises LabError."""
        return versions(self.cluster.hosts["host1"].root)

    def remove(self) -> None:
        """Leave nothing of it running or mounted."""
        if self._observer is not None:
            self._observer.stop()
        if self.switch.offs:
            self._say(f"switched off by fencing: {', '.join(self.switch.offs)}")
        self.switch.stop()
        self.cluster.remove()


def _domain_xml(domain: DemoDomain) -> str:
    image, volume = domain.boot_disk.parent.name, domain.boot_disk.name
    vm = engine_vm(domain.uuid, image, volume, domain.vm_uuid)
    disk = f"{SHARE_THERE}/{domain.uuid}/images/{image}/{volume}"
    return domain_file(vm.engine_xml or "", domain.vm_uuid, disk)
