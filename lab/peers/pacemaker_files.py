# SPDX-License-Identifier: Apache-2.0
"""What a Pacemaker host is configured with. Pure.

As Debian ships it, with what a cluster needs and no more: names and addresses of the hosts for
corosync, one power switch, one VM. No time is set that has a default; the resource agent's
operations have the times that its own metadata advises, as `crm` and `pcs` write them.

The VM is the domain that ha-agent itself would give libvirt for the same OVF (virt/domain_xml.py),
on the CPU that the embedded VDSM gives it, so that the guest boots the same machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lxml import etree

from ha_agent.vdsm.domain.model import Domain
from ha_agent.virt.domain_xml import HostOffer, VirtPlacement, place, read_definition
from lab.plan import HOSTS, LabPlan
from lab.root_files import BRIDGE, UNITS

DOMAIN_FILE = "etc/libvirt/qemu/ha-lab-engine.xml"
FENCE_AGENT = "usr/sbin/fence_lab"
SWITCH_FOLDER_THERE = "/srv/ha-lab-switch"
ENGINE, SWITCH = "engine", "switch"
# The resource agent's own advice: VirtualDomain meta-data of resource-agents 4.12.0.
START_SECONDS, STOP_SECONDS = 90, 90
MONITOR_INTERVAL_SECONDS, MONITOR_SECONDS = 10, 30
ENABLED = ("corosync.service", "pacemaker.service", "libvirtd.service")
# The lab's hosts have them masked.
_UNMASKED = ("libvirtd.service", "libvirtd.socket", "libvirtd-ro.socket", "virtlockd.socket")

# A container has no security module and no cgroups to give away, and its QEMU may be root's.
_QEMU_CONF = """\
user = "root"
group = "root"
security_driver = "none"
remember_owner = 0
namespaces = []
cgroup_controllers = []
"""

_COROSYNC = """\
totem {{
  version: 2
  cluster_name: ha-lab
  crypto_cipher: none
  crypto_hash: none
}}
logging {{
  to_syslog: yes
  to_logfile: no
}}
quorum {{
  provider: corosync_votequorum
}}
nodelist {{
{hosts}}}
"""

_COROSYNC_HOST = """\
  node {{
    name: host{number}
    nodeid: {number}
    ring0_addr: {address}
  }}
"""

_ENGINE = """\
<primitive id="{id}" class="ocf" provider="heartbeat" type="VirtualDomain">
  <instance_attributes id="{id}-attributes">
    <nvpair id="{id}-config" name="config" value="/{config}"/>
    <nvpair id="{id}-hypervisor" name="hypervisor" value="qemu:///system"/>
  </instance_attributes>
  <operations>
    <op id="{id}-start" name="start" interval="0s" timeout="{start}s"/>
    <op id="{id}-stop" name="stop" interval="0s" timeout="{stop}s"/>
    <op id="{id}-monitor" name="monitor" interval="{interval}s" timeout="{monitor}s"/>
  </operations>
</primitive>
"""

_SWITCH = """\
<primitive id="{id}" class="stonith" type="fence_lab">
  <instance_attributes id="{id}-attributes">
    <nvpair id="{id}-socket" name="socket" value="{socket}"/>
    <nvpair id="{id}-hosts" name="pcmk_host_list" value="{hosts}"/>
  </instance_attributes>
  <operations>
    <op id="{id}-monitor" name="monitor" interval="60s"/>
  </operations>
</primitive>
"""


@dataclass(frozen=True)
class Setting:
    """A setting that counts here, with its value and where that comes from."""

    name: str
    value: str
    source: str


SETTINGS = (
    Setting("corosync token", "3000 ms + 650 ms for the third host = 3650 ms", "corosync.conf(5)"),
    Setting("corosync consensus", "1.2 tokens = 4380 ms", "corosync.conf(5)"),
    Setting(
        "VirtualDomain monitor", "every 10 s, limit 30 s", "its meta-data, resource-agents 4.12.0"
    ),
    Setting("VirtualDomain start, stop", "limit 90 s each", "its meta-data"),
    Setting("stonith-enabled", "true; false in the column without", "pacemaker-schedulerd(7)"),
    Setting("stonith-action", "reboot; the lab's switch leaves the host off", "(7), fence_lab.py"),
    Setting("stonith-timeout", "60 s", "pacemaker-schedulerd(7)"),
    Setting("migration-threshold", "INFINITY", "Pacemaker Explained, resource meta-attributes"),
    Setting("resource-stickiness", "0", "Pacemaker Explained, resource meta-attributes"),
)


def corosync_conf(plan: LabPlan) -> str:
    """Return corosync.conf: Debian's own, but for the hosts and the log file."""
    hosts = [
        _COROSYNC_HOST.format(number=number, address=plan.host_address(number))
        for number in range(1, HOSTS + 1)
    ]
    return _COROSYNC.format(hosts="".join(hosts))


def domain_file(engine_xml: str, vm_uuid: str, disk: str) -> str:
    """Return the domain for libvirt, from the engine's XML; `disk` is its path on a host.

    One element a line: the resource agent looks for a line that is <name> and nothing else.
    """
    domain, _files = read_definition(engine_xml, vm_uuid)
    placement = VirtPlacement(
        offer=HostOffer(("qemu",), frozenset([domain.machine])),
        accelerator="tcg",
        disk_paths={_boot_disk(domain): disk},
        networks=dict.fromkeys(_networks(domain), f"bridge={BRIDGE}"),
    )
    root = etree.fromstring(place(engine_xml, domain, placement).xml)
    cpu = root.find("cpu")
    if cpu is None:
        cpu = etree.SubElement(root, "cpu")
    cpu.set("mode", "maximum")
    # libvirt adds a USB controller where none is told, for which the BIOS takes its time.
    devices = root.find("devices")
    if devices is not None and devices.find("controller[@type='usb']") is None:
        etree.SubElement(devices, "controller", type="usb", model="none")
    etree.indent(root)
    return etree.tostring(root, encoding="unicode") + "\n"


def _boot_disk(domain: Domain) -> str:
    return domain.disks[0].target


def _networks(domain: Domain) -> list[str]:
    return [nic.network for nic in domain.nics if nic.network]


def host_extras(plan: LabPlan, fence_agent: str) -> Mapping[str, str]:
    """Return path below a host's root -> content, besides what every lab host has."""
    return {
        "etc/corosync/corosync.conf": corosync_conf(plan),
        "etc/libvirt/qemu.conf": _QEMU_CONF,
        FENCE_AGENT: fence_agent,
    }


def unit_links() -> Mapping[str, str]:
    """Return symbolic links that enable the peers' daemons: path -> target."""

    def real(unit: str) -> str:
        return f"/lib/systemd/system/{unit}"

    return {
        **{f"{UNITS}/{unit}": real(unit) for unit in _UNMASKED},
        **{f"{UNITS}/multi-user.target.wants/{unit}": real(unit) for unit in ENABLED},
        f"{UNITS}/sockets.target.wants/libvirtd.socket": real("libvirtd.socket"),
    }


def resources_xml(fencing: bool) -> str:
    """Return the resources for `cibadmin`."""
    engine = _ENGINE.format(
        id=ENGINE,
        config=DOMAIN_FILE,
        start=START_SECONDS,
        stop=STOP_SECONDS,
        interval=MONITOR_INTERVAL_SECONDS,
        monitor=MONITOR_SECONDS,
    )
    hosts = " ".join(f"host{number}" for number in range(1, HOSTS + 1))
    switch = _SWITCH.format(id=SWITCH, socket=f"{SWITCH_FOLDER_THERE}/switch.socket", hosts=hosts)
    return f"<resources>\n{switch if fencing else ''}{engine}</resources>\n"


def troubles(status: str, owner: str, fencing: bool) -> list[str]:
    """Return what is not yet well, a sentence each, by `crm_mon --output-as=xml`.

    Well is: every host online and known as clean, the engine started on `owner`, and the power
    switch known as working.
    """
    root = etree.fromstring(status.encode())
    found = []
    for node in root.findall("nodes/node"):
        if node.get("online") != "true" or node.get("unclean") != "false":
            found.append(f"{node.get('name')} is not online")
    if len(root.findall("nodes/node")) != HOSTS:
        found.append("a host is not known")
    wanted = {ENGINE: owner, **({SWITCH: ""} if fencing else {})}
    for name, host in wanted.items():
        resource = root.find(f"resources/resource[@id='{name}']")
        if resource is None or resource.get("role") != "Started" or resource.get("pending"):
            found.append(f"{name} is not started")
        elif host and [node.get("name") for node in resource.findall("node")] != [host]:
            found.append(f"{name} is not on {host}, for Pacemaker")
    return found
