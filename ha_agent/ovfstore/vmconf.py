# SPDX-License-Identifier: Apache-2.0
"""The text of /var/run/ovirt-hosted-engine-ha/vm.conf.

Nothing starts from this file any more: VDSM takes domain XML only. It is kept written because
VDSM's `hostedengine` hook reads `vmId=` from it at each start, to set the engine VM's on_reboot
and its set-up channel, and because old tools look into it (facts/ovf-and-volumes.md, 2.3).

The grammar deletes all blanks in a line and everything from `#` on, and splits at the first
`=`. What that would change is left out here rather than written wrong.
"""

from __future__ import annotations

import re
from typing import Optional

from ha_agent.ovfstore.codes import BLANK_UUID
from ha_agent.ovfstore.model import VmDefinition

_UNSAFE = re.compile(r"[\s#\x00-\x1f]")


def vm_conf_text(vm: VmDefinition) -> str:
    """Return the file's text: `key=value` lines, memory in MiB, `vmId` first."""
    lines: list[tuple[str, Optional[str]]] = [
        ("vmId", vm.uuid),
        ("memSize", str(vm.memory_mib)),
        ("vmName", vm.name),
        ("smp", str(vm.vcpus)),
        ("maxVCpus", str(vm.max_vcpus)),
        ("cpuType", vm.cpu_model),
        ("emulatedMachine", vm.emulated_machine),
        # SPICE is not started any more; `vnc` is what the console of an engine VM is.
        ("display", "vnc" if vm.graphics else None),
    ]
    texts = [f"{key}={value}" for key, value in lines if value and not _UNSAFE.search(value)]
    disk = next((item for item in vm.disks_in_boot_order() if item.volume_uuid), None)
    if disk is not None and disk.storage_domain_uuids:
        texts.append(
            "devices={index:0,"
            f"iface:{disk.interface.bus},format:{'cow' if disk.volume_format == 'COW' else 'raw'},"
            f"poolID:{BLANK_UUID},volumeID:{disk.volume_uuid},imageID:{disk.image_uuid},"
            f"domainID:{disk.storage_domain_uuids[0]},deviceId:{disk.image_uuid},"
            "readonly:false,optional:false,device:disk,shared:exclusive,propagateErrors:off,"
            "type:disk,bootOrder:1}"
        )
    return "".join(text + "\n" for text in texts)
