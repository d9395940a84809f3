# SPDX-License-Identifier: Apache-2.0
"""What a lab host's root has that this machine's has not. Pure.

A host sees this machine's root folder through an overlay, with these files on top. All that
systemd here would start besides is masked, so that a host boots in seconds and does nothing else:
what is left is systemd, journald, sysusers, tmpfiles, the network below, sanlock, and whatever a
package brings.

The network is one bridge with oVirt's name; the cable (host0, by systemd-nspawn) and the engine
VM's tap are its ports. It stands before network-online.target.

sanlock: without the watchdog (a container can't have one of its own) and without real-time
priority and locked memory, for which a container lacks CAP_SYS_RESOURCE.
"""

from __future__ import annotations

from collections.abc import Mapping

from lab.plan import ENGINE_NAME, PREFIX_LENGTH, LabPlan

BRIDGE = "ovirtmgmt"
UNITS = "etc/systemd/system"
NETWORK_UNIT = "ha-lab-network.service"
# Folders of /etc whose content here is this machine's own business.
HIDDEN_FOLDERS = (UNITS, "etc/ha-agent", "etc/ovirt-hosted-engine", "var/log/journal")
# What units of the distribution would start.
MASKED = (
    *("e2scrub_reap.service", "getty.target", "getty-static.service", "machines.target"),
    *("postgresql.service", "systemd-ask-password-console.path", "systemd-binfmt.service"),
    *("systemd-ask-password-wall.path", "systemd-firstboot.service", "systemd-logind.service"),
    *("systemd-machine-id-commit.service", "systemd-modules-load.service", "wdmd.service"),
    *("systemd-pcrphase-sysinit.service", "systemd-pcrphase.service", "systemd-repart.service"),
    *("systemd-random-seed.service", "systemd-timesyncd.service", "systemd-update-utmp.service"),
    *("systemd-update-utmp-runlevel.service", "systemd-user-sessions.service"),
    *("systemd-networkd.service", "systemd-resolved.service", "kmod-static-nodes.service"),
    *("dev-hugepages.mount", "dev-mqueue.mount", "proc-sys-fs-binfmt_misc.automount"),
    *("sys-kernel-config.mount", "sys-kernel-debug.mount", "sys-kernel-tracing.mount"),
    *("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "man-db.timer"),
    *("e2scrub_all.timer", "fstrim.timer", "systemd-tmpfiles-clean.timer", "virtlockd.socket"),
    *("libvirtd.service", "libvirtd.socket", "libvirtd-ro.socket", "libvirtd-admin.socket"),
    *("cryptsetup.target", "integritysetup.target", "veritysetup.target"),
)

_NETWORK = """\
[Unit]
Description=The lab's network
DefaultDependencies=no
After=systemd-sysctl.service
Before=network.target network-online.target
Wants=network.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/sbin/ip link add {bridge} address {mac} type bridge forward_delay 0
ExecStart=/usr/sbin/ip link set host0 master {bridge} up
ExecStart=/usr/sbin/ip address add {address}/{length} dev {bridge}
ExecStart=/usr/sbin/ip link set {bridge} up
ExecStart=/usr/sbin/ip link set lo up

[Install]
WantedBy=network-online.target
"""

_SANLOCK = """\
[Unit]
Wants=

[Service]
Environment=SANLOCK_PRIVILEGED=0
ExecStart=
ExecStart=/usr/sbin/sanlock daemon -w 0 -h 0 -l 0 -U sanlock -G sanlock -e {name}
RuntimeDirectory=sanlock
User=sanlock
Group=sanlock
"""

_JOURNALD = """\
[Journal]
Storage=persistent
# What was said up to a power cut is what matters most.
SyncIntervalSec=1
RateLimitIntervalSec=0
ForwardToConsole=no
"""


def host_files(plan: LabPlan, number: int, machine_id: str) -> Mapping[str, str]:
    """Return path below the root -> content."""
    name = f"host{number}"
    addresses = [f"{plan.host_address(n)} host{n}" for n in (1, 2, 3)]
    hosts = ["127.0.0.1 localhost", *addresses, f"{plan.engine_address} {ENGINE_NAME}"]
    # A bridge otherwise takes the lowest address among its ports, which come and go.
    mac = f"52:77:00:00:00:{number:02x}"
    address = plan.host_address(number)
    return {
        "etc/hostname": f"{name}\n",
        "etc/machine-id": f"{machine_id}\n",
        "etc/hosts": "\n".join([*hosts, ""]),
        "etc/resolv.conf": "",
        "etc/fstab": "",
        "etc/qemu/bridge.conf": f"allow {BRIDGE}\n",
        "etc/systemd/journald.conf.d/ha-lab.conf": _JOURNALD,
        f"{UNITS}/{NETWORK_UNIT}": _NETWORK.format(
            bridge=BRIDGE, mac=mac, address=address, length=PREFIX_LENGTH
        ),
        f"{UNITS}/sanlock.service.d/ha-lab.conf": _SANLOCK.format(name=name),
    }


def host_links() -> Mapping[str, str]:
    """Return symbolic links: path below the root -> target. Masks, and what is enabled."""
    masks = {f"{UNITS}/{unit}": "/dev/null" for unit in MASKED}
    return {
        **masks,
        f"{UNITS}/default.target": "/lib/systemd/system/multi-user.target",
        f"{UNITS}/network-online.target.wants/{NETWORK_UNIT}": f"/{UNITS}/{NETWORK_UNIT}",
        f"{UNITS}/multi-user.target.wants/sanlock.service": "/lib/systemd/system/sanlock.service",
        f"{UNITS}/multi-user.target.wants/network-online.target": (
            "/lib/systemd/system/network-online.target"
        ),
    }
